//! What drawing does to a frame, on every device of this machine.

mod picture;

use deepfake_kernels::{
    draw_disc, draw_rect, draw_text, test_devices, text_size, ColorMatrix, ColorRange, Device, DeviceError,
    FrameBuffer, PixelFormat, Point, Rect, Shape, Tensor,
};
use picture::{Picture, Random};

const RED: [f32; 3] = [1.0, 0.0, 0.0];
const WHITE: [f32; 3] = [1.0; 3];
const BLACK: [f32; 3] = [0.0; 3];

fn draw(device: &Device, picture: &mut Picture, shapes: &[Shape<'_>]) {
    picture.change_on(device, |frame| device.draw(shapes, frame)).unwrap();
}

fn outline(x: f32, y: f32, width: f32, height: f32, thickness_px: usize, color: [f32; 3]) -> Shape<'static> {
    Shape::Rect { rect: Rect::new(x, y, width, height), thickness_px, color }
}

fn disc(x: f32, y: f32, radius: f32, color: [f32; 3]) -> Shape<'static> {
    Shape::Disc { center: Point { x, y }, radius, color }
}

fn text(
    x: i32,
    y: i32,
    height_px: usize,
    text: &str,
    color: [f32; 3],
    background: Option<[f32; 3]>,
) -> Shape<'_> {
    Shape::Text { x, y, height_px, text, color, background }
}

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
    for device in test_devices() {
        for format in [PixelFormat::Rgb, PixelFormat::Nv12] {
            let mut picture = Picture::filled(format, 8, 6, 0);
            draw(&device, &mut picture, &[outline(0.6, 0.4, 6.0, 5.0, 1, WHITE)]);
            let expected = [".######.", ".#....#.", ".#....#.", ".#....#.", ".######.", "........"];
            assert_eq!(shape(&picture), expected, "{device:?} {format:?}");
        }
    }
}

#[test]
fn a_thick_box_is_full() {
    for device in test_devices() {
        let mut picture = Picture::filled(PixelFormat::Rgb, 6, 4, 0);
        draw(&device, &mut picture, &[outline(1.0, 1.0, 4.0, 2.0, 9, WHITE)]);
        assert_eq!(shape(&picture), ["......", ".####.", ".####.", "......"], "{device:?}");
    }
}

#[test]
fn a_disc_holds_the_pixels_whose_centres_are_near() {
    for device in test_devices() {
        let mut picture = Picture::filled(PixelFormat::Bgra, 7, 7, 0);
        draw(&device, &mut picture, &[disc(3.5, 3.5, 2.3, WHITE)]);
        let expected = [".......", "..###..", ".#####.", ".#####.", ".#####.", "..###..", "......."];
        assert_eq!(shape(&picture), expected, "{device:?}");
    }
}

#[test]
fn text_is_legible_and_scaled_by_whole_numbers() {
    assert_eq!(text_size("L?", 7), (13, 9));
    assert_eq!(text_size("L?\nabc", 20), (38, 34));
    for device in test_devices() {
        let mut picture = Picture::filled(PixelFormat::I420, 14, 10, 0);
        draw(&device, &mut picture, &[text(0, 0, 7, "L?", WHITE, None)]);
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
            ],
            "{device:?}"
        );
        let mut large = Picture::filled(PixelFormat::I420, 28, 20, 0);
        draw(&device, &mut large, &[text(0, 0, 14, "L?", WHITE, None)]);
        let (small, large) = (shape(&picture), shape(&large));
        for (y, row) in large.iter().enumerate() {
            for (x, dot) in row.bytes().enumerate() {
                assert_eq!(dot, small[y / 2].as_bytes()[x / 2]);
            }
        }
    }
}

