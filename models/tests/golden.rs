//! Every network of the zoo gives what its original gives on seeded input: PyTorch for fomm-lite, TensorFlow Lite for
//! MediaPipe's, the reference evaluator of ONNX for fwa-lite, whose original weights are the ONNX file itself.
//! The figures were written by `models/train`; see `models/train/golden/README.md` for their format.

use std::{fs, path::Path};

use deepfake_kernels::{Device, Tensor};
use deepfake_models::{
    engine::{EngineOptions, Platform},
    zoo,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    model: String,
    file: String,
    tolerance: f32,
    input: Vec<Input>,
    output: Vec<Output>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Vec<usize>,
    seed: Option<u32>,
    low: Option<f32>,
    high: Option<f32>,
    data: Option<String>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    shape: Vec<usize>,
    stride: usize,
    data: String,
}

fn read_floats(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// The generator of the seeded inputs: a 32-bit linear congruential one, its upper 24 bits as 0..1.
fn seeded(seed: u32, count: usize, low: f32, high: f32) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            low + (high - low) * ((state >> 8) as f32 / (1 << 24) as f32)
        })
        .collect()
}

fn check(description: &Path) {
    let golden: Golden = toml::from_str(&fs::read_to_string(description).unwrap()).unwrap();
    let folder = description.parent().unwrap();
    let manifest = zoo::find(&golden.model).unwrap();
    let stem = golden.file.strip_suffix(".onnx").unwrap();
    let role = if stem == golden.model { "network" } else { stem };
    let engine =
        Platform::on_cpu(&EngineOptions::default(), "a test".into()).load(&manifest, role, 1).unwrap();
    let inputs: Vec<Tensor> = golden
        .input
        .iter()
        .map(|input| {
            let count = input.shape.iter().product();
            let values = match &input.data {
                Some(file) => read_floats(&folder.join(file)),
                None => seeded(input.seed.unwrap(), count, input.low.unwrap(), input.high.unwrap()),
            };
            Tensor::from_vec(&input.shape, values)
        })
        .collect();
    let named: Vec<_> = golden.input.iter().map(|i| i.name.as_str()).zip(&inputs).collect();
    let mut results = golden.output.iter().map(|_| Tensor::default()).collect::<Vec<_>>();
    let mut outputs: Vec<_> = golden.output.iter().map(|o| o.name.as_str()).zip(results.iter_mut()).collect();
    engine.run(&Device::Cpu, &named, &mut outputs).unwrap();
    for (output, result) in golden.output.iter().zip(&results) {
        assert_eq!(result.shape(), output.shape, "{}", output.name);
        let expected = read_floats(&folder.join(&output.data));
        let found: Vec<f32> = result.data().iter().copied().step_by(output.stride).collect();
        assert_eq!(found.len(), expected.len(), "{}", output.name);
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{} {}: largest difference {worst:.2e}", description.display(), output.name);
        assert!(worst <= golden.tolerance, "{} {}: {worst}", description.display(), output.name);
    }
}

fn check_model(model: &str, graphs: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("train/golden").join(model);
    let descriptions: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    assert_eq!(descriptions.len(), graphs, "one description a graph");
    for description in descriptions {
        check(&description);
    }
}

#[test]
fn fomm_lite_equals_pytorch() {
    check_model("fomm-lite", 3);
}

#[test]
fn fwa_lite_equals_the_reference_evaluator_of_onnx() {
    check_model("fwa-lite", 1);
}

#[test]
fn blazeface_equals_tensorflow_lite() {
    check_model("blazeface-short", 1);
    check_model("blazeface-full", 1);
}

#[test]
fn facemesh_equals_tensorflow_lite() {
    check_model("facemesh", 1);
}
