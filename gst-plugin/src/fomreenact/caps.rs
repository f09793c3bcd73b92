//! Negotiation: the output's format, size and memory owe nothing to the input's.

use deepfake_kernels::Memory;
use gst::{Caps, CapsIntersectMode, Fraction, PadDirection};

use crate::video::{self, Memories};

/// What the element gives. The model's picture is square, and must not be shown stretched.
pub fn output(memories: Memories) -> Caps {
    let mut caps = video::caps(memories);
    caps.make_mut().set("pixel-aspect-ratio", Fraction::new(1, 1));
    caps
}

/// What the other side may be for `caps` on the side of `direction`: any format and size at the same frame rate, in any
/// of `memories`, that of `caps` first. The output is progressive and has square pixels.
pub fn transform(direction: PadDirection, caps: &Caps, filter: Option<&Caps>, memories: Memories) -> Caps {
    let mut other = Caps::new_empty();
    for (structure, features) in caps.iter_with_features() {
        let mut any = if direction == PadDirection::Sink { output(memories) } else { video::caps(memories) };
        if video::memory(features) == Memory::Host {
            // Frames that are not on the GPU yet need not go there.
            any = reversed(&any);
        }
        let any_ref = any.make_mut();
        if let Ok(rate) = structure.value("framerate") {
            any_ref.set_value("framerate", rate.clone());
        }
        if direction == PadDirection::Sink {
            any_ref.set("interlace-mode", "progressive");
        }
        other.merge(any);
    }
    match filter {
        Some(filter) => filter.intersect_with_mode(&other, CapsIntersectMode::First),
        None => other,
    }
}

fn reversed(caps: &Caps) -> Caps {
    let mut parts: Vec<_> = caps.iter_with_features().map(|(s, f)| (s.to_owned(), f.to_owned())).collect();
    parts.reverse();
    let mut reversed = Caps::new_empty();
    for (structure, features) in parts {
        reversed.merge_structure_full(structure, Some(features));
    }
    reversed
}

/// Chooses among `other`: towards downstream the input's format where it is possible, and the model's size
/// where downstream does not ask for another.
pub fn fixate(
    direction: PadDirection,
    caps: &Caps,
    mut other: Caps,
    (width, height): (usize, usize),
) -> Caps {
    other.truncate();
    if other.is_empty() || other.is_any() {
        return other;
    }
    if direction == PadDirection::Sink {
        let format = caps.structure(0).and_then(|s| s.get::<&str>("format").ok().map(str::to_owned));
        let (width, height) = (width as i32, height as i32);
        if let Some(wanted) = other.make_mut().structure_mut(0) {
            if let Some(format) = format {
                wanted.fixate_field_str("format", &format);
            }
            // If one side is fixed, the other follows it in the model's proportions.
            let fixed = |structure: &gst::StructureRef, side| structure.get::<i32>(side).ok();
            match (fixed(wanted, "width"), fixed(wanted, "height")) {
                (Some(w), None) => {
                    wanted.fixate_field_nearest_int("height", proportional(w, height, width));
                }
                (None, Some(h)) => {
                    wanted.fixate_field_nearest_int("width", proportional(h, width, height));
                }
                _ => {
                    wanted.fixate_field_nearest_int("width", width);
                    wanted.fixate_field_nearest_int("height", height);
                }
            }
        }
    }
    other.fixate();
    other
}

