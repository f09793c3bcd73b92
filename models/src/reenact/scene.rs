//! The animated crop back in the whole picture that it was cut from.

use deepfake_kernels::{
    Affine, Background, Border, Channels, Device, Frame, FrameBuffer, FrameLayout, Layer, Layout, SampleSpec,
    Tensor,
};

use super::fit;
use crate::Result;

/// Longer sides are scaled down to this, so that a huge portrait does not take the memory of one.
const MOST: usize = 3840;
/// Width of the edge over which the crop fades into the picture, in sides of the crop.
const FEATHER: f32 = 0.08;

/// A portrait's whole picture, and where the crop lies in it.
#[derive(Debug, Default)]
pub struct Scene {
    picture: Tensor,
    /// Size of the picture, before it was scaled down.
    size: (usize, usize),
    /// Takes the crop's pixels to those of the picture.
    crop: Option<Affine>,
    rendered: Option<FrameBuffer>,
    /// Whether `rendered` shows this picture.
    current: bool,
}

impl Scene {
    /// Takes the whole of `frame`, of which the portrait is the part that `crop` takes its pixels to.
    pub fn set(&mut self, device: &Device, frame: &Frame<'_>, crop: Affine) -> Result<()> {
        self.size = (frame.width(), frame.height());
        let scale = (MOST as f32 / frame.width().max(frame.height()) as f32).min(1.0);
        let side = |length: usize| ((length as f32 * scale).round() as usize).max(1);
        let spec = SampleSpec {
            width: side(frame.width()),
            height: side(frame.height()),
            layout: Layout::Nchw,
            channels: Channels::Rgb,
            mean: [0.0; 3],
            std: [1.0; 3],
            border: Border::Replicate,
        };
        let (down_x, down_y) =
            (frame.width() as f32 / spec.width as f32, frame.height() as f32 / spec.height as f32);
        let down = Affine { m: [down_x, 0.0, 0.0, 0.0, down_y, 0.0] };
        self.current = false;
        device.sample(frame, &[down], &spec, &mut self.picture)?;
        self.crop = Some(crop);
        Ok(())
    }

    /// Size of the picture in pixels; `None` if there is none.
    pub fn size(&self) -> Option<(usize, usize)> {
        self.crop.map(|_| self.size)
    }

    /// Takes the pixels of an output of that size to those of the crop; `None` without a picture, or with a crop of no size.
    pub fn to_crop(&self, output: (usize, usize)) -> Option<Affine> {
        let placed = fit(self.size, output);
        let to_picture = Affine::from_rect(placed, self.size.0, self.size.1).inverse()?;
        Some(to_picture.then(&self.crop?.inverse()?))
    }

    /// Width of the crop's edge for a crop that wide, in its pixels.
    pub fn feather(width: usize) -> f32 {
        width as f32 * FEATHER
    }

    /// Renders the picture for an output of that layout, unless that was done before.
    pub fn render(&mut self, device: &Device, layout: FrameLayout) -> Result<()> {
        if self.current && self.rendered.as_ref().is_some_and(|rendered| rendered.layout() == layout) {
            return Ok(());
        }
        self.current = false;
        let rendered = FrameBuffer::fit(&mut self.rendered, device, layout)?;
        if !self.picture.is_empty() {
            let (width, height) = (self.picture.shape()[3], self.picture.shape()[2]);
            let placed = fit(self.size, (layout.width, layout.height));
            let map = Affine::from_rect(placed, width, height).inverse();
            let layer = map.map(|map| Layer { image: &self.picture, map, feather: 0.0 });
            device.compose(layer.as_slice(), Background::Color([0.0; 3]), &mut rendered.frame_mut())?;
        }
        self.current = true;
        Ok(())
    }

    /// What was rendered last.
    pub fn rendered(&self) -> Option<Frame<'_>> {
        self.rendered.as_ref().map(FrameBuffer::frame)
    }
}
