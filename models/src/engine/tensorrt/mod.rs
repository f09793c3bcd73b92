//! Networks run by TensorRT on a GPU: the full one (8.5, 8.6, 10, 11) or TensorRT for RTX, whichever is installed.
//!
//! The libraries are opened at run time (`library.rs`) and called through their tables of virtual functions (`abi.rs`),
//! so that one build of this crate, made without headers and without a C++ compiler, serves them all. An ONNX file
//! becomes a plan (`builder.rs`), which is kept on disk (`plan_cache.rs`), loaded once a process (`plan.rs`) and run by
//! each user on its own (`context.rs`). The kernels that TensorRT for RTX compiles for that are kept too
//! (`kernel_cache.rs`).

mod abi;
mod builder;
mod context;
mod kernel_cache;
mod library;
mod logger;
mod plan;
mod plan_cache;
mod progress;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc, Mutex, PoisonError,
    },
};

use deepfake_kernels::{CudaDevice, Device, DeviceError, Element, Tensor};
use once_cell::sync::Lazy;

pub use self::builder::Batch;
pub use self::library::{Flavour, Library, Version, LIBRARY_VARIABLE};
pub use self::logger::{set_log, Severity, Sink};
pub use self::plan_cache::default_folder;

use self::{
    abi::Release,
    builder::{build, Arithmetic, Order},
    context::Context,
    plan::Plan,
    plan_cache::{KernelFile, Key, PlanCache},
};
use super::{weak_cache::WeakCache, BackendReport, Engine, Input, Precision, Progress, Warnings};
use crate::{
    manifest::{Manifest, ModelFile},
    Error, Result,
};

/// How an engine of TensorRT is made.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// TensorRT's library; `None`: see [`Library::find`].
    pub library: Option<PathBuf>,
    /// How exact it is to be. [`Precision::Auto`]: half precision where the model has a form for it, else TF32.
    pub precision: Precision,
    /// Where plans and compiled kernels are kept; `None`: [`default_folder`].
    pub cache: Option<PathBuf>,
    /// How many samples it takes at once, where the network leaves that open.
    pub batch: Batch,
    /// Told how far a build is.
    pub progress: Progress,
    /// Told what is wrong with the cache.
    pub warnings: Warnings,
}

/// Which file of the role is taken, and how it is computed.
fn choose(
    release: &Release,
    precision: Precision,
    has_half: bool,
) -> Result<(bool, Arithmetic), &'static str> {
    // A strongly typed network is as exact as its maker meant it to be, part by part; leave to use half precision
    // anywhere is what is left up to TensorRT 8.
    let half = match (release.network_strongly_typed, release.flag_fp16) {
        (Some(_), _) if has_half => Some((true, Arithmetic::AsTyped)),
        (_, Some(_)) if has_half || precision == Precision::Fp16 => Some((false, Arithmetic::HalfAllowed)),
        _ => None,
    };
    match precision {
        Precision::Fp32 => Ok((false, Arithmetic::Fp32)),
        Precision::Tf32 => Ok((false, Arithmetic::Tf32)),
        Precision::Auto => Ok(half.unwrap_or((false, Arithmetic::Tf32))),
        Precision::Fp16 => {
            half.ok_or("there is no file in half precision, which this TensorRT needs for fp16")
        }
    }
}

/// What tells loaded plans apart: what the kept ones are told apart by, and where they are loaded.
type Loaded = (Key, usize, PathBuf);

static PLANS: Lazy<WeakCache<Loaded, Plan>> = Lazy::new(WeakCache::default);

/// A network in TensorRT, for one user at a time: runs of one handle take turns.
pub struct TensorRtEngine {
    name: String,
    report: BackendReport,
    number: u64,
    run: Mutex<Run>,
}

/// What a run needs besides its tensors.
#[derive(Debug)]
struct Run {
    context: Context,
    /// Shapes of the tensors as of the last run, in the plan's order.
    shapes: Vec<Vec<usize>>,
    /// Whether those of the outputs follow from those of the inputs.
    settled: bool,
    /// Where outputs go that nobody asks for, in the plan's order.
    unwanted: Vec<Tensor>,
    /// Where it ran last.
    device: CudaDevice,
    /// Hashes of the inputs' shapes that it has run with, for which kernels are compiled.
    known: HashSet<u64>,
    /// Whether kernels may have been compiled since they were last kept.
    compiled: bool,
}

impl Drop for Run {
    fn drop(&mut self) {
        // The stream may still be at work in the context's scratch memory. If it failed, it is not.
        let _ = self.device.synchronize();
    }
}

