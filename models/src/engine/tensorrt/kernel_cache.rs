//! Kernels on disk. TensorRT for RTX compiles the kernels of a plan for the GPU when an execution context is made and
//! when one first runs with new shapes, which takes seconds, and a machine compiles the same ones again at every start.
//!
//! Its remedy is an object that collects them (`IRuntimeCache`), given to each execution context when that is made. A
//! plan has one for all its contexts in this process, so that the second context finds what the first one compiled. Its
//! content lies in a file beside the plan, is read with the plan, and written back when it has grown:
//! - after a context was made, and after the first run of a context with new shapes, on a thread of its own. A streaming
//!   thread only starts that thread; a later run waits for it just where that run brings new shapes too, and then for as
//!   long as the copying of the kernels in memory takes, not for the disk;
//! - when the plan is freed, on the thread that frees it, which waits for the disk.
//!
//! Nothing is begun while the caller captures its stream. That another thread still may be at work when the next capture
//! begins does no harm: captures are of the relaxed kind, which other threads cannot disturb.
//!
//! NVIDIA says that the object may be shared, but not what of it is safe to do at the same time. So what may compile and
//! what copies the content take turns, by a lock. Runs with shapes that were run before compile nothing and go without.
//!
//! The object refuses a content of another release, GPU or CUDA driver by itself.

use std::{
    ffi::c_void,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use deepfake_kernels::CudaDevice;

use super::{
    abi::{bytes, call, Object, Release, DELETE},
    library::Library,
    plan_cache::KernelFile,
};
use crate::engine::Warnings;

/// What the table of a release has where it has all that this needs.
#[derive(Clone, Copy, Debug)]
struct Slots {
    create_config: usize,
    create_cache: usize,
    set_cache: usize,
    serialize: usize,
    deserialize: usize,
}

impl Slots {
    fn of(release: &Release) -> Option<Self> {
        Some(Self {
            create_config: release.engine_create_runtime_config?,
            create_cache: release.runtime_config_create_cache?,
            set_cache: release.runtime_config_set_cache?,
            serialize: release.runtime_cache_serialize?,
            deserialize: release.runtime_cache_deserialize?,
        })
    }
}

/// What TensorRT collects compiled kernels in, and the settings object that made it.
#[derive(Debug)]
struct Objects {
    // Deleted in this order.
    cache: Object,
    _maker: Object,
}

/// The collected kernels of a plan.
#[derive(Debug)]
struct RuntimeCache {
    /// `None`: the plan is gone.
    objects: Mutex<Option<Objects>>,
    slots: Slots,
    library: &'static Library,
    device: CudaDevice,
}

impl RuntimeCache {
    fn lock(&self) -> MutexGuard<'_, Option<Objects>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All kernels; empty once the plan is gone.
    fn serialize(&self) -> Result<Vec<u8>, String> {
        // TensorRT writes down which GPU it is, and looks that up in the current context.
        let _current = self.device.enter().map_err(|e| e.to_string())?;
        let objects = self.lock();
        let Some(Objects { cache, .. }) = &*objects else { return Ok(Vec::new()) };
        let mark = self.library.logger().mark();
        // SAFETY: a living cache of a release that has the function; the memory is new and ours.
        let memory = unsafe {
            Object::new(call!(cache.implementation(), self.slots.serialize, [] -> *mut c_void), DELETE)
        };
        let memory = memory.ok_or_else(|| {
            self.library.logger().errors_since(mark, "TensorRT gave no kernels out and no reason")
        })?;
        // SAFETY: living memory of this release.
        Ok(unsafe { bytes(self.library.release(), &memory) })
    }

    /// Takes kernels in.
    fn deserialize(&self, kernels: &[u8]) -> Result<(), String> {
        let _current = self.device.enter().map_err(|e| e.to_string())?;
        let objects = self.lock();
        let Some(Objects { cache, .. }) = &*objects else { return Ok(()) };
        let mark = self.library.logger().mark();
        // SAFETY: a living cache of a release that has the function; the bytes are as many as said.
        let taken = unsafe {
            call!(cache.implementation(), self.slots.deserialize,
                [kernels.as_ptr() => *const u8, kernels.len() => usize] -> bool)
        };
        if taken {
            return Ok(());
        }
        let otherwise = "they are not of this TensorRT, GPU and CUDA driver";
        Err(self.library.logger().errors_since(mark, otherwise))
    }

    fn close(&self) {
        // What cannot be made current is lost, and its memory with it.
        let _current = self.device.enter();
        drop(self.lock().take());
    }
}

/// The kernels of a plan, for all its execution contexts.
pub(super) struct Kernels {
    cache: Arc<RuntimeCache>,
    /// `None`: they are not kept on disk.
    keeper: Option<Arc<Keeper>>,
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernels").field("keeper", &self.keeper).finish_non_exhaustive()
    }
}

