//! A dense tensor, in the host's memory or a GPU's.

use half::f16;

use crate::cuda::DeviceMemory;

/// What a tensor's values are stored as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Element {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, IEEE 754 binary16.
    F16,
}

impl Element {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// Dense row-major values with their shape; the only currency between kernels and engines.
///
/// A tensor lies where it was made: by [`Tensor::zeros`] and [`Tensor::from_vec`] in the host's memory, by
/// [`Device::prepare`](crate::Device::prepare) on that device.
#[derive(Debug, Default)]
pub struct Tensor {
    shape: Vec<usize>,
    storage: Storage,
}

#[derive(Debug)]
pub(crate) enum Storage {
    Host(Vec<f32>),
    HostHalf(Vec<f16>),
    Cuda(DeviceMemory, Element),
}

impl Default for Storage {
    fn default() -> Self {
        Self::Host(Vec::new())
    }
}

impl Tensor {
    /// A tensor of zeros in the host's memory.
    pub fn zeros(shape: &[usize]) -> Self {
        Self::from_vec(shape, vec![0.0; shape.iter().product()])
    }

    /// Takes `data` as a tensor of `shape` in the host's memory.
    ///
    /// # Panics
    /// If the number of values is not the product of the shape: a programming error, never caused by input.
    pub fn from_vec(shape: &[usize], data: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "tensor data does not fill {shape:?}");
        Self { shape: shape.to_vec(), storage: Storage::Host(data) }
    }

    /// Takes `data` as a tensor of `shape` of half precision in the host's memory.
    ///
    /// # Panics
    /// As [`from_vec`](Self::from_vec).
    pub fn from_half(shape: &[usize], data: Vec<f16>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "tensor data does not fill {shape:?}");
        Self { shape: shape.to_vec(), storage: Storage::HostHalf(data) }
    }

    /// Sizes of the dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no values. A tensor of no dimensions has one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the values are stored as.
    pub fn element(&self) -> Element {
        match &self.storage {
            Storage::Host(_) => Element::F32,
            Storage::HostHalf(_) => Element::F16,
            Storage::Cuda(_, element) => *element,
        }
    }

    /// Address of the first value on a GPU, a multiple of 256; `None` in the host's memory.
    pub fn cuda_address(&self) -> Option<u64> {
        match &self.storage {
            Storage::Cuda(memory, _) => Some(memory.address()),
            _ => None,
        }
    }

    /// The values, row-major.
    ///
    /// # Panics
    /// If they are not 32 bits wide in the host's memory: a programming error, never caused by input.
    #[track_caller]
    pub fn data(&self) -> &[f32] {
        match &self.storage {
            Storage::Host(data) => data,
            other => panic!("values in {} cannot be looked at", other.place()),
        }
    }

    /// The values, row-major, to write.
    ///
    /// # Panics
    /// As [`data`](Self::data).
    #[track_caller]
    pub fn data_mut(&mut self) -> &mut [f32] {
        match &mut self.storage {
            Storage::Host(data) => data,
            other => panic!("values in {} cannot be looked at", other.place()),
        }
    }

    /// The values of half precision, row-major.
    ///
    /// # Panics
    /// If they are not 16 bits wide in the host's memory: a programming error, never caused by input.
    #[track_caller]
    pub fn half_data(&self) -> &[f16] {
        match &self.storage {
            Storage::HostHalf(data) => data,
            other => panic!("values in {} cannot be looked at", other.place()),
        }
    }

    /// Gives the tensor another shape in the host's memory, keeping its allocation where it is large enough. Values
    /// are unspecified afterwards where the size changed.
    pub fn reshape_for_write(&mut self, shape: &[usize]) -> &mut [f32] {
        if !matches!(self.storage, Storage::Host(_)) {
            self.storage = Storage::default();
            self.shape.clear();
        }
        let Storage::Host(data) = &mut self.storage else { unreachable!("made so above") };
        if self.shape != shape || data.is_empty() {
            self.shape.clear();
            self.shape.extend_from_slice(shape);
            data.resize(shape.iter().product(), 0.0);
        }
        data
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }
    pub(crate) fn storage_mut(&mut self) -> &mut Storage {
        &mut self.storage
    }
    pub(crate) fn set_shape(&mut self, shape: &[usize]) {
        if self.shape != shape {
            self.shape.clear();
            self.shape.extend_from_slice(shape);
        }
    }
}

impl Storage {
    pub(crate) fn place(&self) -> &'static str {
        match self {
            Self::Host(_) => "the host's memory",
            Self::HostHalf(_) => "half precision",
            Self::Cuda(..) => "a GPU's memory",
        }
    }
}
