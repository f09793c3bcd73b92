//! Everything that can go wrong below the elements, in words a user can act on.

use std::path::PathBuf;

use deepfake_kernels::DeviceError;
use thiserror::Error;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, Error)]
pub enum Error {
    /// No such model in the zoo.
    #[error("model '{name}' was not found; looked in {}; set `model` to a manifest's path or {MODEL_PATH_VARIABLE} to the folder of the zoo", list(searched))]
    ModelNotFound {
        /// What was asked for.
        name: String,
        /// Folders that were searched.
        searched: Vec<PathBuf>,
    },
    /// A manifest that cannot be read or understood.
    #[error("manifest {}: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A model file that is missing.
    #[error("model file {} cannot be read: {reason}", path.display())]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A model file that is not the one that its manifest describes.
    #[error("model file {} is damaged or was exchanged: its sha256 is {found}, the manifest says {expected}", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// From the manifest.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// No usable library of the backend.
    #[error("ONNX Runtime was not found; tried {}; install the wheel 'onnxruntime' and set {RUNTIME_VARIABLE} to its libonnxruntime.so, or put that beside the plugin", list(searched))]
    RuntimeNotFound {
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// The backend's library was found, but cannot be used.
    #[error("ONNX Runtime at {} cannot be used: {reason}", path.display())]
    Runtime {
        /// The library.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A backend that this build or machine does not offer.
    #[error("backend '{backend}' is not available: {reason}")]
    BackendUnavailable {
        /// The backend asked for.
        backend: &'static str,
        /// Why it is not.
        reason: String,
    },
    /// A network that cannot be loaded or run.
    #[error("network {name}: {reason}")]
    Network {
        /// File name of the network.
        name: String,
        /// The engine's reason.
        reason: String,
    },
    /// A GPU that cannot do what is asked of it.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A portrait that is not a readable picture.
    #[error("portrait {}: {reason}", path.display())]
    Portrait {
        /// The picture.
        path: PathBuf,
        /// Why it cannot be used.
        reason: String,
    },
    /// A portrait in which no face was found.
    #[error("no face was found in the portrait; use a picture of one face that looks at the camera, or set source-crop=center")]
    NoFaceInPortrait,
    /// More pictures of a portrait than the model makes one face of.
    #[error("model '{model}' makes a portrait of at most {most} picture{}, and {given} are given", if *most == 1 { "" } else { "s" })]
    TooManyPortraits {
        /// Its name.
        model: String,
        /// How many pictures there are.
        given: usize,
        /// How many there may be.
        most: usize,
    },
    /// The same of one of several pictures of a portrait.
    #[error("no face was found in picture {number} of the {count} of the portrait; use pictures of one face each, or set source-crop=center")]
    NoFaceInPicture {
        /// Which, counted from 1.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// Something to animate is asked for before there is a portrait.
    #[error("there is no portrait yet")]
    NoPortrait,
}

/// Environment variable: folders of model folders, separated as in `PATH`.
pub const MODEL_PATH_VARIABLE: &str = "GST_DEEPFAKE_MODEL_PATH";
/// Environment variable: path of the shared library of ONNX Runtime.
pub const RUNTIME_VARIABLE: &str = "ORT_DYLIB_PATH";

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}
