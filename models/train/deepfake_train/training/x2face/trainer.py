"""The step of X2Face's training, for `training.loop`.

As in the first stage of the paper (Wiles, Koepke and Zisserman, ECCV 2018): source and driving pictures show
one person, the output has to be the driving picture. Added is the guidance by the points of a face mesh; the
paper's second stage, with a network that recognises people, is not done here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...x2face import X2Face, X2FaceConfig
from ..averaging import AveragedWeights
from ..clips import Faces
from ..loop import step_seed
from ..placement import placed
from .losses import guidance, photometric, roughness


class People(Protocol):
    """Where pictures of people come from."""

    def draw(self, people: int, pictures: int, generator: torch.Generator) -> Faces:
        """Different pictures of each of some people, the same ones for the same state of the generator."""


@dataclass(frozen=True)
class Recipe:
    """What the steps are made of: seed, people a step, source pictures of each, weights of losses.

    ``half`` lets convolutions compute in bfloat16; coordinates and pictures stay in float32.
    """

    seed: int = 1
    people: int = 8
    sources: int = 2
    guidance: float = 0.02
    roughness: float = 0.02
    decay: float = 0.998
    half: bool = False

    def settings(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


class X2FaceTraining:
    """Networks, optimiser and averages of one run."""

    def __init__(
        self,
        config: X2FaceConfig,
        recipe: Recipe,
        people: People,
        held_out: People,
        face: Tensor,
        device: torch.device,
    ) -> None:
        """``face`` are the points [468, 2] of the embedded face, in [-1, 1]."""
        torch.manual_seed(recipe.seed)
        self.model = placed(X2Face(config), device)
        self._recipe, self._people, self._device = recipe, people, device
        self._optimizer = torch.optim.Adam(self.model.parameters(), betas=(0.5, 0.999))
        self._average = AveragedWeights(self.model, recipe.decay)
        self._face = face.to(device)
        shown = held_out.draw(6, recipe.sources + 1, self._generator(0, "samples"))
        self._shown = shown.pictures.to(device)

    def step(self, number: int, learning_rate: float) -> dict[str, float]:
        """One step; the last picture of each person drives, the others are sources."""
        recipe = self._recipe
        drawn = self._people.draw(recipe.people, recipe.sources + 1, self._generator(number))
        pictures, points = drawn.pictures.to(self._device), drawn.points.to(self._device)
        self.model.train()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=recipe.half):
            embedded = self.model.embed_people(pictures[:, :-1])
            driving = self.model.drive(pictures[:, -1])
        face = self._face.expand(recipe.people, -1, -1)
        prediction = self.model.sample(embedded.face, driving.grid)
        misses = [guidance(embedded.grid[:, k], face, points[:, k]) for k in range(recipe.sources)]
        misses.append(guidance(driving.grid, points[:, -1], face))
        losses = {
            "photometric": photometric(prediction, pictures[:, -1]),
            "guidance": recipe.guidance * torch.stack(misses).mean(),
            "roughness": recipe.roughness
            * (roughness(embedded.grid.flatten(0, 1)) + roughness(driving.grid)),
        }
        total = torch.stack(list(losses.values())).sum()
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        self._optimizer.step()
        self._average.update()
        return {"total": total.item(), **{name: value.item() for name, value in losses.items()}}

    def _generator(self, number: int, purpose: str = "") -> torch.Generator:
        seed = step_seed(self._recipe.seed, number, purpose)
        return torch.Generator(self._device).manual_seed(seed)

    def averaged(self) -> X2Face:
        """A model of the averaged weights, on the CPU and ready for inference."""
        model = X2Face(self.model.config)
        model.load_state_dict(self._average.weights())
        return model.eval()

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes from step to step."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a ``state_dict``."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._average.load_state_dict(state["average"])

    @torch.no_grad()
    def samples(self) -> NDArray[np.uint8]:
        """A row a person: first source, embedded face, driving picture, what is made of it, the same of the
        next person.
        """
        model = self.averaged().to(self._device)
        embedded = model.embed_people(self._shown[:, :-1]).face
        driving = self._shown[:, -1]
        columns = [self._shown[:, 0], embedded, driving, model.render(embedded, driving)]
        columns.append(model.render(embedded, driving.roll(-1, 0)))
        sheet = torch.cat([torch.cat(list(column), 1) for column in columns], 2).clamp(0, 1)
        return np.ascontiguousarray((sheet * 255).round().byte().permute(1, 2, 0).cpu().numpy()[..., ::-1])
