//! Plans on disk. Building one takes seconds to minutes, and a machine builds the same one again at every start.
//!
//! A file is a head and the plan behind it. The head: 8 bytes of magic with the layout's version, the key (32 bytes),
//! the plan's length (8 bytes, least first) and the plan's SHA-256 (32 bytes). Beside the plan lie the kernels that
//! TensorRT for RTX compiled for it (`kernel_cache.rs`), in a file of the same layout with another magic.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use sha2::{Digest, Sha256};

use super::{
    builder::{Arithmetic, Batch},
    library::Version,
};

/// What a file holds.
#[derive(Clone, Copy, Debug)]
struct Kind {
    magic: &'static [u8; 8],
    /// For messages.
    name: &'static str,
}

const PLAN: Kind = Kind { magic: b"DFPLAN01", name: "a plan" };
const KERNELS: Kind = Kind { magic: b"DFKERN01", name: "a file of kernels" };
const HEAD: usize = 8 + 32 + 8 + 32;

/// All that a plan depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// SHA-256 of the ONNX file, in hexadecimal.
    pub onnx: String,
    pub version: Version,
    pub capability: (u32, u32),
    pub arithmetic: Arithmetic,
    pub batch: Batch,
}

impl Key {
    fn digest(&self) -> [u8; 32] {
        let Self { onnx, version, capability: (major, minor), arithmetic, batch } = self;
        let Batch { least, usual, most } = batch;
        let text = format!(
            "{onnx} {version} sm {major}.{minor} {arithmetic:?} batch {least} {usual} {most} {}",
            std::env::consts::ARCH
        );
        Sha256::digest(text.as_bytes()).into()
    }

    /// `<network>-<start of the key>.plan`.
    fn file_name(&self, network: &str) -> String {
        let start: String = self.digest()[..8].iter().map(|b| format!("{b:02x}")).collect();
        // Names are file names already, but one never knows what a manifest calls its files.
        let network: String = network
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' })
            .collect();
        format!("{network}-{start}.plan")
    }
}

/// The folder for plans where none is named: `gst-plugin-deepfake` in `$XDG_CACHE_HOME` or in `~/.cache`.
pub fn default_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // What is not an absolute path does not count, as that variable's specification has it.
    variable("XDG_CACHE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("gst-plugin-deepfake"))
}

/// Hands out plans, from the folder if they are there.
#[derive(Debug)]
pub(super) struct PlanCache {
    /// `None`: nothing is kept.
    folder: Option<PathBuf>,
}

impl PlanCache {
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// Gives `load` of the kept plan of `key`, or of one that `build` makes, which is then kept.
    ///
    /// A kept plan that is damaged, not for this key, or that `load` refuses is built again, with one warning. A
    /// folder that cannot be written to is a warning too: the plan is used all the same. While one process builds,
    /// others that want the same plan wait for it.
    ///
    /// # Errors
    /// Those of `build`, and of `load` with a new plan.
    pub fn get<T>(
        &self,
        network: &str,
        key: &Key,
        warn: &dyn Fn(&str),
        build: impl FnOnce() -> Result<Vec<u8>, String>,
        mut load: impl FnMut(&[u8]) -> Result<T, String>,
    ) -> Result<T, String> {
        let Some(folder) = &self.folder else {
            return load(&build()?);
        };
        let path = folder.join(key.file_name(network));
        let mut kept = |warn: &dyn Fn(&str)| -> Option<T> {
            let reason = match read(&path, PLAN, &key.digest()) {
                Ok(plan) => match load(&plan) {
                    Ok(loaded) => return Some(loaded),
                    Err(reason) => reason,
                },
                Err(Unusable::Absent) => return None,
                Err(Unusable::Damaged(reason)) => reason,
            };
            warn(&format!("the plan {} cannot be used ({reason}); it is built again", path.display()));
            None
        };
        // The usual case needs no lock: files appear complete, by being renamed. Its warning would come twice.
        if let Some(loaded) = kept(&|_| ()) {
            return Ok(loaded);
        }
        let unwritable = |error: io::Error| {
            let folder = folder.display();
            warn(&format!("plans cannot be kept in {folder} ({error}); each start will build them again"));
        };
        let lock = match lock(folder, &path) {
            Ok(lock) => Some(lock),
            Err(error) => {
                unwritable(error);
                None
            }
        };
        // Another process may have built it while this one waited.
        if let Some(loaded) = kept(warn) {
            return Ok(loaded);
        }
        let plan = build()?;
        let loaded = load(&plan)?;
        if lock.is_some() {
            write(&path, PLAN, &key.digest(), &plan).unwrap_or_else(unwritable);
        }
        Ok(loaded)
    }
}

