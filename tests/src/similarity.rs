//! How alike two pictures of faces are in colour.

use deepfake_kernels::Rect;

use crate::Picture;

const STEPS: usize = 8;

/// Share of pixels of each colour (8 steps a channel) within `area`, or within all of the picture.
#[derive(Clone, Debug)]
pub struct Histogram(Vec<f32>);

impl Histogram {
    /// Counts the colours of `picture`.
    pub fn of(picture: &Picture, area: Option<Rect>) -> Self {
        let area = area.unwrap_or(Rect::new(0.0, 0.0, picture.width as f32, picture.height as f32));
        let clip = |v: f32, most: usize| (v.max(0.0) as usize).min(most);
        let columns = clip(area.x, picture.width)..clip(area.x + area.width, picture.width);
        let mut shares = vec![0.0; STEPS * STEPS * STEPS];
        let mut count = 0.0f32;
        for row in clip(area.y, picture.height)..clip(area.y + area.height, picture.height) {
            for column in columns.clone() {
                let pixel = &picture.rgb[(row * picture.width + column) * 3..][..3];
                let bin = pixel.iter().fold(0, |bin, &v| bin * STEPS + usize::from(v) * STEPS / 256);
                shares[bin] += 1.0;
                count += 1.0;
            }
        }
        shares.iter_mut().for_each(|s| *s /= count.max(1.0));
        Self(shares)
    }

    /// 0 for the same colours in the same shares, 1 for none in common.
    pub fn distance(&self, other: &Self) -> f32 {
        self.0.iter().zip(&other.0).map(|(a, b)| (a - b).abs()).sum::<f32>() / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(color: [u8; 3]) -> Picture {
        Picture { time: None, duration: None, width: 4, height: 4, rgb: color.repeat(16) }
    }

    #[test]
    fn colours_in_common_lower_the_distance() {
        let (red, blue) =
            (Histogram::of(&plain([255, 0, 0]), None), Histogram::of(&plain([0, 0, 255]), None));
        assert_eq!(red.distance(&blue), 1.0);
        assert_eq!(red.distance(&red), 0.0);
    }
}
