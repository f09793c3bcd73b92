//! First order motion: key points with their local affine frames, and how motion goes from one face to another.
//!
//! Siarohin et al., "First Order Motion Model for Image Animation", 2019, section 3.4 and the published demo.

use crate::cuda::{CudaDevice, Extent, Kernel};
use crate::device::wrong_tensor;
use crate::{Device, DeviceError, Element, Tensor};

/// Most key points that a GPU's kernel has room for.
const POINTS: usize = 64;

/// A 2x2 matrix, row by row.
type Matrix2 = [f32; 4];

const IDENTITY: Matrix2 = [1.0, 0.0, 0.0, 1.0];

/// Key points of one picture, as the networks give and take them.
#[derive(Debug, Default)]
pub struct Keypoints {
    /// Positions x, y in -1..1 across the network's input, `[1, points, 2]`.
    pub value: Tensor,
    /// The local affine frame at each, row by row, `[1, points, 2, 2]`.
    pub jacobian: Tensor,
}

impl Keypoints {
    /// Number of key points.
    pub fn len(&self) -> usize {
        self.value.len() / 2
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }
}

/// How motion is put on a portrait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transfer {
    /// Whether the driver's difference from a reference is added to the portrait's own pose; else the portrait takes the
    /// driver's key points as they are.
    pub relative: bool,
    /// Whether relative motion is scaled by the ratio of the two faces' sizes: the square root of the areas of the convex
    /// hulls of their key points.
    pub adapt_scale: bool,
    /// Factor on all motion; 0 leaves the portrait's key points.
    pub amount: f32,
}

