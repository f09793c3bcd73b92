//! A borrowed view of one video frame, however it is laid out.

use thiserror::Error;

/// Pixel formats in system memory, named as GStreamer names them (byte order in memory).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// 3 bytes: red, green, blue.
    Rgb,
    /// 3 bytes: blue, green, red.
    Bgr,
    /// 4 bytes: red, green, blue, alpha.
    Rgba,
    /// 4 bytes: blue, green, red, alpha.
    Bgra,
    /// 4 bytes: red, green, blue, padding.
    Rgbx,
    /// 4 bytes: blue, green, red, padding.
    Bgrx,
    /// 4:2:0, a plane of luma and one of interleaved blue and red difference.
    Nv12,
    /// 4:2:0, three planes: luma, blue difference, red difference.
    I420,
}

impl PixelFormat {
    /// Every supported format.
    pub const ALL: [Self; 8] =
        [Self::Rgb, Self::Bgr, Self::Rgba, Self::Bgra, Self::Rgbx, Self::Bgrx, Self::Nv12, Self::I420];

    /// Number of planes.
    pub fn planes(self) -> usize {
        match self {
            Self::Nv12 => 2,
            Self::I420 => 3,
            _ => 1,
        }
    }

    /// Bytes a row of `plane` holds for a picture `width` pixels wide, padding apart.
    pub fn row_bytes(self, plane: usize, width: usize) -> usize {
        match (self, plane) {
            (Self::Rgb | Self::Bgr, _) => width * 3,
            (Self::Rgba | Self::Bgra | Self::Rgbx | Self::Bgrx, _) => width * 4,
            (_, 0) => width,
            (Self::Nv12, _) => width.div_ceil(2) * 2,
            (_, _) => width.div_ceil(2),
        }
    }

    /// Rows of `plane` for a picture `height` pixels high.
    pub fn rows(self, plane: usize, height: usize) -> usize {
        if plane == 0 {
            height
        } else {
            height.div_ceil(2)
        }
    }

    /// Whether the format stores luma and colour difference.
    pub fn is_yuv(self) -> bool {
        matches!(self, Self::Nv12 | Self::I420)
    }
}

/// The matrix between R'G'B' and Y'CbCr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ColorMatrix {
    /// ITU-R BT.601 (standard definition).
    #[default]
    Bt601,
    /// ITU-R BT.709 (high definition).
    Bt709,
}

impl ColorMatrix {
    /// The weights of red and blue in luma, `(Kr, Kb)`.
    pub fn weights(self) -> (f32, f32) {
        match self {
            Self::Bt601 => (0.299, 0.114),
            Self::Bt709 => (0.2126, 0.0722),
        }
    }
}

/// Which code values carry black and white.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ColorRange {
    /// 0..255.
    Full,
    /// Luma 16..235, colour difference 16..240.
    #[default]
    Limited,
}

/// How Y'CbCr code values translate to R'G'B'. RGB formats are always full range and ignore it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ColorSpace {
    /// The matrix.
    pub matrix: ColorMatrix,
    /// The range.
    pub range: ColorRange,
}

/// What is wrong with the planes of a frame.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// Width or height is zero.
    #[error("a frame of {0}x{1} pixels is empty")]
    Empty(usize, usize),
    /// Not the number of planes that the format has.
    #[error("{0:?} has {1} planes, not {2}")]
    PlaneCount(PixelFormat, usize, usize),
    /// The stride is less than a row.
    #[error("plane {plane}: a stride of {stride} bytes is less than a row of {row}")]
    Stride {
        /// Index of the plane.
        plane: usize,
        /// The stride found, in bytes.
        stride: usize,
        /// The least possible, in bytes.
        row: usize,
    },
    /// The memory ends before the last row does.
    #[error("plane {plane}: {have} bytes do not hold {rows} rows of stride {stride}")]
    TooShort {
        /// Index of the plane.
        plane: usize,
        /// Bytes present.
        have: usize,
        /// Rows wanted.
        rows: usize,
        /// The stride, in bytes.
        stride: usize,
    },
}

