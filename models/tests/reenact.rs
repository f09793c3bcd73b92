//! The reenactor on the portrait that the project ships, which also plays the driver.

use std::{path::Path, time::Duration};

use deepfake_kernels::{ColorSpace, Frame, FrameMut, PixelFormat, Plane, PlaneMut};
use deepfake_models::{
    engine::EngineOptions,
    reenact::{
        Composition, CropMode, Event, FaceLost, Picture, ReenactSettings, Reenactor, ReenactorOptions,
        Reference, Shown,
    },
    Error,
};

const SIDE: usize = 256;

struct Bench {
    reenactor: Reenactor,
    face: Picture,
    frames: u32,
    events: Vec<Event>,
}

/// Motion models of both kinds. The second one's weights are random numbers: it moves pixels, but not as a face does.
const MODELS: [&str; 2] = ["fomm-lite", X2FACE];
const X2FACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/x2face-smallest");

impl Bench {
    fn new(settings: ReenactSettings) -> Self {
        Self::with("fomm-lite", settings)
    }

    fn with(model: &str, settings: ReenactSettings) -> Self {
        let options = ReenactorOptions { model: model.into(), engine: EngineOptions::default() };
        let mut reenactor = Reenactor::load(&options).unwrap();
        reenactor.set_settings(&settings);
        let face =
            Picture::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/assets/portrait.jpg"))
                .unwrap();
        reenactor.set_portrait(&face.frame()).unwrap();
        Self { reenactor, face, frames: 0, events: Vec::new() }
    }

    /// The next output, with the face or with nothing before the camera.
    fn step(&mut self, with_face: bool) -> (Shown, Vec<u8>) {
        let blank = vec![90u8; SIDE * SIDE * 3];
        let plane = Plane { data: &blank, stride: SIDE * 3 };
        let blank = Frame::new(PixelFormat::Rgb, ColorSpace::default(), SIDE, SIDE, vec![plane]).unwrap();
        let driver = if with_face { self.face.frame() } else { blank };
        let mut pixels = vec![0u8; SIDE * SIDE * 3];
        let plane = PlaneMut { data: &mut pixels, stride: SIDE * 3 };
        let mut output =
            FrameMut::new(PixelFormat::Rgb, ColorSpace::default(), SIDE, SIDE, vec![plane]).unwrap();
        let time = Duration::from_millis(40) * self.frames;
        self.frames += 1;
        let outcome = self.reenactor.process(&driver, Some(time), &mut output).unwrap();
        self.events.extend(outcome.events);
        (outcome.shown, pixels)
    }
}

#[test]
fn without_a_portrait_there_is_an_error_and_no_picture() {
    let options = ReenactorOptions { model: "fomm-lite".into(), engine: EngineOptions::default() };
    let mut reenactor = Reenactor::load(&options).unwrap();
    let pixels = [0u8; 12];
    let plane = || Plane { data: &pixels, stride: 6 };
    let driver = Frame::new(PixelFormat::Rgb, ColorSpace::default(), 2, 2, vec![plane()]).unwrap();
    let mut out = [7u8; 12];
    let planes = vec![PlaneMut { data: &mut out, stride: 6 }];
    let mut output = FrameMut::new(PixelFormat::Rgb, ColorSpace::default(), 2, 2, planes).unwrap();
    assert!(matches!(reenactor.process(&driver, None, &mut output), Err(Error::NoPortrait)));
    assert_eq!(out, [7; 12]);
}

#[test]
fn a_classifier_cannot_animate() {
    let options = ReenactorOptions { model: "fwa-lite".into(), engine: EngineOptions::default() };
    assert!(matches!(Reenactor::load(&options), Err(Error::Manifest { .. })));
}

#[test]
fn another_portrait_takes_over_the_pose_that_is_held() {
    for model in MODELS {
        let mut bench = Bench::with(model, ReenactSettings::default());
        assert_eq!(bench.step(true).0, Shown::Animated);
        let (shown, held) = bench.step(false);
        assert_eq!(shown, Shown::Held);
        let face = bench.face.clone();
        bench.reenactor.set_portrait(&face.frame()).unwrap();
        let (shown, again) = bench.step(false);
        assert_eq!(shown, Shown::Held, "not the still portrait: the pose is known");
        assert_eq!(again, held, "the same portrait in the same pose");
    }
}

/// RGB of the portrait, each pixel changed.
fn recoloured(face: &Picture, change: impl Fn([u8; 3]) -> [u8; 3]) -> (usize, usize, Vec<u8>) {
    let frame = face.frame();
    let plane = frame.planes()[0];
    let pixels = plane.data.as_chunks::<3>().0.iter().flat_map(|pixel| change(*pixel)).collect();
    (frame.width(), frame.height(), pixels)
}

fn frame((width, height, pixels): &(usize, usize, Vec<u8>)) -> Frame<'_> {
    let plane = Plane { data: pixels, stride: 3 * width };
    Frame::new(PixelFormat::Rgb, ColorSpace::default(), *width, *height, vec![plane]).unwrap()
}

