//! A frame's work, captured once as a CUDA graph and replayed with what changes from frame to frame put in.
//!
//! The code that enqueues a frame's work stays the same whether it runs eagerly, is captured, or is replayed: it is
//! called each time, and [`Recorder`] decides what becomes of each launch. For a replay it only takes notes, which are
//! compared with those of the capture; parameters of our own kernels that differ are set in the graph's nodes.

use std::{
    ffi::c_void,
    ptr::{null, null_mut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cudarc::driver::sys;

use super::{
    context::Context,
    driver::{check, DeviceError},
    CudaDevice, Extent, Kernel,
};

/// A piece of a frame's work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work<'a> {
    /// A kernel of ours.
    Kernel {
        /// Which.
        kernel: Kernel,
        /// Its extent.
        extent: Extent,
        /// Its argument, byte by byte.
        parameters: &'a [u8],
    },
    /// Something that a library enqueues, and all that it depends on as one number.
    Library(u64),
}

/// The note of a piece of work.
#[derive(Clone, Debug, PartialEq)]
enum Note {
    Kernel { kernel: Kernel, extent: Extent, parameters: Vec<u8> },
    Library(u64),
}

impl Note {
    /// Whether a graph with this note can do the other's work with other parameters.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Kernel { kernel, parameters, .. }, Self::Kernel { kernel: same, parameters: new, .. }) => {
                kernel == same && parameters.len() == new.len()
            }
            (Self::Library(what), Self::Library(same)) => what == same,
            _ => false,
        }
    }
}

#[derive(Debug, Default)]
enum Mode {
    /// Work is done, no notes are taken.
    #[default]
    Off,
    /// Work is done (into a capture) and noted.
    Capturing,
    /// Work is noted and not done.
    Rehearsing,
}

/// Notes what a stream is given to do.
#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<(Mode, Vec<Note>)>);

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, (Mode, Vec<Note>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a piece of work. Tells whether it is to be done now.
    pub(super) fn take(&self, work: Work<'_>) -> bool {
        let (mode, notes) = &mut *self.lock();
        if !matches!(mode, Mode::Off) {
            notes.push(match work {
                Work::Kernel { kernel, extent, parameters } => {
                    Note::Kernel { kernel, extent, parameters: parameters.to_vec() }
                }
                Work::Library(what) => Note::Library(what),
            });
        }
        !matches!(mode, Mode::Rehearsing)
    }

    /// Whether work is being captured.
    pub(super) fn is_capturing(&self) -> bool {
        matches!(self.lock().0, Mode::Capturing)
    }

    fn start(&self, mode: Mode) {
        *self.lock() = (mode, Vec::new());
    }

    fn finish(&self) -> Vec<Note> {
        std::mem::take(&mut *self.lock()).1
    }
}

/// Ends the notes whatever happens, a panic included.
struct Session<'a>(&'a Recorder);

impl<'a> Session<'a> {
    fn new(recorder: &'a Recorder, mode: Mode) -> Self {
        recorder.start(mode);
        Self(recorder)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.0.start(Mode::Off);
    }
}

/// A captured frame. New ones, and those whose work changed its shape, run once without a graph (libraries set
/// themselves up in their first run), are captured in the next run and replayed from then on.
#[derive(Debug, Default)]
pub struct Graph {
    state: State,
    captures: u32,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    New,
    Warm,
    Ready(Captured),
    /// Cannot be captured, for this reason.
    Refused(String),
}

#[derive(Debug)]
struct Captured {
    context: Arc<Context>,
    executable: sys::CUgraphExec,
    graph: sys::CUgraph,
    notes: Vec<Note>,
    /// For each note: the node, where it is a kernel of ours.
    nodes: Vec<Option<sys::CUgraphNode>>,
}

// SAFETY: graphs may be used from any thread, by one at a time, which `&mut` sees to.
unsafe impl Send for Captured {}
// SAFETY: as above; nothing is done with a shared reference.
unsafe impl Sync for Captured {}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        if let Ok(_current) = self.context.enter() {
            // SAFETY: ours, and destroyed once. The driver finishes a running launch first.
            unsafe {
                let _ = sys::cuGraphExecDestroy(self.executable);
                let _ = sys::cuGraphDestroy(self.graph);
            }
        }
    }
}

