//! How far a build is: TensorRT tells of phases within phases, a user wants one number.

use std::{
    ffi::{c_char, c_void, CStr},
    panic::{catch_unwind, AssertUnwindSafe},
    ptr,
    sync::{Mutex, PoisonError},
};

use super::logger::{destroy, language, InterfaceInfo};

/// Takes the share that is done, 0..1, never less than the last time.
pub(super) type Report<'a> = &'a (dyn Fn(f32) + Sync);

#[derive(Debug)]
struct Phase {
    name: String,
    parent: Option<String>,
    steps: u32,
    done: u32,
}

/// The phases that go on, and the most that was reported.
#[derive(Debug, Default)]
struct State {
    phases: Vec<Phase>,
    reported: f32,
}

impl State {
    fn start(&mut self, name: String, parent: Option<String>, steps: u32) {
        self.phases.retain(|p| p.name != name);
        self.phases.push(Phase { name, parent, steps: steps.max(1), done: 0 });
    }

    /// `step`: counted from 0.
    fn step(&mut self, name: &str, step: u32) {
        if let Some(phase) = self.phases.iter_mut().find(|p| p.name == name) {
            phase.done = phase.done.max(step.saturating_add(1)).min(phase.steps);
        }
    }

    fn finish(&mut self, name: &str) {
        let root = self.phases.iter().any(|p| p.name == name && p.parent.is_none());
        if root {
            // Its steps are done, whatever was told of them.
            self.step(name, u32::MAX - 1);
        } else {
            self.phases.retain(|p| p.name != name);
        }
    }

    /// What is done of a phase, 0..1: its steps and what is done of those that go on within one.
    fn share(&self, phase: &Phase, depth: u32) -> f32 {
        let within = self.phases.iter().filter(|p| p.parent.as_deref() == Some(&phase.name));
        // Phases that name one another as parents would never end.
        let partial: f32 = if depth == 0 { 0.0 } else { within.map(|p| self.share(p, depth - 1)).sum() };
        ((phase.done as f32 + partial) / phase.steps as f32).min(1.0)
    }

    /// The share to report, if it has grown by enough to be worth it.
    fn news(&mut self) -> Option<f32> {
        let roots: Vec<_> = self.phases.iter().filter(|p| p.parent.is_none()).collect();
        let sum: f32 = roots.iter().map(|p| self.share(p, 8)).sum();
        let share = sum / roots.len().max(1) as f32;
        let new = share >= self.reported + 0.01;
        if new {
            self.reported = share;
        }
        new.then_some(share)
    }
}

/// As the C++ object: the address of its table of virtual functions first.
#[repr(C)]
pub(super) struct Monitor<'a> {
    virtuals: *const c_void,
    state: Mutex<State>,
    report: Report<'a>,
}

impl<'a> Monitor<'a> {
    pub fn new(report: Report<'a>) -> Self {
        Self { virtuals: (&raw const VIRTUALS.language).cast(), state: Mutex::default(), report }
    }

    /// The object, for the library, which may use it as long as `self` lives and does not move.
    pub fn raw(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        // TensorRT may call from several threads. Reporting under the lock keeps the numbers in order.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if let Some(share) = state.news() {
            (self.report)(share);
        }
    }
}

/// Calls `change` for the monitor behind `monitor`; a panic (of the report) must not unwind into C++.
fn guarded(monitor: *const Monitor<'_>, change: impl FnOnce(&mut State)) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the library calls only while it builds, and the monitor lives until after that.
        unsafe { &*monitor }.change(change);
    }));
}

