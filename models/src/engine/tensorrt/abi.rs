//! How TensorRT's C++ objects are called without its headers.
//!
//! The library gives out pointers to objects of two pointers: a table of virtual functions and the implementation,
//! itself an object with such a table. What the C++ headers call a method of the former is an inline function that
//! calls one of the latter, and `delete` is a function of the former. The ONNX parser has no implementation apart:
//! its own table holds everything. A function's place in its table is a fact of the release; NVIDIA appends within a
//! major release and rearranges between them. `slots.sh` works the places out of a release's headers.
//!
//! All of it follows the C++ ABI that GCC and Clang share on Linux (x86-64 and AArch64), under which a method is a
//! C function whose first argument is the object.

use std::{
    ffi::{c_char, c_void},
    fmt, mem,
    ptr::NonNull,
};

/// The places of the functions we call, and the numbers of the flags we set: as printed by `slots.sh`.
#[derive(Debug)]
pub(super) struct Release {
    /// Sizes of a shape are 64 instead of 32 bits wide, and the profile takes shapes by reference instead of by value.
    pub wide_dims: bool,
    /// Our logger has to tell its version.
    pub versioned_logger: bool,
    pub builder_create_config: usize,
    pub builder_create_network: usize,
    pub builder_create_profile: usize,
    pub builder_build: usize,
    pub config_set_flag: usize,
    pub config_clear_flag: usize,
    pub config_add_profile: usize,
    pub config_set_tactic_sources: usize,
    pub config_set_progress_monitor: Option<usize>,
    pub config_set_capability_count: Option<usize>,
    pub config_set_capability: Option<usize>,
    pub network_input_count: usize,
    pub network_input: usize,
    pub tensor_name: usize,
    pub tensor_set_shape: usize,
    pub tensor_shape: usize,
    pub profile_set_shape: usize,
    pub memory_data: usize,
    pub memory_size: usize,
    pub runtime_load: usize,
    pub runtime_validity: Option<usize>,
    pub engine_create_context: usize,
    pub engine_create_runtime_config: Option<usize>,
    pub engine_create_context_with_config: Option<usize>,
    pub engine_tensor_count: usize,
    pub engine_tensor_name: usize,
    pub engine_tensor_type: usize,
    pub engine_tensor_mode: usize,
    pub runtime_config_set_specialization: Option<usize>,
    pub runtime_config_create_cache: Option<usize>,
    pub runtime_config_set_cache: Option<usize>,
    pub runtime_cache_serialize: Option<usize>,
    pub runtime_cache_deserialize: Option<usize>,
    pub context_set_input_shape: usize,
    pub context_tensor_shape: usize,
    pub context_set_address: usize,
    pub context_enqueue: usize,
    pub parser_parse: usize,
    pub parser_error_count: usize,
    pub parser_error: usize,
    pub parser_delete: usize,
    pub error_text: usize,
    pub error_node: usize,
    pub error_node_name: Option<usize>,
    /// Lets a weakly typed network compute in half precision; where there is none, networks are strongly typed.
    pub flag_fp16: Option<usize>,
    pub flag_tf32: usize,
    pub network_explicit_batch: Option<usize>,
    pub network_strongly_typed: Option<usize>,
    pub tactics_edge_mask: usize,
    pub tactics_jit: usize,
}

/// The deleting destructor of everything but the parser.
pub(super) const DELETE: usize = 1;
/// Number of the type of 32-bit floating point values.
pub(super) const TYPE_FLOAT: i32 = 0;
/// Number of the mode of inputs; outputs have 2.
pub(super) const MODE_INPUT: i32 = 1;

/// TensorRT 8.5 and 8.6.
pub(super) const V8: Release = Release {
    wide_dims: false,
    versioned_logger: false,
    builder_create_config: 9,
    builder_create_network: 11,
    builder_create_profile: 12,
    builder_build: 17,
    config_set_flag: 15,
    config_clear_flag: 14,
    config_add_profile: 29,
    config_set_tactic_sources: 42,
    config_set_progress_monitor: None,
    config_set_capability_count: None,
    config_set_capability: None,
    network_input_count: 19,
    network_input: 20,
    tensor_name: 3,
    tensor_set_shape: 4,
    tensor_shape: 5,
    profile_set_shape: 2,
    memory_data: 2,
    memory_size: 3,
    runtime_load: 2,
    runtime_validity: None,
    engine_create_context: 11,
    engine_create_runtime_config: None,
    engine_create_context_with_config: None,
    engine_tensor_count: 45,
    engine_tensor_name: 46,
    engine_tensor_type: 35,
    engine_tensor_mode: 38,
    runtime_config_set_specialization: None,
    runtime_config_create_cache: None,
    runtime_config_set_cache: None,
    runtime_cache_serialize: None,
    runtime_cache_deserialize: None,
    context_set_input_shape: 29,
    context_tensor_shape: 30,
    context_set_address: 32,
    context_enqueue: 44,
    parser_parse: 0,
    parser_error_count: 6,
    parser_error: 7,
    parser_delete: 10,
    error_text: 1,
    error_node: 5,
    error_node_name: None,
    flag_fp16: Some(0),
    flag_tf32: 7,
    network_explicit_batch: Some(0),
    network_strongly_typed: None,
    tactics_edge_mask: 3,
    tactics_jit: 4,
};

