//! Where portraits arrive, from a file or the pad `source`, and where the driving stream waits for one.

use std::{
    path::PathBuf,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use deepfake_models::{
    reenact::{Picture, Reenactor},
    Error,
};
use gst::prelude::*;

use crate::{engine, frame, gpu::Context, video::Video};

/// Where a portrait comes from.
#[derive(Clone, Debug)]
pub enum Portrait {
    /// Picture files, all of one person.
    Files(Vec<PathBuf>),
    /// A frame from the pad `source`.
    Frame(gst::Buffer, Video),
}

impl Portrait {
    /// Gives the portrait to the engine, which keeps the one before where that fails. `context`: where the GPU's work is
    /// done, if there is one.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn show(&self, reenactor: &mut Reenactor, context: Option<&Context>) -> Result<(), Unusable> {
        match self {
            Self::Files(paths) => {
                let pictures = paths.iter().map(|path| Picture::open(path)).collect::<Result<Vec<_>, _>>();
                pictures
                    .and_then(|pictures| {
                        let frames: Vec<_> = pictures.iter().map(Picture::frame).collect();
                        reenactor.set_portraits(&frames)
                    })
                    .map_err(Unusable::from)
            }
            Self::Frame(buffer, video) => {
                frame::read(buffer, video, context, |frame| reenactor.set_portrait(frame))
                    .map_err(Unusable::from)
                    .and_then(|result| result.map_err(Unusable::from))
            }
        }
    }
}

/// Why a portrait cannot be used: a warning as long as another can come, else an error.
#[derive(Clone)]
pub struct Unusable {
    pub text: String,
    pub error: gst::ErrorMessage,
}

impl From<Error> for Unusable {
    fn from(error: Error) -> Self {
        Self { text: error.to_string(), error: engine::error_message(&error) }
    }
}

impl From<gst::ErrorMessage> for Unusable {
    fn from(error: gst::ErrorMessage) -> Self {
        Self { text: "its frame cannot be used".into(), error }
    }
}

/// What the driving stream does next.
#[derive(Debug)]
pub enum Next {
    /// Goes on with the portrait it has.
    Keep,
    /// Takes this one.
    Take(Portrait),
    /// Stops, as the element flushes or shuts down.
    Flushing,
    /// Fails: there is no portrait, and none can come.
    Missing(Reason),
}

/// Why no portrait can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is linked to the pad `source`.
    Unlinked,
    /// The stream on the pad `source` has ended.
    Ended,
}

#[derive(Debug, Default)]
struct Inner {
    /// Between READY and PAUSED; nothing waits then.
    stopped: bool,
    /// The driving stream flushes.
    flushing: bool,
    pending: Option<Portrait>,
    pad: Option<gst::Pad>,
    video: Option<Video>,
    ended: bool,
}

