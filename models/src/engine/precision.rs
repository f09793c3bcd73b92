//! Half precision where it does no harm.
//!
//! What 16 bits do to a network depends on its weights, which may be a user's own. So a model is run once on a stored
//! picture in half precision on the GPU and in 32 bits, and half precision is taken only if the two agree.

use std::{
    collections::HashMap,
    io::Cursor,
    sync::{Arc, Mutex, PoisonError},
};

use deepfake_kernels::{ColorSpace, Device, Frame, PixelFormat, Plane, Tensor};
use once_cell::sync::OnceCell;

use super::{Intake, Platform, Precision};
use crate::{manifest::Manifest, Error, Result};

/// Largest difference of results that count as the same: the length of the difference over that of the exact result.
const TOLERANCE: f32 = 0.02;

/// A face that models are checked on; the project's own portrait.
const CHECK_PICTURE: &[u8] = include_bytes!("check.jpg");

/// A model that can be tried on the stored picture.
pub(crate) trait Probe: Sized {
    /// Loads the model.
    fn load(manifest: &Manifest, platform: &Platform) -> Result<Self>;

    /// What the model makes of a picture, on the model's device.
    fn probe(&mut self, picture: &Frame<'_>) -> Result<Tensor>;
}

/// Loads a model as precisely as the platform's options say, which for [`Precision::Auto`] takes a check. Warns of half
/// precision that does not do for this model.
///
/// # Errors
/// Those of [`Probe::load`] in the precision that is taken in the end.
pub(crate) fn load<M: Probe>(manifest: &Manifest, platform: &Platform) -> Result<M> {
    if platform.device().cuda().is_none() || platform.options().precision != Precision::Auto {
        return M::load(manifest, platform);
    }
    let advice = match M::load(manifest, &platform.with_precision(Precision::Fp16)) {
        Ok(mut model) => match agrees(manifest, platform, &mut model) {
            Ok(difference) if difference <= TOLERANCE => return Ok(model),
            Ok(difference) => format!(
                "half precision changes what model {} gives by {:.1} %; TF32 is used instead",
                manifest.model().name,
                100.0 * difference
            ),
            Err(error) => format!("half precision could not be checked ({error}); TF32 is used instead"),
        },
        // A model without a form in half precision is nothing to talk of.
        Err(Error::Manifest { .. }) => {
            return M::load(manifest, &platform.with_precision(Precision::Tf32));
        }
        Err(error) => format!("half precision does not work ({error}); TF32 is used instead"),
    };
    let model = M::load(manifest, &platform.with_precision(Precision::Tf32))?;
    platform.options().warnings.warn(&advice);
    Ok(model)
}

/// Relative difference of the model's result to the exact one.
fn agrees<M: Probe>(manifest: &Manifest, platform: &Platform, model: &mut M) -> Result<f32> {
    /// Exact results by the hashes of the models' files, so that several elements compute them once.
    static EXACT: OnceCell<Mutex<HashMap<String, Arc<Tensor>>>> = OnceCell::new();
    let key: String = manifest.hashes().collect::<Vec<_>>().join(" ");
    let result = run(model, platform.device())?;
    let known = || EXACT.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let found = known().get(&key).cloned();
    let exact = match found {
        Some(exact) => exact,
        None => {
            // Not under the lock: loading tells of its progress, and whoever hears of that may load another model.
            let on_cpu = Platform::on_cpu(platform.options(), "a check".into());
            // Without ONNX Runtime the GPU's own 32 bits have to do.
            let exact = M::load(manifest, &on_cpu)
                .and_then(|mut model| run(&mut model, on_cpu.device()))
                .or_else(|_| {
                    run(&mut M::load(manifest, &platform.with_precision(Precision::Fp32))?, platform.device())
                })
                .map(Arc::new)?;
            known().insert(key, Arc::clone(&exact));
            exact
        }
    };
    Ok(difference(result.data(), exact.data()))
}

fn run<M: Probe>(model: &mut M, device: &Device) -> Result<Tensor> {
    let fail = |reason: String| Error::Network { name: "check.jpg".into(), reason };
    let picture = image::ImageReader::new(Cursor::new(CHECK_PICTURE))
        .with_guessed_format()
        .map_err(|e| fail(e.to_string()))?
        .decode()
        .map_err(|e| fail(e.to_string()))?
        .to_rgb8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let plane = Plane { data: picture.as_raw(), stride: 3 * width };
    let frame = Frame::new(PixelFormat::Rgb, ColorSpace::default(), width, height, vec![plane])
        .map_err(|e| fail(e.to_string()))?;
    let mut intake = Intake::default();
    let result = model.probe(&intake.take(device, &frame)?)?;
    let mut values = Tensor::default();
    device.download([(&result, &mut values)])?;
    Ok(values)
}

/// Length of the difference over that of the exact values; infinite where they cannot be compared.
fn difference(values: &[f32], exact: &[f32]) -> f32 {
    let length =
        |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let apart = length(&mut values.iter().zip(exact).map(|(a, b)| a - b));
    let result = apart / length(&mut exact.iter().copied());
    if values.len() == exact.len() && result.is_finite() {
        result as f32
    } else {
        f32::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_is_relative_and_no_number_never_passes() {
        assert_eq!(difference(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!((difference(&[3.0, 4.5], &[3.0, 4.0]) - 0.1).abs() < 1e-6);
        assert_eq!(difference(&[f32::NAN, 4.0], &[3.0, 4.0]), f32::INFINITY);
        assert_eq!(difference(&[3.0], &[3.0, 4.0]), f32::INFINITY);
        assert_eq!(difference(&[1.0], &[0.0]), f32::INFINITY);
    }

    #[test]
    fn the_stored_picture_is_a_picture() {
        struct Size;
        impl Probe for Size {
            fn load(_: &Manifest, _: &Platform) -> Result<Self> {
                Ok(Self)
            }
            fn probe(&mut self, picture: &Frame<'_>) -> Result<Tensor> {
                Ok(Tensor::from_vec(&[2], vec![picture.width() as f32, picture.height() as f32]))
            }
        }
        assert_eq!(run(&mut Size, &Device::Cpu).unwrap().data(), [256.0, 256.0]);
    }
}
