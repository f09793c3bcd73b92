//! One engine for all elements of a process that want the same network.

use std::{path::PathBuf, sync::Arc};

use once_cell::sync::Lazy;

use super::{onnxruntime::OnnxEngine, weak_cache::WeakCache, Engine, EngineOptions};
use crate::{manifest::Manifest, Result};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    // The content, not the path: two paths may lead to one file, and one path to another file later.
    sha256: String,
    // Part of what an engine reports.
    reason: String,
    runtime_library: Option<PathBuf>,
}

static ENGINES: Lazy<WeakCache<Key, dyn Engine>> = Lazy::new(WeakCache::default);

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
    ENGINES.get(&key, || Ok(Arc::new(OnnxEngine::load(&file, options, reason)?)))
}