/// One plane to read.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    /// The bytes from the first pixel on.
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// One plane to write.
#[derive(Debug)]
pub struct PlaneMut<'a> {
    /// The bytes from the first pixel on.
    pub data: &'a mut [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// One plane in a GPU's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CudaPlane {
    /// Address (a `CUdeviceptr`) of the first pixel.
    pub address: u64,
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Bytes from the first pixel to the end of the memory.
    pub bytes: usize,
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// In the host's memory.
    Host,
    /// In a GPU's memory.
    Cuda,
}

impl Memory {
    /// Its name in errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "system",
            Self::Cuda => "CUDA",
        }
    }
}

/// What the pixels of a frame are, wherever they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLayout {
    /// The pixel format.
    pub format: PixelFormat,
    /// The colour space of a Y'CbCr format.
    pub color: ColorSpace,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
}

impl FrameLayout {
    /// Whether `planes`, given by their lengths and strides in bytes, hold a picture of this layout.
    fn check(&self, planes: impl ExactSizeIterator<Item = (usize, usize)>) -> Result<(), FrameError> {
        let Self { format, width, height, .. } = *self;
        if width == 0 || height == 0 {
            return Err(FrameError::Empty(width, height));
        }
        if planes.len() != format.planes() {
            return Err(FrameError::PlaneCount(format, format.planes(), planes.len()));
        }
        for (plane, (have, stride)) in planes.enumerate() {
            let row = format.row_bytes(plane, width);
            let rows = format.rows(plane, height);
            if stride < row {
                return Err(FrameError::Stride { plane, stride, row });
            }
            // The last row needs no padding behind it.
            if stride.checked_mul(rows - 1).and_then(|n| n.checked_add(row)).is_none_or(|need| have < need) {
                return Err(FrameError::TooShort { plane, have, rows, stride });
            }
        }
        Ok(())
    }
}

/// A frame to read. The constructors prove that every row lies inside its plane, so kernels need not check.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    layout: FrameLayout,
    planes: Vec<Plane<'a>>,
    /// In place of `planes` where the frame lies in a GPU's memory.
    cuda: Vec<CudaPlane>,
}

/// A frame to write; see [`Frame`].
#[derive(Debug)]
pub struct FrameMut<'a> {
    layout: FrameLayout,
    planes: Vec<PlaneMut<'a>>,
    cuda: Vec<CudaPlane>,
}

macro_rules! common {
    ($frame:ident, $plane:ident) => {
        impl<'a> $frame<'a> {
            /// Views `planes` as a picture of `width` x `height` pixels.
            ///
            /// # Errors
            /// [`FrameError`] if the planes cannot hold that picture.
            pub fn new(
                format: PixelFormat,
                color: ColorSpace,
                width: usize,
                height: usize,
                planes: Vec<$plane<'a>>,
            ) -> Result<Self, FrameError> {
                Self::from_layout(FrameLayout { format, color, width, height }, planes)
            }

            /// Views `planes` as a picture of that layout.
            ///
            /// # Errors
            /// [`FrameError`] if the planes cannot hold that picture.
            pub fn from_layout(layout: FrameLayout, planes: Vec<$plane<'a>>) -> Result<Self, FrameError> {
                layout.check(planes.iter().map(|p| (p.data.len(), p.stride)))?;
                Ok(Self { layout, planes, cuda: Vec::new() })
            }

            /// Views `planes` in a GPU's memory as a picture of that layout.
            ///
            /// # Safety
            /// For as long as the frame lives and the work that it is given to is not done, the planes must be memory of a CUDA
            /// context, as many bytes of each as said, which nobody else writes (or, of a frame to write, uses at all).
            ///
            /// # Errors
            /// [`FrameError`] if the planes cannot hold that picture.
            pub unsafe fn from_cuda(layout: FrameLayout, planes: Vec<CudaPlane>) -> Result<Self, FrameError> {
                layout.check(planes.iter().map(|p| (p.bytes, p.stride)))?;
                Ok(Self { layout, planes: Vec::new(), cuda: planes })
            }

            /// Where the frame lies.
            pub fn memory(&self) -> Memory {
                if self.cuda.is_empty() {
                    Memory::Host
                } else {
                    Memory::Cuda
                }
            }
            /// Format, colour space and size.
            pub fn layout(&self) -> FrameLayout {
                self.layout
            }
            /// The pixel format.
            pub fn format(&self) -> PixelFormat {
                self.layout.format
            }
            /// The colour space of a Y'CbCr format.
            pub fn color(&self) -> ColorSpace {
                self.layout.color
            }
            /// Width in pixels.
            pub fn width(&self) -> usize {
                self.layout.width
            }
            /// Height in pixels.
            pub fn height(&self) -> usize {
                self.layout.height
            }
            /// The planes in a GPU's memory; none where the frame lies in the host's.
            pub fn cuda_planes(&self) -> &[CudaPlane] {
                &self.cuda
            }
        }
    };
}

