//! From an ONNX file to a plan.

use std::{
    ffi::{c_char, c_void, CStr, CString},
    ptr::{self, NonNull},
    sync::{Mutex, PoisonError},
};

use super::{
    abi::{self, bytes, call, Dims32, Dims64, Object, Release, DELETE},
    library::{Flavour, Library},
    progress::{Monitor, Report},
};

/// What a plan computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Arithmetic {
    /// 32-bit floating point.
    Fp32,
    /// The same with convolutions and products whose factors are rounded to TF32 where the GPU can.
    Tf32,
    /// As the types in the ONNX file say: a network of half precision with parts in 32 bits, which stay exact.
    AsTyped,
    /// Half precision wherever TensorRT finds it faster, out of a network of 32 bits; up to TensorRT 10.
    HalfAllowed,
}

impl Arithmetic {
    /// The precision that it amounts to, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Tf32 => "tf32",
            Self::AsTyped | Self::HalfAllowed => "fp16",
        }
    }
}

/// How many samples a plan takes at once: the least, the number it is made fast for, the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// At least 1.
    pub least: usize,
    /// Between the two others.
    pub usual: usize,
    /// The most.
    pub most: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self { least: 1, usual: 1, most: 1 }
    }
}

impl Batch {
    /// From 1 to `most`, fast for a few.
    pub fn up_to(most: usize) -> Self {
        Self { least: 1, usual: most.min(4), most }
    }
}

/// What to build.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub onnx: &'a [u8],
    pub arithmetic: Arithmetic,
    /// Of the GPU that the plan is for; full TensorRT builds for the one that is current.
    pub capability: (u32, u32),
    pub batch: Batch,
}

/// Reading the file is quick and tells nothing; what is left is the build.
const PARSED: f32 = 0.02;

static BUILDING: Mutex<()> = Mutex::new(());

/// Builds a plan; `report` hears of it, from 0 to 1.
///
/// # Errors
/// TensorRT's own words.
pub(super) fn build(
    library: &'static Library,
    order: &Order<'_>,
    report: Report<'_>,
) -> Result<Vec<u8>, String> {
    // One at a time: TensorRT measures kernels while it builds, which another build would disturb, and builds of
    // TensorRT for RTX 1.6 for different GPUs fail when they overlap.
    let _turn = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    report(0.0);
    let release = library.release();
    let logger = library.logger();
    // Deleted from the last to the first: memory, parser, network, config, builder, and only then the monitor.
    let scaled = |share: f32| report(PARSED + (1.0 - PARSED) * share);
    let monitor = Monitor::new(&scaled);
    let builder = library.builder()?;
    let config = configured(library, &builder, order, &monitor)?;
    let network = network(library, &builder, order.arithmetic)?;
    let parser = library.parser(&network)?;
    parse(library, &parser, order.onnx)?;
    if order.batch.least == order.batch.most {
        fix_batch(library, &network, order.batch.most);
    }
    add_profile(library, &builder, &config, &network, order.batch)?;
    report(PARSED);
    let mark = logger.mark();
    // SAFETY: all of this library and alive; the monitor, which the config knows, too.
    let memory = unsafe {
        let raw = call!(builder.implementation(), release.builder_build,
            [network.raw() => NonNull<c_void>, config.raw() => NonNull<c_void>] -> *mut c_void);
        Object::new(raw, DELETE)
    };
    let memory =
        memory.ok_or_else(|| logger.errors_since(mark, "TensorRT built nothing and gave no reason"))?;
    // SAFETY: living memory of this release.
    let plan = unsafe { bytes(release, &memory) };
    report(1.0);
    Ok(plan)
}