/// The right to have TensorRT compile, by one thread at a time.
pub(super) struct Compiling<'a> {
    objects: MutexGuard<'a, Option<Objects>>,
    set_cache: usize,
}

impl Compiling<'_> {
    /// Makes `settings`, an `IRuntimeConfig` of the same library, those of a context that shares the kernels. Tells
    /// whether TensorRT agreed.
    pub fn share_with(&self, settings: &Object) -> bool {
        // SAFETY: both live and are of a release that has the function; the caller keeps the settings no longer than
        // the plan, which has the cache. C++ passes a reference as a pointer.
        self.objects.as_ref().is_some_and(|objects| unsafe {
            call!(settings.implementation(), self.set_cache,
                [objects.cache.raw().as_ptr() => *mut c_void] -> bool)
        })
    }
}

impl Kernels {
    /// Those of `engine`, an `ICudaEngine` on `device`, filled from `file`; `None` where TensorRT compiles nothing at
    /// run time, or, with a warning, where it makes no cache. The caller ends it before it deletes the engine.
    pub fn new(
        library: &'static Library,
        device: &CudaDevice,
        engine: &Object,
        file: Option<KernelFile>,
        warnings: &Warnings,
    ) -> Option<Self> {
        let slots = Slots::of(library.release())?;
        let _current = device.enter().ok()?;
        let mark = library.logger().mark();
        // SAFETY: a living engine of a release that has these functions; the objects are new and ours.
        let objects = unsafe {
            let maker =
                Object::new(call!(engine.implementation(), slots.create_config, [] -> *mut c_void), DELETE);
            maker.and_then(|maker| {
                let cache = call!(maker.implementation(), slots.create_cache, [] -> *mut c_void);
                Some(Objects { cache: Object::new(cache, DELETE)?, _maker: maker })
            })
        };
        let Some(objects) = objects else {
            let reason = library.logger().errors_since(mark, "TensorRT gave no reason");
            warnings.warn(&format!(
                "compiled kernels are not kept ({reason}); each start will compile them again"
            ));
            return None;
        };
        let objects = Mutex::new(Some(objects));
        let cache = Arc::new(RuntimeCache { objects, slots, library, device: device.clone() });
        let keeper = file.map(|file| {
            let (into, from) = (Arc::clone(&cache), Arc::clone(&cache));
            let serialize = Box::new(move || from.serialize());
            Arc::new(Keeper::new(file, warnings.clone(), |kernels| into.deserialize(kernels), serialize))
        });
        Some(Self { cache, keeper })
    }

    /// To be held while an execution context is made or is run with new shapes; waits for others who do.
    pub fn compiling(&self) -> Compiling<'_> {
        Compiling { objects: self.cache.lock(), set_cache: self.cache.slots.set_cache }
    }

    /// Has them kept, if there are new ones. Does not wait.
    pub fn keep_soon(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.keep_soon();
        }
    }

    /// Keeps what is not yet kept, and frees them.
    pub fn end(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.end();
        }
        self.cache.close();
    }
}

type Serialize = Box<dyn Fn() -> Result<Vec<u8>, String> + Send + Sync>;

/// Sees to it that a file holds what there is.
struct Keeper {
    file: KernelFile,
    warnings: Warnings,
    serialize: Serialize,
    kept: Mutex<Kept>,
    worker: Mutex<Worker>,
}

/// What is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Nothing of use.
    Nothing,
    /// What had this length when it was last asked for. Kernels are only ever added.
    Length(usize),
    /// It could not be written, of which the user knows.
    Impossible,
}