#[test]
fn a_background_fills_the_size_of_the_text() {
    for device in test_devices() {
        let mut picture = Picture::filled(PixelFormat::Rgb, 40, 20, 7);
        draw(&device, &mut picture, &[text(3, 2, 7, "a", WHITE, Some(BLACK))]);
        let (width, height) = text_size("a", 7);
        for y in 0..20 {
            for x in 0..40 {
                let inside = (3..3 + width).contains(&x) && (2..2 + height).contains(&y);
                assert_eq!(picture.pixel(0, x, y) != [7, 7, 7], inside, "{device:?} {x} {y}");
            }
        }
    }
}

#[test]
fn red_has_the_bytes_of_each_format() {
    for device in test_devices() {
        for format in PixelFormat::ALL {
            let mut picture = Picture::filled(format, 6, 6, 1);
            draw(&device, &mut picture, &[outline(2.0, 2.0, 2.0, 2.0, 5, RED)]);
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
            assert_eq!(pixels, expected, "{device:?} {format:?}");
            let outside: Vec<_> = (0..format.planes()).map(|plane| picture.pixel(plane, 0, 0)).collect();
            assert!(outside.concat().iter().all(|byte| *byte == 1), "{device:?} {format:?}");
        }
    }
}

#[test]
fn a_line_one_pixel_thin_keeps_its_colour_in_subsampled_formats() {
    for device in test_devices() {
        let mut picture = Picture::filled(PixelFormat::Nv12, 7, 7, 128);
        draw(&device, &mut picture, &[outline(0.0, 0.0, 7.0, 7.0, 1, RED)]);
        assert_eq!(picture.pixel(1, 3, 1), [90, 240], "{device:?}: right edge of an odd width");
        assert_eq!(picture.pixel(1, 1, 3), [90, 240], "{device:?}: lower edge of an odd height");
        assert_eq!(picture.pixel(1, 1, 1), [128, 128], "{device:?}: inside");
    }
}

#[test]
fn the_last_shape_covers_the_others() {
    for device in test_devices() {
        let mut picture = Picture::filled(PixelFormat::Rgb, 9, 9, 0);
        // More than one launch takes.
        let shapes: Vec<_> = (0..300)
            .map(|index| match index {
                299 => disc(4.5, 4.5, 1.0, RED),
                _ => disc(4.5, 4.5, 3.0, [0.0, 0.0, index as f32 / 298.0]),
            })
            .collect();
        draw(&device, &mut picture, &shapes);
        assert_eq!(picture.pixel(0, 4, 4), [255, 0, 0], "{device:?}");
        assert_eq!(picture.pixel(0, 4, 2), [0, 0, 255], "{device:?}");
        draw(&device, &mut picture, &[]);
        assert_eq!(picture.pixel(0, 4, 0), [0, 0, 0], "{device:?}");
    }
}

#[test]
fn nothing_is_drawn_outside_and_padding_stays() {
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e30, 1e30, -3.0, 0.0, 2.5, 100.0];
    let mut shapes = Vec::new();
    for x in values {
        for y in values {
            for size in values {
                shapes.push(outline(x, y, size, size, usize::MAX, WHITE));
                shapes.push(outline(x, y, size, size, 2, WHITE));
                shapes.push(disc(x, y, size, BLACK));
                shapes.push(text(x as i32, y as i32, size as usize, "ab\nc\u{1f600}", WHITE, Some(RED)));
            }
        }
    }
    for device in test_devices() {
        for format in PixelFormat::ALL {
            let mut picture = Picture::filled(format, 5, 5, 9);
            draw(&device, &mut picture, &shapes);
            assert!(picture.padding_is_untouched(), "{device:?} {format:?}");
            // The same pixels as on the CPU, one shape at a time.
            let mut expected = Picture::filled(format, 5, 5, 9);
            for shape in &shapes {
                let mut frame = expected.frame_mut();
                match *shape {
                    Shape::Rect { rect, thickness_px, color } => {
                        draw_rect(&mut frame, rect, thickness_px, color)
                    }
                    Shape::Disc { center, radius, color } => draw_disc(&mut frame, center, radius, color),
                    Shape::Text { x, y, height_px, text, color, background } => {
                        draw_text(&mut frame, x, y, height_px, text, color, background);
                    }
                }
            }
            assert_eq!(picture.bytes(), expected.bytes(), "{device:?} {format:?}");
        }
        let mut picture = Picture::filled(PixelFormat::Rgb, 5, 5, 9);
        let outside = [
            outline(-9.0, 2.0, 4.0, 4.0, 2, WHITE),
            disc(f32::NAN, 2.0, 3.0, WHITE),
            disc(2.0, 2.0, -1.0, WHITE),
            text(0, -30, 7, "text", WHITE, Some(RED)),
        ];
        draw(&device, &mut picture, &outside);
        let untouched = |index: usize| picture.pixel(0, index % 5, index / 5) == [9, 9, 9];
        assert!((0..25).all(untouched), "{device:?}");
    }
}