/// The slot. Of several portraits that arrive between two driving frames, the last one is taken.
#[derive(Debug)]
pub struct Slot {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Default for Slot {
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { stopped: true, ..Inner::default() }), changed: Condvar::new() }
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Makes ready for a stream.
    pub fn start(&self) {
        self.change(|inner| {
            inner.stopped = false;
            inner.flushing = false;
            inner.ended = false;
        });
    }

    /// Wakes what waits, for good.
    pub fn stop(&self) {
        self.change(|inner| inner.stopped = true);
    }

    /// Forgets everything but the pad itself; after [`stop`](Self::stop), when no stream runs any more.
    pub fn clear(&self) {
        self.change(|inner| {
            inner.pending = None;
            inner.video = None;
            inner.ended = false;
        });
    }

    /// The driving stream starts or ends to flush.
    pub fn set_flushing(&self, flushing: bool) {
        self.change(|inner| inner.flushing = flushing);
    }

    /// Takes `pad` as the pad `source`; `false` if there is one.
    pub fn add_pad(&self, pad: &gst::Pad) -> bool {
        let mut inner = self.lock();
        let free = inner.pad.is_none();
        if free {
            inner.pad = Some(pad.clone());
        }
        free
    }

    /// The pad `source` is gone.
    pub fn remove_pad(&self) {
        self.change(|inner| {
            inner.pad = None;
            inner.video = None;
            inner.ended = false;
        });
    }

    /// What can be seen from the pad itself has changed: look again.
    pub fn pad_changed(&self) {
        self.change(|_| ());
    }

    /// A new stream begins on the pad `source`, or the old one after a flush.
    pub fn restart_stream(&self) {
        self.change(|inner| inner.ended = false);
    }

    /// What is pending from the pad `source` was flushed.
    pub fn flush_stream(&self) {
        self.change(|inner| {
            inner.ended = false;
            if matches!(inner.pending, Some(Portrait::Frame(..))) {
                inner.pending = None;
            }
        });
    }

    /// The format of the frames that follow on the pad `source`.
    pub fn set_video(&self, video: Video) {
        self.change(|inner| inner.video = Some(video));
    }

    /// Nothing more comes from the pad `source`.
    pub fn end_stream(&self) {
        self.change(|inner| inner.ended = true);
    }

    /// Files that were named are no news: `read` have been read, and not others named meanwhile. Without `read` whichever
    /// they are: their names were taken back.
    pub fn forget_files(&self, read: Option<&[PathBuf]>) {
        self.change(|inner| {
            if matches!(&inner.pending, Some(Portrait::Files(paths)) if read.is_none_or(|read| read == paths))
            {
                inner.pending = None;
            }
        });
    }

    /// Files were named.
    pub fn put_files(&self, paths: Vec<PathBuf>) {
        self.change(|inner| inner.pending = Some(Portrait::Files(paths)));
    }

    /// A frame came on the pad `source`.
    ///
    /// # Errors
    /// Flushing, or no caps came before it.
    pub fn put_frame(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let mut inner = self.lock();
        if inner.stopped {
            return Err(gst::FlowError::Flushing);
        }
        let video = inner.video.clone().ok_or(gst::FlowError::NotNegotiated)?;
        inner.pending = Some(Portrait::Frame(buffer, video));
        drop(inner);
        self.changed.notify_all();
        Ok(gst::FlowSuccess::Ok)
    }

    /// Tells the driving stream what to do. Without a portrait it waits here, for as long as one can come.
    pub fn next(&self, have: bool) -> Next {
        let mut inner = self.lock();
        loop {
            if inner.stopped || inner.flushing {
                return Next::Flushing;
            }
            if let Some(portrait) = inner.pending.take() {
                return Next::Take(portrait);
            }
            if have {
                return Next::Keep;
            }
            if !inner.pad.as_ref().is_some_and(|pad| pad.is_linked()) {
                return Next::Missing(Reason::Unlinked);
            }
            if inner.ended {
                return Next::Missing(Reason::Ended);
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn slot(path: &str) -> Slot {
        let slot = Slot::default();
        slot.start();
        slot.put_files(vec![path.into()]);
        slot
    }

    #[test]
    fn a_file_that_was_read_is_no_news_but_one_named_meanwhile_is() {
        let slot = slot("a.png");
        slot.forget_files(Some(&["a.png".into()]));
        assert!(matches!(slot.next(true), Next::Keep));
        slot.put_files(vec!["b.png".into(), "c.png".into()]);
        slot.forget_files(Some(&["a.png".into()]));
        let next = slot.next(true);
        let Next::Take(Portrait::Files(paths)) = next else { panic!("{next:?}") };
        assert_eq!(paths, [Path::new("b.png"), Path::new("c.png")]);
    }

    #[test]
    fn a_file_whose_name_is_taken_back_is_forgotten_and_a_frame_is_not() {
        let slot = slot("a.png");
        slot.forget_files(None);
        assert!(matches!(slot.next(true), Next::Keep));
        gst::init().unwrap();
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, 4, 4).build().unwrap();
        slot.set_video(Video { info, memory: deepfake_kernels::Memory::Host });
        slot.put_frame(gst::Buffer::new()).unwrap();
        slot.forget_files(None);
        assert!(matches!(slot.next(true), Next::Take(Portrait::Frame(..))));
    }
}
