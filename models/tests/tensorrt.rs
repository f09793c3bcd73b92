//! TensorRT on a GPU gives what ONNX Runtime gives on the CPU. Without a GPU each test says that it is skipped; what
//! TensorRT for RTX does without one is tested in `src/engine/tensorrt/tests.rs`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::{Instant, SystemTime},
};

use deepfake_kernels::{Affine, Border, Device, DeviceError, Graph, Tensor};
use deepfake_models::{
    engine::{
        tensorrt::{Flavour, Library},
        Engine, EngineOptions, Platform, Precision, Progress, Warnings,
    },
    manifest::Manifest,
    reenact::Picture,
    zoo, Error,
};
use sha2::{Digest, Sha256};

/// TensorRT on a GPU; `None`, said aloud, where there is none.
fn gpu(options: &EngineOptions) -> Option<Platform> {
    match Platform::on_gpu(options, "a test".into()) {
        Ok(platform) => Some(platform),
        Err(error) => {
            eprintln!("SKIPPED: no CUDA device to run TensorRT on: {error}");
            None
        }
    }
}

fn cpu() -> Platform {
    Platform::on_cpu(&EngineOptions::default(), "a test".into())
}

fn with(precision: Precision) -> EngineOptions {
    EngineOptions { precision, ..EngineOptions::default() }
}

fn run(device: &Device, engine: &dyn Engine, inputs: &[(&str, &Tensor)], outputs: &[&str]) -> Vec<Tensor> {
    let there: Vec<Tensor> = inputs.iter().map(|(_, tensor)| on(device, tensor)).collect();
    let named: Vec<_> = inputs.iter().map(|(name, _)| *name).zip(&there).collect();
    let mut results: Vec<Tensor> = outputs.iter().map(|_| Tensor::default()).collect();
    let mut wanted: Vec<_> = outputs.iter().copied().zip(&mut results).collect();
    engine.run(device, &named, &mut wanted).unwrap();
    results.iter().map(|result| back(device, result)).collect()
}

fn on(device: &Device, tensor: &Tensor) -> Tensor {
    let mut there = Tensor::default();
    device.upload(tensor, &mut there).unwrap();
    there
}

fn back(device: &Device, tensor: &Tensor) -> Tensor {
    let mut here = Tensor::default();
    device.download([(tensor, &mut here)]).unwrap();
    here
}

/// Length of the difference over that of the exact values.
fn difference(found: &Tensor, exact: &Tensor) -> f64 {
    assert_eq!(found.shape(), exact.shape());
    let square = |value: f32| f64::from(value).powi(2);
    let apart: f64 = found.data().iter().zip(exact.data()).map(|(a, b)| square(a - b)).sum();
    (apart / exact.data().iter().map(|&b| square(b)).sum::<f64>()).sqrt()
}

/// The project's portrait as the model's input, `batch` times and each time moved a little.
fn picture(manifest: &Manifest, batch: usize) -> Tensor {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/assets/portrait.jpg");
    let picture = Picture::open(&path).unwrap();
    let frame = picture.frame();
    let spec = manifest.sample_spec(Border::Replicate);
    let maps: Vec<Affine> = (0..batch)
        .map(|number| {
            let across = frame.width() as f32 / spec.width as f32;
            let down = frame.height() as f32 / spec.height as f32;
            Affine { m: [across, 0.0, 3.0 * number as f32, 0.0, down, 2.0 * number as f32] }
        })
        .collect();
    let mut input = Tensor::default();
    Device::Cpu.sample(&frame, &maps, &spec, &mut input).unwrap();
    input
}

/// A network with an input of its own kind.
struct Case {
    manifest: Manifest,
    role: &'static str,
    inputs: Vec<(&'static str, Tensor)>,
    outputs: &'static [&'static str],
    /// How far apart results may be, in what a trained network's may.
    rough: f64,
}

impl Case {
    fn inputs(&self) -> Vec<(&str, &Tensor)> {
        self.inputs.iter().map(|(name, tensor)| (*name, tensor)).collect()
    }
    fn batch(&self) -> usize {
        self.inputs[0].1.shape()[0]
    }
}