#[test]
fn every_device_draws_what_the_cpu_does() {
    let mut random = Random(21);
    let others: Vec<_> = test_devices().into_iter().filter(|device| device.cuda().is_some()).collect();
    for round in 0..30 {
        for format in PixelFormat::ALL {
            let mut between = |low: f32, high: f32| low + (high - low) * random.next();
            let (width, height) = (between(1.0, 150.0) as usize, between(1.0, 120.0) as usize);
            let shapes: Vec<_> = (0..1 + round * 3)
                .map(|_| {
                    let (x, y) = (between(-20.0, 160.0), between(-20.0, 130.0));
                    let color = [between(-0.1, 1.1), between(-0.1, 1.1), between(-0.1, 1.1)];
                    match between(0.0, 3.0) as usize {
                        0 => outline(
                            x,
                            y,
                            between(0.0, 90.0),
                            between(0.0, 90.0),
                            between(0.0, 5.0) as usize,
                            color,
                        ),
                        1 => disc(x, y, between(0.0, 30.0), color),
                        _ => {
                            let background = (between(0.0, 1.0) > 0.5).then_some([0.1, 0.2, 0.3]);
                            text(
                                x as i32,
                                y as i32,
                                between(0.0, 40.0) as usize,
                                "Face 97 %\n(x)",
                                color,
                                background,
                            )
                        }
                    }
                })
                .collect();
            let mut expected = Picture::noise(format, width, height);
            expected.color.matrix = [ColorMatrix::Bt601, ColorMatrix::Bt709][round % 2];
            expected.color.range = [ColorRange::Full, ColorRange::Limited][round / 2 % 2];
            for device in &others {
                let mut picture = Picture::noise(format, width, height);
                picture.color = expected.color;
                draw(device, &mut picture, &shapes);
                draw(&Device::Cpu, &mut expected, &shapes);
                assert_eq!(picture.bytes(), expected.bytes(), "{format:?} {width}x{height} {shapes:?}");
            }
            // Where there is no other device, that nothing is drawn outside is still to be seen.
            draw(&Device::Cpu, &mut expected, &shapes);
            assert!(expected.padding_is_untouched(), "{format:?} {width}x{height}");
        }
    }
}

/// Lays values over a picture.
fn heat(device: &Device, picture: &mut Picture, map: &Tensor, area: Rect, opacity: f32) {
    let mut there = Tensor::default();
    device.upload(map, &mut there).unwrap();
    picture.change_on(device, |frame| device.draw_heat(&there, area, opacity, frame)).unwrap();
}

