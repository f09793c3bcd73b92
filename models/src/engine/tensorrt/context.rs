//! One user's run of a plan: its shapes, its addresses, its scratch memory.

use std::{
    ffi::{c_char, c_void},
    fmt,
    mem::ManuallyDrop,
    sync::Arc,
};

use super::{
    abi::{ask_shape, call, Dims32, Dims64, Object},
    plan::{Plan, TensorInfo},
};

/// Runs a plan on one stream at a time.
pub(super) struct Context {
    // Deleted in this order, while the plan's GPU is current.
    context: ManuallyDrop<Object>,
    settings: ManuallyDrop<Option<Object>>,
    plan: Arc<Plan>,
    /// As told; 0: not yet.
    addresses: Vec<u64>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _current = self.plan.device().enter();
        // It gives its kernels back, perhaps those that others compile or copy meanwhile.
        let _alone = self.plan.compiling();
        // SAFETY: dropped here and nowhere else, and not used any more.
        unsafe {
            ManuallyDrop::drop(&mut self.context);
            ManuallyDrop::drop(&mut self.settings);
        }
    }
}

impl Context {
    /// # Errors
    /// TensorRT's words, most often that memory is short.
    pub fn new(plan: &Arc<Plan>) -> Result<Self, String> {
        let (context, settings) = plan.context()?;
        Ok(Self {
            context: ManuallyDrop::new(context),
            settings: ManuallyDrop::new(settings),
            plan: Arc::clone(plan),
            addresses: vec![0; plan.tensors().len()],
        })
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Tells the shape of input number `index` (of [`Plan::tensors`]).
    ///
    /// # Errors
    /// TensorRT's words, for a shape that the plan was not built for.
    pub fn set_input_shape(&mut self, index: usize, shape: &[usize]) -> Result<(), String> {
        let library = self.plan.library();
        let release = library.release();
        let name = self.tensor(index).name.as_ptr();
        let sizes: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let mark = library.logger().mark();
        let (this, slot) = (self.context.implementation(), release.context_set_input_shape);
        // SAFETY: a living context; the shape is in the width of the release.
        let accepted = unsafe {
            if release.wide_dims {
                let dims = Dims64::new(&sizes);
                call!(this, slot, [name => *const c_char, &raw const dims => *const Dims64] -> bool)
            } else {
                let dims = Dims32::new(&sizes);
                call!(this, slot, [name => *const c_char, &raw const dims => *const Dims32] -> bool)
            }
        };
        if accepted {
            return Ok(());
        }
        let otherwise = format!("{shape:?} is no shape of input {:?}", self.tensor(index).name);
        Err(library.logger().errors_since(mark, &otherwise))
    }

    /// The shape that output number `index` will have, once all inputs have theirs.
    ///
    /// # Errors
    /// If it depends on values or on an input that has no shape yet.
    pub fn output_shape(&self, index: usize) -> Result<Vec<usize>, String> {
        let release = self.plan.library().release();
        let name = self.tensor(index).name.as_ptr();
        // SAFETY: a living context.
        let shape =
            unsafe { ask_shape(release, self.context.implementation(), release.context_tensor_shape, name) };
        shape.iter().map(|&n| usize::try_from(n)).collect::<Result<_, _>>().map_err(|_| {
            format!(
                "the shape of output {:?} is not known before the run: {shape:?}",
                self.tensor(index).name
            )
        })
    }

    /// Tells where tensor number `index` lies. What was told before costs nothing.
    ///
    /// # Errors
    /// TensorRT's words.
    pub fn set_address(&mut self, index: usize, address: u64) -> Result<(), String> {
        if self.addresses[index] == address {
            return Ok(());
        }
        let release = self.plan.library().release();
        let name = self.tensor(index).name.as_ptr();
        let mark = self.plan.library().logger().mark();
        // SAFETY: a living context; the address is only noted.
        let accepted = unsafe {
            call!(self.context.implementation(), release.context_set_address,
                [name => *const c_char, address as *mut c_void => *mut c_void] -> bool)
        };
        if !accepted {
            let otherwise = format!("{address:#x} is no place for {:?}", self.tensor(index).name);
            return Err(self.plan.library().logger().errors_since(mark, &otherwise));
        }
        self.addresses[index] = address;
        Ok(())
    }

    /// Puts a run onto `stream` and does not wait for it.
    ///
    /// # Safety
    /// The CUDA context of the plan must be current and `stream` one of it. The inputs and outputs must lie where was
    /// told, large enough for their shapes, until the run is over.
    ///
    /// # Errors
    /// TensorRT's words.
    pub unsafe fn enqueue(&mut self, stream: *mut c_void) -> Result<(), String> {
        let release = self.plan.library().release();
        let mark = self.plan.library().logger().mark();
        // SAFETY: promised by the caller.
        let enqueued = unsafe {
            call!(self.context.implementation(), release.context_enqueue, [stream => *mut c_void] -> bool)
        };
        if enqueued {
            Ok(())
        } else {
            Err(self.plan.library().logger().errors_since(mark, "TensorRT could not run and gave no reason"))
        }
    }

    fn tensor(&self, index: usize) -> &TensorInfo {
        &self.plan.tensors()[index]
    }
}
