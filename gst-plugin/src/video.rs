//! Video as the pads negotiate it.

use deepfake_kernels::{ColorMatrix, ColorRange, ColorSpace, FrameLayout, Memory, PixelFormat};
use gst_video::{VideoFormat, VideoInfo};

/// The feature of caps that stands for the memory of an NVIDIA GPU.
const CUDA_MEMORY: &str = "memory:CUDAMemory";

/// Formats in CUDA memory, best first: what NVIDIA's decoders give.
const CUDA_FORMATS: [VideoFormat; 4] =
    [VideoFormat::Nv12, VideoFormat::I420, VideoFormat::Rgba, VideoFormat::Bgra];

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

/// Where the frames of an element may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memories {
    /// In system memory.
    System,
    /// There, or in the memory of the GPU that the element works on.
    SystemAndCuda,
}

/// What every video pad of the plugin takes and gives, where frames may lie in `memories`. CUDA memory comes first:
/// where a decoder can give either, frames stay on the GPU.
pub fn caps(memories: Memories) -> gst::Caps {
    let system = || gst_video::VideoCapsBuilder::new().format_list(FORMATS.map(|(format, _)| format)).build();
    match memories {
        Memories::System => system(),
        Memories::SystemAndCuda => {
            let mut caps =
                gst_video::VideoCapsBuilder::new().features([CUDA_MEMORY]).format_list(CUDA_FORMATS).build();
            caps.merge(system());
            caps
        }
    }
}

/// Where frames of caps with these `features` lie.
pub fn memory(features: &gst::CapsFeaturesRef) -> Memory {
    if features.contains(CUDA_MEMORY) {
        Memory::Cuda
    } else {
        Memory::Host
    }
}

/// The video of a pad.
#[derive(Clone, Debug)]
pub struct Video {
    /// Its frames.
    pub info: VideoInfo,
    /// Where they lie.
    pub memory: Memory,
}

impl Video {
    /// Reads fixed caps.
    ///
    /// # Errors
    /// If they are no raw video.
    pub fn from_caps(caps: &gst::CapsRef) -> Result<Self, gst::glib::BoolError> {
        let info = VideoInfo::from_caps(caps)?;
        let memory = caps.features(0).map_or(Memory::Host, memory);
        Ok(Self { info, memory })
    }

    /// Whether `self` and `other` have pictures of the same size.
    pub fn has_size_of(&self, other: &Self) -> bool {
        (self.info.width(), self.info.height()) == (other.info.width(), other.info.height())
    }
}

/// What to tell of a video, which follows the video `old`, if its pixels are not square: faces are found and cut as if
/// they were.
pub fn square_pixels_advice(old: Option<&Video>, new: &Video) -> Option<String> {
    let par = new.info.par();
    let told = old.is_some_and(|old| old.info.par() == par);
    (par.numer() != par.denom() && !told).then(|| {
        format!(
            "The pixels are not square ({}:{}), and faces are measured in pixels; put 'videoscale ! \
             video/x-raw,pixel-aspect-ratio=1/1' before",
            par.numer(),
            par.denom()
        )
    })
}

/// What the kernels are to know of a frame's pixels; `None` if they do not know its format.
pub fn layout(info: &VideoInfo) -> Option<FrameLayout> {
    let (_, format) = FORMATS.into_iter().find(|(known, _)| *known == info.format())?;
    Some(FrameLayout {
        format,
        color: color(info),
        width: info.width() as usize,
        height: info.height() as usize,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn cuda_memory_comes_first_and_only_where_it_is_possible() {
        gst::init().unwrap();
        let both = caps(Memories::SystemAndCuda);
        assert_eq!(both.size(), 2);
        assert_eq!(memory(both.features(0).unwrap()), Memory::Cuda);
        assert_eq!(memory(both.features(1).unwrap()), Memory::Host);
        assert!(both.is_subset(&"video/x-raw(memory:CUDAMemory); video/x-raw".parse::<gst::Caps>().unwrap()));
        let system = caps(Memories::System);
        assert!(system.is_subset(&"video/x-raw".parse::<gst::Caps>().unwrap()));
        assert_eq!(system.structure(0), both.structure(1));
    }

    #[test]
    fn every_format_in_cuda_memory_is_one_of_the_kernels() {
        gst::init().unwrap();
        for format in CUDA_FORMATS {
            assert!(layout(&VideoInfo::builder(format, 4, 4).build().unwrap()).is_some(), "{format}");
        }
    }

    #[test]
    fn features_say_where_frames_lie() {
        gst::init().unwrap();
        let memory = |features: &str| {
            let caps = format!("video/x-raw{features},format=NV12,width=64,height=48,framerate=25/1");
            Video::from_caps(&caps.parse::<gst::Caps>().unwrap()).unwrap().memory
        };
        assert_eq!(memory(""), Memory::Host);
        assert_eq!(memory("(memory:SystemMemory)"), Memory::Host);
        assert_eq!(memory("(memory:CUDAMemory)"), Memory::Cuda);
        assert_eq!(memory("(memory:CUDAMemory,meta:GstVideoOverlayComposition)"), Memory::Cuda);
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
}
