//! One TOML file describes a model: its files, what goes in, and what its numbers mean.

use std::{
    fs,
    path::{Path, PathBuf},
};

use deepfake_kernels::{Border, Channels, Layout, SampleSpec};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// What a model does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// First Order Motion Model (Siarohin et al., 2019).
    Fomm,
    /// X2Face (Wiles et al., 2018).
    X2face,
    /// Face-warping-artifact classifier (Li and Lyu, 2019).
    Fwa,
    /// The same with dual spatial pyramid pooling.
    DspFwa,
    /// BlazeFace-style detector with anchors.
    FaceDetector,
    /// FaceMesh-style landmarks.
    FaceLandmarks,
}

/// The head of a manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Name, as in the zoo.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// One sentence about it.
    pub summary: String,
    /// SPDX expression.
    pub licence: String,
    /// How it came to be.
    pub origin: String,
}

/// A file of a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What the file is for: `keypoints`, `encoder`, `generator` (of `fomm`), `embedder`, `driver` (of `x2face`) or
    /// `network`; with `-fp16` behind it: the same network in half precision, with inputs and outputs of 32 bits, for GPUs.
    pub role: String,
    /// Path from the manifest's folder.
    pub path: PathBuf,
    /// SHA-256 of the content, in hexadecimal.
    pub sha256: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LayoutName {
    Nchw,
    Nhwc,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ChannelsName {
    Rgb,
    Bgr,
}

/// Size and value range of a picture that goes into a network: `(colour in 0..1 - mean) / std`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageInput {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    layout: LayoutName,
    channels: ChannelsName,
    mean: [f32; 3],
    std: [f32; 3],
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BorderName {
    #[default]
    Constant,
    Replicate,
    Mirror,
}

impl From<BorderName> for Border {
    fn from(name: BorderName) -> Self {
        match name {
            BorderName::Constant => Self::Constant([0.0; 3]),
            BorderName::Replicate => Self::Replicate,
            BorderName::Mirror => Self::Mirror,
        }
    }
}

/// The square about a face that a network wants, relative to the bounding box of the 468 landmarks.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// Side of the square, in longer sides of the box.
    pub scale: f32,
    /// From the box's centre to the square's, in longer sides of the box.
    pub shift: [f32; 2],
    border: BorderName,
}

impl Crop {
    /// What lies outside the picture.
    pub fn border(&self) -> Border {
        self.border.into()
    }
}

/// A first order motion model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fomm {
    /// Number of key points.
    pub keypoints: usize,
    /// The `align_corners` that the weights were trained with (already part of the graphs; for the record).
    pub align_corners: bool,
    /// Shape of the encoder's `features`, without the batch.
    pub features: [usize; 3],
    /// Shape of the encoder's `small`, without the batch.
    pub small: [usize; 3],
}

/// An X2Face model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct X2Face {
    /// How the weights were trained to sample pictures (already part of the graphs; for the record).
    pub align_corners: bool,
    /// The same of how feature maps are enlarged.
    pub resize_align_corners: bool,
    /// Shape of the embedded face, without the batch.
    pub embedded: [usize; 3],
}

/// A face-warping-artifact classifier.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fwa {
    /// Name of the output: one logit a face, above 0 leaning fake; or, with a `fake_class`, two logits.
    pub output: String,
    /// Which of two logits is the one of fakes, 0 or 1. Without it the network has but one.
    pub fake_class: Option<usize>,
    /// Probability from which on a face is called fake.
    pub threshold: f32,
    /// Between these probabilities a face is called neither.
    pub uncertain: [f32; 2],
}

/// Whether a detector is for near or for far faces.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DetectorRange {
    /// Faces that fill a good part of the picture.
    Short,
    /// Small faces as well.
    Full,
}

/// A detector with anchors.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detector {
    /// `[stride in input pixels, anchors a cell]`, in the order of the output's rows.
    pub strides: Vec<[usize; 2]>,
    /// Name of the output with boxes and key points.
    pub boxes: String,
    /// Name of the output with score logits.
    pub scores: String,
    /// Least score of a face, 0..1.
    pub score_threshold: f32,
    /// Near or far faces.
    pub range: DetectorRange,
}

/// A landmark network.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Landmarks {
    /// Number of points.
    pub points: usize,
    /// Name of the output with x, y, z of the points in input pixels.
    pub output: String,
    /// Name of the output with the logit that a face is present.
    pub presence: String,
    /// Side of the upright square that goes in, in longer sides of the face's box.
    pub crop_scale: f32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    model: Model,
    #[serde(rename = "file")]
    files: Vec<File>,
    input: ImageInput,
    crop: Option<Crop>,
    fomm: Option<Fomm>,
    x2face: Option<X2Face>,
    fwa: Option<Fwa>,
    detector: Option<Detector>,
    landmarks: Option<Landmarks>,
}

