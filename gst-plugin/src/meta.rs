//! What was found in a frame, in the words of applications: metadata, bus messages, JSON.
//!
//! One record serves all three, so that they cannot differ.

use deepfake_kernels::Rect;
use deepfake_models::detect::{Analysis, FaceReport, Summary};
use gst_video::{VideoInfo, VideoRegionOfInterestMeta};
use serde::Serialize;

/// Region type of a face in `GstVideoRegionOfInterestMeta`.
const ROI_TYPE: &str = "face";
/// Name of the parameters that a region carries.
const ROI_PARAMS: &str = "deepfake";
/// From this share of overlap on, an upstream region and a face are the same.
const SAME_REGION: f32 = 0.5;

/// One face.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FaceRecord {
    track_id: u64,
    x: u32,
    y: u32,
    w: u32,
    h: u32,
    detection_confidence: f32,
    score: f32,
    smoothed_score: f32,
    label: &'static str,
    marked: bool,
    stale: bool,
}

impl FaceRecord {
    fn new(face: &FaceReport, info: &VideoInfo, marked: bool) -> Self {
        let (x, w) = span(face.rect.x, face.rect.width, info.width());
        let (y, h) = span(face.rect.y, face.rect.height, info.height());
        Self {
            track_id: face.track_id,
            x,
            y,
            w,
            h,
            detection_confidence: face.detection_confidence,
            score: face.score,
            smoothed_score: face.smoothed_score,
            label: face.label.name(),
            marked,
            stale: face.stale,
        }
    }

    fn structure(&self, name: &str) -> gst::Structure {
        gst::Structure::builder(name)
            .field("track-id", self.track_id)
            .field("x", self.x)
            .field("y", self.y)
            .field("w", self.w)
            .field("h", self.h)
            .field("detection-confidence", self.detection_confidence)
            .field("score", self.score)
            .field("smoothed-score", self.smoothed_score)
            .field("label", self.label)
            .field("marked", self.marked)
            .field("stale", self.stale)
            .build()
    }

    fn rect(&self) -> Rect {
        Rect::new(self.x as f32, self.y as f32, self.w as f32, self.h as f32)
    }
}

/// The part of an edge that lies in the picture, in whole pixels.
fn span(start: f32, length: f32, limit: u32) -> (u32, u32) {
    let low = start.round().clamp(0.0, limit as f32) as u32;
    let high = (start + length).round().clamp(0.0, limit as f32) as u32;
    (low, high.saturating_sub(low))
}

/// When a frame is shown, by three clocks, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Times {
    timestamp: Option<u64>,
    stream_time: Option<u64>,
    running_time: Option<u64>,
}

impl Times {
    /// Those of `buffer` in `segment`.
    pub fn new(buffer: &gst::BufferRef, segment: &gst::Segment) -> Self {
        let pts = buffer.pts();
        let segment = segment.downcast_ref::<gst::ClockTime>();
        let in_segment =
            |convert: fn(&gst::FormattedSegment<gst::ClockTime>, _) -> Option<gst::ClockTime>| {
                segment.zip(pts).and_then(|(s, t)| convert(s, t)).map(gst::ClockTime::nseconds)
            };
        Self {
            timestamp: pts.map(gst::ClockTime::nseconds),
            stream_time: in_segment(|s, t: gst::ClockTime| s.to_stream_time(t)),
            running_time: in_segment(|s, t: gst::ClockTime| s.to_running_time(t)),
        }
    }

    /// Adds the fields, all of type `guint64`; an unknown time is `GST_CLOCK_TIME_NONE`.
    pub fn add_to(&self, structure: &mut gst::StructureRef) {
        for (name, time) in [
            ("timestamp", self.timestamp),
            ("stream-time", self.stream_time),
            ("running-time", self.running_time),
        ] {
            structure.set(name, time.map(gst::ClockTime::from_nseconds));
        }
    }
}

/// What was found in one frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FrameRecord {
    r#type: &'static str,
    #[serde(flatten)]
    times: Times,
    width: u32,
    height: u32,
    marked: bool,
    faces: Vec<FaceRecord>,
}

impl FrameRecord {
    /// The record of `analysis`; `marked` says whether the frame says of itself that it is synthetic.
    pub fn new(analysis: &Analysis, times: Times, info: &VideoInfo, marked: bool) -> Self {
        Self {
            r#type: "frame",
            times,
            width: info.width(),
            height: info.height(),
            marked,
            faces: analysis.faces.iter().map(|face| FaceRecord::new(face, info, marked)).collect(),
        }
    }

