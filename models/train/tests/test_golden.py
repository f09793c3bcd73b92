"""The zoo's graphs give what a second implementation gave, and the golden format means what its page says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepfake_train.__main__ import main
from deepfake_train.golden import LARGEST_FILE, Seeded, cases, random_values, read_case, thinning, write_case
from deepfake_train.manifest import read
from deepfake_train.measure import session

TRAIN = Path(__file__).resolve().parents[1]
ZOO, GOLDEN = TRAIN.parent / "zoo", TRAIN / "golden"
CASES = cases(GOLDEN)


def test_measure_times_the_graphs_of_a_model_and_not_their_twins(capsys: pytest.CaptureFixture[str]) -> None:
    golden = ["--golden", str(GOLDEN), "--zoo", str(ZOO), "--threads", "1", "--seconds", "0.1"]
    main(["measure", "--model", "fwa-lite", *golden])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("fwa-lite: median ")


def test_every_graph_of_the_zoo_has_a_case() -> None:
    # X2Face's agreement with PyTorch is tested with models/tests/data/x2face-smallest (Rust, test_x2face)
    graphs = {
        f"{path.parent.name}/{path.stem}"
        for path in ZOO.glob("*/*.onnx")
        if not path.stem.endswith("-fp16") and read(path.parent)["model"]["kind"] != "x2face"
    }
    assert graphs
    assert graphs == {f"{path.parent.name}/{path.stem}" for path in CASES}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_graph_agrees_with_the_reference(path: Path) -> None:
    case = read_case(path)
    running = session(ZOO / case.model / case.file, threads=2)
    names = [output.name for output in running.get_outputs()]
    produced = dict(zip(names, running.run(names, dict(case.inputs)), strict=True))
    assert set(case.outputs) == set(names)
    for name, error in case.errors(produced).items():
        assert error <= case.tolerance, name


def test_generator_follows_the_definition() -> None:
    x, expected = 7, []
    for _ in range(10_000):
        x = (x * 1664525 + 1013904223) % 2**32
        expected.append((x >> 8) / 2**24)
    assert np.array_equal(random_values(7, 10_000), np.asarray(expected, np.float32))


def test_seeded_values_fill_their_range() -> None:
    values = Seeded((3, 50), seed=1, low=-2.0, high=2.0).tensor()
    assert values.shape == (3, 50)
    assert values.dtype == np.float32
    assert -2 <= values.min() < -1.5 < 1.5 < values.max() < 2


@pytest.mark.parametrize("size", [1, 76_800, 196_608, 1_000_000])
def test_thinning_keeps_files_small(size: int) -> None:
    stride = thinning(size)
    assert -(-size // stride) * 4 <= LARGEST_FILE
    assert stride == 1 or (stride % 2 and stride % 3)


def test_case_survives_a_round_trip(tmp_path: Path) -> None:
    points = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    write_case(
        tmp_path,
        model="m",
        file="graph.onnx",
        reference="none",
        inputs={"image": Seeded((1, 2), seed=3), "points": points},
        outputs={"sum": np.ones((100_000,), np.float32)},
    )
    case = read_case(tmp_path / "m" / "graph.toml")
    assert np.array_equal(case.inputs["image"], Seeded((1, 2), seed=3).tensor())
    assert np.array_equal(case.inputs["points"], points)
    assert case.errors({"sum": np.full((100_000,), 1.5, np.float32)}) == {"sum": 0.5}
