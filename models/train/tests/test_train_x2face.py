"""Training of X2Face at a tiny width: what the losses measure, a falling error, exact resumption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
for package in ("cv2", "matplotlib", "rich"):
    pytest.importorskip(package, reason="only in the training environment (requirements.txt)")

from deepfake_train.__main__ import main  # noqa: E402
from deepfake_train.fomm import coordinate_grid  # noqa: E402
from deepfake_train.random_x2face import smooth_pictures  # noqa: E402
from deepfake_train.training.clips import Faces, NoClipsError  # noqa: E402
from deepfake_train.training.loop import Schedule, run  # noqa: E402
from deepfake_train.training.x2face.losses import guidance, photometric, roughness  # noqa: E402
from deepfake_train.training.x2face.trainer import Recipe, X2FaceTraining  # noqa: E402
from deepfake_train.x2face import SIZE, X2FaceConfig  # noqa: E402

PIXEL = 2 / (SIZE - 1)


class Sliding:
    """People of smooth noise who move up, down, left and right."""

    face = torch.rand(40, 2, generator=torch.Generator().manual_seed(3)) - 0.5

    def draw(self, people: int, pictures: int, generator: torch.Generator) -> Faces:
        with torch.random.fork_rng():
            torch.manual_seed(generator.initial_seed())
            still = smooth_pictures(people)
            shifts = torch.randint(-24, 25, (people, pictures, 2)).tolist()
        moved = [
            torch.stack([picture.roll((y, x), (1, 2)) for x, y in of_one])
            for picture, of_one in zip(still, shifts, strict=True)
        ]
        points = self.face + torch.tensor(shifts, dtype=torch.float32)[:, :, None] * PIXEL
        return Faces(torch.stack(moved), points)


def training() -> X2FaceTraining:
    people = Sliding()
    return X2FaceTraining(
        X2FaceConfig(base=2, latent=8), Recipe(people=2), people, people, people.face, torch.device("cpu")
    )


def schedule(steps: int) -> Schedule:
    return Schedule(steps, rate=1e-2, warm_up=1, log_every=1, save_every=3)


def test_the_error_of_equal_pictures_is_nothing_and_of_others_their_difference() -> None:
    picture = torch.full((2, 3, 64, 64), 0.25)
    assert photometric(picture, picture) == 0
    assert photometric(picture, picture + 0.5).item() == pytest.approx(0.5)


def test_moving_a_field_is_free_and_bending_it_is_not() -> None:
    grid = coordinate_grid(SIZE, SIZE, torch.zeros(1))[None]
    assert roughness(0.8 * grid + 0.1).item() == pytest.approx(0, abs=1e-4)
    zigzag = grid.clone()
    zigzag[:, ::2, :, 0] += PIXEL
    # one pixel to and fro along the columns: each second difference of one of two coordinates is two pixels
    assert roughness(zigzag).item() == pytest.approx(1.0, abs=1e-3)


def test_guidance_is_the_distance_in_pixels_of_points_in_sight() -> None:
    grid = coordinate_grid(SIZE, SIZE, torch.zeros(1))[None]
    at = torch.tensor([[[0.0, 0.0], [0.5, -0.5], [0.9, 0.9]]])
    target = at + torch.tensor([3 * PIXEL, 4 * PIXEL])
    assert guidance(grid, at, target).item() == pytest.approx(5.0, abs=1e-3)
    target[:, 0] = 1.5
    assert guidance(grid, at, target).item() == pytest.approx(5.0, abs=1e-3)


def test_a_few_steps_lower_the_error_and_going_on_is_exact(tmp_path: Path) -> None:
    whole = training()
    run(whole, tmp_path / "whole", schedule(8), {})
    lines = (tmp_path / "whole" / "losses.csv").read_text().splitlines()
    losses = [float(line.split(",")[2]) for line in lines[1:]]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])

    interrupted = training()
    for number in range(3):
        interrupted.step(number, schedule(8).learning_rate(number))
    state = interrupted.state_dict()
    resumed = training()
    resumed.load_state_dict(state)
    for number in range(3, 8):
        resumed.step(number, schedule(8).learning_rate(number))
    one, other = whole.averaged().state_dict(), resumed.averaged().state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert whole.samples().shape == (6 * SIZE, 5 * SIZE, 3)


def test_a_folder_without_clips_is_refused_beside_one_with_clips(tmp_path: Path) -> None:
    clip = tmp_path / "good" / "talker"
    clip.mkdir(parents=True)
    np.save(clip / "frames.npy", np.zeros((4, 16, 16, 3), np.uint8))
    np.save(clip / "landmarks.npy", np.ones((4, 468, 2), np.float32))
    good, misspelt = str(tmp_path / "good"), str(tmp_path / "misspelt")
    command = ["train", "x2face", "--out", str(tmp_path / "run"), "--preset", "tiny", "--steps", "0"]
    with pytest.raises(NoClipsError, match=r"no clips below .*misspelt"):
        main([*command, "--clips", good, "--clips", misspelt])
    with pytest.raises(NoClipsError, match=r"no clips below .*misspelt"):
        main([*command, "--clips", good, "--held-out", misspelt])