/// The text at `text`, which may be null.
///
/// # Safety
/// Null or the start of a text that ends in a zero.
unsafe fn owned(text: *const c_char) -> Option<String> {
    // SAFETY: promised by the caller.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

extern "C" fn phase_start(this: *const Monitor<'_>, name: *const c_char, parent: *const c_char, steps: i32) {
    // SAFETY: names are texts; a phase that is in no other has no parent.
    let (name, parent) = unsafe { (owned(name), owned(parent)) };
    guarded(this, |state| {
        state.start(name.unwrap_or_default(), parent, u32::try_from(steps).unwrap_or(1));
    });
}

/// Whether to go on: always.
extern "C" fn step_complete(this: *const Monitor<'_>, name: *const c_char, step: i32) -> bool {
    // SAFETY: names are texts.
    let name = unsafe { owned(name) }.unwrap_or_default();
    guarded(this, |state| state.step(&name, u32::try_from(step).unwrap_or(0)));
    true
}

extern "C" fn phase_finish(this: *const Monitor<'_>, name: *const c_char) {
    // SAFETY: names are texts.
    let name = unsafe { owned(name) }.unwrap_or_default();
    guarded(this, |state| state.finish(&name));
}

extern "C" fn interface_info(_: *const c_void) -> InterfaceInfo {
    InterfaceInfo { kind: c"IProgressMonitor".as_ptr(), major: 1, minor: 0 }
}

/// The table, behind the object's offset in a larger one and its type for `dynamic_cast`, of which there is none.
#[repr(C)]
struct Virtuals {
    offset: isize,
    type_info: usize,
    language: extern "C" fn(*const c_void) -> i32,
    interface_info: extern "C" fn(*const c_void) -> InterfaceInfo,
    destroy: extern "C" fn(*const c_void),
    delete: extern "C" fn(*const c_void),
    phase_start: extern "C" fn(*const Monitor<'_>, *const c_char, *const c_char, i32),
    step_complete: extern "C" fn(*const Monitor<'_>, *const c_char, i32) -> bool,
    phase_finish: extern "C" fn(*const Monitor<'_>, *const c_char),
}

static VIRTUALS: Virtuals = Virtuals {
    offset: 0,
    type_info: 0,
    language,
    interface_info,
    destroy,
    delete: destroy,
    phase_start,
    step_complete,
    phase_finish,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_within_phases_make_one_number_that_only_grows() {
        let seen = Mutex::new(Vec::new());
        let report = |share| seen.lock().unwrap().push(share);
        let monitor = Monitor::new(&report);
        let this = &raw const monitor;
        phase_start(this, c"build".as_ptr(), ptr::null(), 2);
        phase_start(this, c"timing".as_ptr(), c"build".as_ptr(), 4);
        for step in 0..4 {
            assert!(step_complete(this, c"timing".as_ptr(), step));
        }
        phase_finish(this, c"timing".as_ptr());
        step_complete(this, c"build".as_ptr(), 0);
        // A second phase of its own would halve what is done.
        phase_start(this, c"other".as_ptr(), ptr::null(), 1);
        phase_finish(this, c"other".as_ptr());
        phase_finish(this, c"build".as_ptr());
        assert_eq!(*seen.lock().unwrap(), [0.125, 0.25, 0.375, 0.5, 0.75, 1.0]);
    }

    #[test]
    fn nonsense_is_survived() {
        let monitor = Monitor::new(&|share| assert!((0.0..=1.0).contains(&share)));
        let this = &raw const monitor;
        step_complete(this, c"unknown".as_ptr(), 3);
        phase_finish(this, ptr::null());
        phase_start(this, c"a".as_ptr(), c"b".as_ptr(), -1);
        phase_start(this, c"b".as_ptr(), c"a".as_ptr(), 0);
        phase_start(this, c"root".as_ptr(), ptr::null(), i32::MAX);
        step_complete(this, c"root".as_ptr(), i32::MAX);
        step_complete(this, c"root".as_ptr(), -5);
    }

    #[test]
    fn a_report_that_panics_does_not_reach_the_library() {
        let monitor = Monitor::new(&|_| panic!("expected by this test"));
        phase_start(&raw const monitor, c"a".as_ptr(), ptr::null(), 1);
        assert!(step_complete(&raw const monitor, c"a".as_ptr(), 0));
    }
}