#[test]
fn heat_takes_its_colours_from_the_ramp_and_mixes_them_by_its_opacity() {
    let map = Tensor::from_vec(&[1, 2], vec![0.0, 1.0]);
    for device in test_devices() {
        // 4 pixels over 2 cells: 0, 1/4, 3/4 and 1 of the way; two opaque, and in the row below nothing.
        let mut picture = Picture::filled(PixelFormat::Rgba, 6, 2, 100);
        heat(&device, &mut picture, &map, Rect::new(1.0, 0.0, 4.0, 1.0), 1.0);
        let row: Vec<_> = (0..6).map(|x| picture.pixel(0, x, 0)).collect();
        let blue = vec![41, 46, 140, 255]; // 0.16, 0.18, 0.55
        let blue_green = vec![18, 120, 158, 255]; // 0.07, 0.47, 0.62
        let yellow = vec![242, 217, 64, 255]; // 0.95, 0.85, 0.25
        let red = vec![217, 41, 31, 255]; // 0.85, 0.16, 0.12
        let old = vec![100; 4];
        assert_eq!(row, [old.clone(), blue, blue_green, yellow, red, old.clone()], "{device:?}");
        assert!((0..6).all(|x| picture.pixel(0, x, 1) == old), "{device:?}");

        // A quarter of red, blue first: 100 + (31 - 100) / 4 and so on.
        let mut picture = Picture::filled(PixelFormat::Bgr, 1, 1, 100);
        let full = Tensor::from_vec(&[1, 1], vec![7.0]);
        heat(&device, &mut picture, &full, Rect::new(0.0, 0.0, 1.0, 1.0), 0.25);
        assert_eq!(picture.pixel(0, 0, 0), [83, 85, 129], "{device:?}");
    }
}

#[test]
fn heat_in_subsampled_formats_mixes_code_values() {
    // Green, 0.2, 0.68, 0.42 in BT.601 of limited range: luma 16 + 219 * (0.299 * 0.2 + 0.587 * 0.68 + 0.114 * 0.42) =
    // 127.00; blue 128 + 224 * (0.42 - 0.50684) / 1.772 = 117.02; red 128 + 224 * (0.2 - 0.50684) / 1.402 = 78.98.
    let map = Tensor::from_vec(&[1, 1], vec![0.5]);
    for device in test_devices() {
        for format in [PixelFormat::Nv12, PixelFormat::I420] {
            let difference = |picture: &Picture, x, y| match format {
                PixelFormat::Nv12 => picture.pixel(1, x, y),
                _ => [picture.pixel(1, x, y), picture.pixel(2, x, y)].concat(),
            };
            let mut picture = Picture::filled(format, 5, 3, 0);
            heat(&device, &mut picture, &map, Rect::new(0.0, 0.0, 2.0, 2.0), 1.0);
            assert_eq!(picture.pixel(0, 1, 1), [127], "{device:?} {format:?}");
            assert_eq!(difference(&picture, 0, 0), [117, 79], "{device:?} {format:?}");
            assert_eq!(picture.pixel(0, 2, 0), [0], "{device:?} {format:?}");

            // One pixel of four: a quarter of the difference, 29.26 and 19.75.
            let mut picture = Picture::filled(format, 5, 3, 0);
            heat(&device, &mut picture, &map, Rect::new(1.0, 1.0, 1.0, 1.0), 1.0);
            assert_eq!(picture.pixel(0, 1, 1), [127], "{device:?} {format:?}");
            assert_eq!(picture.pixel(0, 0, 1), [0], "{device:?} {format:?}");
            assert_eq!(difference(&picture, 0, 0), [29, 20], "{device:?} {format:?}");

            // In the corner of an odd size a sample has one pixel; half of it: 63.5, 58.51 and 39.49.
            let mut picture = Picture::filled(format, 5, 3, 0);
            heat(&device, &mut picture, &map, Rect::new(4.0, 2.0, 9.0, 9.0), 0.5);
            assert_eq!(difference(&picture, 2, 1), [59, 39], "{device:?} {format:?}");
            assert_eq!(difference(&picture, 1, 1), [0, 0], "{device:?} {format:?}");
            assert!(picture.padding_is_untouched(), "{device:?} {format:?}");
        }
    }
}

