//! What TensorRT has to say: a logger written in Rust that looks like a C++ object.
//!
//! TensorRT takes the first logger of a process for good, so there is one for each library, never freed. Errors are
//! kept for a while, because functions that fail only return null: the reason is in the log.

use std::{
    collections::VecDeque,
    ffi::{c_char, c_void, CStr},
    panic::{catch_unwind, AssertUnwindSafe},
    ptr,
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread::{self, ThreadId},
};

use super::abi::Release;

/// How grave a message of TensorRT is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warning,
    /// What it is doing.
    Info,
    /// Every step.
    Verbose,
}

impl Severity {
    fn from_number(number: i32) -> Self {
        match number {
            // Internal errors and errors.
            ..=1 => Self::Error,
            2 => Self::Warning,
            3 => Self::Info,
            4.. => Self::Verbose,
        }
    }
}

/// What takes messages.
pub type Sink = Arc<dyn Fn(Severity, &str) + Send + Sync>;

static SINK: RwLock<Option<Sink>> = RwLock::new(None);

/// Tells where TensorRT's messages go from now on; without it only errors are kept, for the texts of
/// [`crate::Error`]. `sink` is called on TensorRT's threads too and must not call TensorRT.
pub fn set_log(sink: Option<Sink>) {
    *SINK.write().unwrap_or_else(PoisonError::into_inner) = sink;
}

/// Errors that are kept; a failed build leaves a handful.
const KEPT: usize = 64;

#[derive(Debug)]
struct Entry {
    number: u64,
    thread: ThreadId,
    text: String,
}

#[derive(Debug, Default)]
struct Errors {
    next: u64,
    kept: VecDeque<Entry>,
}

/// As the C++ object: the address of its table of virtual functions first.
#[repr(C)]
pub(super) struct Logger {
    virtuals: *const c_void,
    errors: Mutex<Errors>,
}

// SAFETY: the table is constant, the rest is behind a lock.
unsafe impl Sync for Logger {}
// SAFETY: as above.
unsafe impl Send for Logger {}

impl Logger {
    /// A logger for a library of `release`, for good.
    pub fn leak(release: &Release) -> &'static Self {
        let virtuals = if release.versioned_logger {
            (&raw const VERSIONED.language).cast()
        } else {
            (&raw const PLAIN.log).cast()
        };
        Box::leak(Box::new(Self { virtuals, errors: Mutex::default() }))
    }

    /// The object, for the library.
    pub fn raw(&'static self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// A point in time for [`Self::errors_since`].
    pub fn mark(&self) -> u64 {
        self.lock().next
    }

    /// The errors since `mark` in TensorRT's words: those of this thread, or, as it works with threads of its own,
    /// all if there are none; `otherwise` if it said nothing.
    pub fn errors_since(&self, mark: u64, otherwise: &str) -> String {
        let errors = self.lock();
        let since = || errors.kept.iter().filter(|e| e.number >= mark);
        let own: Vec<_> = since().filter(|e| e.thread == thread::current().id()).collect();
        let mut texts: Vec<&str> =
            if own.is_empty() { since().collect() } else { own }.iter().map(|e| e.text.as_str()).collect();
        texts.dedup();
        // What comes after is only how the error went up.
        texts.truncate(4);
        if texts.is_empty() {
            otherwise.to_owned()
        } else {
            texts.join("; ")
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Errors> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, severity: Severity, text: &str) {
        if severity == Severity::Error {
            let mut errors = self.lock();
            let number = errors.next;
            errors.next += 1;
            if errors.kept.len() == KEPT {
                errors.kept.pop_front();
            }
            errors.kept.push_back(Entry { number, thread: thread::current().id(), text: text.to_owned() });
        }
        let sink = SINK.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(sink) = sink {
            sink(severity, text);
        }
    }
}

extern "C" fn log(logger: *const Logger, severity: i32, text: *const c_char) {
    if logger.is_null() || text.is_null() {
        return;
    }
    // A panic (of the sink) must not unwind into C++.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: loggers are never freed, and TensorRT's texts end in a zero.
        let (logger, text) = unsafe { (&*logger, CStr::from_ptr(text)) };
        logger.take(Severity::from_number(severity), text.to_string_lossy().trim());
    }));
}

