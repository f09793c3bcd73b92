//! How far the building of engines is.

use std::{fmt, sync::Arc};

/// How far the building of one engine is.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgressReport {
    /// File name of the network.
    pub network: String,
    /// How much is done, 0..1; never less than the time before.
    pub done: f32,
}

/// Whom to tell; nobody by default.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Fn(&ProgressReport) + Send + Sync>>);

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress(told)" } else { "Progress(untold)" })
    }
}

impl Progress {
    /// Tells `listener`, which may be called from any thread.
    pub fn to(listener: impl Fn(&ProgressReport) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    /// Tells of `network`.
    pub fn report(&self, network: &str, done: f32) {
        if let Some(listener) = &self.0 {
            listener(&ProgressReport { network: network.to_owned(), done });
        }
    }
}