fn cases() -> Vec<Case> {
    let single = |model: &str, input: &'static str, outputs: &'static [&'static str]| {
        let manifest = zoo::find(model).unwrap();
        let inputs = vec![(input, picture(&manifest, 1))];
        Case { manifest, role: "network", inputs, outputs, rough: 1.0 }
    };
    let fomm = zoo::find("fomm-lite").unwrap();
    let image = picture(&fomm, 2);
    let encode = ["features", "small"];
    let locate = ["value", "jacobian"];
    let load = |role| cpu().load(&fomm, role, 2).unwrap();
    let [features, small]: [Tensor; 2] =
        run(&Device::Cpu, &*load("encoder"), &[("source", &image)], &encode).try_into().unwrap();
    let locate_in = |image: &Tensor| -> [Tensor; 2] {
        run(&Device::Cpu, &*load("keypoints"), &[("image", image)], &locate).try_into().unwrap()
    };
    let mut moved = picture(&fomm, 2);
    moved.data_mut().rotate_left(12);
    let ([source_value, source_jacobian], [driving_value, driving_jacobian]) =
        (locate_in(&image), locate_in(&moved));
    let mut turned = picture(&fomm, 1);
    turned.data_mut().rotate_left(12);
    let case = |role, inputs, outputs| Case { manifest: fomm.clone(), role, inputs, outputs, rough: 1.0 };
    let x2face = zoo::find(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/x2face-smallest")).unwrap();
    // Random weights: neighbouring pixels come from far apart, so that a picture shows how the places were rounded.
    let random =
        |role, inputs, outputs| Case { manifest: x2face.clone(), role, inputs, outputs, rough: 10.0 };
    vec![
        single("blazeface-short", "input", &["regressors", "classificators"]),
        single("blazeface-full", "input", &["reshaped_regressor_face_4", "reshaped_classifier_face_4"]),
        single("facemesh", "input_1", &["conv2d_20", "conv2d_30"]),
        single("fwa-lite", "input", &["logit"]),
        case("keypoints", vec![("image", picture(&fomm, 2))], &["value", "jacobian"]),
        case("encoder", vec![("source", image)], &["features", "small"]),
        case(
            "generator",
            vec![
                ("features", features),
                ("small", small),
                ("source_value", source_value),
                ("source_jacobian", source_jacobian),
                ("driving_value", driving_value),
                ("driving_jacobian", driving_jacobian),
            ],
            &["prediction"],
        ),
        // Of any number of pictures one face is made.
        random("embedder", vec![("source", picture(&x2face, 3))], &["embedded"]),
        random("driver", vec![("embedded", picture(&x2face, 1)), ("driving", turned)], &["prediction"]),
    ]
}

#[test]
fn every_network_gives_what_it_gives_on_the_cpu() {
    let Some(platform) = gpu(&EngineOptions::default()) else { return };
    let device = platform.device();
    let full = Library::find(None).unwrap().version().flavour == Flavour::Full;
    for case in cases() {
        let exact = run(
            &Device::Cpu,
            &*cpu().load(&case.manifest, case.role, case.batch()).unwrap(),
            &case.inputs(),
            case.outputs,
        );
        for (precision, most) in [(Precision::Fp32, 1e-3), (Precision::Tf32, 1e-2), (Precision::Fp16, 1e-2)] {
            let name = format!("{} {} {precision:?}", case.manifest.model().name, case.role);
            if precision == Precision::Fp16 && !case.manifest.has_file(&format!("{}-fp16", case.role)) {
                continue;
            }
            if precision == Precision::Tf32 && full {
                // A minute each to build, and between the two others in every respect.
                continue;
            }
            let options = EngineOptions { cuda: device.cuda().cloned(), ..with(precision) };
            let engine = gpu(&options).unwrap().load(&case.manifest, case.role, case.batch()).unwrap();
            assert_eq!(engine.report().precision, precision.name());
            let found = run(device, &*engine, &case.inputs(), case.outputs);
            for ((found, exact), output) in found.iter().zip(&exact).zip(case.outputs) {
                let apart = difference(found, exact);
                println!("{name} {output}: {apart:.1e}");
                assert!(apart < case.rough * most, "{name} {output}: {apart:.1e}");
            }
        }
    }
}

#[test]
fn every_batch_up_to_the_most_gives_what_its_samples_give() {
    let Some(platform) = gpu(&with(Precision::Fp32)) else { return };
    let manifest = zoo::find("fwa-lite").unwrap();
    let engine = platform.load(&manifest, "network", 80).unwrap();
    let exact = cpu().load(&manifest, "network", 80).unwrap();
    for batch in [80, 1, 7] {
        let input = picture(&manifest, batch);
        let found = run(platform.device(), &*engine, &[("input", &input)], &["logit"]);
        let exact = run(&Device::Cpu, &*exact, &[("input", &input)], &["logit"]);
        assert_eq!(found[0].shape(), [batch, 1]);
        let apart = difference(&found[0], &exact[0]);
        println!("{batch} pictures: {apart:.1e}");
        assert!(apart < 1e-3, "{batch} pictures: {apart:.1e}");
    }
    // More than it was made for is an error, and no harm to what follows.
    let device = platform.device();
    let many = on(device, &picture(&manifest, 81));
    let error =
        engine.run(device, &[("input", &many)], &mut [("logit", &mut Tensor::default())]).unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error}");
    let input = picture(&manifest, 1);
    run(device, &*engine, &[("input", &input)], &["logit"]);
}