common!(Frame, Plane);
common!(FrameMut, PlaneMut);

impl<'a> Frame<'a> {
    /// The planes; none where the frame lies in a GPU's memory.
    pub fn planes(&self) -> &[Plane<'a>] {
        &self.planes
    }
}

impl<'a> FrameMut<'a> {
    /// The planes, to write; none where the frame lies in a GPU's memory.
    pub fn planes_mut(&mut self) -> &mut [PlaneMut<'a>] {
        &mut self.planes
    }
    /// The same frame, to read.
    pub fn as_frame(&self) -> Frame<'_> {
        Frame {
            layout: self.layout,
            planes: self.planes.iter().map(|p| Plane { data: p.data, stride: p.stride }).collect(),
            cuda: self.cuda.clone(),
        }
    }
    /// The same frame, to write once more.
    pub fn reborrow(&mut self) -> FrameMut<'_> {
        FrameMut {
            layout: self.layout,
            planes: self.planes.iter_mut().map(|p| PlaneMut { data: p.data, stride: p.stride }).collect(),
            cuda: self.cuda.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_needs_no_padding() {
        let bytes = [0u8; 8 * 2 + 6];
        let frame = Frame::new(
            PixelFormat::Rgb,
            ColorSpace::default(),
            2,
            3,
            vec![Plane { data: &bytes, stride: 8 }],
        );
        assert!(frame.is_ok());
    }

    #[test]
    fn planes_that_are_too_short_are_refused() {
        let bytes = [0u8; 8 * 2 + 5];
        let frame = Frame::new(
            PixelFormat::Rgb,
            ColorSpace::default(),
            2,
            3,
            vec![Plane { data: &bytes, stride: 8 }],
        );
        assert_eq!(frame.unwrap_err(), FrameError::TooShort { plane: 0, have: 21, rows: 3, stride: 8 });
    }

    #[test]
    fn odd_sizes_round_the_colour_planes_up() {
        assert_eq!(PixelFormat::I420.row_bytes(1, 5), 3);
        assert_eq!(PixelFormat::Nv12.row_bytes(1, 5), 6);
        assert_eq!(PixelFormat::I420.rows(2, 5), 3);
    }

    #[test]
    fn empty_and_mismatched_frames_are_refused() {
        let data = [0u8; 64];
        let plane = Plane { data: &data, stride: 8 };
        let new = |f, w, h, p| Frame::new(f, ColorSpace::default(), w, h, p).unwrap_err();
        assert_eq!(new(PixelFormat::Rgb, 0, 3, vec![plane]), FrameError::Empty(0, 3));
        assert_eq!(
            new(PixelFormat::Nv12, 2, 2, vec![plane]),
            FrameError::PlaneCount(PixelFormat::Nv12, 2, 1)
        );
        assert_eq!(
            new(PixelFormat::Rgba, 4, 2, vec![plane]),
            FrameError::Stride { plane: 0, stride: 8, row: 16 }
        );
    }
}
