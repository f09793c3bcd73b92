//! Verdicts drawn into the picture.

use deepfake_kernels::{Device, FrameMut, Point, Rect, Shape, Tensor};

use super::{Analysis, Label};
use crate::Result;

/// Cells of a heat map along each side.
const CELLS: usize = 16;
/// How much of the picture a heat map hides.
const OPACITY: f32 = 0.35;

/// Draws a box about each face, coloured by its label (green real, red fake, yellow uncertain), and above it the label
/// with the smoothed score in percent. Faces of which several crops were looked at in this frame are covered by a heat map:
/// at each place the mean score of the crops that hold it.
///
/// # Errors
/// [`crate::Error::Device`] if the frame does not lie on `device`.
pub(super) fn draw(device: &Device, analysis: &Analysis, frame: &mut FrameMut<'_>) -> Result<()> {
    for crops in analysis.crops.iter().filter(|crops| crops.len() > 1) {
        if let Some((area, heat)) = heat(crops) {
            let mut map = Tensor::default();
            device.upload(&heat, &mut map)?;
            device.draw_heat(&map, area, OPACITY, frame)?;
        }
    }
    // Lines and letters that can be read at any size.
    let unit = (frame.height() / 240).max(1);
    let (height_px, gap) = (10 * unit, 2 * unit as i32);
    let texts: Vec<String> = analysis
        .faces
        .iter()
        .map(|face| format!("#{} {} {:.0}%", face.track_id, face.label.name(), face.smoothed_score * 100.0))
        .collect();
    let mut shapes = Vec::new();
    for (face, text) in analysis.faces.iter().zip(&texts) {
        let color = match face.label {
            Label::Real => [0.1, 0.8, 0.2],
            Label::Fake => [0.95, 0.15, 0.15],
            Label::Uncertain => [0.95, 0.8, 0.1],
        };
        shapes.push(Shape::Rect { rect: face.rect, thickness_px: unit, color });
        let (x, top) = (face.rect.x as i32, face.rect.y as i32);
        let above = top - height_px as i32 - gap;
        let y = if above >= 0 { above } else { top + gap };
        shapes.push(Shape::Text { x, y, height_px, text, color: [1.0; 3], background: Some(color) });
    }
    if shapes.is_empty() {
        let text = "no face";
        shapes.push(Shape::Text {
            x: gap,
            y: gap,
            height_px,
            text,
            color: [1.0; 3],
            background: Some([0.3; 3]),
        });
    }
    Ok(device.draw(&shapes, frame)?)
}

/// The area of all crops of a face, and in each cell of it the mean score of the crops that hold its middle.
fn heat(crops: &[(Rect, f32)]) -> Option<(Rect, Tensor)> {
    let corners = crops
        .iter()
        .flat_map(|(r, _)| [Point { x: r.x, y: r.y }, Point { x: r.x + r.width, y: r.y + r.height }]);
    let area = Rect::bounding(corners)?;
    let cell = |index: usize, from: f32, length: f32| from + (index as f32 + 0.5) / CELLS as f32 * length;
    let values = (0..CELLS * CELLS).map(|index| {
        let (x, y) = (cell(index % CELLS, area.x, area.width), cell(index / CELLS, area.y, area.height));
        let within = |r: &Rect| x >= r.x && x < r.x + r.width && y >= r.y && y < r.y + r.height;
        let (mut sum, mut count) = (0.0, 0.0f32);
        for (_, score) in crops.iter().filter(|(rect, _)| within(rect)) {
            sum += score;
            count += 1.0;
        }
        sum / count.max(1.0)
    });
    Some((area, Tensor::from_vec(&[CELLS, CELLS], values.collect())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{detect::FaceReport, StageTimes};
    use deepfake_kernels::{ColorSpace, PixelFormat, PlaneMut};

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
        let analysis = Analysis { faces: vec![face], crops: Vec::new(), times: StageTimes::default() };
        let plane = PlaneMut { data: &mut pixels, stride: 64 * 3 };
        let mut frame = FrameMut::new(PixelFormat::Rgb, ColorSpace::default(), 64, 64, vec![plane]).unwrap();
        draw(&Device::Cpu, &analysis, &mut frame).unwrap();
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

    #[test]
    fn heat_is_the_mean_score_of_the_crops_at_a_place() {
        let crops = [(Rect::new(0.0, 0.0, 16.0, 32.0), 1.0), (Rect::new(8.0, 0.0, 24.0, 32.0), 0.5)];
        let (area, map) = heat(&crops).unwrap();
        assert_eq!(area, Rect::new(0.0, 0.0, 32.0, 32.0));
        let row = &map.data()[..CELLS];
        assert_eq!((row[0], row[5], row[12]), (1.0, 0.75, 0.5));
        assert!(heat(&[]).is_none());
    }
}
