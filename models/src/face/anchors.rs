//! Where the rows of an anchor detector's output sit in the picture.

use deepfake_kernels::Point;

/// Centres of the anchors, in pixels of the network's input, in the order of the output's rows.
///
/// `strides` holds `[stride in input pixels, anchors a cell]`. The picture is divided into cells of each stride in
/// turn, row by row; every anchor of a cell sits in its middle. BlazeFace has no anchor sizes: boxes are regressed
/// in pixels (Bazarevsky et al., 2019; MediaPipe's `ssd_anchors_calculator` with `fixed_anchor_size`).
pub(super) fn anchors(width: usize, height: usize, strides: &[[usize; 2]]) -> Vec<Point> {
    let mut centers = Vec::new();
    for &[stride, count] in strides {
        for row in 0..height.div_ceil(stride) {
            for column in 0..width.div_ceil(stride) {
                let center =
                    Point { x: (column as f32 + 0.5) * stride as f32, y: (row as f32 + 0.5) * stride as f32 };
                centers.extend(std::iter::repeat_n(center, count));
            }
        }
    }
    centers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blazeface_short_range_has_896_anchors() {
        let centers = anchors(128, 128, &[[8, 2], [16, 6]]);
        assert_eq!(centers.len(), 896);
        assert_eq!(centers[0], Point { x: 4.0, y: 4.0 });
        assert_eq!(centers[1], centers[0]);
        assert_eq!(centers[2], Point { x: 12.0, y: 4.0 });
        assert_eq!(centers[32], Point { x: 4.0, y: 12.0 });
        assert_eq!(centers[511], Point { x: 124.0, y: 124.0 });
        assert_eq!(centers[512], Point { x: 8.0, y: 8.0 });
        assert_eq!(centers[895], Point { x: 120.0, y: 120.0 });
    }

    #[test]
    fn blazeface_full_range_has_2304_anchors() {
        let centers = anchors(192, 192, &[[4, 1]]);
        assert_eq!(centers.len(), 2304);
        assert_eq!(centers[49], Point { x: 6.0, y: 6.0 });
    }
}
