//! Whole pipelines from start to end.

use std::time::Duration;

use gst::prelude::*;

/// How a pipeline ended, and the element messages on the way.
#[derive(Debug)]
pub struct Ended {
    /// The error that ended it, if one did.
    pub error: Option<String>,
    /// Structures of all element messages, in order.
    pub messages: Vec<gst::Structure>,
}

/// Runs a pipeline to its end or its first error.
///
/// # Panics
/// If it cannot be made, or neither ends within `limit`.
pub fn run_to_end(description: &str, limit: Duration) -> Ended {
    let pipeline = gst::parse::launch(description).unwrap_or_else(|e| panic!("{description}: {e}"));
    let bus = pipeline.bus().expect("a pipeline has a bus");
    // An element that fails to start says why on the bus.
    let started = pipeline.set_state(gst::State::Playing);
    let mut messages = Vec::new();
    let end = gst::ClockTime::try_from(limit).expect("a limit that fits");
    let error = loop {
        let Some(message) = bus.timed_pop(end) else {
            panic!("{description}: neither end nor error within {limit:?} (start: {started:?})");
        };
        match message.view() {
            gst::MessageView::Eos(_) => break None,
            gst::MessageView::Error(error) => {
                break Some(format!("{} ({})", error.error(), error.debug().unwrap_or_default()))
            }
            gst::MessageView::Element(element) => messages.extend(element.structure().map(|s| s.to_owned())),
            _ => {}
        }
    };
    pipeline.set_state(gst::State::Null).expect("the pipeline stops");
    Ended { error, messages }
}
