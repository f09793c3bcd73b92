//! GStreamer elements over `deepfake-models`: `fomreenact` animates a portrait by a driving video,
//! `deepfakedetect` tells how likely the faces of a video were synthesised.
//!
//! The elements only translate between GStreamer and the crates below; they know nothing of networks.

use gst::glib;

mod deepfakedetect;
mod engine;
mod fomreenact;
mod frame;
mod gpu;
mod latency;
mod marking;
mod meta;
mod report;
mod stats;
mod video;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    // The models and ONNX Runtime are looked for beside the library.
    if let Some(folder) = plugin.filename().as_deref().and_then(std::path::Path::parent) {
        deepfake_models::zoo::set_plugin_folder(folder.to_owned());
    }
    marking::register();
    engine::log_tensorrt();
    fomreenact::register(plugin)?;
    deepfakedetect::register(plugin)
}

// The macro makes public items without documentation.
#[allow(missing_docs)]
mod define {
    use super::plugin_init;

    gst::plugin_define!(
        deepfake,
        env!("CARGO_PKG_DESCRIPTION"),
        plugin_init,
        concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
        // GStreamer knows no SPDX expressions; of the two licences on offer this is the one it lists.
        "MIT/X11",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_NAME"),
        "Unknown package origin",
        env!("BUILD_REL_DATE")
    );
}

pub use define::*;
