//! Tests with a real TensorRT, which `DEEPFAKE_TENSORRT_LIBRARY` names. TensorRT for RTX builds plans without a GPU;
//! what needs one is in `models/tests/tensorrt.rs`.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use super::{
    abi,
    builder::{build, Arithmetic, Batch, Order},
    library::{Flavour, Library, LIBRARY_VARIABLE},
    logger,
    plan::check_validity,
    plan_cache::{Key, PlanCache},
};
use crate::{engine::Precision, manifest::Manifest};

/// TensorRT for RTX, or a loud word that there is none.
pub(super) fn rtx() -> Option<&'static Library> {
    if std::env::var_os(LIBRARY_VARIABLE).is_none_or(|value| value.is_empty()) {
        eprintln!("SKIPPED: builds with the real TensorRT for RTX: {LIBRARY_VARIABLE} is not set");
        return None;
    }
    let library =
        Library::find(None).unwrap_or_else(|error| panic!("{LIBRARY_VARIABLE} is set, but {error}"));
    if library.version().flavour != Flavour::Rtx {
        eprintln!(
            "SKIPPED: builds without a GPU: {} needs one, TensorRT for RTX does not",
            library.version()
        );
        return None;
    }
    Some(library)
}

/// Every network of the zoo, and those of the X2Face model that the tests have: manifest and role.
fn zoo() -> Vec<(Manifest, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("zoo");
    let mut models: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    models.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/x2face-smallest"));
    models.sort();
    let manifests = models.iter().map(|model| Manifest::read(&model.join("manifest.toml")).unwrap());
    manifests
        .flat_map(|manifest| {
            let roles: Vec<String> = manifest.roles().map(str::to_owned).collect();
            roles.into_iter().map(move |role| (manifest.clone(), role))
        })
        .collect()
}

pub(super) fn network(model: &str, role: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("zoo").join(model).join("manifest.toml");
    Manifest::read(&path).unwrap().read_file(role).unwrap().bytes
}

fn order(onnx: &[u8]) -> Order<'_> {
    Order { onnx, arithmetic: Arithmetic::Tf32, capability: (8, 6), batch: Batch::up_to(16) }
}

#[test]
fn every_network_of_the_zoo_becomes_a_plan() {
    let Some(library) = rtx() else { return };
    for (manifest, role) in zoo() {
        let onnx = manifest.read_file(&role).unwrap().bytes;
        let arithmetic = if role.ends_with("-fp16") { Arithmetic::AsTyped } else { Arithmetic::Fp32 };
        let seen = Mutex::new(Vec::new());
        let report = |share| seen.lock().unwrap().push(share);
        let plan = build(library, &Order { arithmetic, ..order(&onnx) }, &report)
            .unwrap_or_else(|error| panic!("{} {role}: {error}", manifest.model().name));
        assert!(plan.len() > onnx.len() / 8, "{} {role}: {} bytes", manifest.model().name, plan.len());
        let seen = seen.into_inner().unwrap();
        assert_eq!((seen.first(), seen.last()), (Some(&0.0), Some(&1.0)), "{seen:?}");
        assert!(seen.is_sorted() && seen.len() > 2, "progress falls or says nothing: {seen:?}");
    }
}

#[test]
fn precision_and_batch_are_built_into_the_plan() {
    let Some(library) = rtx() else { return };
    let onnx = network("fomm-lite", "keypoints");
    let plan = |order: &Order<'_>| build(library, order, &|_| ()).unwrap();
    let tf32 = plan(&order(&onnx));
    assert_ne!(plan(&Order { arithmetic: Arithmetic::Fp32, ..order(&onnx) }), tf32);
    assert_ne!(plan(&Order { batch: Batch::up_to(1), ..order(&onnx) }), tf32);
}

#[test]
fn plans_for_all_generations_of_gpus_are_built() {
    let Some(library) = rtx() else { return };
    let onnx = network("blazeface-short", "network");
    for capability in [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)] {
        build(library, &Order { capability, ..order(&onnx) }, &|_| ()).unwrap();
    }
    let error = build(library, &Order { capability: (5, 2), ..order(&onnx) }, &|_| ()).unwrap_err();
    assert!(!error.is_empty());
}

#[test]
fn what_the_network_does_not_allow_is_refused() {
    let Some(library) = rtx() else { return };
    let onnx = network("facemesh", "network");
    let error =
        build(library, &Order { arithmetic: Arithmetic::HalfAllowed, ..order(&onnx) }, &|_| ()).unwrap_err();
    assert!(error.contains("types only"), "{error}");
    let onnx = network("fwa-lite", "network");
    let batch = Batch { least: 4, usual: 2, most: 1 };
    let error = build(library, &Order { batch, ..order(&onnx) }, &|_| ()).unwrap_err();
    assert!(error.contains("input"), "{error}");
}

