//! What holds for compositions of all layers, frames and numbers of threads.

mod picture;

use deepfake_kernels::{
    compose, sample, Affine, Border, Channels, ColorMatrix, ColorRange, ColorSpace, Layer, Layout,
    PixelFormat, Point, Rect, SampleSpec,
};
use picture::{senseless_maps, Picture, Random};

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
