//! Does a new shot begin with this frame?

use deepfake_kernels::{sample, Affine, Border, Channels, Frame, Layout, Rect, SampleSpec};

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
    last: Vec<f32>,
    this: Vec<f32>,
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
        let values = 3 * SIDE * SIDE;
        Self { spec, last: vec![0.0; values], this: vec![0.0; values], known: false }
    }

    /// Forgets the last frame.
    pub(super) fn reset(&mut self) {
        self.known = false;
    }

    /// Whether `frame` is of another shot than the last one given.
    pub(super) fn is_cut(&mut self, frame: &Frame<'_>) -> bool {
        let whole = Rect::new(0.0, 0.0, frame.width() as f32, frame.height() as f32);
        std::mem::swap(&mut self.last, &mut self.this);
        sample(frame, &Affine::from_rect(whole, SIDE, SIDE), &self.spec, &mut self.this);
        let known = std::mem::replace(&mut self.known, true);
        known && correlation(&self.last, &self.this).is_some_and(|c| c < SAME_SHOT)
    }
}

/// Correlation (Pearson's) of two pictures of interleaved red, green and blue, each about its mean, so that a tint says
/// nothing; `None` where one of the two is flat.
fn correlation(a: &[f32], b: &[f32]) -> Option<f32> {
    let pixels = (a.len() / 3) as f32;
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for channel in 0..3 {
        let mean = |v: &[f32]| v[channel..].iter().step_by(3).sum::<f32>() / pixels;
        let (mean_a, mean_b) = (mean(a), mean(b));
        for (a, b) in a[channel..].iter().step_by(3).zip(b[channel..].iter().step_by(3)) {
            let (a, b) = (a - mean_a, b - mean_b);
            aa += a * a;
            bb += b * b;
            ab += a * b;
        }
    }
    let least = FLAT * a.len() as f32;
    (aa > least && bb > least).then(|| ab / (aa * bb).sqrt())
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
        cuts.is_cut(&frame)
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
        assert!(!is_cut(&mut cuts, &picture(8, 1.0)), "black says nothing about what comes after it");
        assert!(!is_cut(&mut cuts, &[200, 100, 50].repeat(SIZE * SIZE)), "nor does any other colour");
    }
}