#[test]
fn of_a_portrait_without_a_colour_x2face_makes_no_picture_that_has_it_whatever_the_driver() {
    let settings = ReenactSettings { source_crop: CropMode::Center, ..Default::default() };
    for lost in [FaceLost::Hold, FaceLost::Source] {
        let mut bench = Bench::with(X2FACE, ReenactSettings { on_face_lost: lost, ..settings.clone() });
        // A driver full of blue, and a portrait with none.
        let portrait = recoloured(&bench.face, |[red, green, _]| [red, green, 0]);
        bench.reenactor.set_portrait(&frame(&portrait)).unwrap();
        for number in 0..12 {
            let (shown, pixels) = bench.step(number < 5);
            assert_eq!(number < 5, shown == Shown::Animated, "frame {number}");
            let blue = pixels.as_chunks::<3>().0.iter().map(|pixel| pixel[2]).max();
            assert_eq!(blue, Some(0), "frame {number}");
            assert!(pixels.iter().any(|&value| value > 100), "frame {number} shows the portrait");
        }
    }
}

#[test]
fn several_pictures_of_a_portrait_make_another_face_than_one_and_the_first_is_the_still_one() {
    let mut bench = Bench::with(X2FACE, ReenactSettings::default());
    let (_, of_one) = bench.step(true);
    let (face, mut still) = (bench.face.clone(), Vec::new());
    let dark = recoloured(&face, |pixel| pixel.map(|value| value / 2));
    for pictures in [vec![face.frame(), frame(&dark)], vec![face.frame()]] {
        bench.reenactor.set_portraits(&pictures).unwrap();
        let (shown, pixels) = bench.step(true);
        assert_eq!(shown, Shown::Animated);
        assert_eq!(pixels == of_one, pictures.len() == 1);
        let mut shown = vec![0; 3 * SIDE * SIDE];
        let plane = PlaneMut { data: &mut shown, stride: 3 * SIDE };
        let mut output =
            FrameMut::new(PixelFormat::Rgb, ColorSpace::default(), SIDE, SIDE, vec![plane]).unwrap();
        bench.reenactor.show_portrait(&mut output).unwrap();
        still.push(shown);
    }
    assert!(still[0] == still[1]);
}

#[test]
fn pictures_of_a_portrait_that_cannot_be_used_leave_the_one_before() {
    for model in MODELS {
        let mut bench = Bench::with(model, ReenactSettings::default());
        let (_, before) = bench.step(true);
        let face = bench.face.clone();
        let wall = recoloured(&face, |_| [120, 130, 140]);
        assert!(matches!(bench.reenactor.set_portraits(&[]), Err(Error::NoPortrait)));
        let nine = vec![face.frame(); 9];
        let error = bench.reenactor.set_portraits(&nine).unwrap_err();
        assert!(matches!(error, Error::TooManyPortraits { given: 9, .. }), "{error:?}");
        for (number, pictures) in [(1, [frame(&wall), face.frame()]), (2, [face.frame(), frame(&wall)])] {
            let error = bench.reenactor.set_portraits(&pictures).unwrap_err();
            match error {
                Error::TooManyPortraits { most: 1, given: 2, .. } => assert_eq!(model, "fomm-lite"),
                Error::NoFaceInPicture { number: found, count: 2 } => {
                    assert_eq!((model, found), (X2FACE, number));
                }
                other => panic!("{other:?}"),
            }
        }
        let (_, after) = bench.step(false);
        assert!(before == after, "held, and of the same portrait");
    }
}

#[test]
fn x2face_needs_no_reference_and_has_no_key_points() {
    let settings = ReenactSettings { reference: Reference::Manual, keypoints: true, ..Default::default() };
    let mut bench = Bench::with(X2FACE, settings);
    assert!(!bench.reenactor.has_keypoints());
    let (shown, pixels) = bench.step(true);
    assert_eq!(shown, Shown::Animated, "whether or not the user named a reference");
    bench.reenactor.calibrate();
    assert!(bench.step(true).1 == pixels);
    assert_eq!(bench.events, [Event::FaceFound], "no reference is told of");
    assert!(Bench::new(ReenactSettings::default()).reenactor.has_keypoints());
}

#[test]
fn what_is_shown_without_a_face_does_not_depend_on_the_model() {
    for model in MODELS {
        for (lost, expected) in [
            (FaceLost::Hold, Shown::Held),
            (FaceLost::Source, Shown::Source),
            (FaceLost::Black, Shown::Black),
        ] {
            let mut bench = Bench::with(model, ReenactSettings { on_face_lost: lost, ..Default::default() });
            assert_ne!(bench.step(false).0, Shown::Held, "there is nothing to hold yet");
            let (_, last) = bench.step(true);
            let mut shown = Vec::new();
            for _ in 0..8 {
                shown.push(bench.step(false));
            }
            assert_eq!(shown[0].0, Shown::Held, "one bad frame is no loss");
            assert_eq!(shown[7].0, expected, "{model}");
            assert!(shown[0].1 == last);
            assert_eq!(bench.events.last(), Some(&Event::FaceLost));
        }
    }
}