#[test]
fn wrong_names_shapes_and_places_are_errors_of_the_run() {
    let Some(platform) = gpu(&with(Precision::Tf32)) else { return };
    let device = platform.device();
    let manifest = zoo::find("facemesh").unwrap();
    let engine = platform.load(&manifest, "network", 1).unwrap();
    let here = picture(&manifest, 1);
    let there = on(device, &here);
    let narrow = on(device, &Tensor::zeros(&[1, 192, 191, 3]));
    for (device, input, tensor, output) in [
        (device, "image", &there, "conv2d_20"),
        (device, "input_1", &there, "score"),
        (device, "input_1", &narrow, "conv2d_20"),
        (device, "input_1", &here, "conv2d_20"),
        (&Device::Cpu, "input_1", &here, "conv2d_20"),
    ] {
        let mut result = Tensor::default();
        let error = engine.run(device, &[(input, tensor)], &mut [(output, &mut result)]).unwrap_err();
        println!("{error}");
        assert!(matches!(error, Error::Network { .. }), "{error}");
    }
    let error = engine.run(device, &[], &mut []).unwrap_err();
    assert!(error.to_string().contains("input_1"), "{error}");
    // One output of two, and none at all, are what a user may want.
    let all = run(device, &*engine, &[("input_1", &here)], &["conv2d_20", "conv2d_30"]);
    let one = run(device, &*engine, &[("input_1", &here)], &["conv2d_30"]);
    assert_eq!(all[1].data(), one[0].data());
    engine.run(device, &[("input_1", &there)], &mut []).unwrap();
    device.synchronize().unwrap();
}

#[test]
fn handles_of_one_plan_run_at_the_same_time_on_their_own_streams() {
    let Some(platform) = gpu(&with(Precision::Tf32)) else { return };
    let manifest = zoo::find("fomm-lite").unwrap();
    let load = |platform: &Platform| -> Arc<dyn Engine> { platform.load(&manifest, "keypoints", 1).unwrap() };
    let first = load(&platform);
    let cuda = platform.device().cuda().unwrap();
    let expected =
        run(platform.device(), &*first, &[("image", &picture(&manifest, 1))], &["value"]).remove(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (load, expected, manifest) = (&load, &expected, &manifest);
            scope.spawn(move || {
                let options = EngineOptions { cuda: Some(cuda.fork().unwrap()), ..with(Precision::Tf32) };
                let platform = gpu(&options).unwrap();
                let engine = load(&platform);
                let input = on(platform.device(), &picture(manifest, 1));
                let mut value = Tensor::default();
                for _ in 0..200 {
                    engine
                        .run(platform.device(), &[("image", &input)], &mut [("value", &mut value)])
                        .unwrap();
                }
                assert_eq!(back(platform.device(), &value).data(), expected.data());
            });
        }
    });
}

#[test]
fn a_captured_run_is_replayed_with_new_values_and_captured_anew_for_another_batch() {
    let Some(platform) = gpu(&with(Precision::Tf32)) else { return };
    let device = platform.device();
    let manifest = zoo::find("fomm-lite").unwrap();
    let engine = platform.load(&manifest, "keypoints", 2).unwrap();
    let mut graph = Graph::default();
    let (mut input, mut value) = (Tensor::default(), Tensor::default());
    for batch in [1, 2] {
        let still = picture(&manifest, batch);
        for shift in [0, 4, 8, 12] {
            let mut moved = picture(&manifest, batch);
            moved.data_mut().rotate_left(shift);
            device.upload(&moved, &mut input).unwrap();
            device
                .replay::<Error>(&mut graph, || {
                    engine.run(device, &[("image", &input)], &mut [("value", &mut value)])
                })
                .unwrap();
            let found = back(device, &value);
            let eager = run(device, &*engine, &[("image", &moved)], &["value"]);
            assert!(difference(&found, &eager[0]) < 1e-4, "batch {batch}, shift {shift}");
            let unmoved = run(device, &*engine, &[("image", &still)], &["value"]);
            assert_eq!(difference(&found, &unmoved[0]) > 1e-4, shift > 0, "values are those of this run");
        }
        assert!(graph.is_ready(), "{:?}", graph.refusal());
    }
    assert_eq!(graph.captures(), 2);
}

