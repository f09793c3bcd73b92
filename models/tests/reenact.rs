//! The reenactor on the portrait that the project ships, which also plays the driver.

use std::{path::Path, time::Duration};

use deepfake_kernels::{ColorSpace, Frame, FrameMut, PixelFormat, Plane, PlaneMut};
use deepfake_models::{
    engine::EngineOptions,
    reenact::{Event, Picture, ReenactSettings, Reenactor, ReenactorOptions, Reference, Shown},
    Error,
};

const SIDE: usize = 256;

struct Bench {
    reenactor: Reenactor,
    face: Picture,
    frames: u32,
    events: Vec<Event>,
}

impl Bench {
    fn new(settings: ReenactSettings) -> Self {
        let options = ReenactorOptions { model: "fomm-lite".into(), engine: EngineOptions::default() };
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
    let mut bench = Bench::new(ReenactSettings::default());
    assert_eq!(bench.step(true).0, Shown::Animated);
    let (shown, held) = bench.step(false);
    assert_eq!(shown, Shown::Held);
    let face = bench.face.clone();
    bench.reenactor.set_portrait(&face.frame()).unwrap();
    let (shown, again) = bench.step(false);
    assert_eq!(shown, Shown::Held, "not the still portrait: the pose is known");
    assert_eq!(again, held, "the same portrait in the same pose");
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