    /// Number of faces.
    pub fn faces(&self) -> usize {
        self.faces.len()
    }

    /// Whether the frame says of itself that it is synthetic.
    pub fn marked(&self) -> bool {
        self.marked
    }

    /// The message for the bus.
    pub fn structure(&self) -> gst::Structure {
        let mut structure = gst::Structure::builder("deepfakedetect")
            .field("width", self.width)
            .field("height", self.height)
            .field("marked", self.marked)
            .field("faces", gst::Array::new(self.faces.iter().map(|f| f.structure("face"))))
            .build();
        self.times.add_to(&mut structure);
        structure
    }

    /// Attaches every face to `buffer`: to the region that upstream gave for it, or as a new one.
    pub fn attach(&self, buffer: &mut gst::BufferRef) {
        let mut left: Vec<&FaceRecord> = self.faces.iter().collect();
        for mut region in buffer.iter_meta_mut::<VideoRegionOfInterestMeta>() {
            if region.roi_type() != ROI_TYPE || region.param(ROI_PARAMS).is_some() {
                continue;
            }
            let rect = region_rect(region.rect());
            let overlap = |face: &FaceRecord| face.rect().intersection_over_union(&rect);
            let best = (0..left.len()).max_by(|&a, &b| overlap(left[a]).total_cmp(&overlap(left[b])));
            if let Some(index) = best.filter(|&index| overlap(left[index]) >= SAME_REGION) {
                region.add_param(left.swap_remove(index).structure(ROI_PARAMS));
            }
        }
        for face in left {
            let mut region =
                VideoRegionOfInterestMeta::add(buffer, ROI_TYPE, (face.x, face.y, face.w, face.h));
            region.add_param(face.structure(ROI_PARAMS));
        }
    }
}

fn region_rect((x, y, w, h): (u32, u32, u32, u32)) -> Rect {
    Rect::new(x as f32, y as f32, w as f32, h as f32)
}

/// The faces that an element upstream found.
pub fn regions(buffer: &gst::BufferRef) -> Vec<Rect> {
    buffer
        .iter_meta::<VideoRegionOfInterestMeta>()
        .filter(|region| region.roi_type() == ROI_TYPE)
        .map(|region| region_rect(region.rect()))
        .filter(|rect| rect.area() > 0.0)
        .collect()
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct TrackRecord {
    track_id: u64,
    frames: u64,
    mean: f32,
    max: f32,
    verdict: &'static str,
}

/// What was found in a whole stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SummaryRecord {
    r#type: &'static str,
    frames: u64,
    mean: Option<f32>,
    max: Option<f32>,
    verdict: Option<&'static str>,
    tracks: Vec<TrackRecord>,
}

impl From<&Summary> for SummaryRecord {
    fn from(summary: &Summary) -> Self {
        Self {
            r#type: "summary",
            frames: summary.frames,
            mean: summary.mean,
            max: summary.max,
            verdict: summary.label.map(|label| label.name()),
            tracks: summary
                .tracks
                .iter()
                .map(|track| TrackRecord {
                    track_id: track.track_id,
                    frames: track.frames,
                    mean: track.mean,
                    max: track.max,
                    verdict: track.label.name(),
                })
                .collect(),
        }
    }
}

impl SummaryRecord {
    /// The message for the bus. Without a face there is no `mean`, `max` and `verdict`.
    pub fn structure(&self) -> gst::Structure {
        let tracks = self.tracks.iter().map(|track| {
            gst::Structure::builder("track")
                .field("track-id", track.track_id)
                .field("frames", track.frames)
                .field("mean", track.mean)
                .field("max", track.max)
                .field("verdict", track.verdict)
                .build()
        });
        gst::Structure::builder("deepfakedetect-summary")
            .field("frames", self.frames)
            .field_if_some("mean", self.mean)
            .field_if_some("max", self.max)
            .field_if_some("verdict", self.verdict)
            .field("tracks", gst::Array::new(tracks))
            .build()
    }
}

#[cfg(test)]
mod tests {
    use deepfake_models::{
        detect::{Label, TrackSummary},
        StageTimes,
    };
    use gst_video::VideoFormat;

    use super::*;

    fn face(rect: Rect) -> FaceReport {
        FaceReport {
            track_id: 7,
            rect,
            detection_confidence: 0.75,
            score: 0.25,
            smoothed_score: 0.5,
            label: Label::Uncertain,
            stale: true,
        }
    }

