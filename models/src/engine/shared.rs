//! One engine for all elements of a process that want the same network.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use once_cell::sync::OnceCell;

use super::{onnxruntime::OnnxEngine, Engine, EngineOptions};
use crate::{manifest::Manifest, Error, Result};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    // The content, not the path: two paths may lead to one file, and one path to another file later.
    sha256: String,
    // Part of what an engine reports.
    reason: String,
    runtime_library: Option<PathBuf>,
}

/// What the cache holds on to: gone when no element uses it any more.
type Slot = Arc<OnceCell<Weak<dyn Engine>>>;

static ENGINES: OnceCell<Mutex<HashMap<Key, Slot>>> = OnceCell::new();

/// Loads the network that `manifest` lists under `role` into ONNX Runtime, or shares the one that is loaded already.
///
/// # Errors
/// Those of [`Manifest::read_file`], of the library and of the network itself.
pub(super) fn load(
    manifest: &Manifest,
    role: &str,
    options: &EngineOptions,
    reason: &str,
) -> Result<Arc<dyn Engine>> {
    let file = manifest.read_file(role)?;
    let key = Key {
        sha256: file.sha256.clone(),
        reason: reason.to_owned(),
        runtime_library: options.runtime_library.clone(),
    };
    loop {
        let slot = slot(&key);
        let mut made = None;
        // Elements that start together wait here for the first of them, instead of each building its own.
        let shared = slot.get_or_try_init(|| {
            let engine: Arc<dyn Engine> = Arc::new(OnnxEngine::load(&file, options, reason)?);
            let weak = Arc::downgrade(&engine);
            made = Some(engine);
            Ok::<_, Error>(weak)
        })?;
        if let Some(engine) = made.or_else(|| shared.upgrade()) {
            return Ok(engine);
        }
        // Its last user has gone since: make room, unless another thread already did.
        let mut engines = engines().lock().unwrap_or_else(PoisonError::into_inner);
        if engines.get(&key).is_some_and(|current| Arc::ptr_eq(current, &slot)) {
            engines.remove(&key);
        }
    }
}

fn engines() -> &'static Mutex<HashMap<Key, Slot>> {
    ENGINES.get_or_init(Mutex::default)
}

fn slot(key: &Key) -> Slot {
    let mut engines = engines().lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(engines.entry(key.clone()).or_default())
}
