//! Video buffers as the kernels see them.

use deepfake_kernels::{CudaPlane, Frame, FrameError, FrameLayout, FrameMut, Memory, Plane, PlaneMut};
use gst_video::{ffi::GstVideoFrame, prelude::*, VideoFrameRef, VideoInfo};

use crate::{
    gpu::{Context, Mapped},
    video::{layout, Video},
};

/// Lends `work` the pixels of `buffer`, which are not copied. `context`: where the GPU's work is done, if there is one.
///
/// # Errors
/// If the buffer does not hold a picture as `video` describes it.
pub fn read<R>(
    buffer: &gst::BufferRef,
    video: &Video,
    context: Option<&Context>,
    work: impl FnOnce(&Frame<'_>) -> R,
) -> Result<R, gst::ErrorMessage> {
    match video.memory {
        Memory::Host => {
            let mapped = VideoFrameRef::from_buffer_ref_readable(buffer, &video.info).map_err(unmappable)?;
            let layout = known_layout(mapped.info())?;
            // SAFETY: the pointer comes from a live `VideoFrameRef`.
            let spans = spans(&layout, unsafe { &*mapped.as_ptr() })?;
            let plane = |span: Span| {
                // SAFETY: `spans` proved that the bytes lie in memory that `mapped` keeps mapped for reading.
                let data = unsafe { std::slice::from_raw_parts(span.start, span.len) };
                Plane { data, stride: span.stride }
            };
            let planes = spans.into_iter().map(plane).collect();
            Ok(work(&Frame::from_layout(layout, planes).map_err(unfit)?))
        }
        Memory::Cuda => {
            let mapped =
                Mapped::readable(buffer, &video.info, known_context(context)?).map_err(unreachable_frame)?;
            let layout = known_layout(&mapped.info())?;
            let planes = spans(&layout, mapped.frame())?.into_iter().map(CudaPlane::from).collect();
            // SAFETY: `spans` proved that the bytes lie in memory that `mapped` keeps mapped for reading, in the
            // context that the core works in. The core has done its work when `work` returns.
            let frame = unsafe { Frame::from_cuda(layout, planes) }.map_err(unfit)?;
            Ok(work(&frame))
        }
    }
}

/// Lends `work` the pixels of `buffer` to write; memory that others hold too is copied first. `context` as in [`read`].
///
/// # Errors
/// If the buffer does not hold a picture as `video` describes it.
pub fn write<R>(
    buffer: &mut gst::BufferRef,
    video: &Video,
    context: Option<&Context>,
    work: impl FnOnce(&mut FrameMut<'_>) -> R,
) -> Result<R, gst::ErrorMessage> {
    match video.memory {
        Memory::Host => {
            let mapped = VideoFrameRef::from_buffer_ref_writable(buffer, &video.info).map_err(unmappable)?;
            let layout = known_layout(mapped.info())?;
            // SAFETY: the pointer comes from a live `VideoFrameRef`.
            let spans = disjoint(spans(&layout, unsafe { &*mapped.as_ptr() })?, mapped.info())?;
            let plane = |span: Span| {
                // SAFETY: `spans` proved that the bytes lie in memory that `mapped` keeps mapped for writing and to which
                // it has the only reference; `disjoint` proved that no two planes share any.
                let data = unsafe { std::slice::from_raw_parts_mut(span.start, span.len) };
                PlaneMut { data, stride: span.stride }
            };
            let planes = spans.into_iter().map(plane).collect();
            Ok(work(&mut FrameMut::from_layout(layout, planes).map_err(unfit)?))
        }
        Memory::Cuda => {
            let mapped =
                Mapped::writable(buffer, &video.info, known_context(context)?).map_err(unreachable_frame)?;
            let layout = known_layout(&mapped.info())?;
            let spans = disjoint(spans(&layout, mapped.frame())?, &mapped.info())?;
            let planes = spans.into_iter().map(CudaPlane::from).collect();
            // SAFETY: as in `read`, and `mapped` has the only reference to the memory, of which no two planes share any.
            let mut frame = unsafe { FrameMut::from_cuda(layout, planes) }.map_err(unfit)?;
            Ok(work(&mut frame))
        }
    }
}

fn unmappable(error: gst::glib::BoolError) -> gst::ErrorMessage {
    gst::error_msg!(
        gst::StreamError::Format,
        ("A video frame does not hold the picture that its caps describe"),
        ["{}", error]
    )
}

fn unreachable_frame(reason: String) -> gst::ErrorMessage {
    gst::error_msg!(gst::StreamError::Format, ("A video frame in CUDA memory cannot be used: {}", reason))
}

fn unfit(error: FrameError) -> gst::ErrorMessage {
    gst::error_msg!(gst::StreamError::Format, ("A video frame cannot be used: {}", error), ["{:?}", error])
}

/// A mapped frame's own layout: a `GstVideoMeta` may differ from the caps.
fn known_layout(info: &VideoInfo) -> Result<FrameLayout, gst::ErrorMessage> {
    layout(info).ok_or_else(|| {
        gst::error_msg!(
            gst::StreamError::Format,
            ("Video format {} is not supported", info.format()),
            ["{:?}", info]
        )
    })
}

/// Caps of CUDA memory are only accepted where there is a context.
fn known_context(context: Option<&Context>) -> Result<&Context, gst::ErrorMessage> {
    context.ok_or_else(|| unreachable_frame("there is no CUDA context".into()))
}

/// The bytes of one plane, from the first pixel to the last and no padding after it; on the GPU where the frame lies
/// there.
#[derive(Clone, Copy)]
struct Span {
    start: *mut u8,
    len: usize,
    stride: usize,
}

impl From<Span> for CudaPlane {
    fn from(span: Span) -> Self {
        // A `CUdeviceptr`, which the mapping calls a pointer.
        Self { address: span.start as u64, stride: span.stride, bytes: span.len }
    }
}

/// The planes of `frame`, each proven to lie within its mapping. `gst_video` takes a stride times the height as a
/// plane's length, which ends behind the memory where the last row has no padding.
fn spans(layout: &FrameLayout, frame: &GstVideoFrame) -> Result<Vec<Span>, gst::ErrorMessage> {
    (0..layout.format.planes())
        .map(|plane| {
            // With a `GstVideoMeta` each plane is mapped by itself, else the first mapping holds them all.
            let map = &frame.map[if frame.meta.is_null() { 0 } else { plane }];
            let start = frame.data[plane].cast::<u8>();
            let row = layout.format.row_bytes(plane, layout.width);
            let rows = layout.format.rows(plane, layout.height);
            let stride = usize::try_from(frame.info.stride[plane]).unwrap_or(0);
            if stride < row {
                return Err(unfit(FrameError::Stride { plane, stride, row }));
            }
            let have = (start as usize)
                .checked_sub(map.data as usize)
                .and_then(|skipped| map.size.checked_sub(skipped))
                .unwrap_or(0);
            let len =
                rows.checked_sub(1).and_then(|n| n.checked_mul(stride)).and_then(|n| n.checked_add(row));
            match len {
                Some(len) if len <= have => Ok(Span { start, len, stride }),
                _ => Err(unfit(FrameError::TooShort { plane, have, rows, stride })),
            }
        })
        .collect()
}

/// `spans` if no two share a byte.
fn disjoint(spans: Vec<Span>, info: &VideoInfo) -> Result<Vec<Span>, gst::ErrorMessage> {
    let mut ranges: Vec<_> = spans.iter().map(|s| (s.start as usize, s.start as usize + s.len)).collect();
    ranges.sort_unstable();
    if ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0) {
        Ok(spans)
    } else {
        Err(gst::error_msg!(
            gst::StreamError::Format,
            ("The planes of a video frame overlap"),
            ["{:?}", info]
        ))
    }
}

#[cfg(test)]
mod tests {
    use gst_video::VideoFormat;

    use super::*;

    fn video(format: VideoFormat, width: u32, height: u32) -> Video {
        gst::init().unwrap();
        let info = VideoInfo::builder(format, width, height).build().unwrap();
        Video { info, memory: Memory::Host }
    }

    #[test]
    fn pixels_reach_the_kernels_with_the_stride_of_the_video_meta() {
        let video = video(VideoFormat::Rgb, 2, 3);
        // Rows 32 bytes apart, starting at the 5th byte, and no padding behind the last.
        let mut buffer = gst::Buffer::from_mut_slice((0..5 + 2 * 32 + 6).collect::<Vec<u8>>());
        gst_video::VideoMeta::add_full(
            buffer.get_mut().unwrap(),
            gst_video::VideoFrameFlags::empty(),
            VideoFormat::Rgb,
            2,
            3,
            &[5],
            &[32],
        )
        .unwrap();
        let rows = read(&buffer, &video, None, |frame| {
            let plane = frame.planes()[0];
            (0..3).map(|y| plane.data[y * plane.stride]).collect::<Vec<_>>()
        })
        .unwrap();
        assert_eq!(rows, [5, 37, 69]);
    }

    #[test]
    fn a_buffer_too_short_for_its_video_meta_is_an_error() {
        let video = video(VideoFormat::Rgb, 2, 3);
        let mut buffer = gst::Buffer::with_size(2 * 32 + 5).unwrap();
        gst_video::VideoMeta::add_full(
            buffer.get_mut().unwrap(),
            gst_video::VideoFrameFlags::empty(),
            VideoFormat::Rgb,
            2,
            3,
            &[0],
            &[32],
        )
        .unwrap();
        assert!(read(&buffer, &video, None, |_| ()).is_err());
    }

    #[test]
    fn planes_that_overlap_are_not_written() {
        let video = video(VideoFormat::Nv12, 4, 4);
        let mut buffer = gst::Buffer::with_size(32).unwrap();
        let buffer = buffer.get_mut().unwrap();
        let flags = gst_video::VideoFrameFlags::empty();
        gst_video::VideoMeta::add_full(buffer, flags, VideoFormat::Nv12, 4, 4, &[0, 8], &[4, 4]).unwrap();
        assert!(write(buffer, &video, None, |_| ()).is_err());
        assert!(read(buffer, &video, None, |_| ()).is_ok(), "reading them harms nobody");
    }

    #[test]
    fn what_is_written_stands_in_the_buffer() {
        let video = video(VideoFormat::I420, 5, 3);
        let mut buffer = gst::Buffer::with_size(video.info.size()).unwrap();
        let buffer = buffer.get_mut().unwrap();
        write(buffer, &video, None, |frame| {
            for (index, plane) in frame.planes_mut().iter_mut().enumerate() {
                plane.data.fill(index as u8 + 1);
            }
        })
        .unwrap();
        let sums =
            read(buffer, &video, None, |frame| frame.planes().iter().map(|p| p.data[0]).collect::<Vec<_>>());
        assert_eq!(sums.unwrap(), [1, 2, 3]);
    }

    #[test]
    fn a_frame_in_cuda_memory_without_a_context_is_an_error() {
        let mut video = video(VideoFormat::Nv12, 4, 4);
        video.memory = Memory::Cuda;
        let mut buffer = gst::Buffer::with_size(video.info.size()).unwrap();
        assert!(read(&buffer, &video, None, |_| ()).is_err());
        assert!(write(buffer.get_mut().unwrap(), &video, None, |_| ()).is_err());
    }
}
