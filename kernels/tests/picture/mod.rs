//! A frame that owns its planes, with padding behind every row but the last.

#![allow(dead_code)] // Not every test uses all of it.

use deepfake_kernels::{
    Affine, ColorSpace, CudaPlane, Device, Frame, FrameLayout, FrameMut, PixelFormat, Plane, PlaneMut, Tensor,
};

/// What padding bytes hold.
const PADDING: u8 = 0xA5;

pub struct Picture {
    pub format: PixelFormat,
    pub color: ColorSpace,
    pub width: usize,
    pub height: usize,
    /// Bytes and stride.
    planes: Vec<(Vec<u8>, usize)>,
}

impl Picture {
    /// A picture whose bytes `byte` gives from plane, row and index in the row.
    pub fn new(
        format: PixelFormat,
        width: usize,
        height: usize,
        mut byte: impl FnMut(usize, usize, usize) -> u8,
    ) -> Self {
        let planes = (0..format.planes())
            .map(|plane| {
                let (row, rows) = (format.row_bytes(plane, width), format.rows(plane, height));
                let stride = row + 3 + plane;
                let mut data = vec![PADDING; stride * (rows - 1) + row];
                for (y, bytes) in data.chunks_mut(stride).enumerate() {
                    for (x, value) in bytes[..row].iter_mut().enumerate() {
                        *value = byte(plane, y, x);
                    }
                }
                (data, stride)
            })
            .collect();
        Self { format, color: ColorSpace::default(), width, height, planes }
    }

    pub fn filled(format: PixelFormat, width: usize, height: usize, byte: u8) -> Self {
        Self::new(format, width, height, |_, _, _| byte)
    }

    /// Reproducible noise.
    pub fn noise(format: PixelFormat, width: usize, height: usize) -> Self {
        let mut random = Random(1);
        Self::new(format, width, height, |_, _, _| (random.next() * 256.0) as u8)
    }

    pub fn frame(&self) -> Frame<'_> {
        let planes = self.planes.iter().map(|(data, stride)| Plane { data, stride: *stride }).collect();
        Frame::new(self.format, self.color, self.width, self.height, planes).unwrap()
    }

    pub fn frame_mut(&mut self) -> FrameMut<'_> {
        let planes = self.planes.iter_mut();
        let planes = planes.map(|(data, stride)| PlaneMut { data, stride: *stride }).collect();
        FrameMut::new(self.format, self.color, self.width, self.height, planes).unwrap()
    }

    /// A picture of given bytes and strides.
    pub fn from_planes(
        format: PixelFormat,
        color: ColorSpace,
        width: usize,
        height: usize,
        planes: Vec<(Vec<u8>, usize)>,
    ) -> Self {
        Self { format, color, width, height, planes }
    }

    /// Bytes and stride of each plane.
    pub fn planes(&self) -> &[(Vec<u8>, usize)] {
        &self.planes
    }

    /// Has `run` read the picture where `device` can.
    pub fn read_on<R>(&self, device: &Device, run: impl FnOnce(&Frame<'_>) -> R) -> R {
        if device.cuda().is_none() {
            return run(&self.frame());
        }
        let memory = Memory::new(device, self);
        // SAFETY: the memory outlives the frame and, by the wait, all work with it.
        let result = run(&unsafe { Frame::from_cuda(self.layout(), memory.planes.clone()).unwrap() });
        device.synchronize().unwrap();
        result
    }

    /// Has `run` change the picture where `device` can.
    pub fn change_on<R>(&mut self, device: &Device, run: impl FnOnce(&mut FrameMut<'_>) -> R) -> R {
        if device.cuda().is_none() {
            return run(&mut self.frame_mut());
        }
        let memory = Memory::new(device, self);
        // SAFETY: as above, and nobody else knows the memory.
        let result = run(&mut unsafe { FrameMut::from_cuda(self.layout(), memory.planes.clone()).unwrap() });
        for ((bytes, _), tensor) in self.planes.iter_mut().zip(&memory.tensors) {
            let mut back = Tensor::default();
            device.download([(tensor, &mut back)]).unwrap();
            let all: Vec<u8> = back.data().iter().flat_map(|value| value.to_bits().to_le_bytes()).collect();
            let before = all.len() - bytes.len();
            bytes.copy_from_slice(&all[before..]);
        }
        result
    }

    /// What a frame of it is told.
    pub fn layout(&self) -> FrameLayout {
        FrameLayout { format: self.format, color: self.color, width: self.width, height: self.height }
    }

    /// Bytes of a sample of `plane`.
    pub fn step(&self, plane: usize) -> usize {
        match (self.format, plane) {
            (PixelFormat::Rgb | PixelFormat::Bgr, _) => 3,
            (PixelFormat::I420, _) | (PixelFormat::Nv12, 0) => 1,
            (PixelFormat::Nv12, _) => 2,
            _ => 4,
        }
    }

    /// The bytes of one sample of `plane`.
    pub fn pixel(&self, plane: usize, x: usize, y: usize) -> Vec<u8> {
        let (data, stride) = &self.planes[plane];
        let step = self.step(plane);
        data[y * stride + x * step..][..step].to_vec()
    }

    /// All bytes of all planes, padding included.
    pub fn bytes(&self) -> Vec<u8> {
        self.planes.iter().flat_map(|(data, _)| data.iter().copied()).collect()
    }

    pub fn padding_is_untouched(&self) -> bool {
        self.planes.iter().enumerate().all(|(plane, (data, stride))| {
            let row = self.format.row_bytes(plane, self.width);
            data.chunks(*stride).all(|bytes| bytes[row..].iter().all(|byte| *byte == PADDING))
        })
    }
}

/// Reproducible numbers in 0..1 (Lehmer's generator).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> f32 {
        self.0 = self.0 * 48_271 % 0x7fff_ffff;
        self.0 as f32 / 0x7fff_ffff as f32
    }
}

