//! Contexts, shared by all who use the same GPU.

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use cudarc::driver::sys;

use super::{
    driver::{check, DeviceError},
    module::Module,
};

/// A context and the kernels loaded in it.
pub(super) struct Context {
    raw: sys::CUcontext,
    device: sys::CUdevice,
    name: String,
    compute_capability: (u32, u32),
    module: Module,
    owner: Owner,
}

enum Owner {
    /// The primary context of this GPU, retained.
    Primary(sys::CUdevice),
    /// Whoever made it; only kept alive.
    Other(#[expect(dead_code, reason = "held for its life only")] Arc<dyn Any + Send + Sync>),
}

// SAFETY: contexts may be used from any thread; every use makes them current in its own thread first.
unsafe impl Send for Context {}
// SAFETY: as above; nothing here changes after construction.
unsafe impl Sync for Context {}

/// While it lives its context is the thread's current one.
pub(super) struct Current(std::marker::PhantomData<*const ()>);

impl Drop for Current {
    fn drop(&mut self) {
        let mut old = std::ptr::null_mut();
        // SAFETY: pops what `enter` pushed in this thread, since a `Current` cannot be sent to another.
        let _ = unsafe { sys::cuCtxPopCurrent_v2(&mut old) };
    }
}

/// Contexts in use, by their raw handles, so that kernels are loaded once into each.
type Known = HashMap<usize, Weak<Context>>;

fn known() -> MutexGuard<'static, Known> {
    static KNOWN: OnceLock<Mutex<Known>> = OnceLock::new();
    KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the driver once; cudarc panics where it is missing.
fn initialise() -> Result<(), DeviceError> {
    static RESULT: OnceLock<Result<(), DeviceError>> = OnceLock::new();
    RESULT
        .get_or_init(|| {
            // SAFETY: only tries to open the library.
            if !unsafe { sys::is_culib_present() } {
                return Err(DeviceError::NoDriver);
            }
            // SAFETY: must come first and may come at any time.
            check("cuInit", unsafe { sys::cuInit(0) })
        })
        .clone()
}

impl Context {
    pub(super) fn primary(ordinal: u32) -> Result<Arc<Self>, DeviceError> {
        initialise()?;
        let mut count = 0;
        // SAFETY: a valid place for the result.
        check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&mut count) })?;
        let count = u32::try_from(count).unwrap_or(0);
        if ordinal >= count {
            return Err(DeviceError::NoDevice { ordinal, count });
        }
        let mut device = 0;
        // SAFETY: a valid place for the result.
        check("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut device, ordinal as i32) })?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: a valid place for the result; released when the context is dropped.
        check("cuDevicePrimaryCtxRetain", unsafe { sys::cuDevicePrimaryCtxRetain(&mut raw, device) })?;
        Self::share(raw, Owner::Primary(device))
    }

    /// # Safety
    /// `raw` must be a valid context as long as `owner` lives.
    pub(super) unsafe fn external(
        raw: sys::CUcontext,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Result<Arc<Self>, DeviceError> {
        initialise()?;
        Self::share(raw, Owner::Other(owner))
    }

    fn share(raw: sys::CUcontext, owner: Owner) -> Result<Arc<Self>, DeviceError> {
        // Whatever becomes of it: what is retained will be released.
        let owner = Retained(Some(owner));
        // Held while the kernels are loaded, so that others wait for them instead of loading their own.
        let mut known = known();
        if let Some(context) = known.get(&(raw as usize)).and_then(Weak::upgrade) {
            return Ok(context);
        }
        let current = push(raw)?;
        let mut device = 0;
        // SAFETY: a valid place for the result, and a context is current.
        check("cuCtxGetDevice", unsafe { sys::cuCtxGetDevice(&mut device) })?;
        let attribute = |attribute| {
            let mut value = 0;
            // SAFETY: a valid place for the result.
            check("cuDeviceGetAttribute", unsafe { sys::cuDeviceGetAttribute(&mut value, attribute, device) })
                .map(|()| u32::try_from(value).unwrap_or(0))
        };
        use sys::CUdevice_attribute::*;
        let compute_capability = (
            attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        let mut name = [0; 128];
        // SAFETY: a place for as many characters as said.
        check("cuDeviceGetName", unsafe {
            sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as i32, device)
        })?;
        // SAFETY: the driver wrote a string that ends in a zero; the last byte is one in any case.
        let name = unsafe { std::ffi::CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        let module = Module::load(compute_capability)?;
        drop(current);
        let context = Arc::new(Self { raw, device, name, compute_capability, module, owner: owner.keep() });
        known.insert(raw as usize, Arc::downgrade(&context));
        Ok(context)
    }

    pub(super) fn enter(&self) -> Result<Current, DeviceError> {
        push(self.raw)
    }

    pub(super) fn raw(&self) -> sys::CUcontext {
        self.raw
    }
    pub(super) fn device(&self) -> sys::CUdevice {
        self.device
    }
    pub(super) fn name(&self) -> &str {
        &self.name
    }
    pub(super) fn compute_capability(&self) -> (u32, u32) {
        self.compute_capability
    }
    pub(super) fn module(&self) -> &Module {
        &self.module
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Ok(_current) = self.enter() {
            self.module.unload();
        }
        release(&self.owner);
    }
}

fn push(raw: sys::CUcontext) -> Result<Current, DeviceError> {
    // SAFETY: `raw` is valid as long as its owner lives, which all callers hold.
    check("cuCtxPushCurrent", unsafe { sys::cuCtxPushCurrent_v2(raw) })?;
    Ok(Current(std::marker::PhantomData))
}

fn release(owner: &Owner) {
    if let Owner::Primary(device) = owner {
        // SAFETY: undoes the one retain of `primary`.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(*device) };
    }
}

/// Releases its owner unless it is kept.
struct Retained(Option<Owner>);

impl Retained {
    fn keep(mut self) -> Owner {
        self.0.take().expect("taken only here")
    }
}

impl Drop for Retained {
    fn drop(&mut self) {
        if let Some(owner) = &self.0 {
            release(owner);
        }
    }
}