fn configured(
    library: &Library,
    builder: &Object,
    order: &Order<'_>,
    monitor: &Monitor<'_>,
) -> Result<Object, String> {
    let release = library.release();
    // SAFETY: a living builder; the config is new. The monitor outlives the config (see `build`), and all functions
    // have these types in the releases that have them.
    unsafe {
        let raw = call!(builder.implementation(), release.builder_create_config, [] -> *mut c_void);
        let config = Object::new(raw, DELETE).ok_or("TensorRT made no builder configuration")?;
        let this = config.implementation();
        let set = |flag: usize| call!(this, release.config_set_flag, [flag as i32 => i32]);
        match order.arithmetic {
            // TF32 is on unless it is turned off.
            Arithmetic::Fp32 | Arithmetic::AsTyped => {
                call!(this, release.config_clear_flag, [release.flag_tf32 as i32 => i32]);
            }
            Arithmetic::Tf32 => set(release.flag_tf32),
            Arithmetic::HalfAllowed => {
                set(release.flag_tf32);
                set(release
                    .flag_fp16
                    .ok_or("this TensorRT takes its precision from the network's types only")?);
            }
        }
        if library.version().flavour == Flavour::Full {
            // Its own kernels only, so that nobody has to install cuBLAS and cuDNN, which 8.6 would open.
            let sources = (1u32 << release.tactics_edge_mask) | (1u32 << release.tactics_jit);
            call!(this, release.config_set_tactic_sources, [sources => u32] -> bool);
        }
        if let Some(slot) = release.config_set_progress_monitor {
            call!(this, slot, [monitor.raw() => *mut c_void]);
        }
        aim(library, &config, order.capability)?;
        Ok(config)
    }
}

/// Tells TensorRT for RTX which GPU the plan is for, where it has to be told.
fn aim(library: &Library, config: &Object, (major, minor): (u32, u32)) -> Result<(), String> {
    let release = library.release();
    let (Some(count), Some(set)) = (release.config_set_capability_count, release.config_set_capability)
    else {
        return Ok(());
    };
    // Without a target it makes a plan for everything from Ampere on, also for chips it has no name for (9.0, 10.0).
    if major >= 8 {
        return Ok(());
    }
    let capability = (major * 10 + minor) as i32;
    let mark = library.logger().mark();
    // SAFETY: a living config of a release that has these functions.
    let aimed = unsafe {
        call!(config.implementation(), count, [1 => i32] -> bool)
            && call!(config.implementation(), set, [capability => i32, 0 => i32] -> bool)
    };
    if aimed {
        Ok(())
    } else {
        let otherwise = format!("{} does not know compute capability {major}.{minor}", library.version());
        Err(library.logger().errors_since(mark, &otherwise))
    }
}

fn network(library: &Library, builder: &Object, arithmetic: Arithmetic) -> Result<Object, String> {
    let release = library.release();
    let bit = |number: usize| 1u32 << number;
    let mut flags = release.network_explicit_batch.map_or(0, bit);
    if arithmetic == Arithmetic::AsTyped {
        let strongly_typed =
            release.network_strongly_typed.ok_or("TensorRT 8 has no strongly typed networks")?;
        flags |= bit(strongly_typed);
    }
    let mark = library.logger().mark();
    // SAFETY: a living builder; the network is new.
    unsafe {
        let raw =
            call!(builder.implementation(), release.builder_create_network, [flags => u32] -> *mut c_void);
        Object::new(raw, DELETE)
    }
    .ok_or_else(|| library.logger().errors_since(mark, "TensorRT made no network"))
}

fn parse(library: &Library, parser: &Object, onnx: &[u8]) -> Result<(), String> {
    let release = library.release();
    let mark = library.logger().mark();
    // SAFETY: the parser copies what it needs of the bytes; there is no path for files beside, which ours do not have.
    let parsed = unsafe {
        call!(parser.raw(), release.parser_parse,
            [onnx.as_ptr() => *const u8, onnx.len() => usize, ptr::null() => *const c_char] -> bool)
    };
    if parsed {
        return Ok(());
    }
    let errors = parser_errors(release, parser);
    Err(if errors.is_empty() {
        library.logger().errors_since(mark, "the ONNX parser gave no reason")
    } else {
        errors.join("; ")
    })
}

/// The parser's own list of what it could not take.
fn parser_errors(release: &Release, parser: &Object) -> Vec<String> {
    // SAFETY: a living parser; its errors and their texts live as long as it does.
    unsafe {
        let count = call!(parser.raw(), release.parser_error_count, [] -> i32);
        let error =
            |index| NonNull::new(call!(parser.raw(), release.parser_error, [index => i32] -> *mut c_void));
        (0..count.min(4))
            .filter_map(error)
            .map(|error| {
                let description = text(call!(error, release.error_text, [] -> *const c_char));
                let node = call!(error, release.error_node, [] -> i32);
                let name = release.error_node_name.map(|slot| text(call!(error, slot, [] -> *const c_char)));
                match name.filter(|name| !name.is_empty()) {
                    Some(name) => format!("node {node} ({name}): {description}"),
                    None => format!("node {node}: {description}"),
                }
            })
            .collect()
    }
}

