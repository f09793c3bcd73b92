//! What holds for every frame, map and number of threads.

mod picture;

use deepfake_kernels::{
    compose, sample, Affine, Border, Channels, ColorMatrix, ColorRange, ColorSpace, Layer, Layout,
    PixelFormat, Point, Rect, SampleSpec,
};
use picture::{Picture, Random};

const BORDERS: [Border; 3] = [Border::Constant([0.3, 0.6, 0.9]), Border::Replicate, Border::Mirror];

fn spec(width: usize, height: usize, border: Border) -> SampleSpec {
    let (layout, channels) = (Layout::Nchw, Channels::Rgb);
    SampleSpec { width, height, layout, channels, mean: [0.0; 3], std: [1.0; 3], border }
}

fn sampled(picture: &Picture, map: &Affine, spec: &SampleSpec) -> Vec<f32> {
    let mut output = vec![f32::NAN; 3 * spec.width * spec.height];
    sample(&picture.frame(), map, spec, &mut output);
    output
}

fn on_threads<T: Send>(count: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap().install(run)
}

/// Maps of all kinds that a broken tracker might produce.
fn senseless_maps() -> Vec<Affine> {
    let values = [0.0, f32::NAN, f32::INFINITY, -f32::INFINITY, f32::MAX, -1e30, 1e-30, 1e6, -1.0, 0.3];
    let mut random = Random(7);
    let mut pick = || values[(random.next() * values.len() as f32) as usize];
    let mut maps: Vec<_> = (0..400).map(|_| Affine { m: std::array::from_fn(|_| pick()) }).collect();
    for value in values {
        maps.push(Affine { m: [value; 6] });
        maps.push(Affine { m: [value, 0.0, 0.0, 0.0, value, 0.0] });
        maps.push(Affine { m: [1.0, 0.0, value, 0.0, 1.0, value] });
        maps.push(Affine { m: [0.6, -0.8, value, 0.8, 0.6, value] });
        maps.push(Affine { m: [1.0, value, 0.0, 0.0, 1.0, 0.0] });
    }
    maps
}