/// A model's description.
#[derive(Clone, Debug)]
pub struct Manifest {
    path: PathBuf,
    document: Document,
}

impl Manifest {
    /// Reads the manifest at `path`. The files it names are not touched.
    ///
    /// # Errors
    /// [`Error::Manifest`] if it cannot be read, is not TOML, lacks a section that its kind needs, or has values
    /// that no network could take.
    pub fn read(path: &Path) -> Result<Self> {
        let fail = |reason: String| Error::Manifest { path: path.to_owned(), reason };
        let text = fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
        let document: Document = toml::from_str(&text).map_err(|e| fail(e.to_string()))?;
        document.check().map_err(fail)?;
        Ok(Self { path: path.to_owned(), document })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The head.
    pub fn model(&self) -> &Model {
        &self.document.model
    }

    /// What the model's picture input wants, with `border` around the frame.
    pub fn sample_spec(&self, border: Border) -> SampleSpec {
        let input = &self.document.input;
        SampleSpec {
            width: input.width,
            height: input.height,
            layout: match input.layout {
                LayoutName::Nchw => Layout::Nchw,
                LayoutName::Nhwc => Layout::Nhwc,
            },
            channels: match input.channels {
                ChannelsName::Rgb => Channels::Rgb,
                ChannelsName::Bgr => Channels::Bgr,
            },
            mean: input.mean,
            std: input.std,
            border,
        }
    }

    /// Shape of the tensor for `batch` pictures.
    pub fn input_shape(&self, batch: usize) -> [usize; 4] {
        let input = &self.document.input;
        match input.layout {
            LayoutName::Nchw => [batch, 3, input.height, input.width],
            LayoutName::Nhwc => [batch, input.height, input.width, 3],
        }
    }

    /// The crop about a face.
    ///
    /// # Errors
    /// [`Error::Manifest`] if there is none.
    pub fn crop(&self) -> Result<Crop> {
        self.document.crop.ok_or_else(|| self.lacks("crop"))
    }

    /// The section of a first order motion model.
    ///
    /// # Errors
    /// [`Error::Manifest`] if the model is of another kind.
    pub fn fomm(&self) -> Result<&Fomm> {
        self.document.fomm.as_ref().ok_or_else(|| self.lacks("fomm"))
    }

    /// The section of an X2Face model.
    ///
    /// # Errors
    /// [`Error::Manifest`] if the model is of another kind.
    pub fn x2face(&self) -> Result<&X2Face> {
        self.document.x2face.as_ref().ok_or_else(|| self.lacks("x2face"))
    }

    /// The section of a face-warping-artifact classifier.
    ///
    /// # Errors
    /// [`Error::Manifest`] if the model is of another kind.
    pub fn fwa(&self) -> Result<&Fwa> {
        self.document.fwa.as_ref().ok_or_else(|| self.lacks("fwa"))
    }

    /// The section of a face detector.
    ///
    /// # Errors
    /// [`Error::Manifest`] if the model is of another kind.
    pub fn detector(&self) -> Result<&Detector> {
        self.document.detector.as_ref().ok_or_else(|| self.lacks("detector"))
    }

    /// The section of a landmark network.
    ///
    /// # Errors
    /// [`Error::Manifest`] if the model is of another kind.
    pub fn landmarks(&self) -> Result<&Landmarks> {
        self.document.landmarks.as_ref().ok_or_else(|| self.lacks("landmarks"))
    }

    fn lacks(&self, section: &str) -> Error {
        Error::Manifest {
            path: self.path.clone(),
            reason: format!(
                "a model of kind {:?} without a section [{section}] cannot serve here",
                self.document.model.kind
            ),
        }
    }

    /// What its files are for.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.document.files.iter().map(|f| f.role.as_str())
    }

    /// Whether a file has the role.
    pub fn has_file(&self, role: &str) -> bool {
        self.roles().any(|r| r == role)
    }

    /// SHA-256 of its files, as it says.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = &str> {
        self.document.files.iter().map(|f| f.sha256.as_str())
    }

    /// Reads the file of a role and checks its hash.
    ///
    /// # Errors
    /// [`Error::Manifest`] if no file has the role, [`Error::ModelFile`] if it cannot be read, [`Error::Hash`] if
    /// it is not the one described.
    pub fn read_file(&self, role: &str) -> Result<ModelFile> {
        let file = self.document.files.iter().find(|f| f.role == role).ok_or_else(|| Error::Manifest {
            path: self.path.clone(),
            reason: format!("no file has the role '{role}'"),
        })?;
        let path = self.path.parent().unwrap_or(Path::new(".")).join(&file.path);
        let bytes =
            fs::read(&path).map_err(|e| Error::ModelFile { path: path.clone(), reason: e.to_string() })?;
        let found = hexadecimal(&Sha256::digest(&bytes));
        if !found.eq_ignore_ascii_case(&file.sha256) {
            return Err(Error::Hash { path, expected: file.sha256.clone(), found });
        }
        Ok(ModelFile { path, sha256: found, bytes })
    }
}