#[test]
fn a_driver_who_comes_back_is_compared_with_a_new_best_reference() {
    for (reference, taken) in [(Reference::Best, 2), (Reference::First, 1)] {
        let mut bench = Bench::new(ReenactSettings { reference, ..Default::default() });
        bench.step(true);
        for _ in 0..20 {
            bench.step(false);
        }
        bench.step(true);
        let references = bench.events.iter().filter(|e| **e == Event::ReferenceTaken).count();
        assert_eq!(references, taken, "{reference:?}: {:?}", bench.events);
    }
}

#[test]
fn a_seek_keeps_what_the_user_named_and_another_video_does_not() {
    let mut bench = Bench::new(ReenactSettings { reference: Reference::Manual, ..Default::default() });
    assert_eq!(bench.step(true).0, Shown::Source, "nothing is named yet");
    bench.reenactor.calibrate();
    assert_eq!(bench.step(true).0, Shown::Animated);
    bench.reenactor.flush();
    assert_eq!(bench.step(true).0, Shown::Animated);
    bench.reenactor.new_stream();
    assert_eq!(bench.step(true).0, Shown::Source);
}

/// The portrait twice as wide, with a wall of one colour beside it.
fn wide_portrait(face: &Picture) -> (usize, usize, Vec<u8>) {
    let frame = face.frame();
    let (width, height) = (frame.width(), frame.height());
    let plane = frame.planes()[0];
    let row = |y: usize| {
        let pixels = &plane.data[y * plane.stride..][..3 * width];
        pixels.iter().copied().chain([20u8, 180, 90].repeat(width))
    };
    (2 * width, height, (0..height).flat_map(row).collect())
}

#[test]
fn a_scene_is_the_portraits_whole_picture_with_only_the_head_moving() {
    MODELS.into_iter().for_each(assert_scene);
}

fn assert_scene(model: &str) {
    let settings = ReenactSettings { composition: Composition::Scene, ..Default::default() };
    let mut bench = Bench::with(model, settings);
    let (width, height, bytes) = wide_portrait(&bench.face);
    let plane = Plane { data: &bytes, stride: 3 * width };
    let wide = Frame::new(PixelFormat::Rgb, ColorSpace::default(), width, height, vec![plane]).unwrap();
    bench.reenactor.set_portrait(&wide).unwrap();
    assert_eq!(bench.reenactor.output_size(), (width, height));
    // A driver whose own background is nothing like the portrait's.
    let mut driver = bytes.clone();
    for pixel in driver.as_chunks_mut::<3>().0.iter_mut().filter(|pixel| **pixel == [20, 180, 90]) {
        *pixel = [250, 0, 0];
    }
    let mut pixels = vec![0u8; 3 * width * height];
    for number in 0..3 {
        let plane = Plane { data: &driver, stride: 3 * width };
        let frame = Frame::new(PixelFormat::Rgb, ColorSpace::default(), width, height, vec![plane]).unwrap();
        let plane = PlaneMut { data: &mut pixels, stride: 3 * width };
        let mut output =
            FrameMut::new(PixelFormat::Rgb, ColorSpace::default(), width, height, vec![plane]).unwrap();
        let time = Duration::from_millis(40) * number;
        let outcome = bench.reenactor.process(&frame, Some(time), &mut output).unwrap();
        assert_eq!(outcome.shown, Shown::Animated);
    }
    let at = |x: usize, y: usize| &pixels[3 * (y * width + x)..][..3];
    let of = |x: usize, y: usize| &bytes[3 * (y * width + x)..][..3];
    // The wall is the portrait's to the byte, far from the head.
    for (x, y) in [(width - 1, 0), (width - 1, height - 1), (width - 10, height / 2)] {
        assert_eq!(at(x, y), of(x, y), "{x}, {y}");
    }
    assert!(!pixels.as_chunks::<3>().0.contains(&[250, 0, 0]), "the driver's background is never shown");
    let differing = pixels.iter().zip(&bytes).filter(|(a, b)| a.abs_diff(**b) > 8).count();
    assert!(differing > 100, "the network painted something: {differing} bytes differ");
}

#[test]
fn a_scene_without_a_face_is_the_portraits_picture() {
    let settings = ReenactSettings {
        composition: Composition::Scene,
        on_face_lost: FaceLost::Source,
        ..Default::default()
    };
    let mut bench = Bench::new(settings);
    let (shown, pixels) = bench.step(false);
    assert_eq!(shown, Shown::Source);
    // The same as without a scene but for the part that the crop leaves out: here the whole picture shrinks to the output.
    let frame = bench.face.frame();
    let average = |data: &[u8]| data.iter().map(|&v| f64::from(v)).sum::<f64>() / data.len() as f64;
    assert!((average(&pixels) - average(frame.planes()[0].data)).abs() < 1.0);
}