#[test]
fn senseless_maps_sample_colours_of_the_picture_or_its_border() {
    for format in PixelFormat::ALL {
        for (width, height) in [(1, 1), (1, 6), (7, 1), (5, 4)] {
            let picture = Picture::noise(format, width, height);
            for map in senseless_maps() {
                for border in BORDERS {
                    let output = sampled(&picture, &map, &spec(6, 5, border));
                    assert!(
                        output.iter().all(|value| (0.0..=1.0).contains(value)),
                        "{format:?} {width}x{height} {map:?} {border:?}: {output:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn senseless_layers_paint_nothing_outside_the_rows() {
    let image = [0.5; 3 * 5 * 4];
    for format in PixelFormat::ALL {
        for (width, height) in [(1, 1), (1, 6), (7, 1), (5, 4)] {
            let mut picture = Picture::noise(format, width, height);
            for map in senseless_maps() {
                for feather in [0.0, 1.5, f32::NAN, f32::INFINITY, -1.0] {
                    let layer = Layer { image: &image, width: 5, height: 4, map, feather };
                    compose(&[layer, layer], [0.1, 0.2, 0.3], &mut picture.frame_mut());
                }
            }
            assert!(picture.padding_is_untouched(), "{format:?} {width}x{height}");
        }
    }
}

#[test]
fn a_map_without_numbers_finds_the_border() {
    let picture = Picture::noise(PixelFormat::Nv12, 8, 8);
    let map = Affine { m: [1.0, 0.0, f32::NAN, 0.0, 1.0, 0.0] };
    let output = sampled(&picture, &map, &spec(2, 2, BORDERS[0]));
    let expected = [[0.3; 4], [0.6; 4], [0.9; 4]].concat();
    assert!(output.iter().zip(expected).all(|(value, expected)| (value - expected).abs() < 1e-6));
}

#[test]
fn senseless_maps_of_a_large_frame_take_no_longer_than_reading_it_a_few_times() {
    let picture = Picture::noise(PixelFormat::Nv12, 1920, 1080);
    for map in senseless_maps().into_iter().take(60) {
        for border in BORDERS {
            let start = std::time::Instant::now();
            sampled(&picture, &map, &spec(64, 64, border));
            let taken = start.elapsed();
            // Milliseconds each; the limit leaves room for a busy machine and no optimisation.
            assert!(taken.as_secs_f32() < 2.0, "{map:?} {border:?}: {taken:?}");
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_samples() {
    let picture = Picture::noise(PixelFormat::I420, 131, 97);
    let turned = Affine::from_rotated_square(Point { x: 60.0, y: 40.0 }, 90.0, 0.4, 77);
    let cropped = Affine::from_rect(Rect::new(-3.2, 8.1, 120.3, 70.9), 77, 77);
    for map in [turned, cropped] {
        for layout in [Layout::Nchw, Layout::Nhwc] {
            let spec = SampleSpec { layout, ..spec(77, 77, BORDERS[0]) };
            let one = on_threads(1, || sampled(&picture, &map, &spec));
            let many = on_threads(4, || sampled(&picture, &map, &spec));
            assert_eq!(one, many, "{map:?} {layout:?}");
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_compositions() {
    let mut random = Random(3);
    let image: Vec<f32> = (0..3 * 40 * 30).map(|_| random.next()).collect();
    let map = Affine::from_rotated_square(Point { x: 20.0, y: 15.0 }, 60.0, 0.4, 99);
    let layer = Layer { image: &image, width: 40, height: 30, map, feather: 3.0 };
    for format in PixelFormat::ALL {
        let run = |threads| {
            let mut picture = Picture::noise(format, 101, 99);
            on_threads(threads, || compose(&[layer], [0.2; 3], &mut picture.frame_mut()));
            picture.bytes()
        };
        assert_eq!(run(1), run(4), "{format:?}");
    }
}

#[test]
fn a_picture_composed_and_sampled_again_is_the_same() {
    // Smooth and of muted colours, as subsampling loses detail and clamping saturation.
    let (width, height) = (47, 33);
    let wave = |channel: usize, x: usize, y: usize| {
        0.5 + 0.25 * (x as f32 * 0.02 + y as f32 * 0.015 + channel as f32).sin()
    };
    let image: Vec<f32> = (0..3 * width * height)
        .map(|index| wave(index / (width * height), index % width, index / width % height))
        .collect();
    let layer = Layer { image: &image, width, height, map: Affine::IDENTITY, feather: 0.0 };
    for format in PixelFormat::ALL {
        for matrix in [ColorMatrix::Bt601, ColorMatrix::Bt709] {
            for range in [ColorRange::Full, ColorRange::Limited] {
                let mut picture = Picture::filled(format, width, height, 0);
                picture.color = ColorSpace { matrix, range };
                compose(&[layer], [0.0; 3], &mut picture.frame_mut());
                let back = sampled(&picture, &Affine::IDENTITY, &spec(width, height, Border::Replicate));
                // Half a code value. In 4:2:0 of luma and of blue difference, 0.0063 of limited range
                // together, and at the edges half a pixel of slope, 0.0044.
                let tolerance = if format.is_yuv() { 0.011 } else { 0.5 / 255.0 + 1e-5 };
                for (index, (value, expected)) in back.iter().zip(&image).enumerate() {
                    assert!(
                        (value - expected).abs() <= tolerance,
                        "{format:?} {matrix:?} {range:?}, value {index}: {value} is not {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn sampling_at_its_own_size_and_composing_again_returns_every_byte_of_a_packed_frame() {
    for format in PixelFormat::ALL.into_iter().filter(|format| !format.is_yuv()) {
        let mut picture = Picture::noise(format, 13, 9);
        let before: Vec<_> = (0..13 * 9).map(|index| picture.pixel(0, index % 13, index / 13)).collect();
        let image = sampled(&picture, &Affine::IDENTITY, &spec(13, 9, Border::Mirror));
        let layer = Layer { image: &image, width: 13, height: 9, map: Affine::IDENTITY, feather: 0.0 };
        compose(&[layer], [0.0; 3], &mut picture.frame_mut());
        for (index, before) in before.iter().enumerate() {
            let after = picture.pixel(0, index % 13, index / 13);
            assert_eq!(after[..3], before[..3], "{format:?} pixel {index}");
            assert!(after.get(3).is_none_or(|alpha| *alpha == 255), "{format:?} pixel {index}");
        }
    }
}

#[test]
fn a_hardly_rotated_map_samples_what_an_unrotated_one_does() {
    let picture = Picture::noise(PixelFormat::Nv12, 40, 40);
    let spec = spec(32, 32, Border::Replicate);
    let [straight, turned] = [0.0, 1e-4]
        .map(|angle| Affine::from_rotated_square(Point { x: 20.0, y: 20.0 }, 20.0, angle, 32))
        .map(|map| sampled(&picture, &map, &spec));
    // Noise changes by its whole range in a pixel, and the turn moves pixels by up to 1.4e-3 of one.
    assert!(straight.iter().zip(&turned).all(|(a, b)| (a - b).abs() < 6e-3));
}

#[test]
fn constant_pictures_stay_constant_under_every_map() {
    for format in PixelFormat::ALL {
        let picture = Picture::filled(format, 30, 20, 128);
        for map in [
            Affine::from_rect(Rect::new(-9.0, -7.0, 50.0, 40.0), 17, 17),
            Affine::from_rotated_square(Point { x: 15.0, y: 10.0 }, 55.0, 0.7, 17),
            Affine::from_rotated_square(Point { x: 15.0, y: 10.0 }, 5.0, 0.7, 17),
        ] {
            for border in [Border::Replicate, Border::Mirror] {
                let output = sampled(&picture, &map, &spec(17, 17, border));
                let grey = if format.is_yuv() { (128.0 - 16.0) / 219.0 } else { 128.0 / 255.0 };
                assert!(output.iter().all(|value| (value - grey).abs() < 1e-5), "{format:?} {map:?}");
            }
        }
    }
}

#[test]
fn values_beyond_the_range_and_those_that_are_no_number_are_clamped() {
    let image = [2.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.5].repeat(3);
    let layer = Layer { image: &image, width: 6, height: 1, map: Affine::IDENTITY, feather: 0.0 };
    let mut picture = Picture::filled(PixelFormat::Rgb, 6, 1, 7);
    compose(&[layer], [0.0; 3], &mut picture.frame_mut());
    let red: Vec<_> = (0..6).map(|x| picture.pixel(0, x, 0)[0]).collect();
    assert_eq!(red, [255, 0, 0, 255, 0, 128]);
}

#[test]
#[should_panic(expected = "wrong length")]
fn an_output_of_the_wrong_length_is_refused() {
    let picture = Picture::filled(PixelFormat::Rgb, 2, 2, 0);
    sample(&picture.frame(), &Affine::IDENTITY, &spec(2, 2, Border::Mirror), &mut [0.0; 11]);
}

#[test]
#[should_panic(expected = "wrong length")]
fn an_image_of_the_wrong_length_is_refused() {
    let mut picture = Picture::filled(PixelFormat::Rgb, 2, 2, 0);
    let layer = Layer { image: &[0.0; 11], width: 2, height: 2, map: Affine::IDENTITY, feather: 0.0 };
    compose(&[layer], [0.0; 3], &mut picture.frame_mut());
}

#[test]
fn layers_without_pixels_are_left_out() {
    let mut picture = Picture::filled(PixelFormat::Rgb, 2, 2, 7);
    let layer = Layer { image: &[], width: 0, height: 3, map: Affine::IDENTITY, feather: 0.0 };
    compose(&[layer], [1.0; 3], &mut picture.frame_mut());
    assert_eq!(picture.pixel(0, 1, 1), [255; 3]);
}
