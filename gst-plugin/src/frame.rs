//! Video buffers as the kernels see them.

use deepfake_kernels::{
    ColorMatrix, ColorRange, ColorSpace, Frame, FrameError, FrameMut, PixelFormat, Plane, PlaneMut,
};
use gst_video::{prelude::*, VideoFormat, VideoFrameRef, VideoInfo};

/// Formats, best first: what cameras and decoders give comes before what must be converted.
const FORMATS: [(VideoFormat, PixelFormat); 8] = [
    (VideoFormat::Nv12, PixelFormat::Nv12),
    (VideoFormat::I420, PixelFormat::I420),
    (VideoFormat::Rgb, PixelFormat::Rgb),
    (VideoFormat::Bgr, PixelFormat::Bgr),
    (VideoFormat::Rgba, PixelFormat::Rgba),
    (VideoFormat::Bgra, PixelFormat::Bgra),
    (VideoFormat::Rgbx, PixelFormat::Rgbx),
    (VideoFormat::Bgrx, PixelFormat::Bgrx),
];

/// What every video pad of the plugin takes and gives.
pub fn caps() -> gst::Caps {
    gst_video::VideoCapsBuilder::new().format_list(FORMATS.map(|(format, _)| format)).build()
}

/// What to tell of a video, which follows the video `old`, if its pixels are not square: faces are found and cut as if
/// they were.
pub fn square_pixels_advice(old: Option<&VideoInfo>, new: &VideoInfo) -> Option<String> {
    let par = new.par();
    let told = old.is_some_and(|old| old.par() == par);
    (par.numer() != par.denom() && !told).then(|| {
        format!(
            "The pixels are not square ({}:{}), and faces are measured in pixels; put 'videoscale ! \
             video/x-raw,pixel-aspect-ratio=1/1' before",
            par.numer(),
            par.denom()
        )
    })
}

fn pixel_format(format: VideoFormat) -> Option<PixelFormat> {
    FORMATS.iter().find(|(known, _)| *known == format).map(|(_, kernel)| *kernel)
}

/// The kernels know two matrices; the others are nearest to one of them.
fn color(info: &VideoInfo) -> ColorSpace {
    use gst_video::{VideoColorMatrix, VideoColorRange};
    let colorimetry = info.colorimetry();
    let matrix = match colorimetry.matrix() {
        VideoColorMatrix::Bt601 | VideoColorMatrix::Fcc => ColorMatrix::Bt601,
        VideoColorMatrix::Bt709 | VideoColorMatrix::Smpte240m | VideoColorMatrix::Bt2020 => {
            ColorMatrix::Bt709
        }
        // Not stated: as GStreamer itself guesses.
        _ if info.height() > 576 => ColorMatrix::Bt709,
        _ => ColorMatrix::Bt601,
    };
    let range = match colorimetry.range() {
        VideoColorRange::Range0_255 => ColorRange::Full,
        _ => ColorRange::Limited,
    };
    ColorSpace { matrix, range }
}

