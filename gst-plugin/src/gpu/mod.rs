//! CUDA memory in and out of the elements, through libgstcuda, which is opened when a GPU is to be used and only then.
//! Where it is missing frames are taken from and given to system memory, and nothing else changes.

mod context;
mod library;
mod map;
mod pool;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deepfake_kernels::{CudaDevice, Memory};
use deepfake_models::engine::tensorrt::Library;

use self::context::ContextHolder;
pub use self::{context::Context, map::Mapped};
use crate::{engine::EngineSettings, video, video::Memories};

/// What an element knows of GPUs.
#[derive(Default)]
pub struct Gpu {
    holder: ContextHolder,
    state: Mutex<State>,
}

/// Whether frames may lie in CUDA memory.
#[derive(Clone, Default)]
enum State {
    /// Not known before the start.
    #[default]
    Stopped,
    /// The networks run on the CPU, or libgstcuda is missing.
    Without,
    /// The networks run in this context.
    With(Context),
}

impl Gpu {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For `set_context`.
    pub fn set_context(&self, element: &gst::Element, context: &gst::Context, settings: &EngineSettings) {
        if settings.may_use_gpu() {
            self.holder.offer(element, context, settings.device_id);
        }
    }

    /// For `query`: answers other elements that look for a CUDA context; `false` if there is none to answer with.
    pub fn answer(&self, element: &gst::Element, query: &mut gst::QueryRef) -> bool {
        self.holder.answer(element, query)
    }

    /// On the way to READY: looks for a context before the elements upstream do (elements are started from the sink to the
    /// source), so that decoders take ours instead of making one each. What goes wrong is told at the start.
    pub fn prepare(&self, element: &gst::Element, settings: &EngineSettings) {
        if settings.may_use_gpu() && library::library().is_ok() && Library::find(None).is_ok() {
            let _ = self.holder.ensure(element, settings.device_id);
        }
    }

    /// At the start: the device for the engines to work on, in the context that the elements of the pipeline share.
    ///
    /// # Errors
    /// Why frames cannot lie in CUDA memory, in words for the user. The engines may find a GPU all the same.
    pub fn find_device(
        &self,
        element: &gst::Element,
        settings: &EngineSettings,
    ) -> Result<CudaDevice, String> {
        if !settings.may_use_gpu() {
            return Err("backend=onnxruntime works on the CPU".into());
        }
        library::library()?;
        // Without TensorRT a context would only take memory of the GPU.
        Library::find(None).map_err(|error| error.to_string())?;
        let context = self.holder.ensure(element, settings.device_id)?;
        // SAFETY: the handle is that of a live context, which the clone keeps alive.
        let device = unsafe { CudaDevice::from_context(context.handle(), Arc::new(context.clone())) };
        device.map_err(|error| {
            self.holder.clear();
            error.to_string()
        })
    }

    /// At the end of the start. `on_gpu`: the networks run on the device of [`find_device`](Self::find_device), if that
    /// found one.
    pub fn started(&self, on_gpu: bool) {
        let context = self.holder.get().filter(|_| on_gpu);
        if context.is_none() {
            self.holder.clear();
        }
        *self.state() = context.map_or(State::Without, State::With);
    }

    /// At the stop, or where the start failed.
    pub fn stop(&self) {
        *self.state() = State::Stopped;
        self.holder.clear();
    }

    /// The context in which frames in CUDA memory are used; there is one while caps of CUDA memory are accepted.
    pub fn context(&self) -> Option<Context> {
        match &*self.state() {
            State::With(context) => Some(context.clone()),
            State::Stopped | State::Without => None,
        }
    }

    /// Where frames may lie. Before the start, when pipelines are set up, all that can come of `settings`; from then on
    /// what is.
    pub fn memories(&self, settings: &EngineSettings) -> Memories {
        match &*self.state() {
            State::With(_) => Memories::SystemAndCuda,
            State::Stopped if settings.may_use_gpu() => Memories::SystemAndCuda,
            State::Stopped | State::Without => Memories::System,
        }
    }

    /// For `propose_allocation`: offers upstream a pool for the query's caps if they are of CUDA memory.
    ///
    /// # Errors
    /// If no such pool can be made.
    pub fn propose_pool(&self, query: &mut gst::query::Allocation) -> Result<(), gst::glib::BoolError> {
        match self.context().filter(|_| is_cuda(query)) {
            Some(context) => pool::propose(&context, query),
            None => Ok(()),
        }
    }

    /// For `decide_allocation`: sees to a pool if the query's caps are of CUDA memory.
    ///
    /// # Errors
    /// If no such pool can be made.
    pub fn decide_pool(&self, query: &mut gst::query::Allocation) -> Result<(), gst::glib::BoolError> {
        match self.context().filter(|_| is_cuda(query)) {
            Some(context) => pool::decide(&context, query),
            None => Ok(()),
        }
    }
}

fn is_cuda(query: &gst::query::Allocation) -> bool {
    let (caps, _) = query.get();
    caps.and_then(|caps| caps.features(0)).is_some_and(|features| video::memory(features) == Memory::Cuda)
}
