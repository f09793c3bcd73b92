//! The element `fomreenact`.

mod caps;
mod imp;
mod portrait;
mod settings;
mod source;
mod tags;

use gst::{glib, prelude::*};

glib::wrapper! {
    /// Animates a portrait by the face of a driving video.
    pub struct FomReenact(ObjectSubclass<imp::FomReenact>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Makes the element known.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    #[cfg(feature = "doc")]
    {
        use settings::{Composition, Crop, FaceLost, MarkingFlags, Motion, Reference};
        let types = [
            Motion::static_type(),
            Reference::static_type(),
            Crop::static_type(),
            Composition::static_type(),
            FaceLost::static_type(),
            MarkingFlags::static_type(),
        ];
        for one in types {
            one.mark_as_plugin_api(gst::PluginAPIFlags::empty());
        }
    }
    gst::Element::register(Some(plugin), "fomreenact", gst::Rank::NONE, FomReenact::static_type())
}