/// A file that is what its manifest says.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its SHA-256, in lower-case hexadecimal.
    pub sha256: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Document {
    /// Values that would make a kernel or a decoder nonsense are refused here once, so nothing else checks them.
    fn check(&self) -> std::result::Result<(), String> {
        let input = &self.input;
        if !(1..=4096).contains(&input.width) || !(1..=4096).contains(&input.height) {
            return Err(format!("input size {}x{} is not within 1..4096", input.width, input.height));
        }
        if input.std.iter().any(|s| !s.is_finite() || *s == 0.0) || input.mean.iter().any(|m| !m.is_finite())
        {
            return Err("mean and std must be finite, std not 0".into());
        }
        for file in &self.files {
            // A manifest is data that may come from elsewhere; it must not name files outside its folder.
            if file.path.is_absolute() || file.path.components().any(|c| c.as_os_str() == "..") {
                return Err(format!("file path '{}' leaves the model's folder", file.path.display()));
            }
        }
        if let Some(crop) = &self.crop {
            let finite = crop.scale.is_finite() && crop.shift.iter().all(|s| s.is_finite());
            if !finite || crop.scale <= 0.0 {
                return Err("crop.scale must be positive and crop.shift finite".into());
            }
        }
        if let Some(fomm) = &self.fomm {
            if fomm.keypoints < 3 {
                return Err(format!("{} key points cannot describe motion; at least 3", fomm.keypoints));
            }
        }
        if let Some(x2face) = &self.x2face {
            if x2face.embedded != [3, input.height, input.width] {
                return Err(format!(
                    "x2face.embedded is {:?}, not 3 colours of the input's {}x{}",
                    x2face.embedded, input.width, input.height
                ));
            }
            // What comes out is made of the very numbers that go in, and is taken for planes of colours in 0..1.
            let plain = matches!((input.layout, input.channels), (LayoutName::Nchw, ChannelsName::Rgb));
            if !plain || input.mean != [0.0; 3] || input.std != [1.0; 3] {
                return Err(
                    "kind X2face needs an input of layout nchw, channels rgb, mean 0 and std 1".into()
                );
            }
        }
        if let Some(detector) = &self.detector {
            if detector.strides.is_empty() || detector.strides.iter().any(|[s, n]| *s == 0 || *n == 0) {
                return Err("detector.strides must be [stride, anchors] pairs above 0".into());
            }
        }
        if let Some(fwa) = &self.fwa {
            let [low, high] = fwa.uncertain;
            let inside = |v: f32| (0.0..=1.0).contains(&v);
            if !inside(fwa.threshold) || !inside(low) || !inside(high) || low > high {
                return Err("fwa.threshold and fwa.uncertain must lie in 0..1, in order".into());
            }
            if fwa.fake_class.is_some_and(|class| class > 1) {
                return Err("fwa.fake_class must be 0 or 1".into());
            }
            // The published network has two outputs, and taking one of them for the other would turn every verdict around.
            if self.model.kind == Kind::DspFwa && fwa.fake_class.is_none() {
                return Err("kind DspFwa needs fwa.fake_class".into());
            }
        }
        let (section, present) = match self.model.kind {
            Kind::Fomm => ("fomm", self.fomm.is_some()),
            Kind::Fwa | Kind::DspFwa => ("fwa", self.fwa.is_some()),
            Kind::FaceDetector => ("detector", self.detector.is_some()),
            Kind::FaceLandmarks => ("landmarks", self.landmarks.is_some()),
            Kind::X2face => ("x2face", self.x2face.is_some()),
        };
        if present {
            Ok(())
        } else {
            Err(format!("kind {:?} needs a section [{section}]", self.model.kind))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[model]
name = "toy"
kind = "fwa"
summary = "s"
licence = "MIT"
origin = "o"
[[file]]
role = "network"
path = "toy.onnx"
sha256 = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"
[input]
width = 8
height = 4
layout = "nhwc"
channels = "bgr"
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
[crop]
scale = 1.2
shift = [0.0, 0.0]
border = "mirror"
[fwa]
output = "logit"
threshold = 0.4
uncertain = [0.3, 0.4]
"#;

    const X2FACE: &str = r#"
[model]
name = "toy"
kind = "x2face"
summary = "s"
licence = "MIT"
origin = "o"
[[file]]
role = "driver"
path = "driver.onnx"
sha256 = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"
[input]
width = 8
height = 4
layout = "nchw"
channels = "rgb"
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
[crop]
scale = 1.6
shift = [0.0, -0.06]
border = "replicate"
[x2face]
align_corners = true
resize_align_corners = false
embedded = [3, 4, 8]
"#;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.toml");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn a_good_manifest_is_read() {
        let (_folder, path) = written(GOOD);
        let manifest = Manifest::read(&path).unwrap();
        assert_eq!(manifest.model().kind, Kind::Fwa);
        assert_eq!(manifest.input_shape(2), [2, 4, 8, 3]);
        assert_eq!(manifest.crop().unwrap().border(), Border::Mirror);
        assert!(manifest.fomm().is_err());
    }

    #[test]
    fn a_file_is_read_if_its_hash_is_right_and_refused_if_not() {
        let (folder, path) = written(GOOD);
        let manifest = Manifest::read(&path).unwrap();
        assert!(manifest.has_file("network") && !manifest.has_file("network-fp16"));
        assert!(matches!(manifest.read_file("network"), Err(Error::ModelFile { .. })));
        fs::write(folder.path().join("toy.onnx"), "abc").unwrap();
        assert_eq!(manifest.read_file("network").unwrap().bytes, b"abc");
        fs::write(folder.path().join("toy.onnx"), "abd").unwrap();
        assert!(matches!(manifest.read_file("network"), Err(Error::Hash { .. })));
        assert!(matches!(manifest.read_file("encoder"), Err(Error::Manifest { .. })));
    }

    #[test]
    fn bad_manifests_are_refused_with_a_reason() {
        for (from, to, reason) in [
            ("width = 8", "width = 0", "input size"),
            ("width = 8", "width = -8", "width"),
            ("std = [1.0, 1.0, 1.0]", "std = [1.0, 0.0, 1.0]", "std not 0"),
            ("toy.onnx", "../toy.onnx", "leaves the model's folder"),
            ("toy.onnx", "/toy.onnx", "leaves the model's folder"),
            ("scale = 1.2", "scale = -1.0", "crop.scale"),
            ("uncertain = [0.3, 0.4]", "uncertain = [0.5, 0.4]", "in order"),
            ("threshold = 0.4", "threshold = 0.4\nfake_class = 2", "must be 0 or 1"),
            ("kind = \"fwa\"", "kind = \"dsp-fwa\"", "needs fwa.fake_class"),
            ("kind = \"fwa\"", "kind = \"fomm\"", "needs a section [fomm]"),
            ("kind = \"fwa\"", "kind = \"other\"", "unknown variant"),
            ("origin = \"o\"", "origin = \"o\"\nextra = 1", "unknown field"),
            ("[model]", "[model", "TOML"),
        ] {
            assert_refused(GOOD, from, to, reason);
        }
    }

    fn assert_refused(good: &str, from: &str, to: &str, reason: &str) {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good);
        let (_folder, path) = written(&text);
        let error = Manifest::read(&path).unwrap_err().to_string();
        assert!(error.contains(reason), "{to}: {error}");
    }

    #[test]
    fn a_manifest_of_x2face_is_read_and_a_bad_one_refused_with_a_reason() {
        let (_folder, path) = written(X2FACE);
        let manifest = Manifest::read(&path).unwrap();
        let section = manifest.x2face().unwrap();
        assert_eq!((section.align_corners, section.resize_align_corners), (true, false));
        assert!(manifest.fomm().is_err());
        let section = &X2FACE[X2FACE.find("[x2face]").unwrap()..];
        for (from, to, reason) in [
            (section, "", "needs a section [x2face]"),
            ("resize_align_corners = false\n", "", "missing field `resize_align_corners`"),
            ("embedded = [3, 4, 8]", "embedded = [3, 8, 4]", "not 3 colours of the input's 8x4"),
            ("embedded = [3, 4, 8]", "embedded = [4, 4, 8]", "not 3 colours"),
            ("embedded = [3, 4, 8]", "embedded = [3, 4]", "length"),
            ("width = 8", "width = 16", "not 3 colours"),
            ("layout = \"nchw\"", "layout = \"nhwc\"", "layout nchw"),
            ("channels = \"rgb\"", "channels = \"bgr\"", "channels rgb"),
            ("mean = [0.0, 0.0, 0.0]", "mean = [0.5, 0.5, 0.5]", "mean 0"),
            ("std = [1.0, 1.0, 1.0]", "std = [0.5, 0.5, 0.5]", "std 1"),
        ] {
            assert_refused(X2FACE, from, to, reason);
        }
    }
}
