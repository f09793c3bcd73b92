"""X2Face (Wiles, Koepke and Zisserman, ECCV 2018) in PyTorch, with every width configurable.

Written from the paper and the published tensor layout: parameter names and shapes are those of the published
``x2face_model.pth``, so that its state dict loads with ``strict=True``.

Two U-Nets look at pictures. The embedding network tells, for every pixel of an *embedded face*, where in a
source picture to look and how sure it is; several source pictures are averaged by that confidence. The
driving network squeezes a driving picture into a latent vector and draws from it where in the embedded face
every pixel of the output is found.

Conventions: pictures are RGB in [0, 1], shape [N, 3, 256, 256]; coordinates are (x, y) in [-1, 1] with both
ends on the centres of the outermost pixels, which is what ``grid_sample(align_corners=True)`` means.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .fomm import coordinate_grid

SIZE = 256
LEVELS = 8  # halvings from 256 pixels to one
LEAK = 0.2
LEAST_CONFIDENCE = 0.1

# The square that is fed, in terms of the FaceMesh bounding box: side in longer sides of it, and how far the
# middle lies below that of the box. An estimate of VoxCeleb's boxes enlarged 1.6 times.
CROP_SCALE, CROP_SHIFT = 1.6, -0.06


@dataclass(frozen=True)
class X2FaceConfig:
    """Everything that fixes the shapes of a model, and what leaves no trace in them.

    ``align_corners`` is how pictures are sampled, ``resize_align_corners`` how feature maps are enlarged.
    PyTorch changed what it does by itself at different times (1.3 and 0.4); the published weights, of 0.2,
    saw both as true.
    """

    base: int = 64
    latent: int = 128
    align_corners: bool = True
    resize_align_corners: bool = True


PRESETS: dict[str, X2FaceConfig] = {
    "published": X2FaceConfig(),
    "lite": X2FaceConfig(base=16),
    "tiny": X2FaceConfig(base=4, latent=8),
    "smallest": X2FaceConfig(base=2, latent=8),
}


class Embedded(NamedTuple):
    """Embedded faces [N, 3, 256, 256], and where each looks in its K source pictures [N, K, 256, 256, 2]."""

    face: Tensor
    grid: Tensor


class Driving(NamedTuple):
    """What is seen in a driving picture: latent vector [N, L], and where to look [N, 256, 256, 2]."""

    latent: Tensor
    grid: Tensor


class Level(nn.Module):
    """The weights of one halving and of the doubling that undoes it; the levels below it are its submodule.

    The names of the layers are their places in the published layout, where functions without weights (the
    activations, the enlargement) take places as well.
    """

    def __init__(
        self, above: int, below: int, outer: int, *, inner: int, submodule: Level | None, outermost: bool
    ) -> None:
        super().__init__()
        first = 0 if outermost else 1
        self.down = nn.Sequential()
        self.down.add_module(str(first), nn.Conv2d(above, below, 4, stride=2, padding=1, bias=False))
        if not outermost and submodule is not None:
            self.down.add_module("2", nn.BatchNorm2d(below))
        self.up = nn.Sequential()
        self.up.add_module("2", nn.Conv2d(inner, outer, 3, padding=1, bias=False))
        if not outermost:
            self.up.add_module("3", nn.BatchNorm2d(outer))
        self.submodule = submodule


class UNet(nn.Module):
    """Eight halvings and eight doublings; with ``skips``, every doubling also sees the map of its size."""

    def __init__(
        self, outputs: int, *, base: int, latent: int, skips: bool, resize_align_corners: bool
    ) -> None:
        super().__init__()
        widths = [3, *(base * min(2**level, 8) for level in range(LEVELS - 1)), latent]
        model: Level | None = None
        for index, (above, below) in reversed(list(enumerate(itertools.pairwise(widths)))):
            model = Level(
                above,
                below,
                above if index else outputs,
                inner=2 * below if skips and model is not None else below,
                submodule=model,
                outermost=index == 0,
            )
        self.model = model
        self.skips, self.resize_align_corners = skips, resize_align_corners

    def levels(self) -> Iterator[Level]:
        """From the largest map to the smallest."""
        level = self.model
        while level is not None:
            yield level
            level = level.submodule

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(map of the size of ``x``, latent vector)."""
        levels = list(self.levels())
        maps = []
        for index, level in enumerate(levels):
            x = level.down(functional.leaky_relu(x, LEAK) if index else x)
            maps.append(x)
        y = maps.pop()
        latent = functional.relu(y).flatten(1)
        for level in reversed(levels):
            # what a skip carries is already leaky, which the rectifier here makes no difference of
            enlarged = functional.interpolate(
                functional.relu(y), scale_factor=2, mode="bilinear", align_corners=self.resize_align_corners
            )
            y = level.up(enlarged)
            if maps:
                skip = maps.pop()
                y = torch.cat((y, skip), 1) if self.skips else y
        return y, latent


