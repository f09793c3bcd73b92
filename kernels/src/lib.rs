//! Pixels in, tensors out, and back.
//!
//! Two operations carry every frame of the plugin, each in one pass and without an intermediate picture:
//!
//! * [`sample`] reads a crop of a video frame (any supported pixel format, strides, colour space), resizes it
//!   and writes the planar or interleaved `f32` tensor that a network wants;
//! * [`compose`](Device::compose) writes network output back into a video frame of any supported format and size.
//!
//! Beside them [`draw`](Device::draw) and [`draw_heat`](Device::draw_heat) mark a frame in its own format.
//!
//! Nothing here knows of GStreamer or of networks.
//!
//! # Coordinates
//! Pixel *i* covers the interval `[i, i + 1)`; its centre lies at `i + 0.5`. All crops, boxes and affine maps
//! of the project use this convention.

mod color;
mod compose;
mod copy;
pub mod cuda;
mod device;
mod draw;
mod frame;
mod framebuffer;
mod geometry;
mod motion;
mod resample;
mod run;
mod sample;
mod share;
mod tensor;

pub use compose::{Background, Layer};
pub use cuda::{CudaDevice, DeviceError, Download, Graph, Upload};
pub use device::Device;
pub use draw::{draw_disc, draw_rect, draw_text, text_size, Shape};
pub use frame::{
    ColorMatrix, ColorRange, ColorSpace, CudaPlane, Frame, FrameError, FrameLayout, FrameMut, Memory,
    PixelFormat, Plane, PlaneMut,
};
pub use framebuffer::FrameBuffer;
pub use geometry::{Affine, Point, Rect};
pub use motion::{hull_area, Keypoints, Transfer};
pub use sample::{sample, Border, Channels, Layout, SampleSpec};
pub use tensor::{Element, Tensor};

/// Every device of this machine, for tests that hold on all of them. Says so where there is no GPU; panics where there is
/// one that cannot be used.
#[doc(hidden)]
pub fn test_devices() -> Vec<Device> {
    let mut devices = vec![Device::Cpu];
    match CudaDevice::new(0) {
        Ok(cuda) => devices.push(Device::Cuda(cuda)),
        Err(
            error @ (DeviceError::NoDriver
            | DeviceError::NoDevice { .. }
            | DeviceError::NoCompiler
            | DeviceError::Call { call: "cuInit", .. }),
        ) => {
            eprintln!("SKIPPED on a GPU: {error}");
        }
        // There is one, and it does not work.
        Err(error) => panic!("{error}"),
    }
    devices
}