/// Planes on a GPU with the strides that they have on the host, each at the very end of its memory, so that
/// compute-sanitizer sees who reads past it.
struct Memory {
    tensors: Vec<Tensor>,
    planes: Vec<CudaPlane>,
}

impl Memory {
    fn new(device: &Device, picture: &Picture) -> Self {
        let mut memory = Self { tensors: Vec::new(), planes: Vec::new() };
        for (bytes, stride) in &picture.planes {
            let before = bytes.len().next_multiple_of(4) - bytes.len();
            let all = [&vec![0; before], bytes.as_slice()].concat();
            let (words, _) = all.as_chunks::<4>();
            let words = words.iter().map(|word| f32::from_bits(u32::from_le_bytes(*word))).collect();
            let mut tensor = Tensor::default();
            device.upload(&Tensor::from_vec(&[all.len() / 4], words), &mut tensor).unwrap();
            let address = tensor.cuda_address().unwrap() + before as u64;
            memory.planes.push(CudaPlane { address, stride: *stride, bytes: bytes.len() });
            memory.tensors.push(tensor);
        }
        memory
    }
}

/// Maps of all kinds that a broken tracker might produce.
pub fn senseless_maps() -> Vec<Affine> {
    let values = [0.0, f32::NAN, f32::INFINITY, -f32::INFINITY, f32::MAX, -1e30, 1e-30, 1e6, -1.0, 0.3];
    let mut random = Random(7);
    let mut pick = || values[(random.next() * values.len() as f32) as usize];
    let mut maps: Vec<_> = (0..400).map(|_| Affine { m: std::array::from_fn(|_| pick()) }).collect();
    for value in values {
        maps.push(Affine { m: [value; 6] });
        maps.push(Affine { m: [value, 0.0, 0.0, 0.0, value, 0.0] });
        maps.push(Affine { m: [1.0, 0.0, value, 0.0, 1.0, value] });
        maps.push(Affine { m: [0.6, -0.8, value, 0.8, 0.6, value] });
        maps.push(Affine { m: [1.0, value, 0.0, 0.0, 1.0, 0.0] });
    }
    maps
}