fn proportional(side: i32, numerator: i32, denominator: i32) -> i32 {
    let other = i64::from(side) * i64::from(numerator) / i64::from(denominator.max(1));
    i32::try_from(other.max(1)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use gst_video::VideoInfo;

    use super::*;
    use crate::video::Video;

    const BOTH: Memories = Memories::SystemAndCuda;

    fn input() -> Caps {
        gst::init().unwrap();
        "video/x-raw,format=NV12,width=640,height=360,framerate=30000/1001,interlace-mode=progressive,\
         colorimetry=bt709,pixel-aspect-ratio=4/3"
            .parse()
            .unwrap()
    }

    fn negotiated(downstream: &str) -> VideoInfo {
        negotiated_from(&input(), downstream, Memories::System).info
    }

    fn negotiated_from(input: &Caps, downstream: &str, memories: Memories) -> Video {
        let downstream: Caps = downstream.parse().unwrap();
        let possible = transform(PadDirection::Sink, input, Some(&downstream), memories);
        Video::from_caps(&fixate(PadDirection::Sink, input, possible, (256, 256))).unwrap()
    }

    fn on_the_gpu(mut caps: Caps) -> Caps {
        caps.make_mut().set_features(0, Some(gst::CapsFeatures::new(["memory:CUDAMemory"])));
        caps
    }

    #[test]
    fn the_output_has_the_models_size_the_inputs_format_and_square_pixels() {
        let info = negotiated("video/x-raw");
        assert_eq!((info.width(), info.height()), (256, 256));
        assert_eq!(info.format(), gst_video::VideoFormat::Nv12);
        assert_eq!(info.par(), Fraction::new(1, 1));
        assert_eq!(info.fps(), Fraction::new(30000, 1001));
    }

    #[test]
    fn the_output_is_never_stretched() {
        gst::init().unwrap();
        let stretched: Caps = "video/x-raw,pixel-aspect-ratio=4/3".parse().unwrap();
        assert!(transform(PadDirection::Sink, &input(), Some(&stretched), BOTH).is_empty());
        // Whatever the driver's pixels are.
        assert!(transform(PadDirection::Src, &output(BOTH), None, BOTH).can_intersect(&input()));
    }

    #[test]
    fn downstream_decides_on_format_and_size() {
        let info = negotiated("video/x-raw,format=BGRx,width=333,height=77");
        assert_eq!((info.width(), info.height()), (333, 77));
        assert_eq!(info.format(), gst_video::VideoFormat::Bgrx);
    }

    #[test]
    fn one_side_alone_keeps_the_proportions() {
        let info = negotiated("video/x-raw,width=512");
        assert_eq!((info.width(), info.height()), (512, 512));
        let info = negotiated("video/x-raw,height=100");
        assert_eq!((info.width(), info.height()), (100, 100));
    }

    #[test]
    fn the_frame_rate_is_not_changed() {
        gst::init().unwrap();
        let downstream: Caps = "video/x-raw,framerate=25/1".parse().unwrap();
        assert!(transform(PadDirection::Sink, &input(), Some(&downstream), BOTH).is_empty());
    }

    #[test]
    fn the_input_is_independent_of_the_outputs_format_and_size() {
        gst::init().unwrap();
        let output: Caps = "video/x-raw,format=RGB,width=8,height=8,framerate=30000/1001".parse().unwrap();
        let possible = transform(PadDirection::Src, &output, None, BOTH);
        assert!(possible.can_intersect(&input()));
        let interlaced: Caps =
            "video/x-raw,format=RGB,width=8,height=8,framerate=25/1,interlace-mode=interleaved"
                .parse()
                .unwrap();
        assert!(transform(PadDirection::Sink, &input(), Some(&interlaced), BOTH).is_empty());
    }

    #[test]
    fn the_output_stays_in_the_inputs_memory_unless_downstream_wants_another() {
        let (system, cuda) = (input(), on_the_gpu(input()));
        for (input, downstream, memory) in [
            (&system, "video/x-raw(ANY)", Memory::Host),
            (&system, "video/x-raw", Memory::Host),
            (&system, "video/x-raw(memory:CUDAMemory)", Memory::Cuda),
            (&cuda, "video/x-raw(ANY)", Memory::Cuda),
            (&cuda, "video/x-raw", Memory::Host),
            (&cuda, "video/x-raw(memory:CUDAMemory)", Memory::Cuda),
        ] {
            assert_eq!(negotiated_from(input, downstream, BOTH).memory, memory, "{input} to {downstream}");
        }
    }

    #[test]
    fn a_format_that_cuda_memory_does_not_have_becomes_one_that_it_has() {
        let mut input = input();
        input.make_mut().set("format", "RGB");
        let output = negotiated_from(&input, "video/x-raw(memory:CUDAMemory)", BOTH);
        assert_eq!(output.info.format(), gst_video::VideoFormat::Nv12);
    }

    #[test]
    fn without_a_gpu_no_memory_but_the_systems_is_possible() {
        gst::init().unwrap();
        let cuda: Caps = "video/x-raw(memory:CUDAMemory)".parse().unwrap();
        let possible = |filter| transform(PadDirection::Sink, &input(), filter, Memories::System);
        assert!(possible(Some(&cuda)).is_empty());
        assert!(!possible(None).can_intersect(&cuda));
    }

    #[test]
    fn either_memory_goes_in_whatever_comes_out() {
        gst::init().unwrap();
        for output in [output(Memories::System), on_the_gpu(output(Memories::System))] {
            let possible = transform(PadDirection::Src, &output, None, BOTH);
            assert!(possible.can_intersect(&input()) && possible.can_intersect(&on_the_gpu(input())));
        }
    }
}