/// A lock on the plan at `path`, for as long as the file is open. The file stays: removing it would let a third
/// process lock a new one while a second still waits for the old.
fn lock(folder: &Path, path: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).open(path.with_extension("lock"))?;
    file.lock()?;
    Ok(file)
}

/// The file of the kernels of a plan, as compiled for one kind of GPU.
#[derive(Debug)]
pub(super) struct KernelFile {
    path: PathBuf,
    digest: [u8; 32],
}

impl KernelFile {
    /// The one beside the plan of `key`. TensorRT takes only those of exactly this GPU, so that two kinds of GPU with
    /// the same compute capability share a plan, but not its kernels: `gpu` is the name of this one.
    pub fn new(folder: &Path, network: &str, key: &Key, gpu: &str) -> Self {
        let text = [&key.digest()[..], gpu.as_bytes()].concat();
        let digest: [u8; 32] = Sha256::digest(text).into();
        let start: String = digest[..4].iter().map(|b| format!("{b:02x}")).collect();
        let path = folder.join(key.file_name(network)).with_extension(format!("{start}.kernels"));
        Self { path, digest }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is kept; `None`: nothing yet.
    ///
    /// # Errors
    /// Why what is there cannot be used.
    pub fn read(&self) -> Result<Option<Vec<u8>>, String> {
        match read(&self.path, KERNELS, &self.digest) {
            Ok(kernels) => Ok(Some(kernels)),
            Err(Unusable::Absent) => Ok(None),
            Err(Unusable::Damaged(reason)) => Err(reason),
        }
    }

    /// Puts `kernels` in place of what is kept, at once or not at all. Of processes that do so the last one wins; what
    /// it lacks is compiled and added when it is next wanted.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, kernels: &[u8]) -> io::Result<()> {
        fs::create_dir_all(parent(&self.path))?;
        write(&self.path, KERNELS, &self.digest, kernels)
    }
}

/// The folder of a file in the cache.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

enum Unusable {
    Absent,
    Damaged(String),
}

fn read(path: &Path, kind: Kind, digest: &[u8; 32]) -> Result<Vec<u8>, Unusable> {
    let damaged = |reason: &str| Err(Unusable::Damaged(reason.to_owned()));
    let mut bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(Unusable::Absent);
        }
        Err(error) => return damaged(&error.to_string()),
    };
    if bytes.len() < HEAD {
        return damaged("it is cut off");
    }
    let (head, content) = bytes.split_at(HEAD);
    if &head[..8] != kind.magic {
        return damaged(&format!("it is not {}, or one of another version of this plugin", kind.name));
    }
    if head[8..40] != digest[..] {
        return damaged("it was built for something else");
    }
    if head[40..48] != (content.len() as u64).to_le_bytes() {
        return damaged("it is cut off");
    }
    if head[48..] != *Sha256::digest(content) {
        return damaged("its checksum is wrong");
    }
    bytes.drain(..HEAD);
    Ok(bytes)
}