#[derive(Debug, Default)]
struct Worker {
    running: bool,
    /// Whether to look again after what it does now.
    again: bool,
    handle: Option<JoinHandle<()>>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("file", &self.file).field("kept", &self.kept).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Gives what `file` holds to `load`. What is damaged or refused is told in one warning and replaced later.
    fn new(
        file: KernelFile,
        warnings: Warnings,
        load: impl FnOnce(&[u8]) -> Result<(), String>,
        serialize: Serialize,
    ) -> Self {
        let kept = match file.read().and_then(|kernels| kernels.map(|k| load(&k)).transpose()) {
            Ok(None) => Kept::Nothing,
            // The same kernels need not be as long when they come out as when they went in.
            Ok(Some(())) => serialize().map_or(Kept::Nothing, |kernels| Kept::Length(kernels.len())),
            Err(reason) => {
                let path = file.path().display();
                warnings.warn(&format!(
                    "the compiled kernels {path} cannot be used ({reason}); they are compiled again"
                ));
                Kept::Nothing
            }
        };
        Self { file, warnings, serialize, kept: Mutex::new(kept), worker: Mutex::default() }
    }

    fn worker(&self) -> MutexGuard<'_, Worker> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the file if there is more than it holds.
    fn keep(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if *kept == Kept::Impossible {
            return;
        }
        let written = (self.serialize)().and_then(|kernels| {
            if !kernels.is_empty() && *kept != Kept::Length(kernels.len()) {
                self.file.write(&kernels).map_err(|error| error.to_string())?;
                *kept = Kept::Length(kernels.len());
            }
            Ok(())
        });
        if let Err(reason) = written {
            *kept = Kept::Impossible;
            // Whoever is warned may free the plan, which comes here again.
            drop(kept);
            let path = self.file.path().display();
            self.warnings.warn(&format!(
                "compiled kernels cannot be kept in {path} ({reason}); each start will compile them again"
            ));
        }
    }

    /// As [`Self::keep`], on another thread. While one is at it, it goes over it again instead.
    fn keep_soon(self: &Arc<Self>) {
        let mut worker = self.worker();
        worker.again = true;
        if worker.running {
            return;
        }
        let this = Arc::clone(self);
        let work = move || loop {
            let mut worker = this.worker();
            if !std::mem::take(&mut worker.again) {
                worker.running = false;
                return;
            }
            drop(worker);
            this.keep();
        };
        // Without a thread they are kept when the plan is freed.
        if let Ok(handle) = thread::Builder::new().name("deepfake-kernels".into()).spawn(work) {
            worker.running = true;
            worker.handle = Some(handle);
        }
    }

    /// Keeps what is not kept yet; nothing is at work afterwards.
    fn end(&self) {
        let handle = self.worker().handle.take();
        // It is itself the one to end it where a warning of its own made somebody free the plan.
        if let Some(handle) = handle.filter(|handle| handle.thread().id() != thread::current().id()) {
            // If it panicked, a warning's listener did; what it left undone is done now.
            let _ = handle.join();
        }
        self.keep();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::Path,
        sync::atomic::{AtomicBool, AtomicUsize, Ordering},
        time::{Duration, Instant},
    };

    use super::*;
    use crate::engine::tensorrt::{
        builder::{build, Arithmetic, Batch, Order},
        library::{Flavour, Version},
        plan_cache::Key,
        tests::{network, rtx},
    };

    fn file(folder: &Path, gpu: &str) -> KernelFile {
        let key = Key {
            onnx: "ab".into(),
            version: Version { flavour: Flavour::Rtx, number: [1, 6, 1] },
            capability: (8, 6),
            arithmetic: Arithmetic::Tf32,
            batch: Batch::up_to(16),
        };
        KernelFile::new(folder, "net", &key, gpu)
    }

    /// A cache that grows by what is added, and what came of it.
    #[derive(Clone, Default)]
    struct Collected {
        kernels: Arc<Mutex<Vec<u8>>>,
        warnings: Arc<Mutex<Vec<String>>>,
        asked: Arc<AtomicUsize>,
    }

