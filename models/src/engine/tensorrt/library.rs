//! Which TensorRT there is: found, opened, and its release recognised.

use std::{
    collections::HashMap,
    env,
    ffi::{c_int, c_void, OsStr},
    fmt,
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{
    abi::{self, Object, Release, DELETE},
    logger::Logger,
};
use crate::{zoo, Error, Result};

/// Environment variable: path of TensorRT's shared library (`libnvinfer.so.N` or `libtensorrt_rtx.so.1`), with that of
/// its ONNX parser beside it.
pub const LIBRARY_VARIABLE: &str = "DEEPFAKE_TENSORRT_LIBRARY";

/// A kind of TensorRT: they share an interface, but neither plans nor what they ask of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// The one of servers and Jetsons; measures kernels while it builds, which takes minutes and the GPU.
    Full,
    /// TensorRT for RTX: builds in seconds without a GPU, and finishes kernels when they are first used.
    Rtx,
}

/// A release of TensorRT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// Which of the two.
    pub flavour: Flavour,
    /// Major, minor, patch.
    pub number: [u32; 3],
}

impl Version {
    /// From what `getInferLibVersion` says.
    fn from_number(number: c_int) -> Self {
        let number = u32::try_from(number).unwrap_or(0);
        // Up to 8: major * 1000 + minor * 100 + patch; from 10: major * 10000. TensorRT for RTX began again with 1
        // in the new way; there was no full TensorRT with a 1 in front that could be mistaken for it.
        let major_unit = if number < 10_000 { 1000 } else { 10_000 };
        let number = [number / major_unit, number % major_unit / 100, number % 100];
        let flavour = if major_unit == 10_000 && number[0] < 8 { Flavour::Rtx } else { Flavour::Full };
        Self { flavour, number }
    }

    /// The table for it.
    fn release(self) -> std::result::Result<&'static Release, String> {
        match (self.flavour, self.number) {
            (Flavour::Full, [8, 5..=6, _]) => Ok(&abi::V8),
            (Flavour::Full, [10, ..]) => Ok(&abi::V10),
            (Flavour::Full, [11, ..]) => Ok(&abi::V11),
            // Its functions moved between 1.4 and 1.5, so one that we do not know may have them elsewhere again.
            (Flavour::Rtx, [1, 6..=7, _]) => Ok(&abi::RTX),
            _ => Err(format!("is {self}; 8.5, 8.6, 10, 11 and TensorRT for RTX 1.6 and 1.7 are supported")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.flavour {
            Flavour::Full => "TensorRT",
            Flavour::Rtx => "TensorRT for RTX",
        };
        let [major, minor, patch] = self.number;
        write!(f, "{name} {major}.{minor}.{patch}")
    }
}

/// Best first. The full ones choose faster kernels and know more processors than the one for RTX.
const NAMES: [&str; 4] = ["libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so.8", "libtensorrt_rtx.so.1"];

/// A TensorRT in this process. Opened once and never closed: it keeps threads and CUDA's state.
pub struct Library {
    path: PathBuf,
    version: Version,
    release: &'static Release,
    logger: &'static Logger,
    create_builder: Create,
    create_runtime: Create,
    create_parser: unsafe extern "C" fn(*mut c_void, *mut c_void, c_int) -> *mut c_void,
    number: c_int,
    parser_number: c_int,
    _handles: [ManuallyDrop<libloading::Library>; 2],
}

type Create = unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void;

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").field("path", &self.path).field("version", &self.version).finish()
    }
}

static OPENED: Mutex<Option<HashMap<PathBuf, &'static Library>>> = Mutex::new(None);