/// # Safety
/// Null or a text that ends in a zero.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_owned()
}

/// Closes the batch where the network leaves it open. A profile that allows one number only would do as well, but
/// TensorRT for RTX makes kernels for open sizes when they are first seen, which takes seconds a network.
fn fix_batch(library: &Library, network: &Object, batch: usize) {
    let release = library.release();
    for (index, (_, mut shape)) in inputs(release, network).into_iter().enumerate() {
        if shape.first() != Some(&-1) {
            continue;
        }
        shape[0] = batch as i64;
        // SAFETY: a living network and one of its inputs; up to 8.6 the shape goes by value.
        unsafe {
            let raw =
                call!(network.implementation(), release.network_input, [index as i32 => i32] -> *mut c_void);
            let Some(tensor) = NonNull::new(raw) else { continue };
            let this = abi::implementation(tensor);
            if release.wide_dims {
                let dims = Dims64::new(&shape);
                call!(this, release.tensor_set_shape, [&raw const dims => *const Dims64]);
            } else {
                call!(this, release.tensor_set_shape, [Dims32::new(&shape) => Dims32]);
            }
        }
    }
}

/// Tells the sizes of the inputs: the first dimension is the batch where the network leaves it open; others must be
/// known.
fn add_profile(
    library: &Library,
    builder: &Object,
    config: &Object,
    network: &Object,
    batch: Batch,
) -> Result<(), String> {
    let release = library.release();
    let inputs = inputs(release, network);
    if inputs.iter().all(|(_, shape)| !shape.contains(&-1)) {
        // TensorRT wants no profile where nothing is open.
        return Ok(());
    }
    let mark = library.logger().mark();
    // SAFETY: living objects; the profile belongs to the builder.
    unsafe {
        let raw = call!(builder.implementation(), release.builder_create_profile, [] -> *mut c_void);
        let profile = NonNull::new(raw).ok_or("TensorRT made no optimisation profile")?;
        let this = abi::implementation(profile);
        for (name, shape) in inputs.iter().filter(|(_, shape)| shape.contains(&-1)) {
            if shape[1..].contains(&-1) {
                return Err(format!("input {name:?} leaves more than the batch open: {shape:?}"));
            }
            for (selector, samples) in [(0, batch.least), (1, batch.usual), (2, batch.most)] {
                let mut shape = shape.clone();
                shape[0] = samples as i64;
                let accepted = if release.wide_dims {
                    let dims = Dims64::new(&shape);
                    call!(this, release.profile_set_shape,
                        [name.as_ptr() => *const c_char, selector => i32, &raw const dims => *const Dims64] -> bool)
                } else {
                    call!(this, release.profile_set_shape,
                        [name.as_ptr() => *const c_char, selector => i32, Dims32::new(&shape) => Dims32] -> bool)
                };
                if !accepted {
                    let otherwise = format!("{shape:?} was refused as a shape of input {name:?}");
                    return Err(library.logger().errors_since(mark, &otherwise));
                }
            }
        }
        let index = call!(config.implementation(), release.config_add_profile, [raw => *mut c_void] -> i32);
        if index < 0 {
            return Err(library.logger().errors_since(mark, "TensorRT refused the optimisation profile"));
        }
    }
    Ok(())
}

/// Names and shapes of the inputs; -1: open.
fn inputs(release: &Release, network: &Object) -> Vec<(CString, Vec<i64>)> {
    // SAFETY: a living network; its tensors and their names live as long as it does.
    unsafe {
        let count = call!(network.implementation(), release.network_input_count, [] -> i32);
        let tensor = |index| {
            NonNull::new(
                call!(network.implementation(), release.network_input, [index => i32] -> *mut c_void),
            )
        };
        (0..count)
            .filter_map(tensor)
            .map(|tensor| {
                let this = abi::implementation(tensor);
                let name = CStr::from_ptr(call!(this, release.tensor_name, [] -> *const c_char)).to_owned();
                (name, abi::ask_shape(release, this, release.tensor_shape, ptr::null()))
            })
            .collect()
    }
}
