//! An X2Face model: an embedded face made once of pictures of a person, and a network that tells from every driving picture
//! where in it each pixel is found.
//!
//! The driving network sees the driver's picture, and yet no pixel of it can come out: what it gives is only where to
//! look, and all that is looked at is the embedded face. That is so by the layout of the graph, which a manifest's author may
//! have got wrong; so a graph that makes anything but black of a black face is refused.

use std::sync::Arc;

use deepfake_kernels::{Affine, Device, Frame, SampleSpec, Tensor};

use super::{
    model::{check_picture, probe_maps, MotionModel, Start},
    settings::ReenactSettings,
};
use crate::{
    engine::{both, precision::Probe, BackendReport, Engine, Platform},
    manifest::{Crop, Manifest},
    Error, Result, Stage, StageTimes,
};

/// How many pictures of a person are made one face. Engines on a GPU are built for no more, and the gain of each is small
/// by then.
const MOST_PORTRAITS: usize = 8;

/// A model of kind `x2face`, ready to run.
#[derive(Debug)]
pub struct X2Face {
    device: Device,
    embedder: Arc<dyn Engine>,
    driver: Arc<dyn Engine>,
    spec: SampleSpec,
    crop: Crop,
    /// Pictures of the portrait, one behind the other, where there are several.
    stacked: Tensor,
    /// The portrait's embedded face.
    embedded: Tensor,
    /// Where the next one is made, so that one that fails leaves this one alone.
    next: Tensor,
    /// The last driving picture.
    driving: Tensor,
    /// The one before, where the last may have to be taken back.
    before: Tensor,
}

impl X2Face {
    /// The face of `pictures`, as the network gives it.
    fn embed(&mut self, pictures: &[Tensor], times: &mut StageTimes) -> Result<()> {
        let source = match pictures {
            [one] => one,
            several => {
                self.device.stack(&several.iter().collect::<Vec<_>>(), &mut self.stacked)?;
                &self.stacked
            }
        };
        times.measure_engine(Stage::Generate, || {
            self.embedder.run(&self.device, &[("source", source)], &mut [("embedded", &mut self.next)])
        })?;
        check_picture(&self.next, &self.spec, "embedder")
    }

    fn paint(
        &self,
        embedded: &Tensor,
        driving: &Tensor,
        prediction: &mut Tensor,
        times: &mut StageTimes,
    ) -> Result<()> {
        times.measure_engine(Stage::Generate, || {
            let inputs = [("embedded", embedded), ("driving", driving)];
            self.driver.run(&self.device, &inputs, &mut [("prediction", &mut *prediction)])
        })?;
        check_picture(prediction, &self.spec, "driver")
    }

    /// # Errors
    /// [`Error::Network`] if of a black face and a driver who is not black something else than black is made.
    fn check_hidden(&self) -> Result<()> {
        let shape = [1, 3, self.spec.height, self.spec.width];
        let stripes = (0..shape.iter().product()).map(|index: usize| (index % 7) as f32 / 6.0).collect();
        let (mut black, mut driver, mut prediction) = Default::default();
        self.device.upload(&Tensor::zeros(&shape), &mut black)?;
        self.device.upload(&Tensor::from_vec(&shape, stripes), &mut driver)?;
        self.paint(&black, &driver, &mut prediction, &mut StageTimes::default())?;
        let mut values = Tensor::default();
        self.device.download([(&prediction, &mut values)])?;
        if values.data().iter().all(|&value| value == 0.0) {
            return Ok(());
        }
        Err(Error::Network {
            name: "driver".into(),
            reason: "makes a picture of something else than the embedded face, which might show the driver"
                .into(),
        })
    }
}

impl MotionModel for X2Face {
    fn report(&self) -> &BackendReport {
        self.driver.report()
    }

    fn spec(&self) -> &SampleSpec {
        &self.spec
    }

    fn crop(&self) -> &Crop {
        &self.crop
    }

    fn most_portraits(&self) -> usize {
        MOST_PORTRAITS
    }

    fn encode(&mut self, pictures: &[Tensor], times: &mut StageTimes) -> Result<()> {
        self.embed(pictures, times)
    }

    fn adopt(&mut self) -> Result<()> {
        if self.device.cuda().is_some() {
            // Where it lies stays the same, and with it the graph that reads it there.
            return Ok(self.device.copy(&self.next, &mut self.embedded)?);
        }
        std::mem::swap(&mut self.embedded, &mut self.next);
        Ok(())
    }

    fn drive(&mut self, frame: &Frame<'_>, map: &Affine, keep: bool, times: &mut StageTimes) -> Result<()> {
        if keep {
            self.device.copy(&self.driving, &mut self.before)?;
        }
        times
            .measure(Stage::Sample, || self.device.sample(frame, &[*map], &self.spec, &mut self.driving))
            .map_err(Error::from)
    }

    fn take_back(&mut self) -> Result<()> {
        Ok(self.device.copy(&self.before, &mut self.driving)?)
    }