/// A destructor, which TensorRT never calls, since the logger is not its own.
pub(super) extern "C" fn destroy(_: *const c_void) {}

/// The kind and version of an object that the library calls back.
#[repr(C)]
pub(super) struct InterfaceInfo {
    pub kind: *const c_char,
    pub major: i32,
    pub minor: i32,
}

/// Which language an object that the library calls back is made in: as good as C++.
pub(super) extern "C" fn language(_: *const c_void) -> i32 {
    0
}

extern "C" fn interface_info(_: *const c_void) -> InterfaceInfo {
    InterfaceInfo { kind: c"ILogger".as_ptr(), major: 1, minor: 0 }
}

/// The table up to TensorRT 10. In front of every table: the offset of the object in a larger one, and its type for
/// `dynamic_cast`, of which there is none.
#[repr(C)]
struct Plain {
    offset: isize,
    type_info: usize,
    log: extern "C" fn(*const Logger, i32, *const c_char),
    destroy: extern "C" fn(*const c_void),
    delete: extern "C" fn(*const c_void),
}

static PLAIN: Plain = Plain { offset: 0, type_info: 0, log, destroy, delete: destroy };

/// The table from TensorRT 11 on.
#[repr(C)]
struct Versioned {
    offset: isize,
    type_info: usize,
    language: extern "C" fn(*const c_void) -> i32,
    interface_info: extern "C" fn(*const c_void) -> InterfaceInfo,
    destroy: extern "C" fn(*const c_void),
    delete: extern "C" fn(*const c_void),
    log: extern "C" fn(*const Logger, i32, *const c_char),
}

static VERSIONED: Versioned =
    Versioned { offset: 0, type_info: 0, language, interface_info, destroy, delete: destroy, log };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tensorrt::abi::{self, call};

    /// Logs as C++ would.
    fn say(logger: &'static Logger, slot: usize, severity: i32, text: &CStr) {
        let object = ptr::NonNull::new(logger.raw()).unwrap();
        // SAFETY: a logger with its function in that place.
        unsafe { call!(object, slot, [severity => i32, text.as_ptr() => *const c_char]) };
    }

    #[test]
    fn errors_are_kept_and_told_from_a_mark_on() {
        for (release, slot) in [(&abi::V10, 0), (&abi::RTX, 4)] {
            let logger = Logger::leak(release);
            say(logger, slot, 1, c"old");
            let mark = logger.mark();
            assert_eq!(logger.errors_since(mark, "nothing"), "nothing");
            say(logger, slot, 3, c"only information");
            say(logger, slot, 0, c"internal ");
            say(logger, slot, 1, c"internal");
            say(logger, slot, 1, c"second");
            assert_eq!(logger.errors_since(mark, "nothing"), "internal; second");
        }
    }

    #[test]
    fn errors_of_other_threads_count_where_there_are_no_own_ones() {
        let logger = Logger::leak(&abi::RTX);
        thread::spawn(|| say(logger, 4, 1, c"theirs")).join().unwrap();
        assert_eq!(logger.errors_since(0, ""), "theirs");
        say(logger, 4, 1, c"ours");
        assert_eq!(logger.errors_since(0, ""), "ours");
    }

    #[test]
    fn a_flood_of_errors_is_not_kept() {
        let logger = Logger::leak(&abi::RTX);
        for _ in 0..1000 {
            say(logger, 4, 1, c"again");
        }
        assert_eq!(logger.lock().kept.len(), KEPT);
        assert_eq!(logger.mark(), 1000);
    }

    #[test]
    fn a_versioned_logger_tells_its_version() {
        let object = ptr::NonNull::new(Logger::leak(&abi::RTX).raw()).unwrap();
        // SAFETY: the first two functions of the table.
        let info = unsafe {
            assert_eq!(call!(object, 0, [] -> i32), 0);
            call!(object, 1, [] -> InterfaceInfo)
        };
        // SAFETY: a literal.
        assert_eq!(unsafe { CStr::from_ptr(info.kind) }, c"ILogger");
        assert_eq!((info.major, info.minor), (1, 0));
    }
}
