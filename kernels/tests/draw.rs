//! What the drawing functions do to a frame.

mod picture;

use deepfake_kernels::{draw_disc, draw_rect, draw_text, text_size, PixelFormat, Point, Rect};
use picture::Picture;

const RED: [f32; 3] = [1.0, 0.0, 0.0];
const WHITE: [f32; 3] = [1.0; 3];
const BLACK: [f32; 3] = [0.0; 3];

/// The plane that shows shapes: `#` where its byte is not 0.
fn shape(picture: &Picture) -> Vec<String> {
    (0..picture.height)
        .map(|y| {
            let dot = |x| if picture.pixel(0, x, y) != vec![0; picture.step(0)] { '#' } else { '.' };
            (0..picture.width).map(dot).collect()
        })
        .collect()
}

#[test]
fn a_box_is_an_outline_inside_its_rounded_edges() {
    for format in [PixelFormat::Rgb, PixelFormat::Nv12] {
        let mut picture = Picture::filled(format, 8, 6, 0);
        draw_rect(&mut picture.frame_mut(), Rect::new(0.6, 0.4, 6.0, 5.0), 1, WHITE);
        let expected = [".######.", ".#....#.", ".#....#.", ".#....#.", ".######.", "........"];
        assert_eq!(shape(&picture), expected, "{format:?}");
    }
}

#[test]
fn a_thick_box_is_full() {
    let mut picture = Picture::filled(PixelFormat::Rgb, 6, 4, 0);
    draw_rect(&mut picture.frame_mut(), Rect::new(1.0, 1.0, 4.0, 2.0), 9, WHITE);
    assert_eq!(shape(&picture), ["......", ".####.", ".####.", "......"]);
}

#[test]
fn a_disc_holds_the_pixels_whose_centres_are_near() {
    let mut picture = Picture::filled(PixelFormat::Bgra, 7, 7, 0);
    draw_disc(&mut picture.frame_mut(), Point { x: 3.5, y: 3.5 }, 2.3, WHITE);
    let expected = [".......", "..###..", ".#####.", ".#####.", ".#####.", "..###..", "......."];
    assert_eq!(shape(&picture), expected);
}

#[test]
fn text_is_legible_and_scaled_by_whole_numbers() {
    let mut picture = Picture::filled(PixelFormat::I420, 14, 10, 0);
    draw_text(&mut picture.frame_mut(), 0, 0, 7, "L?", WHITE, None);
    // Luma of black is 0 here because the picture is full of zeros.
    assert_eq!(
        shape(&picture),
        [
            "..............",
            ".#......###...",
            ".#.....#...#..",
            ".#.........#..",
            ".#.......##...",
            ".#.......#....",
            ".#............",
            ".#####...#....",
            "..............",
            ".............."
        ]
    );
    assert_eq!(text_size("L?", 7), (13, 9));
    assert_eq!(text_size("L?\nabc", 20), (38, 34));
    let mut large = Picture::filled(PixelFormat::I420, 28, 20, 0);
    draw_text(&mut large.frame_mut(), 0, 0, 14, "L?", WHITE, None);
    let (small, large) = (shape(&picture), shape(&large));
    for (y, row) in large.iter().enumerate() {
        for (x, dot) in row.bytes().enumerate() {
            assert_eq!(dot, small[y / 2].as_bytes()[x / 2]);
        }
    }
}

#[test]
fn a_background_fills_the_size_of_the_text() {
    let mut picture = Picture::filled(PixelFormat::Rgb, 40, 20, 7);
    draw_text(&mut picture.frame_mut(), 3, 2, 7, "a", WHITE, Some(BLACK));
    let (width, height) = text_size("a", 7);
    for y in 0..20 {
        for x in 0..40 {
            let inside = (3..3 + width).contains(&x) && (2..2 + height).contains(&y);
            assert_eq!(picture.pixel(0, x, y) != [7, 7, 7], inside, "{x} {y}");
        }
    }
}

#[test]
fn red_has_the_bytes_of_each_format() {
    for format in PixelFormat::ALL {
        let mut picture = Picture::filled(format, 6, 6, 1);
        draw_rect(&mut picture.frame_mut(), Rect::new(2.0, 2.0, 2.0, 2.0), 5, RED);
        let pixels: Vec<_> = (0..format.planes())
            .map(|plane| if plane == 0 { picture.pixel(0, 3, 3) } else { picture.pixel(plane, 1, 1) })
            .collect();
        let expected: Vec<Vec<u8>> = match format {
            PixelFormat::Rgb => vec![vec![255, 0, 0]],
            PixelFormat::Bgr => vec![vec![0, 0, 255]],
            PixelFormat::Rgba | PixelFormat::Rgbx => vec![vec![255, 0, 0, 255]],
            PixelFormat::Bgra | PixelFormat::Bgrx => vec![vec![0, 0, 255, 255]],
            // BT.601, limited.
            PixelFormat::Nv12 => vec![vec![81], vec![90, 240]],
            PixelFormat::I420 => vec![vec![81], vec![90], vec![240]],
        };
        assert_eq!(pixels, expected, "{format:?}");
        let outside: Vec<_> = (0..format.planes()).map(|plane| picture.pixel(plane, 0, 0)).collect();
        assert!(outside.concat().iter().all(|byte| *byte == 1), "{format:?}");
    }
}

#[test]
fn a_line_one_pixel_thin_keeps_its_colour_in_subsampled_formats() {
    let mut picture = Picture::filled(PixelFormat::Nv12, 7, 7, 128);
    draw_rect(&mut picture.frame_mut(), Rect::new(0.0, 0.0, 7.0, 7.0), 1, RED);
    assert_eq!(picture.pixel(1, 3, 1), [90, 240], "right edge of an odd width");
    assert_eq!(picture.pixel(1, 1, 3), [90, 240], "lower edge of an odd height");
    assert_eq!(picture.pixel(1, 1, 1), [128, 128], "inside");
}

#[test]
fn nothing_is_drawn_outside_and_padding_stays() {
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e30, 1e30, -3.0, 0.0, 2.5, 100.0];
    for format in PixelFormat::ALL {
        let mut picture = Picture::filled(format, 5, 5, 9);
        for x in values {
            for y in values {
                for size in values {
                    let mut frame = picture.frame_mut();
                    draw_rect(&mut frame, Rect::new(x, y, size, size), usize::MAX, WHITE);
                    draw_rect(&mut frame, Rect::new(x, y, size, size), 2, WHITE);
                    draw_disc(&mut frame, Point { x, y }, size, WHITE);
                    let size = size as usize;
                    draw_text(&mut frame, x as i32, y as i32, size, "ab\nc\u{1f600}", WHITE, Some(RED));
                }
            }
        }
        assert!(picture.padding_is_untouched(), "{format:?}");
    }
    let mut picture = Picture::filled(PixelFormat::Rgb, 5, 5, 9);
    draw_rect(&mut picture.frame_mut(), Rect::new(-9.0, 2.0, 4.0, 4.0), 2, WHITE);
    draw_disc(&mut picture.frame_mut(), Point { x: f32::NAN, y: 2.0 }, 3.0, WHITE);
    draw_disc(&mut picture.frame_mut(), Point { x: 2.0, y: 2.0 }, -1.0, WHITE);
    draw_text(&mut picture.frame_mut(), 0, -30, 7, "text", WHITE, Some(RED));
    assert!((0..25).all(|index| picture.pixel(0, index % 5, index / 5) == [9, 9, 9]));
}