/// TensorRT 10.0 to 10.16.
pub(super) const V10: Release = Release {
    wide_dims: true,
    versioned_logger: false,
    builder_create_config: 7,
    builder_create_network: 8,
    builder_create_profile: 9,
    builder_build: 14,
    config_set_flag: 11,
    config_clear_flag: 10,
    config_add_profile: 25,
    config_set_tactic_sources: 38,
    config_set_progress_monitor: Some(56),
    config_set_capability_count: None,
    config_set_capability: None,
    network_input_count: 14,
    network_input: 15,
    tensor_name: 3,
    tensor_set_shape: 4,
    tensor_shape: 5,
    profile_set_shape: 2,
    memory_data: 2,
    memory_size: 3,
    runtime_load: 3,
    runtime_validity: None,
    engine_create_context: 5,
    engine_create_runtime_config: None,
    engine_create_context_with_config: None,
    engine_tensor_count: 30,
    engine_tensor_name: 31,
    engine_tensor_type: 20,
    engine_tensor_mode: 23,
    runtime_config_set_specialization: None,
    runtime_config_create_cache: None,
    runtime_config_set_cache: None,
    runtime_cache_serialize: None,
    runtime_cache_deserialize: None,
    context_set_input_shape: 21,
    context_tensor_shape: 22,
    context_set_address: 24,
    context_enqueue: 37,
    parser_parse: 0,
    parser_error_count: 5,
    parser_error: 6,
    parser_delete: 9,
    error_text: 1,
    error_node: 5,
    error_node_name: Some(6),
    flag_fp16: Some(0),
    flag_tf32: 6,
    network_explicit_batch: Some(0),
    network_strongly_typed: Some(1),
    tactics_edge_mask: 3,
    tactics_jit: 4,
};

/// TensorRT 11.0 to 11.4.
pub(super) const V11: Release = Release {
    wide_dims: true,
    versioned_logger: true,
    builder_create_config: 5,
    builder_create_network: 6,
    builder_create_profile: 7,
    builder_build: 11,
    config_set_flag: 9,
    config_clear_flag: 8,
    config_add_profile: 23,
    config_set_tactic_sources: 27,
    config_set_progress_monitor: Some(45),
    config_set_capability_count: None,
    config_set_capability: None,
    network_input_count: 14,
    network_input: 15,
    tensor_name: 3,
    tensor_set_shape: 4,
    tensor_shape: 5,
    profile_set_shape: 2,
    memory_data: 2,
    memory_size: 3,
    runtime_load: 3,
    runtime_validity: None,
    engine_create_context: 5,
    engine_create_runtime_config: Some(48),
    engine_create_context_with_config: Some(47),
    engine_tensor_count: 26,
    engine_tensor_name: 27,
    engine_tensor_type: 16,
    engine_tensor_mode: 19,
    runtime_config_set_specialization: None,
    runtime_config_create_cache: None,
    runtime_config_set_cache: None,
    runtime_cache_serialize: None,
    runtime_cache_deserialize: None,
    context_set_input_shape: 20,
    context_tensor_shape: 21,
    context_set_address: 23,
    context_enqueue: 36,
    parser_parse: 0,
    parser_error_count: 3,
    parser_error: 4,
    parser_delete: 7,
    error_text: 1,
    error_node: 5,
    error_node_name: Some(6),
    flag_fp16: None,
    flag_tf32: 6,
    network_explicit_batch: None,
    network_strongly_typed: Some(0),
    tactics_edge_mask: 0,
    tactics_jit: 1,
};

