//! Compiled kernels kept on disk, so that NVRTC is asked once for each GPU and version.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    compile::{self, compile, SOURCE},
    DeviceError,
};

/// First bytes of a file of the cache; the number changes with its layout.
const MAGIC: &[u8; 8] = b"dfcubin1";

/// The machine code of all kernels for a compute capability, from the cache where it holds it.
pub(super) fn cubin(compute_capability: (u32, u32)) -> Result<Vec<u8>, DeviceError> {
    cubin_in(folder().as_deref(), compute_capability)
}

fn cubin_in(folder: Option<&Path>, compute_capability: (u32, u32)) -> Result<Vec<u8>, DeviceError> {
    let version = compile::version()?;
    let path = folder.map(|folder| folder.join(name(compute_capability, version)));
    if let Some(cubin) = path.as_deref().and_then(read) {
        return Ok(cubin);
    }
    let cubin = compile(compute_capability)?.cubin;
    if let Some(path) = &path {
        // A cache that cannot be written costs the next start a second, and nobody else anything.
        let _ = write(path, &cubin);
    }
    Ok(cubin)
}

/// `$XDG_CACHE_HOME/gst-plugin-deepfake/kernels`, by default in `~/.cache`.
fn folder() -> Option<PathBuf> {
    let named = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("gst-plugin-deepfake").join("kernels"))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn name((major, minor): (u32, u32), (nvrtc_major, nvrtc_minor): (i32, i32)) -> String {
    let source = hex(&Sha256::digest(SOURCE));
    format!("sm_{major}{minor}-nvrtc{nvrtc_major}.{nvrtc_minor}-{}.cubin", &source[..16])
}

/// What `write` wrote; `None` if it is missing or damaged.
fn read(path: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(path).ok()?;
    let (digest, cubin) = bytes.strip_prefix(MAGIC)?.split_at_checked(32)?;
    (Sha256::digest(cubin).as_slice() == digest).then(|| cubin.to_vec())
}

/// Whole or not at all, whoever else writes it at the same time.
fn write(path: &Path, cubin: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = folder.join(format!(".{name}.{}-{:?}", std::process::id(), std::thread::current().id()));
    let mut file = fs::File::create(&unfinished)?;
    let written = file
        .write_all(MAGIC)
        .and_then(|()| file.write_all(&Sha256::digest(cubin)))
        .and_then(|()| file.write_all(cubin))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("a.cubin");
        assert_eq!(read(&path), None);
        write(&path, b"machine code").unwrap();
        assert_eq!(read(&path).unwrap(), b"machine code");
        let whole = fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() - 1], &whole[..20], &whole[1..], b""] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(read(&path), None);
        }
        write(&path, b"new").unwrap();
        assert_eq!(read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing unfinished is left");
    }

    #[test]
    fn gpu_compiler_and_source_are_in_the_name() {
        let a = name((9, 0), (13, 0));
        assert!(a.starts_with("sm_90-nvrtc13.0-"), "{a}");
        assert_ne!(a, name((8, 9), (13, 0)));
        assert_ne!(a, name((9, 0), (12, 9)));
    }
}
