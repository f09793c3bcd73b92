//! A portrait read from a file.

use std::path::Path;

use deepfake_kernels::{ColorSpace, Frame, PixelFormat, Plane};
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use crate::{Error, Result};

/// A still picture in memory, upright, without alpha.
#[derive(Clone, Debug)]
pub struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

/// Larger pictures are refused: they are never portraits, but may be bombs.
const MAX_SIDE: u32 = 16384;
/// The same of the bytes that a picture decodes to.
const MAX_BYTES: u64 = 256 << 20;

impl Picture {
    /// Reads a PNG, JPEG, WebP or BMP file, whichever its content says. The orientation that a camera noted is
    /// applied; what is transparent becomes black.
    ///
    /// # Errors
    /// [`Error::Portrait`] if the file cannot be read or is no such picture.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |reason: String| Error::Portrait { path: path.to_owned(), reason };
        let mut reader = ImageReader::open(path)
            .and_then(ImageReader::with_guessed_format)
            .map_err(|e| fail(e.to_string()))?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_BYTES);
        reader.limits(limits.clone());
        let mut decoder = reader.into_decoder().map_err(|e| fail(e.to_string()))?;
        limits.reserve(decoder.total_bytes()).map_err(|e| fail(e.to_string()))?;
        let orientation = decoder.orientation().map_err(|e| fail(e.to_string()))?;
        let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| fail(e.to_string()))?;
        picture.apply_orientation(orientation);
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        if width == 0 || height == 0 {
            return Err(fail("the picture is empty".into()));
        }
        Ok(Self { width, height, rgb: flatten(&picture) })
    }

    /// The picture as a frame.
    pub fn frame(&self) -> Frame<'_> {
        let plane = Plane { data: &self.rgb, stride: self.width * 3 };
        Frame::new(PixelFormat::Rgb, ColorSpace::default(), self.width, self.height, vec![plane])
            .expect("a picture fills its one plane")
    }
}

/// The picture over black, as RGB.
fn flatten(picture: &DynamicImage) -> Vec<u8> {
    if !picture.color().has_alpha() {
        return picture.to_rgb8().into_raw();
    }
    let over_black = |value: u8, alpha: u8| ((u16::from(value) * u16::from(alpha) + 127) / 255) as u8;
    picture
        .to_rgba8()
        .pixels()
        .flat_map(|p| [over_black(p.0[0], p.0[3]), over_black(p.0[1], p.0[3]), over_black(p.0[2], p.0[3])])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma, Rgba, RgbaImage};

    #[test]
    fn grey_and_transparent_pictures_become_rgb() {
        let folder = tempfile::tempdir().unwrap();
        let grey = folder.path().join("grey.png");
        GrayImage::from_pixel(3, 2, Luma([7])).save(&grey).unwrap();
        assert_eq!(Picture::open(&grey).unwrap().rgb, [7; 18]);
        let clear = folder.path().join("clear.png");
        RgbaImage::from_pixel(1, 1, Rgba([200, 100, 50, 128])).save(&clear).unwrap();
        assert_eq!(Picture::open(&clear).unwrap().rgb, [100, 50, 25]);
    }

    #[test]
    fn a_picture_is_known_by_its_content_not_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let png = folder.path().join("a.png");
        GrayImage::from_pixel(3, 2, Luma([7])).save(&png).unwrap();
        let misnamed = folder.path().join("a.jpg");
        std::fs::rename(&png, &misnamed).unwrap();
        assert!(Picture::open(&misnamed).is_ok());
    }

    #[test]
    fn a_small_file_that_decodes_to_too_much_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.png");
        // 8400 x 8400 x 4 bytes, far below the limit of its sides.
        RgbaImage::from_pixel(8400, 8400, Rgba([1, 2, 3, 255])).save(&path).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < 8 << 20);
        assert!(matches!(Picture::open(&path), Err(Error::Portrait { .. })));
    }

    #[test]
    fn what_is_no_picture_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let png = folder.path().join("whole.png");
        RgbaImage::from_pixel(64, 64, Rgba([1, 2, 3, 255])).save(&png).unwrap();
        let whole = std::fs::read(&png).unwrap();
        for (name, bytes) in
            [("empty.png", &[][..]), ("text.png", b"not a picture"), ("cut.png", &whole[..whole.len() / 2])]
        {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let error = Picture::open(&path).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(matches!(Picture::open(Path::new("/nowhere.png")), Err(Error::Portrait { .. })));
        assert!(matches!(Picture::open(folder.path()), Err(Error::Portrait { .. })));
    }
}
