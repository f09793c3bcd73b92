//! Does a new shot begin with this frame?

use deepfake_kernels::{Affine, Border, Channels, Device, Frame, Layout, Rect, SampleSpec, Tensor};

use crate::Result;

/// Side of the thumbnail that frames are compared by.
const SIDE: usize = 16;
/// Frames of one shot correlate by more than this.
const SAME_SHOT: f32 = 0.6;
/// Variance (of colours in 0..1) below which a thumbnail is flat and says nothing: fades, covered cameras.
const FLAT: f32 = 1e-4;

/// Compares each frame with the one before by the correlation of two tiny thumbnails. Brightness and contrast
/// cancel out, so that flashes and fades are no cuts.
#[derive(Debug)]
pub(super) struct CutDetector {
    spec: SampleSpec,
    thumbnail: Tensor,
    last: Tensor,
    this: Tensor,
    known: bool,
}

impl CutDetector {
    pub(super) fn new() -> Self {
        let spec = SampleSpec {
            width: SIDE,
            height: SIDE,
            layout: Layout::Nhwc,
            channels: Channels::Rgb,
            mean: [0.0; 3],
            std: [1.0; 3],
            border: Border::Replicate,
        };
        Self {
            spec,
            thumbnail: Tensor::default(),
            last: Tensor::default(),
            this: Tensor::default(),
            known: false,
        }
    }

    /// Forgets the last frame.
    pub(super) fn reset(&mut self) {
        self.known = false;
    }

    /// Whether `frame` is of another shot than the last one given. Flat frames belong to the shot before them; what
    /// comes after them is compared with the last frame that was not flat.
    pub(super) fn is_cut(&mut self, device: &Device, frame: &Frame<'_>) -> Result<bool> {
        let whole = Rect::new(0.0, 0.0, frame.width() as f32, frame.height() as f32);
        device.sample(frame, &[Affine::from_rect(whole, SIDE, SIDE)], &self.spec, &mut self.thumbnail)?;
        device.download([(&self.thumbnail, &mut self.this)])?;
        if !center(self.this.data_mut()) {
            return Ok(false);
        }
        std::mem::swap(&mut self.last, &mut self.this);
        let known = std::mem::replace(&mut self.known, true);
        Ok(known && correlation(self.last.data(), self.this.data()) < SAME_SHOT)
    }
}

/// Subtracts from each channel of interleaved red, green and blue its mean, so that brightness and tint say nothing.
/// Returns whether something is left.
fn center(picture: &mut [f32]) -> bool {
    let pixels = (picture.len() / 3) as f32;
    for channel in 0..3 {
        let mean = picture[channel..].iter().step_by(3).sum::<f32>() / pixels;
        picture[channel..].iter_mut().step_by(3).for_each(|v| *v -= mean);
    }
    dot(picture, picture) > FLAT * picture.len() as f32
}

/// Correlation (Pearson's) of two centred pictures that are not flat.
fn correlation(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use deepfake_kernels::{ColorSpace, PixelFormat, Plane};

    use super::*;

    const SIZE: usize = 64;

    /// A picture of large patches, which ones depends on `seed`.
    fn picture(seed: u32, gain: f32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for y in 0..SIZE {
            for x in 0..SIZE {
                for channel in 0..3 {
                    let patch = (y / 16 * 4 + x / 16) as u32 * 3 + channel;
                    let noise = (patch + 1).wrapping_mul(seed.wrapping_mul(2_654_435_761) | 1) >> 24;
                    bytes.push((noise as f32 * gain) as u8);
                }
            }
        }
        bytes
    }

    fn is_cut(cuts: &mut CutDetector, bytes: &[u8]) -> bool {
        let plane = Plane { data: bytes, stride: 3 * SIZE };
        let frame = Frame::new(PixelFormat::Rgb, ColorSpace::default(), SIZE, SIZE, vec![plane]).unwrap();
        cuts.is_cut(&Device::Cpu, &frame).unwrap()
    }

    #[test]
    fn another_picture_is_a_cut_and_the_same_is_none() {
        let mut cuts = CutDetector::new();
        assert!(!is_cut(&mut cuts, &picture(3, 1.0)), "the first frame begins no new shot");
        assert!(!is_cut(&mut cuts, &picture(3, 1.0)));
        assert!(is_cut(&mut cuts, &picture(8, 1.0)));
        assert!(!is_cut(&mut cuts, &picture(8, 1.0)));
        cuts.reset();
        assert!(!is_cut(&mut cuts, &picture(3, 1.0)));
    }

    #[test]
    fn light_going_down_and_black_are_no_cuts() {
        let mut cuts = CutDetector::new();
        is_cut(&mut cuts, &picture(3, 1.0));
        assert!(!is_cut(&mut cuts, &picture(3, 0.4)));
        assert!(!is_cut(&mut cuts, &picture(3, 0.0)));
        assert!(!is_cut(&mut cuts, &[200, 100, 50].repeat(SIZE * SIZE)), "nor is any other colour");
        assert!(!is_cut(&mut cuts, &picture(3, 1.0)), "the same shot goes on");
        assert!(!is_cut(&mut cuts, &picture(3, 0.0)));
        assert!(is_cut(&mut cuts, &picture(8, 1.0)), "another shot comes after black");
    }
}