impl Library {
    /// Finds TensorRT and opens it, or gives the one that is open already:
    /// 1. `explicit`, where given; then nothing else is tried;
    /// 2. the environment variable `DEEPFAKE_TENSORRT_LIBRARY`, likewise;
    /// 3. each of TensorRT 11, 10, 8 and TensorRT for RTX: beside the plugin's library and in its folder `deepfake`,
    ///    in `/usr/local/lib`, `/usr/lib`, `/usr/lib/<architecture>-linux-gnu`, and where the dynamic loader looks.
    ///
    /// # Errors
    /// [`Error::BackendUnavailable`] with every place that was tried, why what was found there cannot be used, and
    /// what to install.
    pub fn find(explicit: Option<&Path>) -> Result<&'static Self> {
        let named = explicit
            .map(Path::to_owned)
            .or_else(|| env::var_os(LIBRARY_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from));
        let plugin = zoo::plugin_folder().into_iter().flat_map(|p| [p.clone(), p.join("deepfake")]);
        let folders: Vec<PathBuf> = plugin.chain(system_folders()).collect();
        Self::find_in(named, &folders, true)
    }

    /// `loader`: whether to look where the dynamic loader does, too.
    fn find_in(named: Option<PathBuf>, folders: &[PathBuf], loader: bool) -> Result<&'static Self> {
        let unavailable = |reason| Error::BackendUnavailable { backend: "tensorrt", reason };
        if let Some(path) = named {
            return Self::open(&path).map_err(|reason| {
                let from = format!("{LIBRARY_VARIABLE} or the option for it names the library to use");
                unavailable(format!("{}: {reason}; {from}", path.display()))
            });
        }
        let mut failures = Vec::new();
        for name in NAMES {
            let files = folders.iter().map(|folder| folder.join(name)).filter(|path| path.is_file());
            for path in files.chain(loader.then(|| PathBuf::from(name))) {
                match Self::open(&path) {
                    Ok(library) => return Ok(library),
                    Err(reason) => failures.push(format!("{} ({reason})", path.display())),
                }
            }
        }
        let places: Vec<_> = folders.iter().map(|p| p.display().to_string()).collect();
        Err(unavailable(format!(
            "no usable TensorRT was found in {} or where the dynamic loader looks; tried {}; install TensorRT 10 or 11 \
             (libnvinfer and libnvonnxparser), or the wheel 'tensorrt-rtx-cu13-libs' and set {LIBRARY_VARIABLE} to its \
             libtensorrt_rtx.so.1, or put its libraries beside the plugin",
            places.join(", "),
            failures.join(", ")
        )))
    }

    /// Opens the library at `path` (a bare file name: where the dynamic loader finds it).
    fn open(path: &Path) -> std::result::Result<&'static Self, String> {
        let key = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = opened.get_or_insert_default();
        if let Some(library) = opened.get(&key) {
            return Ok(library);
        }
        let library = Box::leak(Box::new(Self::load(path)?));
        opened.insert(key, library);
        Ok(library)
    }

    fn load(path: &Path) -> std::result::Result<Self, String> {
        let handle = load(path)?;
        let number =
            call(&handle, c"getInferLibVersion").ok_or("is no TensorRT: it lacks getInferLibVersion")?;
        let version = Version::from_number(number);
        let release = version.release()?;
        let lacks = |name: &str| format!("is {version}, but lacks {name}");
        // SAFETY: functions of these names have had these types in every release.
        let (create_builder, create_runtime) = unsafe {
            let builder =
                symbol(&handle, c"createInferBuilder_INTERNAL").ok_or_else(|| lacks("a builder"))?;
            let runtime =
                symbol(&handle, c"createInferRuntime_INTERNAL").ok_or_else(|| lacks("a runtime"))?;
            (builder, runtime)
        };
        let (parser, parser_path) = load_parser(path, version)?;
        let unusable = || format!("the parser {} lacks its functions", parser_path.display());
        let parser_number = call(&parser, c"getNvOnnxParserVersion").ok_or_else(unusable)?;
        // SAFETY: as above.
        let create_parser =
            unsafe { symbol(&parser, c"createNvOnnxParser_INTERNAL") }.ok_or_else(unusable)?;
        Ok(Self {
            path: path.to_owned(),
            version,
            release,
            logger: Logger::leak(release),
            create_builder,
            create_runtime,
            create_parser,
            number,
            parser_number,
            _handles: [ManuallyDrop::new(handle), ManuallyDrop::new(parser)],
        })
    }

    /// Where it lies, or its bare name if the dynamic loader found it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its release.
    pub fn version(&self) -> Version {
        self.version
    }

    pub(super) fn release(&self) -> &'static Release {
        self.release
    }

    pub(super) fn logger(&self) -> &'static Logger {
        self.logger
    }

    /// A builder of plans. Full TensorRT needs a GPU for it.
    pub(super) fn builder(&self) -> std::result::Result<Object, String> {
        let mark = self.logger.mark();
        // The version is meant to be the one of the caller's headers. The library's own one says "as you are", and the
        // tables are.
        // SAFETY: the logger lives for good, and the object is new.
        unsafe { Object::new((self.create_builder)(self.logger.raw(), self.number), DELETE) }
            .ok_or_else(|| self.logger.errors_since(mark, "TensorRT made no builder"))
    }

    /// What loads plans.
    pub(super) fn runtime(&self) -> std::result::Result<Object, String> {
        let mark = self.logger.mark();
        // SAFETY: as for the builder.
        unsafe { Object::new((self.create_runtime)(self.logger.raw(), self.number), DELETE) }
            .ok_or_else(|| self.logger.errors_since(mark, "TensorRT made no runtime"))
    }

    /// What reads ONNX into `network`. To be deleted before that.
    pub(super) fn parser(&self, network: &Object) -> std::result::Result<Object, String> {
        let mark = self.logger.mark();
        // SAFETY: a network of this library; the caller keeps it for longer than the parser.
        unsafe {
            let raw = (self.create_parser)(network.raw().as_ptr(), self.logger.raw(), self.parser_number);
            Object::new(raw, self.release.parser_delete)
        }
        .ok_or_else(|| self.logger.errors_since(mark, "TensorRT made no ONNX parser"))
    }
}

