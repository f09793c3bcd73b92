//! A dense `f32` tensor in host memory.

/// Dense row-major `f32` values with their shape; the only currency between kernels and engines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor of zeros.
    pub fn zeros(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), data: vec![0.0; shape.iter().product()] }
    }

    /// Takes `data` as a tensor of `shape`.
    ///
    /// # Panics
    /// If the number of values is not the product of the shape: a programming error, never caused by input.
    pub fn from_vec(shape: &[usize], data: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "tensor data does not fill {shape:?}");
        Self { shape: shape.to_vec(), data }
    }

    /// Sizes of the dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The values, row-major, to write.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Gives the tensor another shape, keeping its allocation where it is large enough. Values are unspecified
    /// afterwards where the size changed.
    pub fn reshape_for_write(&mut self, shape: &[usize]) -> &mut [f32] {
        if self.shape != shape {
            self.shape.clear();
            self.shape.extend_from_slice(shape);
            self.data.resize(shape.iter().product(), 0.0);
        }
        &mut self.data
    }
}
