//! A frame's work on a device, through a CUDA graph where it can be captured.

use std::thread;

use deepfake_kernels::{Device, Graph};

use super::{Platform, Warnings};
use crate::{Error, Result};

/// Work that is the same from frame to frame. Where it cannot be captured it runs all the same, only with more time between
/// its parts, of which a user is told once.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    graph: Graph,
    work: String,
    warnings: Warnings,
    told: bool,
}

impl Replayed {
    /// Of work that goes by the name `work`.
    pub(crate) fn new(work: impl Into<String>, platform: &Platform) -> Self {
        let warnings = platform.options().warnings.clone();
        Self { work: work.into(), warnings, ..Self::default() }
    }

    /// Runs `work`, which must be as [`Device::replay`] wants it.
    ///
    /// # Errors
    /// Those of `work`, and [`Error::Device`].
    pub(crate) fn run(&mut self, device: &Device, work: impl FnMut() -> Result<()>) -> Result<()> {
        device.replay::<Error>(&mut self.graph, work)?;
        if !self.told {
            if let Some(reason) = self.graph.refusal() {
                let text = refused(&self.work, reason);
                self.tell(text);
            }
        }
        Ok(())
    }

    fn tell(&mut self, text: String) {
        let warnings = self.warnings.clone();
        // From a thread of its own: whoever runs a frame holds locks that a listener may want. Without a thread it is told
        // with a later frame.
        let thread = thread::Builder::new().name("deepfake-warning".into());
        self.told = thread.spawn(move || warnings.warn(&text)).is_ok();
    }
}

fn refused(work: &str, reason: &str) -> String {
    format!(
        "The work of {work} runs slower than it could: it was not captured as a CUDA graph, since {reason}. Another version \
         of TensorRT or of the driver may help."
    )
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        sync::{mpsc, Arc, Mutex},
        time::Duration,
    };

    use super::*;

    #[test]
    fn work_runs_once_for_each_run_where_nothing_is_captured_and_nobody_is_warned() {
        let warned = Arc::new(Mutex::new(0));
        let count = Arc::clone(&warned);
        let warnings = Warnings::to(move |_| *count.lock().unwrap() += 1);
        let mut replayed = Replayed { warnings, ..Replayed::default() };
        let runs = Cell::new(0);
        for _ in 0..3 {
            replayed
                .run(&Device::Cpu, || {
                    runs.set(runs.get() + 1);
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!((runs.get(), *warned.lock().unwrap()), (3, 0));
    }

    #[test]
    fn a_refusal_is_told_while_whoever_runs_the_frame_holds_its_locks() {
        let (tell, told) = mpsc::channel();
        let state = Arc::new(Mutex::new(()));
        let listener = Arc::clone(&state);
        let warnings = Warnings::to(move |text| {
            drop(listener.lock().unwrap());
            tell.send(text.to_owned()).unwrap();
        });
        let mut replayed = Replayed { warnings, ..Replayed::default() };
        let running = state.lock().unwrap();
        replayed.tell("slower".into());
        assert!(replayed.told, "told again with the next frame");
        drop(running);
        assert_eq!(told.recv_timeout(Duration::from_secs(60)).unwrap(), "slower");
    }

    #[test]
    fn a_refusal_is_told_in_words_that_name_the_work_and_the_reason() {
        let text = refused("fwa-lite", "a library refused to be captured");
        assert!(text.contains("fwa-lite") && text.contains("a library refused to be captured"), "{text}");
    }
}
