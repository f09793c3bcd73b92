//! The element `deepfakedetect`.

mod imp;
mod settings;

use gst::{glib, prelude::*};

glib::wrapper! {
    /// Tells how likely the faces of a video were synthesised.
    pub struct DeepfakeDetect(ObjectSubclass<imp::DeepfakeDetect>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Makes the element known.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    #[cfg(feature = "doc")]
    {
        use settings::Faces;
        Faces::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
        crate::engine::Backend::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
        crate::engine::Precision::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    gst::Element::register(Some(plugin), "deepfakedetect", gst::Rank::NONE, DeepfakeDetect::static_type())
}