fn system_folders() -> [PathBuf; 3] {
    let architecture = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
    ["/usr/local/lib", "/usr/lib", &architecture].map(PathBuf::from)
}

/// The parser of the library at `path`: beside it, else where the dynamic loader finds one.
fn load_parser(path: &Path, version: Version) -> std::result::Result<(libloading::Library, PathBuf), String> {
    let name = match version.flavour {
        Flavour::Full => format!("libnvonnxparser.so.{}", version.number[0]),
        Flavour::Rtx => format!("libtensorrt_onnxparser_rtx.so.{}", version.number[0]),
    };
    // The path may be a link into the folder where both lie.
    let real = path.canonicalize().ok();
    let folders = [Some(path), real.as_deref()].into_iter().flatten().filter_map(Path::parent);
    let beside = folders.filter(|f| *f != OsStr::new("")).map(|f| f.join(&name)).find(|p| p.is_file());
    let parser = beside.unwrap_or_else(|| PathBuf::from(&name));
    match load(&parser) {
        Ok(handle) => Ok((handle, parser)),
        Err(reason) => Err(format!("is {version}, but its ONNX parser {name} cannot be used: {reason}")),
    }
}

fn load(path: &Path) -> std::result::Result<libloading::Library, String> {
    // SAFETY: the initialisers of what the user or the system named as TensorRT.
    unsafe { libloading::Library::new(path) }.map_err(|e| {
        // The loader's words are in the source; those of the wrapper only say which function was called.
        std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string)
    })
}

/// The function `name`.
///
/// # Safety
/// `F` must be its type.
unsafe fn symbol<F: Copy>(library: &libloading::Library, name: &std::ffi::CStr) -> Option<F> {
    // SAFETY: promised by the caller.
    unsafe { library.get::<F>(name.to_bytes_with_nul()) }.ok().map(|symbol| *symbol)
}

/// Calls the function `name` that takes nothing and gives a number.
fn call(library: &libloading::Library, name: &std::ffi::CStr) -> Option<c_int> {
    // SAFETY: used for the two functions that tell versions, which have this type.
    unsafe { symbol::<unsafe extern "C" fn() -> c_int>(library, name).map(|function| function()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_both_ways_of_counting() {
        for (number, text, known) in [
            (8600, "TensorRT 8.6.0", true),
            (8503, "TensorRT 8.5.3", true),
            (8401, "TensorRT 8.4.1", false),
            (9300, "TensorRT 9.3.0", false),
            (100_001, "TensorRT 10.0.1", true),
            (101_602, "TensorRT 10.16.2", true),
            (110_400, "TensorRT 11.4.0", true),
            (120_000, "TensorRT 12.0.0", false),
            (10_601, "TensorRT for RTX 1.6.1", true),
            (10_400, "TensorRT for RTX 1.4.0", false),
            (10_800, "TensorRT for RTX 1.8.0", false),
        ] {
            let version = Version::from_number(number);
            assert_eq!(version.to_string(), text);
            assert_eq!(version.release().is_ok(), known, "{text}");
        }
        assert!(Version::from_number(8401).release().unwrap_err().contains("8.6, 10, 11"));
    }

    #[test]
    fn a_named_library_that_is_missing_is_not_replaced_by_another() {
        let named = PathBuf::from("/nowhere/libnvinfer.so.10");
        let error = Library::find_in(Some(named), &[], true).unwrap_err().to_string();
        assert!(error.contains("/nowhere/libnvinfer.so.10") && error.contains(LIBRARY_VARIABLE), "{error}");
        assert!(!error.contains("libtensorrt_rtx"), "{error}");
    }

    #[test]
    fn without_any_every_place_and_a_remedy_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("libnvinfer.so.10");
        std::fs::write(&broken, "not a library").unwrap();
        let folders = [folder.path().to_owned(), "/nowhere/lib".into()];
        let error = Library::find_in(None, &folders, false).unwrap_err().to_string();
        for part in ["/nowhere/lib", "install TensorRT 10 or 11", "tensorrt-rtx-cu13-libs", LIBRARY_VARIABLE]
        {
            assert!(error.contains(part), "{part} in {error}");
        }
        // What lies there but cannot be used is told with the loader's reason.
        assert!(error.contains(&format!("{} ({}", broken.display(), broken.display())), "{error}");
    }

    #[test]
    fn what_is_no_tensorrt_is_refused() {
        let error = Library::find_in(Some("libc.so.6".into()), &[], false).unwrap_err().to_string();
        assert!(error.contains("is no TensorRT"), "{error}");
    }

    #[test]
    fn a_missing_parser_is_told_by_its_name() {
        // A release so old that no machine has its parser.
        let version = Version { flavour: Flavour::Full, number: [4, 0, 0] };
        let error = load_parser(Path::new("/nowhere/libnvinfer.so.4"), version).unwrap_err();
        assert!(error.contains("TensorRT 4.0.0") && error.contains("libnvonnxparser.so.4"), "{error}");
    }
}