impl fmt::Debug for TensorRtEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorRtEngine").field("name", &self.name).field("report", &self.report).finish()
    }
}

impl TensorRtEngine {
    /// Loads the network that `manifest` lists under `role` onto `device`: the plan that is loaded already, the one in
    /// the cache, or one that is built now. `reason`: why TensorRT was taken, for the report.
    ///
    /// # Errors
    /// [`Error::BackendUnavailable`] without a usable library; [`Error::Manifest`] if half precision is asked for and
    /// the model has no form for it; those of [`Manifest::read_file`]; and [`Error::Network`] with TensorRT's words if
    /// the plan cannot be built or loaded.
    pub fn load(
        manifest: &Manifest,
        role: &str,
        device: &CudaDevice,
        settings: &Settings,
        reason: &str,
    ) -> Result<Self> {
        let library = Library::find(settings.library.as_deref())?;
        let half = format!("{role}-fp16");
        let chosen = choose(library.release(), settings.precision, manifest.has_file(&half));
        let (use_half, arithmetic) = chosen.map_err(|reason| Error::Manifest {
            path: manifest.path().to_owned(),
            reason: format!("role '{role}': {reason}"),
        })?;
        let file = manifest.read_file(if use_half { &half } else { role })?;
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let fail = |reason: String| Error::Network { name: name.clone(), reason };
        let key = Key {
            onnx: file.sha256.clone(),
            version: library.version(),
            capability: device.compute_capability(),
            arithmetic,
            batch: settings.batch,
        };
        let loaded = (key, device.context() as usize, library.path().to_owned());
        let plan = PLANS.get(&loaded, || {
            obtain(library, &file, &name, &loaded.0, device, settings).map(Arc::new).map_err(fail)
        })?;
        let context = Context::new(&plan).map_err(fail)?;
        let count = plan.tensors().len();
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            report: BackendReport {
                backend: "tensorrt",
                version: library.version().to_string(),
                device: device.name().to_owned(),
                precision: arithmetic.name(),
                reason: reason.to_owned(),
            },
            number: COUNTER.fetch_add(1, Ordering::Relaxed),
            run: Mutex::new(Run {
                context,
                shapes: vec![Vec::new(); count],
                settled: false,
                unwanted: std::iter::repeat_with(Tensor::default).take(count).collect(),
                device: device.clone(),
                known: HashSet::new(),
                compiled: false,
            }),
            name,
        })
    }

    fn fail(&self, reason: impl ToString) -> Error {
        Error::Network { name: self.name.clone(), reason: reason.to_string() }
    }
}

impl Engine for TensorRtEngine {
    fn run(&self, device: &Device, inputs: &[Input<'_>], outputs: &mut [(&str, &mut Tensor)]) -> Result<()> {
        let cuda = device.cuda().ok_or_else(|| self.fail("runs on a GPU and was given values on the CPU"))?;
        // A run that panicked leaves nothing that the next one relies on: what it had told TensorRT is noted only after.
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        run.enqueue(cuda, device, self.number, inputs, outputs).map_err(|reason| self.fail(reason))
    }

    fn report(&self) -> &BackendReport {
        &self.report
    }
}

fn hash(values: impl IntoIterator<Item = impl Hash>) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.into_iter().for_each(|value| value.hash(&mut hasher));
    hasher.finish()
}

/// Where the tensors of a run lie, in the plan's order.
type Addresses = Vec<u64>;

