//! The stream's tags: upstream's, and ours.

use gst::TagList;

use crate::marking::Marking;

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
    fn an_unmarked_stream_without_tags_gets_none() {
        gst::init().unwrap();
        assert!(Tags::default().due(None).is_none());
    }
}