/// Lends `work` the pixels of `buffer`, which are not copied.
///
/// # Errors
/// If the buffer does not hold a picture as `info` describes it.
pub fn read<R>(
    buffer: &gst::BufferRef,
    info: &VideoInfo,
    work: impl FnOnce(&Frame<'_>) -> R,
) -> Result<R, gst::ErrorMessage> {
    let mapped = VideoFrameRef::from_buffer_ref_readable(buffer, info).map_err(unmappable)?;
    let picture = Picture::of(mapped.info())?;
    let plane = |span: Span| {
        // SAFETY: `spans` proved that the bytes lie in memory that `mapped` keeps mapped for reading.
        let data = unsafe { std::slice::from_raw_parts(span.start, span.len) };
        Plane { data, stride: span.stride }
    };
    let planes = picture.spans(mapped.as_ptr())?.into_iter().map(plane).collect();
    let frame =
        Frame::new(picture.format, picture.color, picture.width, picture.height, planes).map_err(unfit)?;
    Ok(work(&frame))
}

/// Lends `work` the pixels of `buffer` to write; memory that others hold too is copied first.
///
/// # Errors
/// If the buffer does not hold a picture as `info` describes it.
pub fn write<R>(
    buffer: &mut gst::BufferRef,
    info: &VideoInfo,
    work: impl FnOnce(&mut FrameMut<'_>) -> R,
) -> Result<R, gst::ErrorMessage> {
    let mapped = VideoFrameRef::from_buffer_ref_writable(buffer, info).map_err(unmappable)?;
    let picture = Picture::of(mapped.info())?;
    let spans = picture.spans(mapped.as_ptr())?;
    if !disjoint(&spans) {
        return Err(gst::error_msg!(
            gst::StreamError::Format,
            ("The planes of a video frame overlap"),
            ["{:?}", mapped.info()]
        ));
    }
    let plane = |span: Span| {
        // SAFETY: `spans` proved that the bytes lie in memory that `mapped` keeps mapped for writing and to which it has
        // the only reference; `disjoint` proved that no two planes share any.
        let data = unsafe { std::slice::from_raw_parts_mut(span.start, span.len) };
        PlaneMut { data, stride: span.stride }
    };
    let planes = spans.into_iter().map(plane).collect();
    let mut frame =
        FrameMut::new(picture.format, picture.color, picture.width, picture.height, planes).map_err(unfit)?;
    Ok(work(&mut frame))
}

fn unmappable(error: gst::glib::BoolError) -> gst::ErrorMessage {
    gst::error_msg!(
        gst::StreamError::Format,
        ("A video frame does not hold the picture that its caps describe"),
        ["{}", error]
    )
}

fn unfit(error: FrameError) -> gst::ErrorMessage {
    gst::error_msg!(gst::StreamError::Format, ("A video frame cannot be used: {}", error), ["{:?}", error])
}

/// A mapped frame's own description: a `GstVideoMeta` may differ from the caps.
struct Picture {
    format: PixelFormat,
    color: ColorSpace,
    width: usize,
    height: usize,
}

/// The bytes of one plane, from the first pixel to the last and no padding after it.
#[derive(Clone, Copy)]
struct Span {
    start: *mut u8,
    len: usize,
    stride: usize,
}

impl Picture {
    fn of(info: &VideoInfo) -> Result<Self, gst::ErrorMessage> {
        let format = pixel_format(info.format()).ok_or_else(|| {
            gst::error_msg!(
                gst::StreamError::Format,
                ("Video format {} is not supported", info.format()),
                ["{:?}", info]
            )
        })?;
        Ok(Self { format, color: color(info), width: info.width() as usize, height: info.height() as usize })
    }

    /// The planes of `frame`, each proven to lie within its mapping. `gst_video` takes a stride times the height as
    /// a plane's length, which ends behind the memory where the last row has no padding.
    fn spans(&self, frame: *const gst_video::ffi::GstVideoFrame) -> Result<Vec<Span>, gst::ErrorMessage> {
        // SAFETY: the pointer comes from a live `VideoFrameRef`.
        let frame = unsafe { &*frame };
        (0..self.format.planes())
            .map(|plane| {
                // With a `GstVideoMeta` each plane is mapped by itself, else the first mapping holds them all.
                let map = &frame.map[if frame.meta.is_null() { 0 } else { plane }];
                let start = frame.data[plane].cast::<u8>();
                let row = self.format.row_bytes(plane, self.width);
                let rows = self.format.rows(plane, self.height);
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
}

fn disjoint(spans: &[Span]) -> bool {
    let mut ranges: Vec<_> = spans.iter().map(|s| (s.start as usize, s.start as usize + s.len)).collect();
    ranges.sort_unstable();
    ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(format: VideoFormat, width: u32, height: u32) -> VideoInfo {
        gst::init().unwrap();
        VideoInfo::builder(format, width, height).build().unwrap()
    }

    fn colored(format: VideoFormat, height: u32, colorimetry: Option<&str>) -> ColorSpace {
        gst::init().unwrap();
        let builder = gst::Caps::builder("video/x-raw")
            .field("format", format.to_str())
            .field("width", 64i32)
            .field("height", height as i32)
            .field("framerate", gst::Fraction::new(25, 1))
            .field_if_some("colorimetry", colorimetry);
        color(&VideoInfo::from_caps(&builder.build()).unwrap())
    }

    #[test]
    fn the_template_lists_every_format_of_the_kernels() {
        assert!(PixelFormat::ALL.iter().all(|f| FORMATS.iter().any(|(_, known)| known == f)));
    }

    #[test]
    fn colorimetry_of_the_caps_chooses_matrix_and_range() {
        let limited = |matrix| ColorSpace { matrix, range: ColorRange::Limited };
        assert_eq!(colored(VideoFormat::Nv12, 480, None), limited(ColorMatrix::Bt601));
        assert_eq!(colored(VideoFormat::Nv12, 720, None), limited(ColorMatrix::Bt709));
        assert_eq!(colored(VideoFormat::I420, 720, Some("bt601")), limited(ColorMatrix::Bt601));
        assert_eq!(colored(VideoFormat::I420, 480, Some("bt709")), limited(ColorMatrix::Bt709));
        assert_eq!(
            colored(VideoFormat::I420, 480, Some("1:4:0:0")),
            ColorSpace { matrix: ColorMatrix::Bt601, range: ColorRange::Full },
            "JPEG"
        );
    }

    #[test]
    fn pixels_reach_the_kernels_with_the_stride_of_the_video_meta() {
        let info = info(VideoFormat::Rgb, 2, 3);
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
        let rows = read(&buffer, &info, |frame| {
            let plane = frame.planes()[0];
            (0..3).map(|y| plane.data[y * plane.stride]).collect::<Vec<_>>()
        })
        .unwrap();
        assert_eq!(rows, [5, 37, 69]);
    }

    #[test]
    fn a_buffer_too_short_for_its_video_meta_is_an_error() {
        let info = info(VideoFormat::Rgb, 2, 3);
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
        assert!(read(&buffer, &info, |_| ()).is_err());
    }

    #[test]
    fn planes_that_overlap_are_not_written() {
        let info = info(VideoFormat::Nv12, 4, 4);
        let mut buffer = gst::Buffer::with_size(32).unwrap();
        let buffer = buffer.get_mut().unwrap();
        let flags = gst_video::VideoFrameFlags::empty();
        gst_video::VideoMeta::add_full(buffer, flags, VideoFormat::Nv12, 4, 4, &[0, 8], &[4, 4]).unwrap();
        assert!(write(buffer, &info, |_| ()).is_err());
        assert!(read(buffer, &info, |_| ()).is_ok(), "reading them harms nobody");
    }

    #[test]
    fn what_is_written_stands_in_the_buffer() {
        let info = info(VideoFormat::I420, 5, 3);
        let mut buffer = gst::Buffer::with_size(info.size()).unwrap();
        let buffer = buffer.get_mut().unwrap();
        write(buffer, &info, |frame| {
            for (index, plane) in frame.planes_mut().iter_mut().enumerate() {
                plane.data.fill(index as u8 + 1);
            }
        })
        .unwrap();
        let sums = read(buffer, &info, |frame| frame.planes().iter().map(|p| p.data[0]).collect::<Vec<_>>());
        assert_eq!(sums.unwrap(), [1, 2, 3]);
    }
}