/// TensorRT for RTX 1.5 to 1.7.
pub(super) const RTX: Release = Release {
    wide_dims: true,
    versioned_logger: true,
    builder_create_config: 5,
    builder_create_network: 6,
    builder_create_profile: 7,
    builder_build: 11,
    config_set_flag: 9,
    config_clear_flag: 8,
    config_add_profile: 23,
    config_set_tactic_sources: 27,
    config_set_progress_monitor: Some(45),
    config_set_capability_count: Some(55),
    config_set_capability: Some(57),
    network_input_count: 14,
    network_input: 15,
    tensor_name: 3,
    tensor_set_shape: 4,
    tensor_shape: 5,
    profile_set_shape: 2,
    memory_data: 2,
    memory_size: 3,
    runtime_load: 3,
    runtime_validity: Some(24),
    engine_create_context: 5,
    engine_create_runtime_config: Some(48),
    engine_create_context_with_config: Some(47),
    engine_tensor_count: 26,
    engine_tensor_name: 27,
    engine_tensor_type: 16,
    engine_tensor_mode: 19,
    runtime_config_set_specialization: Some(8),
    runtime_config_create_cache: Some(5),
    runtime_config_set_cache: Some(6),
    runtime_cache_serialize: Some(2),
    runtime_cache_deserialize: Some(3),
    context_set_input_shape: 20,
    context_tensor_shape: 21,
    context_set_address: 23,
    context_enqueue: 36,
    parser_parse: 0,
    parser_error_count: 3,
    parser_error: 4,
    parser_delete: 7,
    error_text: 1,
    error_node: 5,
    error_node_name: Some(6),
    flag_fp16: None,
    flag_tf32: 6,
    network_explicit_batch: None,
    network_strongly_typed: Some(0),
    tactics_edge_mask: 0,
    tactics_jit: 1,
};

/// A shape up to 8.6.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Dims32 {
    count: i32,
    sizes: [i32; 8],
}

/// A shape from 10.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Dims64 {
    count: i32,
    sizes: [i64; 8],
}

impl Dims32 {
    pub fn new(shape: &[i64]) -> Self {
        let Dims64 { count, sizes } = Dims64::new(shape);
        // Sizes of our networks are far below 2^31; one that is not becomes unknown and so an error of TensorRT.
        Self { count, sizes: sizes.map(|size| i32::try_from(size).unwrap_or(-1)) }
    }

    pub fn shape(&self) -> Vec<i64> {
        Dims64 { count: self.count, sizes: self.sizes.map(i64::from) }.shape()
    }
}

impl Dims64 {
    pub fn new(shape: &[i64]) -> Self {
        let mut sizes = [0; 8];
        for (to, from) in sizes.iter_mut().zip(shape) {
            *to = *from;
        }
        // More than eight dimensions are none to TensorRT: it refuses -1.
        Self { count: if shape.len() > 8 { -1 } else { shape.len() as i32 }, sizes }
    }

    pub fn shape(&self) -> Vec<i64> {
        // -1: TensorRT's answer to a name it does not know.
        self.sizes[..self.count.clamp(0, 8) as usize].to_vec()
    }
}

/// The function in place `slot` of the table of `object`.
///
/// # Safety
/// `object` must be a living C++ object whose table is longer than `slot`, and `F` the type of the function there.
pub(super) unsafe fn function<F: Copy>(object: NonNull<c_void>, slot: usize) -> F {
    const { assert!(size_of::<F>() == size_of::<*const c_void>()) };
    // SAFETY: an object with virtual functions starts with the address of its table (promised by the caller).
    unsafe {
        let table = *object.cast::<*const *const c_void>().as_ptr();
        mem::transmute_copy(&*table.add(slot))
    }
}

/// Calls a virtual function: `call!(object, slot, [value => type, ..] -> type)`. Unsafe, as [`function`].
macro_rules! call {
    ($object:expr, $slot:expr, [$($value:expr => $type:ty),* $(,)?] $(-> $result:ty)?) => {{
        let object: std::ptr::NonNull<std::ffi::c_void> = $object;
        let function: unsafe extern "C" fn(std::ptr::NonNull<std::ffi::c_void> $(, $type)*) $(-> $result)? =
            $crate::engine::tensorrt::abi::function(object, $slot);
        function(object $(, $value)*)
    }};
}
pub(super) use call;

/// Asks for the shape of the tensor `name` (or of the object itself, where `name` is null), in the release's width.
///
/// # Safety
/// As for [`function`], for a function that takes a name and gives a shape (one without a name ignores it).
pub(super) unsafe fn ask_shape(
    release: &Release,
    object: NonNull<c_void>,
    slot: usize,
    name: *const c_char,
) -> Vec<i64> {
    // SAFETY: as promised by the caller. A shape is too large for registers, so both languages return it through a
    // hidden pointer.
    unsafe {
        if release.wide_dims {
            call!(object, slot, [name => *const c_char] -> Dims64).shape()
        } else {
            call!(object, slot, [name => *const c_char] -> Dims32).shape()
        }
    }
}

