//! Verdicts drawn into the picture.

use deepfake_kernels::{draw_rect, draw_text, FrameMut};

use super::{Analysis, Label};

/// Draws a box about each face, coloured by its label (green real, red fake, yellow uncertain), and above it the label
/// with the smoothed score in percent.
pub fn draw_overlay(analysis: &Analysis, frame: &mut FrameMut<'_>) {
    // Lines and letters that can be read at any size.
    let unit = (frame.height() / 240).max(1);
    let (text_height, gap) = (10 * unit, 2 * unit as i32);
    for face in &analysis.faces {
        let color = match face.label {
            Label::Real => [0.1, 0.8, 0.2],
            Label::Fake => [0.95, 0.15, 0.15],
            Label::Uncertain => [0.95, 0.8, 0.1],
        };
        draw_rect(frame, face.rect, unit, color);
        let text = format!("#{} {} {:.0}%", face.track_id, face.label.name(), face.smoothed_score * 100.0);
        let (x, top) = (face.rect.x as i32, face.rect.y as i32);
        let above = top - text_height as i32 - gap;
        let y = if above >= 0 { above } else { top + gap };
        draw_text(frame, x, y, text_height, &text, [1.0; 3], Some(color));
    }
    if analysis.faces.is_empty() {
        draw_text(frame, gap, gap, text_height, "no face", [1.0; 3], Some([0.3; 3]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{detect::FaceReport, StageTimes};
    use deepfake_kernels::{ColorSpace, PixelFormat, PlaneMut, Rect};

    fn drawn(label: Label) -> Vec<u8> {
        let mut pixels = vec![0u8; 64 * 64 * 3];
        let face = FaceReport {
            track_id: 1,
            rect: Rect::new(20.0, 30.0, 24.0, 24.0),
            detection_confidence: 1.0,
            score: 0.5,
            smoothed_score: 0.5,
            label,
            stale: false,
        };
        let analysis = Analysis { faces: vec![face], times: StageTimes::default() };
        let plane = PlaneMut { data: &mut pixels, stride: 64 * 3 };
        let mut frame = FrameMut::new(PixelFormat::Rgb, ColorSpace::default(), 64, 64, vec![plane]).unwrap();
        draw_overlay(&analysis, &mut frame);
        pixels
    }

    #[test]
    fn a_fake_is_framed_in_red_and_a_real_face_in_green() {
        let at = |pixels: &[u8]| -> [u8; 3] { pixels[(45 * 64 + 20) * 3..][..3].try_into().unwrap() };
        let (fake, real) = (at(&drawn(Label::Fake)), at(&drawn(Label::Real)));
        assert!(fake[0] > 2 * fake[1], "{fake:?}");
        assert!(real[1] > 2 * real[0], "{real:?}");
    }

    #[test]
    fn the_inside_of_the_box_is_left_alone() {
        let pixels = drawn(Label::Fake);
        assert_eq!(pixels[(42 * 64 + 32) * 3..][..3], [0, 0, 0]);
    }
}