    impl Collected {
        fn add(&self, more: &[u8]) {
            self.kernels.lock().unwrap().extend(more);
        }
        fn warnings(&self) -> Warnings {
            let warnings = Arc::clone(&self.warnings);
            Warnings::to(move |text| warnings.lock().unwrap().push(text.to_owned()))
        }
        fn keeper(&self, file: KernelFile) -> Arc<Keeper> {
            let (into, from) = (self.clone(), self.clone());
            let load = move |kernels: &[u8]| {
                if kernels.starts_with(b"old") {
                    return Err("of another driver".to_owned());
                }
                into.add(kernels);
                Ok(())
            };
            let serialize = move || {
                from.asked.fetch_add(1, Ordering::Relaxed);
                // As TensorRT's, never empty: a head comes first.
                Ok([b"h", &from.kernels.lock().unwrap()[..]].concat())
            };
            Arc::new(Keeper::new(file, self.warnings(), load, Box::new(serialize)))
        }
        fn warned(&self) -> Vec<String> {
            self.warnings.lock().unwrap().clone()
        }
    }

    /// A date that no write of this test has.
    fn age(path: &Path) -> std::time::SystemTime {
        let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        long_ago
    }

    fn modified(path: &Path) -> std::time::SystemTime {
        fs::metadata(path).unwrap().modified().unwrap()
    }

    #[test]
    fn what_was_compiled_is_there_after_the_next_start_and_written_only_when_it_grew() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new/folder");
        let path = file(&folder, "a").path().to_owned();
        let first = Collected::default();
        let keeper = first.keeper(file(&folder, "a"));
        assert!(!path.exists());
        first.add(b"one");
        keeper.keep_soon();
        keeper.end();
        assert!(first.warned().is_empty(), "{:?}", first.warned());
        assert_eq!(file(&folder, "a").read().unwrap().unwrap(), b"hone");
        let long_ago = age(&path);

        let second = Collected::default();
        let keeper = second.keeper(file(&folder, "a"));
        assert_eq!(*second.kernels.lock().unwrap(), b"hone", "taken from the file");
        keeper.keep_soon();
        keeper.end();
        assert_eq!(modified(&path), long_ago, "it is not written again");

