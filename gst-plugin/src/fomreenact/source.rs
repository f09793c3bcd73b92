//! The request pad `source`, on which a portrait comes. Nothing on it reaches the driving stream.

use gst::{prelude::*, subclass::prelude::*};

use super::imp::{FomReenact, CAT};
use crate::video::{self, Video};

/// Its name.
pub const PAD: &str = "source";

impl FomReenact {
    /// The pad, not added yet.
    pub(super) fn build_source_pad(&self, templ: &gst::PadTemplate) -> gst::Pad {
        let pad = gst::Pad::builder_from_template(templ)
            .name(PAD)
            .chain_function(|_pad, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| this.slot.put_frame(buffer),
                )
            })
            .event_function(|_pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.source_event(&event))
            })
            .query_function(|_pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.source_query(query))
            })
            // Nothing that asks or tells the driving stream is meant for the portrait's.
            .iterate_internal_links_function(|_pad, _parent| gst::Iterator::from_vec(vec![]))
            .build();
        let this = self.downgrade();
        pad.connect_unlinked(move |_pad, _peer| {
            if let Some(this) = this.upgrade() {
                this.slot.pad_changed();
            }
        });
        pad
    }

    /// Events on the pad `source`. None reaches the driving stream.
    fn source_event(&self, event: &gst::Event) -> bool {
        match event.view() {
            gst::EventView::Caps(caps) => match Video::from_caps(caps.caps()) {
                Ok(video) => self.slot.set_video(video),
                Err(error) => {
                    gst::error!(CAT, imp = self, "{}: {error}", caps.caps());
                    return false;
                }
            },
            gst::EventView::StreamStart(_) => self.slot.restart_stream(),
            gst::EventView::FlushStop(_) => self.slot.flush_stream(),
            gst::EventView::Eos(_) => self.slot.end_stream(),
            _ => (),
        }
        true
    }

    /// Queries on the pad `source`. None reaches the driving stream.
    fn source_query(&self, query: &mut gst::QueryRef) -> bool {
        let element = self.obj();
        match query.view_mut() {
            gst::QueryViewMut::Caps(query) => {
                let caps = video::caps(self.memories());
                let filtered = query
                    .filter()
                    .map(|filter| filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First));
                query.set_result(filtered.as_ref().unwrap_or(&caps));
                true
            }
            gst::QueryViewMut::AcceptCaps(query) => {
                let accepted = query.caps().is_subset(&video::caps(self.memories()));
                query.set_result(accepted);
                true
            }
            gst::QueryViewMut::Allocation(allocation) => {
                allocation.add_allocation_meta::<gst_video::VideoMeta>(None);
                true
            }
            gst::QueryViewMut::Context(_) => self.gpu.answer(element.upcast_ref(), query),
            _ => false,
        }
    }
}