#[test]
fn a_damaged_network_is_refused_in_the_parsers_own_words() {
    let Some(library) = rtx() else { return };
    for (damaged, words) in [
        (&b"abc"[..], "Failed to parse the ONNX model"),
        (&network("facemesh", "network")[..1000], "Failed to parse the ONNX model"),
        (b"", "at least one output"),
    ] {
        let error = build(library, &order(damaged), &|_| ()).unwrap_err();
        assert!(error.contains(words), "{} bytes: {error}", damaged.len());
    }
    // A name that is not what it was, of the first node's weights: the node that misses it is told by number and name.
    let mut onnx = network("fwa-lite", "network");
    let at = onnx.windows(10).position(|w| w == b"constant_2").unwrap();
    onnx[at..at + 10].copy_from_slice(b"constant_?");
    let error = build(library, &order(&onnx), &|_| ()).unwrap_err();
    assert!(error.starts_with("node ") && error.contains(" (conv_0"), "{error}");
}

#[test]
fn a_real_plan_is_kept_and_built_again_when_damaged() {
    let Some(library) = rtx() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cache = PlanCache::new(Some(folder.path().to_owned()));
    let onnx = network("blazeface-short", "network");
    let key = Key {
        onnx: "ab".into(),
        version: library.version(),
        capability: (8, 6),
        arithmetic: Arithmetic::Tf32,
        batch: Batch::default(),
    };
    let builds = Cell::new(0);
    let warnings = Cell::new(0);
    let get = || {
        let build = || {
            builds.set(builds.get() + 1);
            build(library, &order(&onnx), &|_| ())
        };
        cache
            .get("net", &key, &|_| warnings.set(warnings.get() + 1), build, |plan| Ok(plan.to_vec()))
            .unwrap()
    };
    let first = get();
    assert_eq!((get() == first, builds.get(), warnings.get()), (true, 1, 0));
    let mut entries = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path());
    let path = entries.find(|p| p.extension().is_some_and(|e| e == "plan")).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    get();
    assert_eq!((builds.get(), warnings.get()), (2, 1));
}

#[test]
fn builds_in_several_threads_do_not_disturb_one_another() {
    let Some(library) = rtx() else { return };
    let (good, bad) = (network("blazeface-short", "network"), b"nonsense");
    std::thread::scope(|scope| {
        let good: Vec<_> = (0..2).map(|_| scope.spawn(|| build(library, &order(&good), &|_| ()))).collect();
        let bad: Vec<_> = (0..2).map(|_| scope.spawn(|| build(library, &order(bad), &|_| ()))).collect();
        assert!(good.into_iter().all(|thread| thread.join().unwrap().is_ok()));
        assert!(bad.into_iter().all(|thread| thread.join().unwrap().is_err()));
    });
}

#[test]
fn messages_reach_the_log() {
    let Some(library) = rtx() else { return };
    let seen = std::sync::Arc::new(Mutex::new(0));
    let count = std::sync::Arc::clone(&seen);
    logger::set_log(Some(std::sync::Arc::new(move |_, _: &str| *count.lock().unwrap() += 1)));
    build(library, &order(&network("blazeface-short", "network")), &|_| ()).unwrap();
    logger::set_log(None);
    assert!(*seen.lock().unwrap() > 0);
}

#[test]
fn the_same_library_is_opened_once() {
    let Some(library) = rtx() else { return };
    assert!(std::ptr::eq(library, Library::find(Some(library.path())).unwrap()));
}

#[test]
fn half_precision_is_taken_where_the_model_or_the_release_has_a_form_for_it() {
    use Arithmetic::{AsTyped, Fp32, HalfAllowed, Tf32};
    let choose = super::choose;
    for release in [&abi::V8, &abi::V10, &abi::V11, &abi::RTX] {
        assert_eq!(choose(release, Precision::Fp32, true), Ok((false, Fp32)));
        assert_eq!(choose(release, Precision::Tf32, true), Ok((false, Tf32)));
        assert_eq!(choose(release, Precision::Auto, false), Ok((false, Tf32)));
    }
    for precision in [Precision::Auto, Precision::Fp16] {
        assert_eq!(choose(&abi::V8, precision, true), Ok((false, HalfAllowed)));
        for release in [&abi::V10, &abi::V11, &abi::RTX] {
            assert_eq!(choose(release, precision, true), Ok((true, AsTyped)));
        }
    }
    assert_eq!(choose(&abi::V8, Precision::Fp16, false), Ok((false, HalfAllowed)));
    assert_eq!(choose(&abi::V10, Precision::Fp16, false), Ok((false, HalfAllowed)));
    assert!(choose(&abi::V11, Precision::Fp16, false).is_err());
    assert!(choose(&abi::RTX, Precision::Fp16, false).is_err());
}

#[test]
fn what_is_no_plan_is_refused_before_it_is_loaded() {
    let Some(library) = rtx() else { return };
    let runtime = library.runtime().unwrap();
    let error = check_validity(library, &runtime, &network("blazeface-short", "network")).unwrap_err();
    assert!(error.contains("not for this TensorRT"), "{error}");
}
