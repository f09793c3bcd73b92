//! Reads the golden data; `golden/README.md` says what is in it.

#![allow(dead_code)] // Not every test uses all of it.

use std::path::Path;

use deepfake_kernels::{ColorMatrix, ColorRange, ColorSpace, PixelFormat};

use crate::picture::Picture;

/// Reads a file of records from front to back.
pub struct Reader {
    bytes: Vec<u8>,
    at: usize,
}

impl Reader {
    /// Opens a file; returns the number of its records too.
    pub fn open(name: &str) -> (Self, usize) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut reader = Self { bytes, at: 0 };
        assert_eq!(reader.take(4), b"DKG1", "{} is not golden data", path.display());
        let count = reader.integer();
        (reader, count)
    }

    fn take(&mut self, count: usize) -> &[u8] {
        self.at += count;
        &self.bytes[self.at - count..self.at]
    }

    pub fn integer(&mut self) -> usize {
        u32::from_le_bytes(self.take(4).try_into().unwrap()) as usize
    }

    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        self.take(count * 4).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    pub fn array<const N: usize>(&mut self) -> [f32; N] {
        self.floats(N).try_into().unwrap()
    }

    pub fn name(&mut self) -> String {
        let length = self.integer();
        String::from_utf8(self.take(length).to_vec()).unwrap()
    }

    pub fn picture(&mut self) -> Picture {
        let format = PixelFormat::ALL[self.integer()];
        let matrix = [ColorMatrix::Bt601, ColorMatrix::Bt709][self.integer()];
        let range = [ColorRange::Full, ColorRange::Limited][self.integer()];
        let (width, height) = (self.integer(), self.integer());
        let planes = (0..format.planes())
            .map(|_| {
                let (stride, length) = (self.integer(), self.integer());
                (self.take(length).to_vec(), stride)
            })
            .collect();
        Picture::from_planes(format, ColorSpace { matrix, range }, width, height, planes)
    }

    pub fn finished(&self) -> bool {
        self.at == self.bytes.len()
    }
}