    /// The driver's pose and expression are taken as they are: there are no key points to start relative motion from.
    fn generate(
        &mut self,
        _settings: &ReenactSettings,
        _start: Start,
        prediction: &mut Tensor,
        times: &mut StageTimes,
    ) -> Result<()> {
        self.paint(&self.embedded, &self.driving, prediction, times)
    }

    fn keypoints(&self) -> Option<&Tensor> {
        None
    }
}

impl Probe for X2Face {
    /// Loads the networks of `manifest`, which is of kind `x2face`.
    ///
    /// # Errors
    /// [`Error::Manifest`] if a section is missing, those of [`Platform::load`], and [`Error::Network`] if the driving
    /// network is not one that hides the driver.
    fn load(manifest: &Manifest, platform: &Platform) -> Result<Self> {
        let crop = manifest.crop()?;
        manifest.x2face()?;
        let (driver, embedder) = both(
            platform.device(),
            || platform.load(manifest, "driver", 1),
            || platform.load(manifest, "embedder", MOST_PORTRAITS),
        );
        let model = Self {
            device: platform.device().clone(),
            embedder: embedder?,
            driver: driver?,
            spec: manifest.sample_spec(crop.border()),
            crop,
            stacked: Tensor::default(),
            embedded: Tensor::default(),
            next: Tensor::default(),
            driving: Tensor::default(),
            before: Tensor::default(),
        };
        model.check_hidden()?;
        Ok(model)
    }

    /// The picture animated by itself, turned and moved.
    fn probe(&mut self, picture: &Frame<'_>) -> Result<Tensor> {
        let mut times = StageTimes::default();
        let (whole, turned) = probe_maps(picture, &self.spec);
        let (mut source, mut driving, mut prediction) = Default::default();
        self.device.sample(picture, &[whole], &self.spec, &mut source)?;
        self.device.sample(picture, &[turned], &self.spec, &mut driving)?;
        self.embed(&[source], &mut times)?;
        self.paint(&self.next, &driving, &mut prediction, &mut times)?;
        Ok(prediction)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, path::PathBuf};

    use deepfake_kernels::{ColorSpace, PixelFormat, Plane};

    use super::*;
    use crate::engine::{EngineOptions, Precision};

