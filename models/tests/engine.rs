//! Engines: shared where they are the same, and clear about what is wrong.

use std::{fs, path::Path, sync::Arc};

use deepfake_kernels::{Device, Tensor};
use deepfake_models::{
    engine::{choose, Backend, Engine, EngineOptions, Platform},
    manifest::Manifest,
    zoo, Error, Result,
};

/// The only network of a model, on the CPU.
fn load(manifest: &Manifest) -> Result<Arc<dyn Engine>> {
    Platform::on_cpu(&EngineOptions::default(), "a test".into()).load(manifest, "network", 1)
}

/// A copy of a model of the zoo that a test may damage.
fn copy_of(model: &str) -> (tempfile::TempDir, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("zoo").join(model);
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let manifest = zoo::find(&format!("{}/manifest.toml", folder.path().display())).unwrap();
    (folder, manifest)
}

#[test]
fn elements_share_one_engine_for_the_same_network() {
    let first = load(&zoo::find("facemesh").unwrap()).unwrap();
    let (_folder, copy) = copy_of("facemesh");
    let second = load(&copy).unwrap();
    assert!(Arc::ptr_eq(&first, &second), "the content counts, not the path");
}

#[test]
fn an_engine_is_freed_with_its_last_user_and_can_be_loaded_again() {
    let manifest = zoo::find("blazeface-full").unwrap();
    let engine = load(&manifest).unwrap();
    let watch = Arc::downgrade(&engine);
    drop(engine);
    assert!(watch.upgrade().is_none(), "the cache itself keeps nothing alive");
    load(&manifest).unwrap();
}

#[test]
fn many_threads_that_load_at_once_get_the_same_engine() {
    let manifest = zoo::find("blazeface-short").unwrap();
    let engines: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| load(&manifest).unwrap())).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(engines.iter().all(|e| Arc::ptr_eq(e, &engines[0])));
}

#[test]
fn a_damaged_model_file_is_refused_by_its_hash() {
    let (folder, manifest) = copy_of("facemesh");
    let path = folder.path().join("facemesh.onnx");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = load(&manifest).unwrap_err();
    assert!(matches!(error, Error::Hash { .. }), "{error}");
}

#[test]
fn a_file_that_is_no_network_is_refused_by_the_runtime() {
    let (folder, _) = copy_of("facemesh");
    let path = folder.path().join("manifest.toml");
    fs::write(folder.path().join("facemesh.onnx"), "abc").unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().find(|l| l.starts_with("sha256")).unwrap();
    let right = "sha256 = \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"";
    fs::write(&path, text.replace(line, right)).unwrap();
    let manifest = Manifest::read(&path).unwrap();
    let error = load(&manifest).unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error}");
}

#[test]
fn wrong_names_and_shapes_are_errors_of_the_run() {
    let manifest = zoo::find("fwa-lite").unwrap();
    let engine = load(&manifest).unwrap();
    let mut logit = Tensor::default();
    let good = Tensor::zeros(&[1, 3, 224, 224]);
    let narrow = Tensor::zeros(&[1, 3, 224, 223]);
    for (input, tensor, output) in
        [("image", &good, "logit"), ("input", &narrow, "logit"), ("input", &good, "score")]
    {
        let error = engine.run(&Device::Cpu, &[(input, tensor)], &mut [(output, &mut logit)]).unwrap_err();
        assert!(matches!(error, Error::Network { .. }), "{error}");
    }
    engine.run(&Device::Cpu, &[("input", &good)], &mut [("logit", &mut logit)]).unwrap();
    assert_eq!(logit.shape(), [1, 1]);
}

#[test]
fn tensorrt_is_never_replaced_silently() {
    let options = EngineOptions { backend: Backend::TensorRt, ..EngineOptions::default() };
    let facemesh = zoo::find("facemesh").unwrap();
    match choose(&options, |platform| platform.load(&facemesh, "network", 1)) {
        Ok(engine) => assert_eq!(engine.report().backend, "tensorrt"),
        Err(Error::BackendUnavailable { backend, .. }) => assert_eq!(backend, "tensorrt"),
        Err(Error::Device(_)) => {}
        Err(error) => panic!("{error}"),
    }
}