#[test]
fn senseless_heat_changes_nothing_outside_its_area() {
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e30, 1e30, -3.0, 0.0, 2.5, 100.0];
    let map = Tensor::from_vec(&[3, 3], values.to_vec());
    for device in test_devices() {
        for format in PixelFormat::ALL {
            let mut picture = Picture::filled(format, 5, 5, 9);
            for x in values {
                for size in values {
                    for opacity in [f32::NAN, -1.0, 0.5, 9.0] {
                        heat(&device, &mut picture, &map, Rect::new(x, -1.0, size, size), opacity);
                    }
                }
            }
            assert!(picture.padding_is_untouched(), "{device:?} {format:?}");
            let mut picture = Picture::filled(format, 5, 5, 9);
            let before = picture.bytes();
            for area in [Rect::new(f32::NAN, 0.0, 5.0, 5.0), Rect::new(6.0, 0.0, 5.0, 5.0), Rect::default()] {
                heat(&device, &mut picture, &map, area, 1.0);
            }
            heat(&device, &mut picture, &map, Rect::new(0.0, 0.0, 5.0, 5.0), f32::NAN);
            assert_eq!(picture.bytes(), before, "{device:?} {format:?}");
        }
    }
}

#[test]
fn every_device_lays_the_same_heat() {
    let mut random = Random(33);
    for device in test_devices().into_iter().filter(|device| device.cuda().is_some()) {
        for round in 0..20 {
            for format in PixelFormat::ALL {
                let mut between = |low: f32, high: f32| low + (high - low) * random.next();
                let (width, height) = (between(1.0, 150.0) as usize, between(1.0, 90.0) as usize);
                let (rows, columns) = (between(1.0, 20.0) as usize, between(1.0, 20.0) as usize);
                let map = (0..rows * columns).map(|_| between(-0.1, 1.1)).collect();
                let map = Tensor::from_vec(&[rows, columns], map);
                let area = Rect::new(
                    between(-30.0, 90.0),
                    between(-30.0, 60.0),
                    between(1.0, 190.0),
                    between(1.0, 99.0),
                );
                let (mut expected, mut picture) =
                    (Picture::noise(format, width, height), Picture::noise(format, width, height));
                expected.color.matrix = [ColorMatrix::Bt601, ColorMatrix::Bt709][round % 2];
                expected.color.range = [ColorRange::Full, ColorRange::Limited][round / 2 % 2];
                picture.color = expected.color;
                let opacity = between(0.0, 1.0);
                heat(&Device::Cpu, &mut expected, &map, area, opacity);
                heat(&device, &mut picture, &map, area, opacity);
                assert_eq!(
                    picture.bytes(),
                    expected.bytes(),
                    "{format:?} {width}x{height} {area:?} {opacity}"
                );
            }
        }
    }
}

#[test]
fn frames_and_maps_on_another_device_are_refused() {
    let wrong = |result| assert!(matches!(result, Err(DeviceError::WrongMemory { .. })), "{result:?}");
    for device in test_devices().into_iter().filter(|device| device.cuda().is_some()) {
        let mut picture = Picture::noise(PixelFormat::Rgb, 4, 4);
        let mut there = FrameBuffer::new(&device, picture.layout()).unwrap();
        wrong(device.draw(&[], &mut picture.frame_mut()));
        wrong(Device::Cpu.draw(&[], &mut there.frame_mut()));
        let (map, area) = (Tensor::zeros(&[2, 2]), Rect::new(0.0, 0.0, 4.0, 4.0));
        wrong(device.draw_heat(&map, area, 1.0, &mut there.frame_mut()));
        wrong(device.draw_heat(&map, area, 1.0, &mut picture.frame_mut()));
        let mut map_there = Tensor::default();
        device.upload(&map, &mut map_there).unwrap();
        wrong(Device::Cpu.draw_heat(&map_there, area, 1.0, &mut picture.frame_mut()));
    }
}