/// An object that is ours to delete.
pub(super) struct Object {
    raw: NonNull<c_void>,
    delete: usize,
}

// SAFETY: TensorRT's objects are not tied to a thread; what may not be called at the same time is behind `&mut` or a
// lock in the types that wrap this one.
unsafe impl Send for Object {}
// SAFETY: as above; this type itself offers nothing that changes the object.
unsafe impl Sync for Object {}

impl Object {
    /// Takes over `raw`; `None` if it is null, which is TensorRT's way to fail.
    ///
    /// # Safety
    /// `raw` must be null or an object that nobody else deletes, with its deleting destructor in place `delete`.
    pub unsafe fn new(raw: *mut c_void, delete: usize) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { raw, delete })
    }

    /// The object itself.
    pub fn raw(&self) -> NonNull<c_void> {
        self.raw
    }

    /// The object that has the functions.
    pub fn implementation(&self) -> NonNull<c_void> {
        // SAFETY: ours are living objects of the library.
        unsafe { implementation(self.raw) }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: living, and deleted by nobody else (promised to `new`).
        unsafe { call!(self.raw, self.delete, []) }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({:p})", self.raw)
    }
}

/// A copy of what lies in memory that TensorRT gave out.
///
/// # Safety
/// `memory` must be a living `IHostMemory` of `release`.
pub(super) unsafe fn bytes(release: &Release, memory: &Object) -> Vec<u8> {
    // SAFETY: promised by the caller; it is as long as it says.
    unsafe {
        let data = call!(memory.implementation(), release.memory_data, [] -> *const u8);
        let size = call!(memory.implementation(), release.memory_size, [] -> usize);
        if data.is_null() {
            Vec::new()
        } else {
            std::slice::from_raw_parts(data, size).to_vec()
        }
    }
}

/// The implementation behind an object of the library.
///
/// # Safety
/// `object` must be a living object of TensorRT, not one of the ONNX parser.
pub(super) unsafe fn implementation(object: NonNull<c_void>) -> NonNull<c_void> {
    // SAFETY: the second of its two pointers, never null in a living object.
    unsafe { *object.cast::<NonNull<c_void>>().as_ptr().add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_survive_both_widths() {
        for shape in [&[][..], &[-1, 3, 256, 256], &[1, 2, 3, 4, 5, 6, 7, 8]] {
            assert_eq!(Dims32::new(shape).shape(), shape);
            assert_eq!(Dims64::new(shape).shape(), shape);
        }
        assert_eq!((size_of::<Dims32>(), size_of::<Dims64>()), (36, 72));
        assert_eq!(Dims64::new(&[1; 9]).count, -1, "more than TensorRT can have");
        assert!(Dims64 { count: -1, sizes: [7; 8] }.shape().is_empty());
    }

    #[test]
    fn an_object_is_called_through_its_table_and_deleted_once() {
        use std::cell::Cell;
        thread_local!(static DELETED: Cell<usize> = const { Cell::new(0) });
        extern "C" fn delete(_: NonNull<c_void>) {
            DELETED.set(DELETED.get() + 1);
        }
        extern "C" fn add(_: NonNull<c_void>, a: i32, b: i64) -> i64 {
            i64::from(a) + b
        }
        extern "C" fn shape(_: NonNull<c_void>, _: *const c_char) -> Dims64 {
            Dims64::new(&[4, 2])
        }
        let table = [std::ptr::null(), delete as *const c_void, add as *const c_void, shape as *const c_void];
        let mut implementation = table.as_ptr();
        let mut raw = (table.as_ptr(), &raw mut implementation);
        // SAFETY: laid out as TensorRT's objects are.
        let object = unsafe { Object::new((&raw mut raw).cast(), DELETE) }.unwrap();
        // SAFETY: the functions are of these types.
        let (sum, shape) = unsafe {
            let sum = call!(object.implementation(), 2, [2 => i32, -5 => i64] -> i64);
            (sum, ask_shape(&RTX, object.implementation(), 3, std::ptr::null()))
        };
        assert_eq!((sum, shape), (-3, vec![4, 2]));
        drop(object);
        assert_eq!(DELETED.get(), 1);
        // SAFETY: null is allowed.
        assert!(unsafe { Object::new(std::ptr::null_mut(), DELETE) }.is_none());
    }
}