/// The twins of the structures in `motion.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceKeypoints {
    value: u64,
    jacobian: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct TransferParameters {
    source: DeviceKeypoints,
    driving: DeviceKeypoints,
    reference: DeviceKeypoints,
    output: DeviceKeypoints,
    count: i32,
    relative: i32,
    adapt_scale: i32,
    amount: f32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct SmoothParameters {
    state: DeviceKeypoints,
    new: DeviceKeypoints,
    values: i32,
    jacobians: i32,
    amount: f32,
    unused: i32,
}

const _: () = assert!(size_of::<TransferParameters>() == 80, "as in motion.cu");
const _: () = assert!(size_of::<SmoothParameters>() == 48, "as in motion.cu");

/// One block does all.
const BLOCK: Extent = Extent { grid: (1, 1, 1), block: (128, 1, 1), shared: 0 };

impl Device {
    /// Writes to `output` the key points that make the portrait `source` move as `driving` did since `reference`.
    ///
    /// # Errors
    /// [`DeviceError::WrongMemory`] if any lies elsewhere, [`DeviceError::Call`] on a GPU for more than 64 key points, and
    /// those of [`Device::prepare`].
    ///
    /// # Panics
    /// If they are not equally many, with one frame each: a programming error, never caused by input.
    pub fn transfer(
        &self,
        source: &Keypoints,
        driving: &Keypoints,
        reference: &Keypoints,
        how: &Transfer,
        output: &mut Keypoints,
    ) -> Result<(), DeviceError> {
        let count = source.len();
        let complete =
            |keypoints: &Keypoints| keypoints.len() == count && keypoints.jacobian.len() == 4 * count;
        assert!([source, driving, reference].into_iter().all(complete), "key points of different models");
        self.check(&[source, driving, reference])?;
        self.prepare(&mut output.value, &[1, count, 2])?;
        self.prepare(&mut output.jacobian, &[1, count, 2, 2])?;
        match self {
            Self::Cpu => {
                transfer(source, driving, reference, how, output);
                Ok(())
            }
            Self::Cuda(device) => transfer_on_gpu(device, source, driving, reference, how, output),
        }
    }

    /// Moves `state` towards `new` by `amount`: 0 leaves it, 1 (also where `state` is of another number of points or
    /// elsewhere) makes it `new`. In work that is [replayed](Self::replay), which may be called twice, give 1 for such a
    /// state: after the first call it looks like any other.
    ///
    /// # Errors
    /// [`DeviceError::WrongMemory`] if any lies elsewhere, and those of [`Device::prepare`].
    pub fn smooth(&self, state: &mut Keypoints, new: &Keypoints, amount: f32) -> Result<(), DeviceError> {
        self.check(&[new])?;
        let same = state.value.len() == new.value.len() && state.jacobian.len() == new.jacobian.len();
        let amount = if same && self.check(&[state]).is_ok() { amount } else { 1.0 };
        self.prepare(&mut state.value, new.value.shape())?;
        self.prepare(&mut state.jacobian, new.jacobian.shape())?;
        match self {
            Self::Cpu => {
                for (state, new) in [(&mut state.value, &new.value), (&mut state.jacobian, &new.jacobian)] {
                    for (state, &new) in state.data_mut().iter_mut().zip(new.data()) {
                        *state = if amount == 1.0 { new } else { blend(*state, new, amount) };
                    }
                }
                Ok(())
            }
            Self::Cuda(device) => {
                let parameters = SmoothParameters {
                    state: addresses(state)?,
                    new: addresses(new)?,
                    values: new.value.len() as i32,
                    jacobians: new.jacobian.len() as i32,
                    amount,
                    unused: 0,
                };
                // SAFETY: `SmoothParameters` is the kernel's; the state was prepared to be as large as `new`.
                unsafe { device.launch(Kernel::Smooth, BLOCK, &parameters) }
            }
        }
    }

    /// Whether all of these lie on this device, in single precision.
    fn check(&self, keypoints: &[&Keypoints]) -> Result<(), DeviceError> {
        for tensor in keypoints.iter().flat_map(|keypoints| [&keypoints.value, &keypoints.jacobian]) {
            match (self, tensor.cuda_address()) {
                (Self::Cpu, Some(_)) => return Err(wrong_tensor("CUDA", "system")),
                (Self::Cuda(_), None) => return Err(wrong_tensor("system", "CUDA")),
                _ if tensor.element() != Element::F32 => return Err(unsupported("half precision")),
                _ => {}
            }
        }
        Ok(())
    }
}

fn unsupported(what: &str) -> DeviceError {
    DeviceError::Call { call: "key points", reason: format!("{what} is not supported") }
}

fn addresses(keypoints: &Keypoints) -> Result<DeviceKeypoints, DeviceError> {
    let address = |tensor: &Tensor| tensor.cuda_address().ok_or_else(|| wrong_tensor("system", "CUDA"));
    Ok(DeviceKeypoints { value: address(&keypoints.value)?, jacobian: address(&keypoints.jacobian)? })
}

/// What [`Device::transfer`] does, on a GPU.
fn transfer_on_gpu(
    device: &CudaDevice,
    source: &Keypoints,
    driving: &Keypoints,
    reference: &Keypoints,
    how: &Transfer,
    output: &Keypoints,
) -> Result<(), DeviceError> {
    if source.len() > POINTS {
        return Err(unsupported("a model of more than 64 key points"));
    }
    let parameters = TransferParameters {
        source: addresses(source)?,
        driving: addresses(driving)?,
        reference: addresses(reference)?,
        output: addresses(output)?,
        count: source.len() as i32,
        relative: how.relative.into(),
        adapt_scale: how.adapt_scale.into(),
        amount: how.amount,
    };
    // SAFETY: `TransferParameters` is the kernel's; all are equally many, no more than it has room for.
    unsafe { device.launch(Kernel::Transfer, BLOCK, &parameters) }
}

/// What [`Device::transfer`] does, on the CPU.
fn transfer(
    source: &Keypoints,
    driving: &Keypoints,
    reference: &Keypoints,
    how: &Transfer,
    output: &mut Keypoints,
) {
    let points = |keypoints: &Keypoints| keypoints.value.data().as_chunks::<2>().0.to_vec();
    let (source_points, reference_points) = (points(source), points(reference));
    let scale = match how {
        Transfer { relative: true, adapt_scale: true, .. } => {
            relative_size(&source_points, &reference_points)
        }
        _ => 1.0,
    };
    let positions = output.value.data_mut().as_chunks_mut::<2>().0;
    for (i, (output, driving)) in positions.iter_mut().zip(points(driving)).enumerate() {
        for axis in 0..2 {
            let (s, d, r) = (source_points[i][axis], driving[axis], reference_points[i][axis]);
            output[axis] =
                if how.relative { s + (d - r) * scale * how.amount } else { blend(s, d, how.amount) };
        }
    }
    fn matrices(keypoints: &Keypoints) -> &[Matrix2] {
        keypoints.jacobian.data().as_chunks::<4>().0
    }
    let frames = output.jacobian.data_mut().as_chunks_mut::<4>().0;
    for (i, output) in frames.iter_mut().enumerate() {
        let (s, d, r) = (matrices(source)[i], matrices(driving)[i], matrices(reference)[i]);
        *output = if how.relative {
            multiply(blend_matrix(IDENTITY, multiply(d, inverse(r)), how.amount), s)
        } else {
            blend_matrix(s, d, how.amount)
        };
    }
}

fn multiply(a: Matrix2, b: Matrix2) -> Matrix2 {
    [
        a[0] * b[0] + a[1] * b[2],
        a[0] * b[1] + a[1] * b[3],
        a[2] * b[0] + a[3] * b[2],
        a[2] * b[1] + a[3] * b[3],
    ]
}

/// The closed-form inverse; a determinant near zero is held off it, as the networks do themselves.
fn inverse(m: Matrix2) -> Matrix2 {
    let determinant = m[0] * m[3] - m[1] * m[2];
    let determinant = if determinant.abs() < 1e-6 { 1e-6 } else { determinant };
    [m[3] / determinant, -m[1] / determinant, -m[2] / determinant, m[0] / determinant]
}

/// Moves from `from` (0) to `to` (1).
fn blend(from: f32, to: f32, amount: f32) -> f32 {
    from + (to - from) * amount
}

fn blend_matrix(from: Matrix2, to: Matrix2, amount: f32) -> Matrix2 {
    std::array::from_fn(|i| blend(from[i], to[i], amount))
}

/// Area of the convex hull of `points` (Andrew's monotone chain).
pub fn hull_area(points: &[[f32; 2]]) -> f32 {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    let cross =
        |o: [f32; 2], a: [f32; 2], b: [f32; 2]| (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]);
    let chain = |points: &mut dyn Iterator<Item = [f32; 2]>| {
        let mut hull: Vec<[f32; 2]> = Vec::new();
        for p in points {
            while hull.len() >= 2 && cross(hull[hull.len() - 2], hull[hull.len() - 1], p) <= 0.0 {
                hull.pop();
            }
            hull.push(p);
        }
        hull.pop();
        hull
    };
    let mut hull = chain(&mut sorted.iter().copied());
    hull.extend(chain(&mut sorted.iter().rev().copied()));
    let next = hull.iter().cycle().skip(1);
    hull.iter().zip(next).map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum::<f32>().abs() / 2.0
}

/// Size of the source's face over that of the reference, by the square root of the hulls' areas.
fn relative_size(source: &[[f32; 2]], reference: &[[f32; 2]]) -> f32 {
    let (ours, theirs) = (hull_area(source), hull_area(reference));
    // Key points that fell together tell nothing about size.
    if theirs <= 1e-6 || ours <= 1e-6 {
        return 1.0;
    }
    (ours / theirs).sqrt()
}
