//! Where models lie.

use std::{env, ffi::OsStr, path::PathBuf};

use once_cell::sync::OnceCell;

use crate::{manifest::Manifest, Error, Result, MODEL_PATH_VARIABLE};

static PLUGIN_FOLDER: OnceCell<PathBuf> = OnceCell::new();

/// Tells where the plugin's library lies; the zoo and ONNX Runtime are looked for beside it. Only the first call
/// counts.
pub fn set_plugin_folder(folder: PathBuf) {
    // A second registration of the same library in one process is no error.
    let _ = PLUGIN_FOLDER.set(folder);
}

/// The folder of the plugin's library, where it is known.
pub fn plugin_folder() -> Option<&'static PathBuf> {
    PLUGIN_FOLDER.get()
}

/// Folders in which model folders are looked for, first to last:
/// 1. those of the environment variable `GST_DEEPFAKE_MODEL_PATH` (separated as in `PATH`);
/// 2. `deepfake/models` and `../../share/gst-plugin-deepfake/models` beside the plugin's library
///    (`LIBDIR/gstreamer-1.0` when installed);
/// 3. `/usr/local/share` and `/usr/share`, each with `gst-plugin-deepfake/models`;
/// 4. in the source tree that built this library: `models/zoo`.
pub fn search_path() -> Vec<PathBuf> {
    search_path_from(env::var_os(MODEL_PATH_VARIABLE).as_deref())
}

fn search_path_from(variable: Option<&OsStr>) -> Vec<PathBuf> {
    const INSTALLED: &str = "share/gst-plugin-deepfake/models";
    let mut folders: Vec<PathBuf> = variable
        .map(|v| env::split_paths(v).filter(|p| !p.as_os_str().is_empty()).collect())
        .unwrap_or_default();
    if let Some(plugin) = plugin_folder() {
        folders.push(plugin.join("deepfake/models"));
        // LIBDIR may be lib or lib/<architecture>.
        folders.extend(plugin.ancestors().skip(2).take(2).map(|prefix| prefix.join(INSTALLED)));
    }
    folders.extend(["/usr/local", "/usr"].map(|prefix| PathBuf::from(prefix).join(INSTALLED)));
    folders.push(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("zoo"));
    folders
}

/// Finds a model by its name in the zoo, or by the path of a manifest or of its folder (anything with a slash).
///
/// # Errors
/// [`Error::ModelNotFound`] if there is none, [`Error::Manifest`] if it cannot be understood.
pub fn find(model: &str) -> Result<Manifest> {
    find_in(model, search_path())
}

fn find_in(model: &str, searched: Vec<PathBuf>) -> Result<Manifest> {
    if model.contains(std::path::MAIN_SEPARATOR) || model.ends_with(".toml") {
        let path = PathBuf::from(model);
        let path = if path.is_dir() { path.join("manifest.toml") } else { path };
        return Manifest::read(&path);
    }
    // An empty name would find a manifest that lies in a search folder itself.
    let found = searched
        .iter()
        .map(|f| f.join(model).join("manifest.toml"))
        .find(|p| !model.is_empty() && p.is_file());
    match found {
        Some(path) => Manifest::read(&path),
        None => Err(Error::ModelNotFound { name: model.to_owned(), searched }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_comes_first() {
        let path = search_path_from(Some(OsStr::new("/a:/b")));
        assert_eq!(path[..2], [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert!(path.len() > 2);
    }

    #[test]
    fn a_missing_model_names_the_folders_searched() {
        let error = find_in("no-such-model", vec!["/nowhere/at/all".into()]).unwrap_err().to_string();
        assert!(error.contains("no-such-model") && error.contains("/nowhere/at/all"), "{error}");
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        assert!(matches!(find("/nowhere/manifest.toml"), Err(Error::Manifest { .. })));
    }

    #[test]
    fn an_empty_name_finds_nothing() {
        assert!(matches!(find(""), Err(Error::ModelNotFound { .. })));
    }
}