impl Graph {
    /// Why there is no graph, if one was tried and refused.
    pub fn refusal(&self) -> Option<&str> {
        match &self.state {
            State::Refused(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether the next run of the same work is a replay.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// How often work was captured.
    pub fn captures(&self) -> u32 {
        self.captures
    }
}

impl CudaDevice {
    /// Runs `work`, which enqueues the work of one frame on this stream, through `graph`.
    ///
    /// `work` may be called more than once for one run: it must enqueue the same however often it is called, and neither wait
    /// nor look at results.
    ///
    /// # Errors
    /// Those of `work`, and [`DeviceError::Call`]. A stream that cannot be captured is no error; see [`Graph::refusal`].
    pub(crate) fn replay<E: From<DeviceError>>(
        &self,
        graph: &mut Graph,
        work: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let _current = self.shared_context().enter()?;
        match &mut graph.state {
            State::Refused(_) => work(),
            State::New => {
                work()?;
                graph.state = State::Warm;
                Ok(())
            }
            State::Warm => match self.capture(work)? {
                Ok(captured) => {
                    graph.captures += 1;
                    self.start(&captured)?;
                    graph.state = State::Ready(captured);
                    Ok(())
                }
                Err(reason) => {
                    graph.state = State::Refused(reason);
                    work()
                }
            },
            State::Ready(captured) => {
                let session = Session::new(self.recorder(), Mode::Rehearsing);
                work()?;
                let notes = self.recorder().finish();
                drop(session);
                if captured.take_over(notes)? {
                    self.start(captured)?;
                    return Ok(());
                }
                graph.state = State::New;
                self.replay(graph, work)
            }
        }
    }

    fn start(&self, captured: &Captured) -> Result<(), DeviceError> {
        // SAFETY: the graph lives, and what its nodes point to is what the last notes said.
        check("cuGraphLaunch", unsafe { sys::cuGraphLaunch(captured.executable, self.raw_stream()) })
    }

    /// The outer error is of `work`; the inner one says why the stream cannot be captured.
    fn capture<E: From<DeviceError>>(
        &self,
        work: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<Result<Captured, String>, E> {
        let stream = self.raw_stream();
        // Relaxed: what other threads (other elements) do meanwhile is none of this capture's business, and libraries may
        // ask for memory.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream is ours and not being captured.
        let begun = unsafe { sys::cuStreamBeginCapture_v2(stream, mode) };
        if let Err(error) = check("cuStreamBeginCapture", begun) {
            return Ok(Err(error.to_string()));
        }
        let session = Session::new(self.recorder(), Mode::Capturing);
        let done = work();
        let notes = self.recorder().finish();
        drop(session);
        let mut graph = null_mut();
        // SAFETY: ends what was begun above, in the same thread.
        let ended = check("cuStreamEndCapture", unsafe { sys::cuStreamEndCapture(stream, &mut graph) });
        let finished = match (done, ended) {
            (Ok(()), Ok(())) if !graph.is_null() => self.instantiate(graph, notes),
            (Ok(()), Ok(())) => Err("nothing was captured".to_owned()),
            // A library that does not like captures fails inside of one; run without, it will tell if it fails there too.
            (Err(_), _) => Err("a library refused to be captured".to_owned()),
            (_, Err(error)) => Err(error.to_string()),
        };
        if finished.is_err() && !graph.is_null() {
            // SAFETY: ours, and in no use.
            let _ = unsafe { sys::cuGraphDestroy(graph) };
        }
        Ok(finished)
    }

    fn instantiate(&self, graph: sys::CUgraph, notes: Vec<Note>) -> Result<Captured, String> {
        let nodes = kernel_nodes(graph, &notes, |kernel| self.shared_context().module().function(kernel))?;
        let mut executable = null_mut();
        // SAFETY: a valid place for the result and a live graph.
        check("cuGraphInstantiate", unsafe { sys::cuGraphInstantiateWithFlags(&mut executable, graph, 0) })
            .map_err(|error| error.to_string())?;
        Ok(Captured { context: Arc::clone(self.shared_context()), executable, graph, notes, nodes })
    }
}

/// The node of each note of a kernel, found by its function, extent and argument. Two notes that agree in all of that
/// would do the same work on the same memory, so it does not matter which gets which.
fn kernel_nodes(
    graph: sys::CUgraph,
    notes: &[Note],
    function: impl Fn(Kernel) -> sys::CUfunction,
) -> Result<Vec<Option<sys::CUgraphNode>>, String> {
    let mut count = 0;
    // SAFETY: a live graph and a valid place for the number of its nodes.
    check("cuGraphGetNodes", unsafe { sys::cuGraphGetNodes(graph, null_mut(), &mut count) })
        .map_err(|error| error.to_string())?;
    let mut all: Vec<sys::CUgraphNode> = vec![null_mut(); count];
    // SAFETY: a place for as many nodes as there are.
    check("cuGraphGetNodes", unsafe { sys::cuGraphGetNodes(graph, all.as_mut_ptr(), &mut count) })
        .map_err(|error| error.to_string())?;
    let mut kernels = Vec::new();
    for node in all {
        let mut kind = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_EMPTY;
        // SAFETY: a live node and a valid place for its type.
        check("cuGraphNodeGetType", unsafe { sys::cuGraphNodeGetType(node, &mut kind) })
            .map_err(|error| error.to_string())?;
        if kind == sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_KERNEL {
            // SAFETY: a structure of numbers and pointers, for which zeros are valid.
            let mut parameters: sys::CUDA_KERNEL_NODE_PARAMS = unsafe { std::mem::zeroed() };
            // SAFETY: a live kernel node and a valid place for its parameters.
            let read = unsafe { sys::cuGraphKernelNodeGetParams_v2(node, &mut parameters) };
            // Kernels of libraries may be of a sort that this call does not know; ours are not among them.
            if read == sys::CUresult::CUDA_SUCCESS {
                kernels.push((node, parameters));
            }
        }
    }
    notes
        .iter()
        .map(|note| {
            let Note::Kernel { kernel, extent, parameters } = note else { return Ok(None) };
            let position = kernels.iter().position(|(_, found)| {
                let grid = (found.gridDimX, found.gridDimY, found.gridDimZ);
                let same =
                    found.func == function(*kernel) && grid == extent.grid && !found.kernelParams.is_null();
                // SAFETY: the function is ours, so it has one argument of that many bytes, which the node keeps.
                same && unsafe {
                    std::slice::from_raw_parts((*found.kernelParams).cast::<u8>(), parameters.len())
                } == parameters
            });
            position
                .map(|index| Some(kernels.swap_remove(index).0))
                .ok_or_else(|| format!("the captured graph lacks the kernel {}", kernel.name()))
        })
        .collect()
}

impl Captured {
    /// Sets the nodes to what `notes` say; `false` where they are of other work.
    fn take_over(&mut self, notes: Vec<Note>) -> Result<bool, DeviceError> {
        let alike =
            notes.len() == self.notes.len() && notes.iter().zip(&self.notes).all(|(a, b)| a.is_like(b));
        if !alike {
            return Ok(false);
        }
        for ((new, old), node) in notes.into_iter().zip(&mut self.notes).zip(&self.nodes) {
            if let (Note::Kernel { kernel, extent, parameters }, Some(node)) = (&new, node) {
                if new != *old {
                    let mut argument: [*mut c_void; 1] = [parameters.as_ptr().cast_mut().cast()];
                    let change = sys::CUDA_KERNEL_NODE_PARAMS {
                        func: self.context.module().function(*kernel),
                        gridDimX: extent.grid.0,
                        gridDimY: extent.grid.1,
                        gridDimZ: extent.grid.2,
                        blockDimX: extent.block.0,
                        blockDimY: extent.block.1,
                        blockDimZ: extent.block.2,
                        sharedMemBytes: extent.shared,
                        kernelParams: argument.as_mut_ptr(),
                        extra: null_mut(),
                        kern: null_mut(),
                        ctx: null::<c_void>().cast_mut().cast(),
                    };
                    // SAFETY: a live graph, its node, and an argument of the size that the kernel declares, which is copied.
                    check("cuGraphExecKernelNodeSetParams", unsafe {
                        sys::cuGraphExecKernelNodeSetParams_v2(self.executable, *node, &change)
                    })?;
                }
            }
            *old = new;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(value: u8) -> Note {
        let extent = Extent { grid: (1, 1, 1), block: (32, 1, 1), shared: 0 };
        Note::Kernel { kernel: Kernel::Copy, extent, parameters: vec![value; 4] }
    }

    #[test]
    fn other_parameters_are_put_in_and_other_work_is_not() {
        assert!(kernel(1).is_like(&kernel(2)));
        assert!(Note::Library(1).is_like(&Note::Library(1)));
        assert!(!Note::Library(1).is_like(&Note::Library(2)));
        assert!(!Note::Library(1).is_like(&kernel(1)));
    }

    #[test]
    fn a_rehearsal_notes_the_work_and_does_not_do_it() {
        let recorder = Recorder::default();
        assert!(recorder.take(Work::Library(7)), "done where nothing is recorded");
        {
            let _session = Session::new(&recorder, Mode::Rehearsing);
            assert!(!recorder.take(Work::Library(8)));
            assert_eq!(recorder.finish(), [Note::Library(8)]);
        }
        {
            let _session = Session::new(&recorder, Mode::Capturing);
            assert!(recorder.take(Work::Library(9)));
            assert!(recorder.is_capturing());
        }
        assert!(recorder.take(Work::Library(10)) && !recorder.is_capturing());
        assert_eq!(recorder.finish(), [], "a session leaves nothing behind");
    }
}