        let third = Collected::default();
        let keeper = third.keeper(file(&folder, "a"));
        third.add(b"two");
        keeper.end();
        assert_ne!(modified(&path), long_ago);
        assert_eq!(file(&folder, "a").read().unwrap().unwrap(), b"hhonetwo");
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, [path], "nothing else is left");
    }

    #[test]
    fn damaged_and_refused_files_are_one_warning_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), "a").path().to_owned();
        file(folder.path(), "a").write(b"good").unwrap();
        let good = fs::read(&path).unwrap();
        file(folder.path(), "a").write(b"old ones").unwrap();
        let refused = fs::read(&path).unwrap();
        let foreign = file(folder.path(), "b");
        foreign.write(b"good").unwrap();
        let foreign = fs::read(foreign.path()).unwrap();
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let mut plan = good.clone();
        plan[..8].copy_from_slice(b"DFPLAN01");
        for (bytes, reason) in [
            (&good[..good.len() - 1], "cut off"),
            (b"", "cut off"),
            (&flipped, "checksum"),
            (&foreign, "something else"),
            (&plan, "not a file of kernels"),
            (&refused, "of another driver"),
        ] {
            fs::write(&path, bytes).unwrap();
            let collected = Collected::default();
            let keeper = collected.keeper(file(folder.path(), "a"));
            assert!(collected.kernels.lock().unwrap().is_empty(), "{reason}");
            collected.add(b"new");
            keeper.keep_soon();
            keeper.end();
            let warned = collected.warned();
            assert!(warned.len() == 1 && warned[0].contains(reason), "{reason}: {warned:?}");
            assert_eq!(file(folder.path(), "a").read().unwrap().unwrap(), b"hnew", "{reason}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_one_warning() {
        let file_in_place = tempfile::NamedTempFile::new().unwrap();
        let collected = Collected::default();
        let keeper = collected.keeper(file(&file_in_place.path().join("folder"), "a"));
        for kernel in [b"one", b"two"] {
            collected.add(kernel);
            keeper.keep();
        }
        keeper.keep_soon();
        keeper.end();
        let warned = collected.warned();
        assert!(warned.len() == 1 && warned[0].contains("cannot be kept"), "{warned:?}");
        assert_eq!(collected.asked.load(Ordering::Relaxed), 1, "nothing is copied in vain");
    }

    #[test]
    fn keeping_soon_neither_waits_nor_piles_up() {
        let folder = tempfile::tempdir().unwrap();
        let (asked, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, gate) = (Arc::clone(&asked), Arc::clone(&open));
        let serialize = move || {
            let length = count.fetch_add(1, Ordering::SeqCst) + 1;
            while !gate.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(vec![7; length])
        };
        let keeper =
            Keeper::new(file(folder.path(), "a"), Warnings::default(), |_| Ok(()), Box::new(serialize));
        let keeper = Arc::new(keeper);
        keeper.keep_soon();
        while asked.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        // The first is stuck: none of these may wait for it.
        let begun = Instant::now();
        for _ in 0..100 {
            keeper.keep_soon();
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        open.store(true, Ordering::SeqCst);
        keeper.end();
        // The stuck one, one for the hundred, one at the end.
        assert_eq!(asked.load(Ordering::SeqCst), 3);
        assert_eq!(file(folder.path(), "a").read().unwrap().unwrap(), [7; 3]);
    }

    #[test]
    fn who_is_warned_may_end_it() {
        let in_place = tempfile::NamedTempFile::new().unwrap();
        let itself: Arc<Mutex<Option<Arc<Keeper>>>> = Arc::default();
        let (ended, from) = (Arc::new(AtomicBool::new(false)), Arc::clone(&itself));
        let done = Arc::clone(&ended);
        let warnings = Warnings::to(move |_| {
            let keeper = from.lock().unwrap().take();
            keeper.unwrap().end();
            done.store(true, Ordering::SeqCst);
        });
        let file = file(&in_place.path().join("folder"), "a");
        let keeper = Arc::new(Keeper::new(file, warnings, |_| Ok(()), Box::new(|| Ok(vec![1]))));
        *itself.lock().unwrap() = Some(Arc::clone(&keeper));
        keeper.keep_soon();
        let begun = Instant::now();
        while !ended.load(Ordering::SeqCst) {
            assert!(begun.elapsed() < Duration::from_secs(30), "it waits for itself");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// TensorRT makes the object from a loaded plan only, and loads none without a GPU.
    #[test]
    fn an_empty_collection_goes_out_and_in_and_nonsense_does_not() {
        let Some(library) = rtx() else { return };
        let device = match CudaDevice::new(0) {
            Ok(device) => device,
            Err(error) => {
                eprintln!("SKIPPED: TensorRT's own collection of kernels: no CUDA device: {error}");
                return;
            }
        };
        let _current = device.enter().unwrap();
        let order = Order {
            onnx: &network("blazeface-short", "network"),
            arithmetic: Arithmetic::Fp32,
            capability: device.compute_capability(),
            batch: Batch::default(),
        };
        let plan = build(library, &order, &|_| ()).unwrap();
        let runtime = library.runtime().unwrap();
        // SAFETY: a living runtime; the bytes are as many as said. The engine goes before the runtime.
        let engine = unsafe {
            let raw = call!(runtime.implementation(), library.release().runtime_load,
                [plan.as_ptr() => *const u8, plan.len() => usize] -> *mut c_void);
            Object::new(raw, DELETE).unwrap()
        };
        let kernels = Kernels::new(library, &device, &engine, None, &Warnings::default()).unwrap();
        let empty = kernels.cache.serialize().unwrap();
        assert!(!empty.is_empty(), "it has a head");
        kernels.cache.deserialize(&empty).unwrap();
        assert_eq!(kernels.cache.serialize().unwrap().len(), empty.len());
        for nonsense in [&b"nonsense"[..], &empty[..empty.len() / 2], &vec![7; empty.len()]] {
            let error = kernels.cache.deserialize(nonsense).unwrap_err();
            println!("{error}");
            assert!(!error.is_empty());
        }
        kernels.end();
        assert!(kernels.cache.serialize().unwrap().is_empty());
    }

    #[test]
    fn kernels_lie_beside_their_plan_by_kind_of_gpu() {
        let (a, b) = (file(Path::new("/cache"), "NVIDIA A10"), file(Path::new("/cache"), "NVIDIA RTX 3060"));
        assert_ne!(a.path(), b.path());
        for file in [&a, &b] {
            let name = file.path().file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with("net-") && name.ends_with(".kernels"), "{name}");
        }
    }
}
