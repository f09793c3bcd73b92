//! The stream's tags: upstream's, and ours.

use gst::{TagList, TagListRef};

use crate::marking::Marking;

/// What is left of the tags `tags` of the driving video without those that may show who drives or tell where they are.
/// `None` if nothing is.
pub fn without_driver(tags: &TagListRef) -> Option<TagList> {
    let tells = |name: &str| {
        matches!(name, "image" | "preview-image" | "attachment") || name.starts_with("geo-location-")
    };
    let mut left = tags.to_owned();
    for (name, _) in tags.iter_generic().filter(|(name, _)| tells(name)) {
        left.make_mut().remove_generic(name);
    }
    (left.n_tags() > 0).then_some(left)
}

/// What has to be said downstream.
#[derive(Debug, Default)]
pub struct Tags {
    upstream: Option<TagList>,
    /// What downstream knows is what it should.
    sent: bool,
    /// Downstream knows of our tags.
    marked: bool,
}

impl Tags {
    /// A new stream begins.
    pub fn start_stream(&mut self) {
        *self = Self::default();
    }

    /// Upstream sent tags of the stream, which replace those it sent before.
    pub fn set_upstream(&mut self, tags: TagList) {
        self.upstream = Some(tags);
        self.sent = false;
    }

    /// The marking was switched on or off.
    pub fn marking_changed(&mut self) {
        self.sent = false;
    }

    /// The tags to send now, if any.
    pub fn due(&mut self, marking: Option<&Marking>) -> Option<TagList> {
        if self.sent {
            return None;
        }
        self.sent = true;
        let unsaid = self.upstream.is_none() && marking.is_none() && !self.marked;
        self.marked = marking.is_some();
        if unsaid {
            return None;
        }
        let mut tags = self.upstream.clone().unwrap_or_default();
        if let Some(marking) = marking {
            marking.tag(&mut tags);
        }
        Some(tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marking;

    #[test]
    fn tags_are_due_once_and_again_after_a_change() {
        gst::init().unwrap();
        marking::register();
        let marking = Marking::new("test", "m");
        let synthetic = |tags: &TagList| tags.get::<marking::SyntheticMedia>().is_some();
        let mut tags = Tags::default();
        assert!(synthetic(&tags.due(Some(&marking)).unwrap()));
        assert!(tags.due(Some(&marking)).is_none());

        let mut title = TagList::new();
        title.make_mut().add::<gst::tags::Title>(&"film", gst::TagMergeMode::Append);
        tags.set_upstream(title);
        let both = tags.due(Some(&marking)).unwrap();
        assert!(synthetic(&both) && both.get::<gst::tags::Title>().is_some());

        tags.marking_changed();
        let without = tags.due(None).unwrap();
        assert!(!synthetic(&without) && without.get::<gst::tags::Title>().is_some());
    }

    #[test]
    fn what_tells_of_the_driver_is_left_out_and_the_scope_kept() {
        gst::init().unwrap();
        let mut tags = TagList::new();
        {
            let tags = tags.make_mut();
            tags.set_scope(gst::TagScope::Global);
            let picture = gst::Sample::builder().buffer(&gst::Buffer::with_size(3).unwrap()).build();
            tags.add::<gst::tags::Image>(&picture, gst::TagMergeMode::Append);
            tags.add::<gst::tags::PreviewImage>(&picture, gst::TagMergeMode::Append);
            tags.add::<gst::tags::Attachment>(&picture, gst::TagMergeMode::Append);
            tags.add::<gst::tags::GeoLocationLatitude>(&52.5, gst::TagMergeMode::Append);
            tags.add::<gst::tags::GeoLocationName>(&"home", gst::TagMergeMode::Append);
        }
        assert!(without_driver(&tags).is_none());
        tags.make_mut().add::<gst::tags::Title>(&"film", gst::TagMergeMode::Append);
        let left = without_driver(&tags).unwrap();
        assert_eq!((left.n_tags(), left.scope()), (1, gst::TagScope::Global));
        assert_eq!(left.get::<gst::tags::Title>().unwrap().get(), "film");
    }

    #[test]
    fn an_unmarked_stream_without_tags_gets_none() {
        gst::init().unwrap();
        assert!(Tags::default().due(None).is_none());
    }
}