/// The one plan in `folder`.
fn plan_in(folder: &Path) -> PathBuf {
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|e| e == "plan")).unwrap()
}

#[test]
fn plans_are_kept_and_bad_ones_are_built_again_with_one_warning() {
    let folder = tempfile::tempdir().unwrap();
    let (warnings, reports) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (warned, reported) = (Arc::clone(&warnings), Arc::clone(&reports));
    let options = EngineOptions {
        cache_dir: Some(folder.path().to_owned()),
        warnings: Warnings::to(move |text| warned.lock().unwrap().push(text.to_owned())),
        progress: Progress::to(move |report| reported.lock().unwrap().push(report.done)),
        ..with(Precision::Tf32)
    };
    let Some(platform) = gpu(&options) else { return };
    let manifest = zoo::find("blazeface-short").unwrap();
    // Every engine is gone before the next is loaded, so none is shared.
    let load = || -> (usize, usize) {
        warnings.lock().unwrap().clear();
        reports.lock().unwrap().clear();
        let engine = platform.load(&manifest, "network", 1).unwrap();
        let input = picture(&manifest, 1);
        run(platform.device(), &*engine, &[("input", &input)], &["regressors"]);
        let shares = reports.lock().unwrap().clone();
        assert!(shares.is_sorted() && shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
        (shares.len(), warnings.lock().unwrap().len())
    };
    let (reports_of_build, warned) = load();
    assert!(reports_of_build >= 2 && warned == 0);
    assert_eq!(load(), (0, 0), "taken from the cache");
    let path = plan_in(folder.path());
    let good = fs::read(&path).unwrap();
    // Cut off; and whole, but of a plan that TensorRT cannot take.
    let mut nonsense = good.clone();
    nonsense[80..].fill(7);
    let checksum = Sha256::digest(&nonsense[80..]);
    nonsense[48..80].copy_from_slice(&checksum);
    for bad in [&good[..good.len() / 2], &nonsense] {
        fs::write(&path, bad).unwrap();
        let (reports, warned) = load();
        assert!(reports >= 2 && warned == 1, "{:?}", warnings.lock().unwrap());
        assert_eq!(load(), (0, 0), "whole again");
    }
}

/// Names the folder of a start in a process of its own; see [`compiled_kernels_are_there_at_the_next_start`].
const START: &str = "DEEPFAKE_TEST_START";

/// What a start in a process of its own came to.
#[derive(Debug)]
struct Start {
    /// Seconds.
    load: f64,
    first_runs: f64,
    warnings: usize,
    results: Vec<u8>,
}

/// Starts with the plans and kernels in `folder/cache`, runs with two batch sizes and leaves notes in `folder`.
fn start(folder: &Path) {
    let warnings = Arc::new(Mutex::new(0));
    let warned = Arc::clone(&warnings);
    let options = EngineOptions {
        cache_dir: Some(folder.join("cache")),
        warnings: Warnings::to(move |text| {
            println!("warning: {text}");
            *warned.lock().unwrap() += 1;
        }),
        ..with(Precision::Tf32)
    };
    let platform = Platform::on_gpu(&options, "a test".into()).unwrap();
    let manifest = zoo::find("fomm-lite").unwrap();
    let begun = Instant::now();
    let engine = platform.load(&manifest, "keypoints", 2).unwrap();
    let load = begun.elapsed().as_secs_f64();
    let inputs = [1, 2, 1].map(|batch| picture(&manifest, batch));
    let begun = Instant::now();
    let results: Vec<Tensor> = inputs
        .iter()
        .flat_map(|input| run(platform.device(), &*engine, &[("image", input)], &["value", "jacobian"]))
        .collect();
    let first_runs = begun.elapsed().as_secs_f64();
    drop(engine);
    let bytes: Vec<u8> =
        results.iter().flat_map(|result| result.data()).flat_map(|value| value.to_le_bytes()).collect();
    fs::write(folder.join("results"), bytes).unwrap();
    let warnings = *warnings.lock().unwrap();
    fs::write(folder.join("notes"), format!("{load} {first_runs} {warnings}")).unwrap();
}

#[test]
fn compiled_kernels_are_there_at_the_next_start() {
    // Each start is a process, as libraries and the driver keep things in one that they do not keep for the next.
    if let Some(folder) = env::var_os(START) {
        return start(Path::new(&folder));
    }
    if gpu(&with(Precision::Tf32)).is_none() {
        return;
    }
    let version = Library::find(None).unwrap().version();
    if version.flavour != Flavour::Rtx {
        // Not a test left out: there is nothing of the kind.
        eprintln!("{version} compiles all kernels when it builds a plan");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let name = "compiled_kernels_are_there_at_the_next_start";
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(START, folder.path())
            // The driver has a cache of its own, which would hide what ours does.
            .env("CUDA_CACHE_DISABLE", "1")
            .output()
            .unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        let notes = fs::read_to_string(folder.path().join("notes")).unwrap_or_else(|_| panic!("{text}"));
        let mut notes = notes.split(' ');
        let start = Start {
            load: notes.next().unwrap().parse().unwrap(),
            first_runs: notes.next().unwrap().parse().unwrap(),
            warnings: notes.next().unwrap().parse().unwrap(),
            results: fs::read(folder.path().join("results")).unwrap(),
        };
        fs::remove_file(folder.path().join("notes")).unwrap();
        fs::remove_file(folder.path().join("results")).unwrap();
        start
    };
    let kept = || -> (PathBuf, Vec<u8>, SystemTime) {
        let entries = fs::read_dir(folder.path().join("cache")).unwrap().map(|entry| entry.unwrap().path());
        let kernels: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|e| e == "kernels")).collect();
        assert_eq!(kernels.len(), 1, "{kernels:?}");
        let path = kernels[0].clone();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        (path.clone(), fs::read(path).unwrap(), modified)
    };
    let tell = |what: &str, start: &Start| {
        println!("{what}: loaded in {:.3} s, first runs in {:.3} s", start.load, start.first_runs);
    };
    // The plan is built, then its kernels are compiled, and then both are there.
    let first = start();
    tell("nothing kept", &first);
    let (path, content, modified) = kept();
    fs::remove_file(&path).unwrap();
    let without = start();
    tell("plan kept", &without);
    let again = kept();
    assert_ne!(again.2, modified);
    let both = start();
    tell("plan and kernels kept", &both);
    println!("{} bytes of kernels, {} when compiled again", content.len(), again.1.len());
    assert_eq!(kept(), again, "nothing is written where nothing was compiled");
    assert_eq!((first.warnings, without.warnings, both.warnings), (0, 0, 0));
    assert!(!first.results.is_empty());
    assert!(first.results == without.results && first.results == both.results, "results differ");
    // Cut off: one warning, and whole again.
    fs::write(&path, &again.1[..again.1.len() / 2]).unwrap();
    let damaged = start();
    assert_eq!((damaged.warnings, damaged.results == first.results), (1, true));
    let (_, content, _) = kept();
    assert!(content.len() > again.1.len() / 2, "{} bytes", content.len());
    // Whole, but not what TensorRT takes.
    let mut nonsense = content.clone();
    nonsense[80..].fill(7);
    let checksum = Sha256::digest(&nonsense[80..]);
    nonsense[48..80].copy_from_slice(&checksum);
    fs::write(&path, &nonsense).unwrap();
    let refused = start();
    assert_eq!((refused.warnings, refused.results == first.results), (1, true));
    assert_ne!(kept().1, nonsense);
    assert_eq!(start().warnings, 0);
}

#[test]
fn a_plan_is_freed_with_its_last_user() {
    let Some(platform) = gpu(&with(Precision::Tf32)) else { return };
    let cuda = platform.device().cuda().unwrap();
    let manifest = zoo::find("fwa-lite").unwrap();
    let free = || -> Result<usize, DeviceError> {
        let engine = platform.load(&manifest, "network", 80).unwrap();
        let input = picture(&manifest, 80);
        run(platform.device(), &*engine, &[("input", &input)], &["logit"]);
        drop(engine);
        Ok(cuda.memory_info()?.0)
    };
    // The first ones fill what CUDA and TensorRT keep for themselves.
    for _ in 0..3 {
        free().unwrap();
    }
    let before = free().unwrap();
    for _ in 0..10 {
        free().unwrap();
    }
    assert_eq!(free().unwrap(), before);
}
