"""Half-precision twins: float32 outside, and nearly the numbers of the originals.

ONNX Runtime has few half-precision operators on a CPU: it computes many in float32 and rounds what they give,
which is what the tensor cores of a GPU do as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from deepfake_train.golden import Floats, Seeded, read_case
from deepfake_train.manifest import half_role, read
from deepfake_train.measure import session

TRAIN = Path(__file__).resolve().parents[1]
ZOO, GOLDEN = TRAIN.parent / "zoo", TRAIN / "golden"
LARGEST_ERROR = 1e-2
TWINS = [
    (folder.name, entry["path"], half["path"])
    for folder in sorted(path.parent for path in ZOO.glob("*/manifest.toml"))
    for entry in read(folder)["file"]
    for half in read(folder)["file"]
    if half["role"] == half_role(entry["role"])
]


def run(model: Path | bytes, inputs: Mapping[str, Floats]) -> dict[str, Floats]:
    """Outputs by name; fails if one of them or an input is not float32."""
    running = session(model, threads=2)
    for value in (*running.get_inputs(), *running.get_outputs()):
        assert value.type == "tensor(float)", value.name
    names = [output.name for output in running.get_outputs()]
    return dict(zip(names, running.run(names, dict(inputs)), strict=True))


def assert_near(produced: Mapping[str, Floats], expected: Mapping[str, Floats]) -> None:
    assert produced.keys() == expected.keys()
    for name, exact in expected.items():
        error = float(np.linalg.norm(produced[name] - exact) / np.linalg.norm(exact))
        print(f"{name}: {error:.1e}")
        assert error <= LARGEST_ERROR, name


def test_the_models_for_a_gpu_have_twins() -> None:
    assert {(model, half) for model, _, half in TWINS} >= {
        ("fomm-lite", "keypoints-fp16.onnx"),
        ("fomm-lite", "encoder-fp16.onnx"),
        ("fomm-lite", "generator-fp16.onnx"),
        ("fwa-lite", "fwa-lite-fp16.onnx"),
    }


@pytest.mark.parametrize(("model", "full", "half"), TWINS)
def test_twin_is_near_its_original(model: str, full: str, half: str) -> None:
    inputs = read_case(GOLDEN / model / f"{Path(full).stem}.toml").inputs
    assert_near(run(ZOO / model / half, inputs), run(ZOO / model / full, inputs))


@pytest.mark.parametrize(("model", "full", "half"), TWINS)
def test_twin_is_about_half_as_large(model: str, full: str, half: str) -> None:
    sizes = [(ZOO / model / file).stat().st_size for file in (half, full)]
    assert sizes[0] < 0.55 * sizes[1]


def test_wide_model_with_random_weights_stays_near() -> None:
    """The depth of the published model, five levels and six residual blocks, at a quarter of its widths."""
    pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
    pytest.importorskip("onnx", reason="onnx is only in the training environment (requirements.txt)")
    from deepfake_train.convert_fomm import fomm_graphs
    from deepfake_train.fomm import FommConfig, GeneratorConfig, HourglassConfig
    from deepfake_train.random_fomm import random_fomm

    config = FommConfig(HourglassConfig(8, 256), HourglassConfig(16, 256), GeneratorConfig(16, 128))
    model = random_fomm(config, seed=1)
    full, half = (
        {role: graph.SerializeToString() for role, graph in fomm_graphs(model, half=half).items()}
        for half in (False, True)
    )
    pictures = {"image": Seeded((2, 3, 256, 256), seed=31).tensor()}
    points = run(full["keypoints"], pictures)
    assert points["value"].std() > 0.1, "points in one place would hide what half precision does to them"
    assert_near(run(half["keypoints"], pictures), points)
    source = {"source": pictures["image"][:1]}
    encoded = run(full["encoder"], source)
    assert_near(run(half["encoder"], source), encoded)
    inputs = encoded | {
        f"{who}_{name}": values[index : index + 1]
        for name, values in points.items()
        for index, who in enumerate(("source", "driving"))
    }
    rendered = run(full["generator"], inputs)
    assert rendered["prediction"].std() > 0.05, "a picture of one colour would prove nothing"
    assert_near(run(half["generator"], inputs), rendered)


def test_numbers_beyond_half_precision_are_refused() -> None:
    pytest.importorskip("onnx", reason="onnx is only in the training environment (requirements.txt)")
    from deepfake_train.onnx_graph import OutOfHalfRangeError, to_half

    assert to_half(np.array([65504.0, -1e-9])).tolist() == [65504.0, 0.0]
    with pytest.raises(OutOfHalfRangeError, match="too large"):
        to_half(np.array([1.0, -70000.0]))


def test_an_output_that_was_not_widened_is_refused() -> None:
    pytest.importorskip("onnx", reason="onnx is only in the training environment (requirements.txt)")
    from deepfake_train.onnx_graph import GraphWriter

    graph = GraphWriter("test", half=True)
    x = graph.narrow(graph.input("x", ["N", 2]))
    with pytest.raises(ValueError, match="widened"):
        graph.output(graph.op("Relu", x), "y", ["N", 2])