impl Run {
    fn enqueue(
        &mut self,
        cuda: &CudaDevice,
        device: &Device,
        number: u64,
        inputs: &[Input<'_>],
        outputs: &mut [(&str, &mut Tensor)],
    ) -> Result<(), String> {
        let plan = Arc::clone(self.context.plan());
        plan.check_device(cuda)?;
        let shapes = hash(inputs.iter().map(|(name, tensor)| (name, tensor.shape())));
        let new_shapes = !self.known.contains(&shapes);
        let compiling = if new_shapes { plan.compiling() } else { None };
        self.tell_shapes(inputs)?;
        let addresses = self.addresses(device, inputs, outputs)?;
        let what = hash([(number, &self.shapes, &addresses)]);
        if self.device.stream() != cuda.stream() {
            // What the last one has left of the scratch memory's work must be over.
            self.device.synchronize().map_err(|e| e.to_string())?;
            self.device = cuda.clone();
        }
        let mut ran = false;
        cuda.enqueue(what, || {
            for (index, &address) in addresses.iter().enumerate() {
                self.context.set_address(index, address)?;
            }
            // SAFETY: the device entered the plan's context and the stream is its own. The tensors were made on it for
            // these shapes, and freeing them waits for the stream.
            unsafe { self.context.enqueue(cuda.stream()) }.map_err(Failure)?;
            ran = true;
            Ok(())
        })
        .map_err(|Failure(reason)| reason)?;
        drop(compiling);
        // Where a graph is only checked against, nothing ran.
        if ran && new_shapes {
            self.known.insert(shapes);
            self.compiled = true;
        }
        if self.compiled && !cuda.is_capturing() {
            plan.keep_kernels_soon();
            self.compiled = false;
        }
        Ok(())
    }

    /// Tells TensorRT the shapes of the inputs where they changed, and asks for those of the outputs.
    fn tell_shapes(&mut self, inputs: &[Input<'_>]) -> Result<(), String> {
        let plan = Arc::clone(self.context.plan());
        if let Some((name, _)) =
            inputs.iter().find(|(name, _)| !plan.tensors().iter().any(|t| t.is(name, true)))
        {
            return Err(format!("has no input '{name}'"));
        }
        for (index, info) in plan.tensors().iter().enumerate().filter(|(_, info)| info.input) {
            let given = inputs.iter().find(|(name, _)| info.is(name, true));
            let (_, tensor) = given.ok_or_else(|| format!("wants the input {:?} too", info.name))?;
            if self.shapes[index] != tensor.shape() {
                // Unknown until TensorRT has accepted it, and so told again if it does not.
                self.shapes[index].clear();
                self.settled = false;
                self.context.set_input_shape(index, tensor.shape())?;
                self.shapes[index] = tensor.shape().to_vec();
            }
            if tensor.element() != Element::F32 {
                return Err(format!("wants {:?} in 32 bits", info.name));
            }
        }
        if !self.settled {
            for (index, _) in plan.tensors().iter().enumerate().filter(|(_, info)| !info.input) {
                self.shapes[index] = self.context.output_shape(index)?;
            }
            self.settled = true;
        }
        Ok(())
    }

    /// Gives the outputs their shapes and memory.
    fn addresses(
        &mut self,
        device: &Device,
        inputs: &[Input<'_>],
        outputs: &mut [(&str, &mut Tensor)],
    ) -> Result<Addresses, String> {
        let plan = Arc::clone(self.context.plan());
        if let Some((name, _)) =
            outputs.iter().find(|(name, _)| !plan.tensors().iter().any(|t| t.is(name, false)))
        {
            return Err(format!("has no output '{name}'"));
        }
        let lost = |name: &std::ffi::CStr| {
            format!("{name:?} lies in the host's memory, but TensorRT needs it on the GPU")
        };
        plan.tensors()
            .iter()
            .enumerate()
            .map(|(index, info)| {
                if info.input {
                    let given = inputs.iter().find(|(name, _)| info.is(name, true));
                    return given
                        .and_then(|(_, tensor)| tensor.cuda_address())
                        .ok_or_else(|| lost(&info.name));
                }
                let wanted = outputs.iter_mut().find(|(name, _)| info.is(name, false));
                let tensor = wanted.map_or(&mut self.unwanted[index], |(_, tensor)| &mut **tensor);
                device.prepare(tensor, &self.shapes[index]).map_err(|e| e.to_string())?;
                tensor.cuda_address().ok_or_else(|| lost(&info.name))
            })
            .collect()
    }
}

/// The words of TensorRT or of the driver.
struct Failure(String);

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        Self(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

/// The plan of `key`, kept or new, on `device`.
fn obtain(
    library: &'static Library,
    file: &ModelFile,
    name: &str,
    key: &Key,
    device: &CudaDevice,
    settings: &Settings,
) -> Result<Plan, String> {
    let _current = device.enter().map_err(|e| e.to_string())?;
    let order =
        Order { onnx: &file.bytes, arithmetic: key.arithmetic, capability: key.capability, batch: key.batch };
    let report = |share| settings.progress.report(name, share);
    let stem = name.strip_suffix(".onnx").unwrap_or(name);
    let folder = settings.cache.clone().or_else(default_folder);
    if folder.is_none() {
        settings.warnings.warn("plans are not kept, as HOME is not set; each start will build them again");
    }
    let kernels = folder.as_deref().map(|folder| KernelFile::new(folder, stem, key, device.name()));
    let mut plan = PlanCache::new(folder).get(
        stem,
        key,
        &|warning| settings.warnings.warn(warning),
        || build(library, &order, &report),
        |bytes| Plan::load(library, device, bytes),
    )?;
    plan.share_kernels(kernels, &settings.warnings);
    Ok(plan)
}
