"""FaceMesh in PyTorch, where it looks, and what is asked of what it sees."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
onnx = pytest.importorskip("onnx", reason="only in the training environment (requirements.txt)")
onnxruntime = pytest.importorskip("onnxruntime", reason="only in the training environment")

from fomm_faces import face_points  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

from deepfake_train.manifest import WrongKindError  # noqa: E402
from deepfake_train.networks.onnx_torch import OnnxNetwork, UnknownOperatorError  # noqa: E402
from deepfake_train.training.fomm import expression_reader  # noqa: E402
from deepfake_train.training.fomm.expression_reader import (  # noqa: E402
    ExpressionReader,
    face_squares,
    openings_loss,
    points_loss,
)
from deepfake_train.training.landmarks import LID_GAPS, LIP_GAPS, POINTS  # noqa: E402

ZOO = Path(__file__).parents[2] / "zoo"
FACEMESH = ZOO / "facemesh"
OUTPUTS = ("conv2d_20", "conv2d_30")


def _without_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHIFT", "SCALE", "TURN"):
        monkeypatch.setattr(expression_reader, name, 0.0)


def _face() -> torch.Tensor:
    """[1, 468, 2] in -1..1, upright, its middle at 0."""
    points = face_points()[None, :, :2] / 20
    return points - (points.amin(1, keepdim=True) + points.amax(1, keepdim=True)) / 2


def test_several_pictures_at_once_give_what_onnx_runtime_gives_for_each() -> None:
    pictures = torch.rand(2, 192, 192, 3, generator=torch.Generator().manual_seed(1))
    session = onnxruntime.InferenceSession(str(FACEMESH / "facemesh.onnx"))
    network = OnnxNetwork(FACEMESH / "facemesh.onnx", OUTPUTS)
    for number, found in enumerate(network(pictures)):
        for index, picture in enumerate(pictures.numpy()):
            wanted = session.run([OUTPUTS[number]], {"input_1": picture[None]})[0]
            np.testing.assert_allclose(found[index : index + 1], wanted, atol=2e-3)  # of 192 pixels


def test_gradients_say_how_the_points_move_with_the_picture() -> None:
    generator = torch.Generator().manual_seed(2)
    network = OnnxNetwork(FACEMESH / "facemesh.onnx", OUTPUTS[:1]).double()
    picture = torch.rand(1, 192, 192, 3, generator=generator, dtype=torch.float64).requires_grad_()
    direction = torch.randn(picture.shape, generator=generator, dtype=torch.float64)
    network(picture)[0].sum().backward()
    assert picture.grad is not None
    step = 1e-8  # few of the kinks between this and the other side
    with torch.no_grad():
        up, down = (network(picture + sign * step * direction)[0].sum() for sign in (1, -1))
    assert float((picture.grad * direction).sum()) == pytest.approx(float(up - down) / (2 * step), rel=1e-3)


def test_operators_and_outputs_that_are_not_known_are_refused(tmp_path: Path) -> None:
    node = helper.make_node("Sin", ["x"], ["y"])
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "sine", [value], [helper.make_tensor_value_info("y", 1, [1])])
    onnx.save(helper.make_model(graph), tmp_path / "sine.onnx")
    with pytest.raises(UnknownOperatorError, match="Sin"):
        OnnxNetwork(tmp_path / "sine.onnx", ("y",))
    with pytest.raises(UnknownOperatorError, match="no output z"):
        OnnxNetwork(tmp_path / "sine.onnx", ("z",))


def test_another_model_of_the_zoo_is_refused() -> None:
    with pytest.raises(WrongKindError, match="face-landmarks"):
        ExpressionReader(ZOO / "blazeface-short")


@pytest.mark.parametrize("angle", [0.0, 0.5, -1.2])
@pytest.mark.parametrize("mirrored", [False, True])
def test_squares_are_upright_about_the_face(
    angle: float, mirrored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_chance(monkeypatch)
    face = _face() * torch.tensor([-1.0 if mirrored else 1.0, 1.0])
    cos, sin = math.cos(angle), math.sin(angle)
    turned = face @ torch.tensor([[cos, sin], [-sin, cos]]) + torch.tensor([0.1, -0.2])
    (square,) = face_squares(turned, 1.5, torch.Generator())
    axes = square[:, :2] / square[:, :2].norm(dim=0)
    torch.testing.assert_close(axes, torch.tensor([[cos, -sin], [sin, cos]]), atol=0.03, rtol=0)
    inside = (turned[0] - square[:, 2]) @ torch.linalg.inv(square[:, :2]).T
    assert inside.abs().max() < 1, "the whole face is in the square"
    assert inside[152, 1] > 0.3, "the chin is below"


def test_squares_are_moved_by_chance_and_the_same_for_the_same_seed() -> None:
    first, again, other = (
        face_squares(_face(), 1.5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_square_reads_the_same_points_wherever_the_face_is(monkeypatch: pytest.MonkeyPatch) -> None:
    _without_chance(monkeypatch)
    reader = ExpressionReader(FACEMESH)
    generator = torch.Generator().manual_seed(3)
    smooth = torch.nn.functional.interpolate(
        torch.rand(1, 3, 12, 12, generator=generator), size=(256, 256), mode="bicubic"
    ).clamp(0, 1)
    moved = smooth.roll((8, -16), (2, 3))
    shift = torch.tensor([-16.0, 8.0]) / (255 / 2)
    here, there = (
        reader(picture, reader.squares(0.5 * _face() + by, generator))
        for picture, by in ((smooth, torch.zeros(2)), (moved, shift))
    )
    assert here.shape == (1, POINTS, 2)
    torch.testing.assert_close(here, there, atol=2e-3, rtol=0)


def test_losses_are_weighted_distances_and_errors_of_gaps() -> None:
    wanted = torch.zeros(1, POINTS, 2)
    made = wanted.clone()
    made[0, 0] = torch.tensor([0.2, -0.4])
    weights = torch.ones(POINTS)
    weights[0] = 33.0
    assert float(points_loss(made, wanted, weights)) == pytest.approx(0.3 * 33 / 500)
    open_mouth = wanted.clone()
    open_mouth[0, [lower for _, lower in LIP_GAPS], 1] = 0.1
    assert float(openings_loss(open_mouth, wanted)) == pytest.approx(0.1 / 2 / 2)
    whole_face = open_mouth + 0.3
    assert float(openings_loss(whole_face, open_mouth)) == pytest.approx(0, abs=1e-6)
    one_lid = wanted.clone()
    one_lid[0, LID_GAPS[0][0], 1] = -0.1
    assert float(openings_loss(one_lid, wanted)) == pytest.approx(0.1 / 2 / 2 / len(LID_GAPS))
