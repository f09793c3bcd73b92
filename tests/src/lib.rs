//! What the pipeline tests share: the plugin registered, footage found, frames pulled out of pipelines.

mod faces;
mod frames;
mod pipeline;
mod similarity;
mod statistics;

use std::{
    path::{Path, PathBuf},
    sync::Once,
};

pub use faces::{measure_faces, FaceMeasure};
pub use frames::{demo_frames, pull_frames, Picture};
pub use pipeline::{run_to_end, Ended};
pub use similarity::Histogram;
pub use statistics::{correlation, median};

/// Initialises GStreamer and registers the plugin that this build made, once.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().expect("GStreamer starts");
        gstdeepfake::plugin_register_static().expect("the plugin registers");
    });
}

/// The portrait that the project ships.
pub fn portrait() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/assets/portrait.jpg")
}

/// A pipeline description that decodes `path` into raw video.
pub fn decode(path: &Path) -> String {
    format!("filesrc location=\"{}\" ! decodebin ! videoconvert", path.display())
}

/// A file of the real footage that `tests/run.sh` fetches; `None`, with a line that says why, where it was not.
pub fn footage(name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("DEEPFAKE_TEST_DATA") else {
        eprintln!("SKIPPED: DEEPFAKE_TEST_DATA is not set, so there is no {name}; tests/run.sh sets it");
        return None;
    };
    let path = Path::new(&folder).join(name);
    assert!(path.is_file(), "{} is missing; tests/run.sh fetches it", path.display());
    Some(path)
}