fn write(path: &Path, kind: Kind, digest: &[u8; 32], content: &[u8]) -> io::Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{number}.tmp", process::id()));
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(kind.magic)?;
        file.write_all(digest)?;
        file.write_all(&(content.len() as u64).to_le_bytes())?;
        file.write_all(&Sha256::digest(content))?;
        file.write_all(content)?;
        // The name must not outlive a power cut that the content does not survive.
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(parent(path))?.sync_all()
    })();
    if written.is_err() {
        // Already failing; what is left behind is only untidy.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, os::unix::fs::PermissionsExt, sync::Mutex, thread, time::Duration};

    use super::*;
    use crate::engine::tensorrt::library::Flavour;

    fn key() -> Key {
        Key {
            onnx: "ab".into(),
            version: Version { flavour: Flavour::Rtx, number: [1, 6, 1] },
            capability: (8, 6),
            arithmetic: Arithmetic::Tf32,
            batch: Batch::up_to(16),
        }
    }

    /// What a request came to.
    #[derive(Debug, PartialEq)]
    struct Outcome {
        plan: Vec<u8>,
        built: bool,
        warnings: Vec<String>,
    }

    /// Asks for the plan of `key`; a build gives `fresh`.
    fn get(folder: &Path, key: &Key, fresh: &[u8]) -> Outcome {
        let (built, warnings) = (RefCell::new(false), RefCell::new(Vec::new()));
        let build = || {
            *built.borrow_mut() = true;
            Ok(fresh.to_vec())
        };
        let warn = |text: &str| warnings.borrow_mut().push(text.to_owned());
        let plan = PlanCache::new(Some(folder.to_owned()))
            .get("net", key, &warn, build, |plan| Ok(plan.to_vec()))
            .unwrap();
        Outcome { plan, built: built.into_inner(), warnings: warnings.into_inner() }
    }

    fn plans(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|e| e == "plan")).collect()
    }

    #[test]
    fn a_plan_is_built_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new/folder");
        assert_eq!(
            get(&folder, &key(), b"one"),
            Outcome { plan: b"one".into(), built: true, warnings: vec![] }
        );
        assert_eq!(
            get(&folder, &key(), b"two"),
            Outcome { plan: b"one".into(), built: false, warnings: vec![] }
        );
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(left.iter().all(|p| p.extension().is_some_and(|e| e == "plan" || e == "lock")), "{left:?}");
    }

    #[test]
    fn every_part_of_the_key_counts() {
        let folder = tempfile::tempdir().unwrap();
        get(folder.path(), &key(), b"first");
        let version = |flavour, patch| Version { flavour, number: [1, 6, patch] };
        let others = [
            Key { onnx: "cd".into(), ..key() },
            Key { version: version(Flavour::Rtx, 2), ..key() },
            Key { version: version(Flavour::Full, 1), ..key() },
            Key { capability: (8, 9), ..key() },
            Key { capability: (9, 6), ..key() },
            Key { arithmetic: Arithmetic::Fp32, ..key() },
            Key { arithmetic: Arithmetic::AsTyped, ..key() },
            Key { arithmetic: Arithmetic::HalfAllowed, ..key() },
            Key { batch: Batch::up_to(17), ..key() },
            Key { batch: Batch { least: 2, usual: 2, most: 16 }, ..key() },
        ];
        for other in &others {
            let outcome = get(folder.path(), other, b"other");
            assert_eq!(
                outcome,
                Outcome { plan: b"other".into(), built: true, warnings: vec![] },
                "{other:?}"
            );
        }
        assert_eq!(plans(folder.path()).len(), 1 + others.len());
        assert!(!get(folder.path(), &key(), b"").built, "the first one is still there");
    }

    #[test]
    fn damaged_and_foreign_files_are_built_again_with_one_warning() {
        let folder = tempfile::tempdir().unwrap();
        get(folder.path(), &key(), b"the plan");
        let path = plans(folder.path()).remove(0);
        let good = fs::read(&path).unwrap();
        let mut foreign = good.clone();
        foreign[8] ^= 1;
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let longer = [&good[..], b"x"].concat();
        for (bytes, reason) in [
            (&good[..good.len() - 1], "cut off"),
            (&good[..20], "cut off"),
            (b"", "cut off"),
            (&flipped, "checksum"),
            (&longer, "cut off"),
            (&foreign, "something else"),
            (&[b'x'; 200], "not a plan"),
        ] {
            fs::write(&path, bytes).unwrap();
            let outcome = get(folder.path(), &key(), b"the plan");
            assert!(outcome.built, "{reason}");
            assert_eq!(outcome.warnings.len(), 1, "{:?}", outcome.warnings);
            assert!(outcome.warnings[0].contains(reason), "{:?}", outcome.warnings);
            assert_eq!(fs::read(&path).unwrap(), good, "it is whole again");
        }
    }

    #[test]
    fn a_kept_plan_that_tensorrt_refuses_is_built_again_with_one_warning() {
        let folder = tempfile::tempdir().unwrap();
        get(folder.path(), &key(), b"stale");
        let warnings = RefCell::new(Vec::new());
        let load = |plan: &[u8]| if plan == b"stale" { Err("old plan".into()) } else { Ok(plan.to_vec()) };
        let cache = PlanCache::new(Some(folder.path().to_owned()));
        let warn = |text: &str| warnings.borrow_mut().push(text.to_owned());
        assert_eq!(cache.get("net", &key(), &warn, || Ok(b"fresh".into()), load).unwrap(), b"fresh");
        assert_eq!(warnings.borrow().len(), 1, "{warnings:?}");
        assert!(warnings.borrow()[0].contains("old plan"), "{warnings:?}");
        assert_eq!(get(folder.path(), &key(), b"").plan, b"fresh");
        // A new plan that is refused is an error, and is not kept.
        let other = Key { onnx: "ef".into(), ..key() };
        let failed = cache.get("net", &other, &warn, || Ok(b"stale".into()), load);
        assert_eq!(failed.unwrap_err(), "old plan");
        assert_eq!(plans(folder.path()).len(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_a_warning() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // A file in place of the folder fails for everybody, permissions do not stop root.
        let outcome = get(&file.path().join("folder"), &key(), b"plan");
        assert_eq!((outcome.plan, outcome.built), (b"plan".to_vec(), true));
        assert_eq!(outcome.warnings.len(), 1, "{:?}", outcome.warnings);
        assert!(outcome.warnings[0].contains("cannot be kept"), "{:?}", outcome.warnings);
        // A folder to read from still serves the plans in it.
        let folder = tempfile::tempdir().unwrap();
        get(folder.path(), &key(), b"kept");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
        assert!(!get(folder.path(), &key(), b"").built);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn threads_that_want_the_same_plan_wait_for_one_build() {
        let folder = tempfile::tempdir().unwrap();
        let builds = Mutex::new(0);
        let cache = PlanCache::new(Some(folder.path().to_owned()));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let build = || {
                        *builds.lock().unwrap() += 1;
                        thread::sleep(Duration::from_millis(100));
                        Ok(b"plan".to_vec())
                    };
                    let warn = |text: &str| panic!("{text}");
                    let plan = cache.get("net", &key(), &warn, build, |plan| Ok(plan.to_vec()));
                    assert_eq!(plan.unwrap(), b"plan");
                });
            }
        });
        assert_eq!(*builds.lock().unwrap(), 1);
    }

    #[test]
    fn a_failed_build_is_told_and_leaves_no_plan() {
        let folder = tempfile::tempdir().unwrap();
        let cache = PlanCache::new(Some(folder.path().to_owned()));
        let failed = cache.get("net", &key(), &|_| (), || Err("no memory".into()), |plan| Ok(plan.to_vec()));
        assert_eq!(failed.unwrap_err(), "no memory");
        assert!(plans(folder.path()).is_empty());
    }

    #[test]
    fn names_of_networks_cannot_leave_the_folder() {
        assert!(key().file_name("../../etc/x y").starts_with("______etc_x_y-"));
    }
}
