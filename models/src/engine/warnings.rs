//! What a user should know of, though everything goes on.

use std::{fmt, sync::Arc};

/// Whom to warn; nobody by default.
#[derive(Clone, Default)]
pub struct Warnings(Option<Arc<dyn Fn(&str) + Send + Sync>>);

impl fmt::Debug for Warnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Warnings(told)" } else { "Warnings(untold)" })
    }
}

impl Warnings {
    /// Warns `listener`, which may be called from any thread.
    pub fn to(listener: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    /// Warns in words for users.
    pub fn warn(&self, text: &str) {
        if let Some(listener) = &self.0 {
            listener(text);
        }
    }
}
