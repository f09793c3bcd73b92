//! Networks run by ONNX Runtime on the CPU.
//!
//! The library is opened at run time, once a process: the first engine decides which one.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use deepfake_kernels::{Device, Tensor};
use once_cell::sync::OnceCell;
use ort::{
    environment::{Environment, GlobalThreadPoolOptions},
    session::{builder::GraphOptimizationLevel, Session, SessionInputValue},
    value::TensorRef,
};

use super::{BackendReport, Engine, EngineOptions, Input};
use crate::{manifest::ModelFile, zoo, Error, Result, RUNTIME_VARIABLE};

/// The library opened for this process.
#[derive(Debug)]
struct Runtime {
    path: PathBuf,
    environment: Environment,
}

static RUNTIME: OnceCell<Runtime> = OnceCell::new();

const LIBRARY: &str = "libonnxruntime.so";

/// Finds the shared library of ONNX Runtime:
/// 1. `explicit`, where given; then nothing else is tried;
/// 2. the environment variable `ORT_DYLIB_PATH`, likewise;
/// 3. beside the plugin's library and in its folder `deepfake`;
/// 4. `/usr/local/lib`, `/usr/lib` and `/usr/lib/<architecture>-linux-gnu`.
///
/// # Errors
/// [`Error::RuntimeNotFound`] with the places that were tried.
pub fn locate_runtime(explicit: Option<&Path>) -> Result<PathBuf> {
    let named = explicit
        .map(Path::to_owned)
        .or_else(|| env::var_os(RUNTIME_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from));
    locate_in(named, zoo::plugin_folder().map(PathBuf::as_path))
}

fn locate_in(named: Option<PathBuf>, plugin: Option<&Path>) -> Result<PathBuf> {
    let searched = match named {
        Some(path) => vec![path],
        None => {
            let beside = plugin.into_iter().flat_map(|p| [p.join(LIBRARY), p.join("deepfake").join(LIBRARY)]);
            let architecture = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
            let system = ["/usr/local/lib", "/usr/lib", &architecture].map(|f| Path::new(f).join(LIBRARY));
            beside.chain(system).collect()
        }
    };
    match searched.iter().find(|p| p.is_file()) {
        Some(path) => Ok(path.clone()),
        None => Err(Error::RuntimeNotFound { searched }),
    }
}

fn runtime(options: &EngineOptions) -> Result<&'static Runtime> {
    RUNTIME.get_or_try_init(|| {
        let path = locate_runtime(options.runtime_library.as_deref())?;
        let fail = |reason: String| Error::Runtime { path: path.clone(), reason };
        let builder = ort::init_from(&path).map_err(|e| fail(e.to_string()))?;
        // One pool for all networks: a frame runs them one after the other, and the threads of a pool each would
        // only keep one another from working. Waiting threads do not spin, since the rest of a media pipeline
        // (decoder, encoder, our own kernels) wants the processors between two calls.
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        let pool = GlobalThreadPoolOptions::default()
            .with_intra_threads(threads)
            .and_then(|pool| pool.with_inter_threads(1))
            .and_then(|pool| pool.with_spin_control(false))
            .map_err(|e| fail(e.to_string()))?;
        let environment = builder
            .with_name("gst-plugin-deepfake")
            .with_telemetry(false)
            .with_global_thread_pool(pool)
            .build()
            .map_err(|e| fail(e.to_string()))?;
        Ok(Runtime { path, environment })
    })
}

/// The version, as far as the library's name tells (`libonnxruntime.so.1.32.0`).
fn version(path: &Path) -> String {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match name.split_once(".so.") {
        Some((_, version)) => version.to_owned(),
        None => "unknown".to_owned(),
    }
}

/// A network in ONNX Runtime.
pub(super) struct OnnxEngine {
    name: String,
    report: BackendReport,
    // `Session::run` wants exclusive access; elements that share a network take turns.
    session: Mutex<Session>,
}

impl fmt::Debug for OnnxEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnnxEngine").field("name", &self.name).field("report", &self.report).finish()
    }
}

impl OnnxEngine {
    pub(super) fn load(file: &ModelFile, options: &EngineOptions, reason: &str) -> Result<Self> {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let runtime = runtime(options)?;
        let fail = |reason: String| Error::Network { name: name.clone(), reason };
        let session = Session::builder(&runtime.environment)
            .map_err(|e| fail(e.to_string()))?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(|e| fail(e.to_string()))?
            // Values around 1e-40 come up in the networks' tails and are slow on many processors.
            .with_flush_to_zero()
            .map_err(|e| fail(e.to_string()))?
            .commit_from_memory(&file.bytes)
            .map_err(|e| fail(e.to_string()))?;
        let report = BackendReport {
            backend: "onnxruntime",
            version: version(&runtime.path),
            device: "CPU".into(),
            precision: "fp32",
            reason: reason.to_owned(),
        };
        Ok(Self { name, report, session: Mutex::new(session) })
    }

    fn fail(&self, reason: impl ToString) -> Error {
        Error::Network { name: self.name.clone(), reason: reason.to_string() }
    }
}

impl Engine for OnnxEngine {
    fn run(&self, device: &Device, inputs: &[Input<'_>], outputs: &mut [(&str, &mut Tensor)]) -> Result<()> {
        if device.cuda().is_some() {
            return Err(self.fail("runs on the CPU and was given values on a GPU"));
        }
        let mut views: Vec<(&str, SessionInputValue<'_>)> = Vec::with_capacity(inputs.len());
        for (name, tensor) in inputs {
            let view =
                TensorRef::from_array_view((tensor.shape(), tensor.data())).map_err(|e| self.fail(e))?;
            views.push((name, view.into()));
        }
        // A run that panicked elsewhere leaves nothing half-written in a session.
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let results = session.run(views).map_err(|e| self.fail(e))?;
        for (name, tensor) in outputs {
            let value = results.get(*name).ok_or_else(|| self.fail(format!("has no output '{name}'")))?;
            let (shape, data) = value.try_extract_tensor::<f32>().map_err(|e| self.fail(e))?;
            // Sizes of results are never negative; that is for unknown sizes in a graph.
            let shape: Vec<usize> = shape.iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect();
            tensor.reshape_for_write(&shape).copy_from_slice(data);
        }
        Ok(())
    }

    fn report(&self) -> &BackendReport {
        &self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_library_that_is_missing_is_not_replaced_by_another() {
        let error = locate_in(Some("/nowhere/libonnxruntime.so".into()), None).unwrap_err();
        let Error::RuntimeNotFound { searched } = error else { panic!("{error}") };
        assert_eq!(searched, [PathBuf::from("/nowhere/libonnxruntime.so")]);
    }

    #[test]
    fn the_plugins_folder_is_looked_into_first() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("deepfake")).unwrap();
        let library = folder.path().join("deepfake").join(LIBRARY);
        std::fs::write(&library, b"").unwrap();
        assert_eq!(locate_in(None, Some(folder.path())).unwrap(), library);
    }

    #[test]
    fn the_version_is_read_off_the_librarys_real_name() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("libonnxruntime.so.1.32.0");
        std::fs::write(&real, b"").unwrap();
        let link = folder.path().join(LIBRARY);
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(version(&link), "1.32.0");
        assert_eq!(version(Path::new("/nowhere/libonnxruntime.so")), "unknown");
    }
}
