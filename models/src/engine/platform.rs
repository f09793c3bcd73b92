//! A device and the library that runs networks on it.

use std::sync::Arc;

use deepfake_kernels::{CudaDevice, Device};

use super::{
    shared,
    tensorrt::{Batch, Library, Settings, TensorRtEngine},
    Backend, Engine, EngineOptions, Precision,
};
use crate::{manifest::Manifest, Error, Result};

/// A device and the library that runs networks on it. One platform serves all networks of an element, so that they
/// share a stream.
#[derive(Clone, Debug)]
pub struct Platform {
    device: Device,
    options: EngineOptions,
    reason: String,
}

/// Has `build` make something of the backend that `options` ask for. With [`Backend::Auto`] that is TensorRT where it
/// works, from the library to the last network, else ONNX Runtime.
///
/// # Errors
/// Those of `build`, and of the backend's library.
pub fn choose<T>(options: &EngineOptions, build: impl Fn(&Platform) -> Result<T>) -> Result<T> {
    match options.backend {
        Backend::OnnxRuntime => build(&Platform::on_cpu(options, "asked for".into())),
        Backend::TensorRt => build(&Platform::on_gpu(options, "asked for".into())?),
        Backend::Auto => {
            let on_gpu =
                Platform::on_gpu(options, "a GPU is there".into()).and_then(|platform| build(&platform));
            match on_gpu {
                // What is wrong with the model or the portrait is wrong on the CPU, too; and whoever wants the GPU will want
                // to know why it was not taken.
                Err(Error::BackendUnavailable { reason, .. } | Error::Network { reason, .. }) => {
                    build(&Platform::on_cpu(options, format!("TensorRT cannot be used: {reason}")))
                }
                Err(Error::Device(error)) => {
                    build(&Platform::on_cpu(options, format!("the GPU cannot be used: {error}")))
                }
                result => result,
            }
        }
    }
}

impl Platform {
    /// ONNX Runtime on the CPU.
    pub fn on_cpu(options: &EngineOptions, reason: String) -> Self {
        Self { device: Device::Cpu, options: options.clone(), reason }
    }

    /// TensorRT on a GPU: in the options' context, else in the primary context of the GPU that they number.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no GPU, [`Error::BackendUnavailable`] if there is no TensorRT.
    pub fn on_gpu(options: &EngineOptions, reason: String) -> Result<Self> {
        let cuda = match &options.cuda {
            Some(cuda) => cuda.clone(),
            None => CudaDevice::new(options.device_id)?,
        };
        // Asked for now, so that nothing else is begun where it is missing.
        Library::find(options.tensorrt_library.as_deref())?;
        Ok(Self { device: Device::Cuda(cuda), options: options.clone(), reason })
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The options that it was made by.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The same, but for the stream: what it runs runs beside what this one runs.
    pub(crate) fn fork(&self) -> Result<Self> {
        Ok(Self { device: self.device.fork()?, ..self.clone() })
    }

    /// The same, but for how exactly a GPU computes.
    pub(crate) fn with_precision(&self, precision: Precision) -> Self {
        Self { options: EngineOptions { precision, ..self.options.clone() }, ..self.clone() }
    }

    /// Loads the network that `manifest` lists under `role`, or shares what is loaded of it already. It will be run on
    /// at most `batch` pictures at a time.
    ///
    /// # Errors
    /// Those of [`Manifest::read_file`], of the backend's library and of the network itself.
    pub fn load(&self, manifest: &Manifest, role: &str, batch: usize) -> Result<Arc<dyn Engine>> {
        let Some(cuda) = self.device.cuda() else {
            return shared::load(manifest, role, &self.options, &self.reason);
        };
        let settings = Settings {
            library: self.options.tensorrt_library.clone(),
            precision: self.options.precision,
            cache: self.options.cache_dir.clone(),
            batch: Batch::up_to(batch),
            progress: self.options.progress.clone(),
            warnings: self.options.warnings.clone(),
        };
        Ok(Arc::new(TensorRtEngine::load(manifest, role, cuda, &settings, &self.reason)?))
    }
}
