//! Pixels in, tensors out, and back.
//!
//! Two operations carry every frame of the plugin, each in one pass and without an intermediate picture:
//!
//! * [`sample`] reads a crop of a video frame (any supported pixel format, strides, colour space), resizes it
//!   and writes the planar or interleaved `f32` tensor that a network wants;
//! * [`compose`] writes network output back into a video frame of any supported format and size.
//!
//! Beside them [`draw_rect`], [`draw_disc`] and [`draw_text`] mark a frame in its own format.
//!
//! Nothing here knows of GStreamer or of networks.
//!
//! # Coordinates
//! Pixel *i* covers the interval `[i, i + 1)`; its centre lies at `i + 0.5`. All crops, boxes and affine maps
//! of the project use this convention.

mod color;
mod compose;
mod draw;
mod frame;
mod geometry;
mod resample;
mod run;
mod sample;
mod share;
mod tensor;

pub use compose::{compose, Layer};
pub use draw::{draw_disc, draw_rect, draw_text, text_size};
pub use frame::{
    ColorMatrix, ColorRange, ColorSpace, Frame, FrameError, FrameMut, PixelFormat, Plane, PlaneMut,
};
pub use geometry::{Affine, Point, Rect};
pub use sample::{sample, Border, Channels, Layout, SampleSpec};
pub use tensor::Tensor;
