//! A frame that owns its planes, with padding behind every row but the last.

#![allow(dead_code)] // Not every test uses all of it.

use deepfake_kernels::{ColorSpace, Frame, FrameMut, PixelFormat, Plane, PlaneMut};

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