class X2Face(nn.Module):
    """Both networks, and the sampling between them."""

    def __init__(self, config: X2FaceConfig) -> None:
        super().__init__()
        self.config = config
        base, resize = config.base, config.resize_align_corners
        embedding = UNet(3, base=base, latent=8 * base, skips=True, resize_align_corners=resize)
        driving = UNet(2, base=base, latent=config.latent, skips=False, resize_align_corners=resize)
        self.pix2pixUnwrapped = nn.ModuleDict({"netG": embedding})
        self.pix2pixSampler = nn.ModuleDict({"netG": driving})

    @property
    def embedding_network(self) -> nn.Module:
        """Source picture -> flow (2 channels) and logarithm of the confidence (1)."""
        return self.pix2pixUnwrapped["netG"]

    @property
    def driving_network(self) -> nn.Module:
        """Driving picture -> flow."""
        return self.pix2pixSampler["netG"]

    def _grid(self, flow: Tensor) -> Tensor:
        """Where to look: at the place itself, moved by at most half a picture."""
        moved = torch.tanh(flow.float()).permute(0, 2, 3, 1)
        return moved + coordinate_grid(moved.shape[1], moved.shape[2], moved)

    def sample(self, picture: Tensor, grid: Tensor) -> Tensor:
        """Pictures [N, C, H, W] at the coordinates [N, H', W', 2]; black outside of them."""
        return functional.grid_sample(picture, grid, align_corners=self.config.align_corners)

    def embed_people(self, sources: Tensor) -> Embedded:
        """Embedded faces of N people, of each of whom there are K source pictures [N, K, 3, 256, 256]."""
        each = sources.shape[:2]
        flat = sources.flatten(0, 1)
        flow, confidence = self.embedding_network(flat)[0].split((2, 1), 1)
        weight = confidence.float().exp() + LEAST_CONFIDENCE
        grid = self._grid(flow)
        unwrapped = self.sample(flat, grid) * weight
        total, weights = (x.unflatten(0, each).sum(1) for x in (unwrapped, weight))
        return Embedded(total / weights, grid.unflatten(0, each))

    def embed(self, sources: Tensor) -> Tensor:
        """One embedded face [1, 3, 256, 256] of all source pictures [K, 3, 256, 256] of one person."""
        return self.embed_people(sources[None]).face

    def drive(self, driving: Tensor) -> Driving:
        """Latent vectors and sampling fields of driving pictures."""
        flow, latent = self.driving_network(driving)
        # this network ends in a tanh of its own, so that its flow is squashed twice
        return Driving(latent, self._grid(torch.tanh(flow.float())))

    def render(self, embedded: Tensor, driving: Tensor) -> Tensor:
        """The embedded faces [N, 3, H, W], posed like the driving pictures [N, 3, H, W]."""
        return self.sample(embedded, self.drive(driving).grid).clamp(0, 1)

    def forward(self, sources: Tensor, driving: Tensor) -> Tensor:
        embedded = self.embed(sources)
        return self.render(embedded.expand(len(driving), -1, -1, -1), driving)