    fn record(rects: &[Rect]) -> FrameRecord {
        gst::init().unwrap();
        let info = VideoInfo::builder(VideoFormat::Rgb, 100, 80).build().unwrap();
        let analysis = Analysis {
            faces: rects.iter().map(|&r| face(r)).collect(),
            crops: Vec::new(),
            times: StageTimes::default(),
        };
        FrameRecord::new(&analysis, Times { timestamp: Some(40), ..Times::default() }, &info, true)
    }

    #[test]
    fn faces_are_cut_at_the_edge_of_the_picture() {
        let record = record(&[Rect::new(-10.4, 70.0, 30.0, 30.0), Rect::new(200.0, 0.0, 5.0, 5.0)]);
        let [cut, outside] = &record.faces[..] else { panic!() };
        assert_eq!((cut.x, cut.y, cut.w, cut.h), (0, 70, 20, 10));
        assert_eq!((outside.x, outside.w), (100, 0));
    }

    #[test]
    fn json_has_the_documented_shape() {
        let json = serde_json::to_value(record(&[Rect::new(1.0, 2.0, 30.0, 40.0)])).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "frame", "timestamp": 40, "stream-time": null, "running-time": null,
                "width": 100, "height": 80, "marked": true,
                "faces": [{
                    "track-id": 7, "x": 1, "y": 2, "w": 30, "h": 40, "detection-confidence": 0.75,
                    "score": 0.25, "smoothed-score": 0.5, "label": "uncertain", "marked": true, "stale": true
                }]
            })
        );
    }

    #[test]
    fn the_message_says_the_same_as_the_json() {
        let message = record(&[Rect::new(1.0, 2.0, 30.0, 40.0)]).structure();
        assert_eq!(message.get::<u64>("timestamp").unwrap(), 40);
        assert_eq!(message.get::<Option<gst::ClockTime>>("stream-time").unwrap(), None);
        let faces = message.get::<gst::Array>("faces").unwrap();
        let face = faces[0].get::<gst::Structure>().unwrap();
        assert_eq!(face.get::<u64>("track-id").unwrap(), 7);
        assert_eq!(face.get::<&str>("label").unwrap(), "uncertain");
        assert_eq!(face.get::<f32>("smoothed-score").unwrap(), 0.5);
    }

    #[test]
    fn a_face_goes_to_the_region_that_upstream_gave_for_it() {
        let record = record(&[Rect::new(0.0, 0.0, 20.0, 20.0), Rect::new(50.0, 50.0, 20.0, 20.0)]);
        let mut buffer = gst::Buffer::new();
        let buffer = buffer.get_mut().unwrap();
        VideoRegionOfInterestMeta::add(buffer, "face", (52, 50, 20, 20));
        VideoRegionOfInterestMeta::add(buffer, "car", (0, 0, 20, 20));
        record.attach(buffer);
        let regions: Vec<_> = buffer
            .iter_meta::<VideoRegionOfInterestMeta>()
            .map(|r| (r.roi_type().to_owned(), r.rect(), r.param("deepfake").is_some()))
            .collect();
        let expected = [
            ("face".to_owned(), (52, 50, 20, 20), true),
            ("car".to_owned(), (0, 0, 20, 20), false),
            ("face".to_owned(), (0, 0, 20, 20), true),
        ];
        assert_eq!(regions, expected);
        assert_eq!(super::regions(buffer).len(), 2, "the car is no face");
    }

    #[test]
    fn a_summary_without_a_face_has_no_verdict() {
        gst::init().unwrap();
        let empty = Summary { frames: 3, tracks: vec![], mean: None, max: None, label: None };
        let record = SummaryRecord::from(&empty);
        assert!(!record.structure().has_field("verdict"));
        assert!(serde_json::to_value(&record).unwrap()["verdict"].is_null());
        let track = TrackSummary { track_id: 1, frames: 2, mean: 0.5, max: 1.0, label: Label::Fake };
        let full = Summary {
            frames: 3,
            tracks: vec![track],
            mean: Some(0.5),
            max: Some(1.0),
            label: Some(Label::Fake),
        };
        let json = serde_json::to_value(SummaryRecord::from(&full)).unwrap();
        assert_eq!(json["tracks"][0]["verdict"], "fake");
        assert_eq!(json["max"], 1.0);
    }
}