    const SIDE: usize = 256;
    /// `X2FACE_STRIDE` of `models/train/deepfake_train/make_golden.py`.
    const STRIDE: usize = 29;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/x2face-smallest")
    }

    fn manifest() -> Manifest {
        Manifest::read(&folder().join("manifest.toml")).unwrap()
    }

    fn cpu() -> Platform {
        Platform::on_cpu(&EngineOptions::default(), "a test".into())
    }

    /// The CPU, and a GPU where there is one, with the difference to Python that its arithmetic may make.
    fn platforms() -> Vec<(Platform, f32)> {
        let mut platforms = vec![(cpu(), 1e-4)];
        let options = EngineOptions { precision: Precision::Fp32, ..EngineOptions::default() };
        match Platform::on_gpu(&options, "a test".into()) {
            // Some releases of TensorRT round factors whatever they are told.
            Ok(platform) => platforms.push((platform, 1e-2)),
            Err(error) => eprintln!("SKIPPED: X2Face on a GPU: {error}"),
        }
        platforms
    }

    /// The picture that `wave_picture` of `make_golden.py` makes, as RGB.
    fn wave_picture(number: i64) -> Vec<u8> {
        let wave = |phase: i64| (phase.rem_euclid(512) - 256).abs();
        let mut pixels = Vec::with_capacity(SIDE * SIDE * 3);
        let side = SIDE as i64;
        for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
            let edge = x.min(side - 1 - x).min(y.min(side - 1 - y)).min(24);
            for channel in 0..3 {
                let rising = wave((2 + number) * x + (3 - channel) * y + 70 * channel + 90 * number);
                let falling = wave((1 + channel) * x - (1 + number) * y + 1024);
                pixels.push((((rising + falling) / 2).min(255) * edge / 24) as u8);
            }
        }
        pixels
    }

    fn sampled(model: &X2Face, number: i64) -> Tensor {
        let mut picture = Tensor::default();
        on_device(&model.device, number, |frame| {
            model.device.sample(frame, &[Affine::IDENTITY], &model.spec, &mut picture).unwrap();
        });
        picture
    }

    fn on_device(device: &Device, number: i64, work: impl FnOnce(&Frame<'_>)) {
        let pixels = wave_picture(number);
        let plane = Plane { data: &pixels, stride: 3 * SIDE };
        let frame = Frame::new(PixelFormat::Rgb, ColorSpace::default(), SIDE, SIDE, vec![plane]).unwrap();
        let mut intake = crate::engine::Intake::default();
        work(&intake.take(device, &frame).unwrap());
        device.synchronize().unwrap();
    }

    /// The portrait's pictures 0 and 1, driven by picture `driver`.
    fn animated(model: &mut X2Face, driver: i64) -> Tensor {
        let mut times = StageTimes::default();
        let pictures = [sampled(model, 0), sampled(model, 1)];
        model.encode(&pictures, &mut times).unwrap();
        model.adopt().unwrap();
        drive(model, driver, false);
        painted(model)
    }

    fn drive(model: &mut X2Face, number: i64, keep: bool) {
        on_device(&model.device.clone(), number, |frame| {
            model.drive(frame, &Affine::IDENTITY, keep, &mut StageTimes::default()).unwrap();
        });
    }

    fn painted(model: &mut X2Face) -> Tensor {
        let (mut prediction, mut values) = (Tensor::default(), Tensor::default());
        let settings = ReenactSettings::default();
        model.generate(&settings, Start::Nowhere, &mut prediction, &mut StageTimes::default()).unwrap();
        model.device.download([(&prediction, &mut values)]).unwrap();
        values
    }

    fn assert_as_python(values: &Tensor, name: &str, tolerance: f32) {
        let bytes = fs::read(folder().join(name)).unwrap();
        let expected: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let found: Vec<f32> = values.data().iter().copied().step_by(STRIDE).collect();
        assert_eq!(found.len(), expected.len());
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{name}: largest difference {worst:.1e}");
        assert!(worst <= tolerance, "{name}: {worst}");
    }

    #[test]
    fn two_pictures_of_a_portrait_are_embedded_and_animated_as_in_pytorch() {
        for (platform, tolerance) in platforms() {
            let mut model = X2Face::load(&manifest(), &platform).unwrap();
            let prediction = animated(&mut model, 2);
            let mut embedded = Tensor::default();
            model.device.download([(&model.embedded, &mut embedded)]).unwrap();
            assert_as_python(&embedded, "embedded.bin", tolerance);
            assert_as_python(&prediction, "prediction.bin", tolerance);
        }
    }

    #[test]
    fn a_frame_that_is_taken_back_leaves_the_driver_as_before() {
        for (platform, _) in platforms() {
            let mut model = X2Face::load(&manifest(), &platform).unwrap();
            let before = animated(&mut model, 2);
            drive(&mut model, 3, true);
            assert!(painted(&mut model).data() != before.data());
            model.take_back().unwrap();
            assert!(painted(&mut model).data() == before.data());
        }
    }

    #[test]
    fn a_portrait_that_is_encoded_is_not_used_before_it_is_adopted() {
        let mut model = X2Face::load(&manifest(), &cpu()).unwrap();
        let before = animated(&mut model, 2);
        let picture = sampled(&model, 3);
        model.encode(&[picture], &mut StageTimes::default()).unwrap();
        assert!(painted(&mut model).data() == before.data());
        model.adopt().unwrap();
        assert!(painted(&mut model).data() != before.data());
    }

    /// The model with some lines of its manifest replaced, and its driving network by the file `driver`.
    fn changed(driver: &str, changes: &[(&str, &str)]) -> Result<X2Face> {
        let copy = tempfile::tempdir().unwrap();
        for file in ["embedder.onnx", "driver.onnx", "driver-that-shows.onnx"] {
            fs::copy(folder().join(file), copy.path().join(file)).unwrap();
        }
        let text = fs::read_to_string(folder().join("manifest.toml")).unwrap();
        let sum = |text: &str, role: &str| {
            let at = text.find(&format!("role = \"{role}\"")).unwrap();
            let at = at + text[at..].find("sha256 = \"").unwrap() + "sha256 = \"".len();
            text[at..at + 64].to_owned()
        };
        let bytes = fs::read(folder().join(driver)).unwrap();
        let found: String = {
            use sha2::{Digest, Sha256};
            Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let old = sum(&text, "driver");
        let text =
            text.replace("path = \"driver.onnx\"", &format!("path = \"{driver}\"")).replace(&old, &found);
        let text = changes.iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        let path = copy.path().join("manifest.toml");
        fs::write(&path, text).unwrap();
        Manifest::read(&path).and_then(|manifest| X2Face::load(&manifest, &cpu()))
    }

    #[test]
    fn a_network_that_would_show_the_driver_is_refused() {
        assert!(changed("driver.onnx", &[]).is_ok());
        let error = changed("driver-that-shows.onnx", &[]).unwrap_err();
        assert!(matches!(error, Error::Network { .. }), "{error:?}");
        assert!(error.to_string().contains("might show the driver"), "{error}");
    }

    #[test]
    fn a_manifest_that_does_not_fit_the_networks_is_refused() {
        // Nothing about the networks is known before they run.
        let sizes = [
            ("width = 256", "width = 128"),
            ("height = 256", "height = 128"),
            ("3, 256, 256", "3, 128, 128"),
        ];
        let size = changed("driver.onnx", &sizes).unwrap_err();
        assert!(matches!(size, Error::Network { .. }), "{size:?}");
        let role = changed("driver.onnx", &[("role = \"embedder\"", "role = \"encoder\"")]).unwrap_err();
        assert!(role.to_string().contains("no file has the role 'embedder'"), "{role}");
        let section = "[crop]\nscale = 1.6\nshift = [0.0, -0.06]\nborder = \"replicate\"\n";
        let crop = changed("driver.onnx", &[(section, "")]).unwrap_err();
        assert!(crop.to_string().contains("[crop]"), "{crop}");
    }
}
