"""First Order Motion Model (Siarohin et al., NeurIPS 2019) in PyTorch, with every width configurable.

Written from the paper and the published tensor layout: parameter names and shapes are those of the published
``vox-256`` checkpoints, so such a state dict loads with ``strict=True``.

Conventions: pictures are RGB in [0, 1], shape [N, 3, H, W]; coordinates are (x, y) in [-1, 1] with both ends
on the centres of the outermost pixels, which is what ``grid_sample(align_corners=True)`` means.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON_DETERMINANT = 1e-6


@dataclass(frozen=True)
class HourglassConfig:
    """Width of the first level, width no level exceeds, and number of levels of one hourglass."""

    base: int
    maximum: int
    levels: int = 5


@dataclass(frozen=True)
class GeneratorConfig:
    """Widths of the picture encoder/decoder and number of residual blocks between them."""

    base: int
    maximum: int
    down_blocks: int = 2
    residual_blocks: int = 6


@dataclass(frozen=True)
class FommConfig:
    """Everything that fixes the shapes of a model."""

    keypoint_hourglass: HourglassConfig
    motion_hourglass: HourglassConfig
    generator: GeneratorConfig
    keypoints: int = 10
    channels: int = 3
    scale: float = 0.25
    temperature: float = 0.1
    variance: float = 0.01
    align_corners: bool = True


PRESETS: dict[str, FommConfig] = {
    "vox": FommConfig(HourglassConfig(32, 1024), HourglassConfig(64, 1024), GeneratorConfig(64, 512)),
    "lite": FommConfig(
        HourglassConfig(16, 128), HourglassConfig(16, 128), GeneratorConfig(16, 64, residual_blocks=4)
    ),
    "mid": FommConfig(HourglassConfig(24, 256), HourglassConfig(32, 256), GeneratorConfig(32, 128)),
    "tiny": FommConfig(
        HourglassConfig(4, 8, levels=2),
        HourglassConfig(4, 8, levels=2),
        GeneratorConfig(4, 8, residual_blocks=1),
        keypoints=3,
    ),
}


class Keypoints(NamedTuple):
    """Key-points of a batch: positions [N, K, 2] and local affine frames [N, K, 2, 2]."""

    value: Tensor
    jacobian: Tensor


class Motion(NamedTuple):
    """Dense motion: mask over the candidates [N, K+1, H, W], flow [N, H, W, 2], occlusion [N, 1, H, W]."""

    mask: Tensor
    flow: Tensor
    occlusion: Tensor


def coordinate_grid(height: int, width: int, like: Tensor) -> Tensor:
    """(x, y) of every pixel centre, [height, width, 2], in [-1, 1] with the end points included."""
    y = torch.linspace(-1, 1, height, device=like.device, dtype=like.dtype)
    x = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype)
    return torch.stack((x.expand(height, width), y[:, None].expand(height, width)), -1)


def inverse_2x2(matrix: Tensor) -> Tensor:
    """Closed-form inverse of [..., 2, 2]; a determinant near zero becomes ``EPSILON_DETERMINANT``."""
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    determinant = a * d - b * c
    tiny = determinant.abs() < EPSILON_DETERMINANT
    determinant = torch.where(tiny, torch.full_like(determinant, EPSILON_DETERMINANT), determinant)
    return torch.stack((d, -b, -c, a), -1).reshape(matrix.shape) / determinant[..., None, None]


def product_2x2(left: Tensor, right: Tensor) -> Tensor:
    """Matrix product of [..., 2, 2] by sums, so that it stays in full precision under autocast."""
    return (left[..., :, :, None] * right[..., None, :, :]).sum(-2)


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU; optionally preceded by nearest x2 or followed by a 2x2 mean."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, *, upsample: bool = False, downsample: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(outputs)
        self.upsample, self.downsample = upsample, downsample

    def forward(self, x: Tensor) -> Tensor:
        if self.upsample:
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
        x = functional.relu(self.norm(self.conv(x)))
        return functional.avg_pool2d(x, 2) if self.downsample else x


class ResidualBlock(nn.Module):
    """Pre-activation residual block: x + conv(relu(norm(conv(relu(norm(x))))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(width)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.relu(self.norm1(x)))
        return x + self.conv2(functional.relu(self.norm2(y)))


class _Encoder(nn.Module):
    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        pairs = itertools.pairwise(widths)
        self.down_blocks = nn.ModuleList(ConvBlock(a, b, downsample=True) for a, b in pairs)


class _Decoder(nn.Module):
    def __init__(self, pairs: list[tuple[int, int]]) -> None:
        super().__init__()
        self.up_blocks = nn.ModuleList(ConvBlock(a, b, upsample=True) for a, b in pairs)


class Hourglass(nn.Module):
    """U-Net whose decoder concatenates [upsampled, skip] at each level and the raw input at the last one."""

    def __init__(self, inputs: int, config: HourglassConfig) -> None:
        super().__init__()
        levels = config.levels
        widths = [min(config.maximum, config.base * 2**level) for level in range(levels + 1)]
        self.encoder = _Encoder([inputs, *widths[1:]])
        doubled = [1 if level == levels - 1 else 2 for level in range(levels)]
        self.decoder = _Decoder(
            [(widths[level + 1] * doubled[level], widths[level]) for level in reversed(range(levels))]
        )
        self.outputs = config.base + inputs

    def forward(self, x: Tensor) -> Tensor:
        skips = [x]
        for block in self.encoder.down_blocks:
            skips.append(block(skips[-1]))
        y = skips.pop()
        for block in self.decoder.up_blocks:
            y = torch.cat((block(y), skips.pop()), 1)
        return y


class AntiAliasDownsample(nn.Module):
    """Gaussian low-pass, then every n-th pixel: one depthwise convolution with stride n."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.stride = int(1 / scale)
        self.register_buffer("weight", self.gaussian(scale)[None, None].repeat(channels, 1, 1, 1))

    @staticmethod
    def gaussian(scale: float) -> Tensor:
        """The low-pass kernel, normalised to sum 1."""
        sigma = (1 / scale - 1) / 2
        size = 2 * round(sigma * 4) + 1
        offset = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
        line = torch.exp(-(offset**2) / (2 * sigma**2))
        kernel = line[:, None] * line[None]
        return (kernel / kernel.sum()).float()

    def restore(self) -> None:
        """Undoes what a half-precision checkpoint did to the kernel, which is not learned."""
        weight = self.get_buffer("weight")
        exact = self.gaussian(1 / self.stride).expand_as(weight)
        if not torch.allclose(weight, exact, atol=1e-4):
            raise ValueError("the anti-alias kernel of this checkpoint is not the expected Gaussian")
        weight.copy_(exact)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.get_buffer("weight")
        padding = weight.shape[-1] // 2
        return functional.conv2d(x, weight, stride=self.stride, padding=padding, groups=weight.shape[0])


class KeypointDetector(nn.Module):
    """Picture -> K key-points with a local affine frame each."""

    def __init__(self, config: FommConfig) -> None:
        super().__init__()
        self.predictor = Hourglass(config.channels, config.keypoint_hourglass)
        self.kp = nn.Conv2d(self.predictor.outputs, config.keypoints, 7)
        self.jacobian = nn.Conv2d(self.predictor.outputs, 4 * config.keypoints, 7)
        self.down = AntiAliasDownsample(config.channels, config.scale)
        self.temperature = config.temperature
        nn.init.zeros_(self.jacobian.weight)
        with torch.no_grad():  # every frame starts as the identity
            bias = self.jacobian.bias
            assert bias is not None
            bias.copy_(torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(config.keypoints))

    def forward(self, image: Tensor) -> Keypoints:
        return self.locate(*self.maps(image))

    def maps(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What key-points are read from: heat [N, K, h, w], and frames [N, 4 K, h, w] at every place."""
        features = self.predictor(self.down(image))
        return self.kp(features).float(), self.jacobian(features).float()

    def locate(self, heat: Tensor, frames: Tensor) -> Keypoints:
        """Key-points where it is hot, with the frames of there."""
        batch, count, height, width = heat.shape
        heat = functional.softmax(heat.flatten(2) / self.temperature, -1)
        grid = coordinate_grid(height, width, heat).reshape(1, 1, height * width, 2)
        value = (heat[..., None] * grid).sum(2)
        frames = frames.reshape(batch, count, 4, height * width)
        jacobian = (heat[:, :, None] * frames).sum(-1).reshape(batch, count, 2, 2)
        return Keypoints(value, jacobian)


class DenseMotion(nn.Module):
    """Small source picture and two sets of key-points -> flow from driving to source, and occlusion."""

    def __init__(self, config: FommConfig) -> None:
        super().__init__()
        candidates = config.keypoints + 1
        self.hourglass = Hourglass(candidates * (config.channels + 1), config.motion_hourglass)
        self.mask = nn.Conv2d(self.hourglass.outputs, candidates, 7, padding=3)
        self.occlusion = nn.Conv2d(self.hourglass.outputs, 1, 7, padding=3)
        self.down = AntiAliasDownsample(config.channels, config.scale)
        self.variance, self.align_corners = config.variance, config.align_corners

    def forward(self, small: Tensor, source: Keypoints, driving: Keypoints) -> Motion:
        small = small.float()
        batch, channels, height, width = small.shape
        count = source.value.shape[1]
        grid = coordinate_grid(height, width, small)
        source_value = source.value.float().reshape(batch, count, 1, 1, 2)
        driving_value = driving.value.float().reshape(batch, count, 1, 1, 2)

        def bump(centre: Tensor) -> Tensor:
            return torch.exp(-((grid - centre) ** 2).sum(-1) / (2 * self.variance))

        heat = bump(driving_value) - bump(source_value)
        heat = functional.pad(heat, (0, 0, 0, 0, 1, 0))  # the background, first, has an empty map
        frame = product_2x2(source.jacobian.float(), inverse_2x2(driving.jacobian.float()))
        frame = frame.reshape(batch, count, 1, 1, 2, 2)
        local = (frame * (grid - driving_value)[..., None, :]).sum(-1) + source_value
        candidates = torch.cat((grid.expand(batch, 1, height, width, 2), local), 1)
        tall = candidates.reshape(batch, (count + 1) * height, width, 2)
        warped = functional.grid_sample(small, tall, align_corners=self.align_corners)
        warped = warped.reshape(batch, channels, count + 1, height, width).transpose(1, 2)
        y = self.hourglass(torch.cat((heat[:, :, None], warped), 2).flatten(1, 2))
        mask = functional.softmax(self.mask(y).float(), 1)
        flow = (candidates * mask[..., None]).sum(1)
        return Motion(mask, flow, torch.sigmoid(self.occlusion(y).float()))


class Generator(nn.Module):
    """Source picture and motion -> the source re-posed like the driving frame."""

    def __init__(self, config: FommConfig) -> None:
        super().__init__()
        shape = config.generator
        widths = [min(shape.maximum, shape.base * 2**level) for level in range(shape.down_blocks + 1)]
        pairs = list(itertools.pairwise(widths))
        self.dense_motion_network = DenseMotion(config)
        self.first = ConvBlock(config.channels, shape.base, 7)
        self.down_blocks = nn.ModuleList(ConvBlock(a, b, downsample=True) for a, b in pairs)
        self.up_blocks = nn.ModuleList(ConvBlock(b, a, upsample=True) for a, b in reversed(pairs))
        self.bottleneck = nn.Sequential()
        for index in range(shape.residual_blocks):
            self.bottleneck.add_module(f"r{index}", ResidualBlock(widths[-1]))
        self.final = nn.Conv2d(shape.base, config.channels, 7, padding=3)
        self.align_corners = config.align_corners

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """What is needed of a source picture: its feature map, and the small picture for the dense motion."""
        features = self.first(source)
        for block in self.down_blocks:
            features = block(features)
        return features, self.dense_motion_network.down(source)

    def decode(self, features: Tensor, small: Tensor, source: Keypoints, driving: Keypoints) -> Tensor:
        """One output picture from an encoded source."""
        return self.paint(features, self.dense_motion_network(small, source, driving))

    def paint(self, features: Tensor, motion: Motion) -> Tensor:
        """One output picture from an encoded source and how it moves."""
        flow, occlusion = motion.flow, motion.occlusion
        size = features.shape[2:]
        if flow.shape[1:3] != size:
            flow = functional.interpolate(flow.permute(0, 3, 1, 2), size, mode="bilinear").permute(0, 2, 3, 1)
            occlusion = functional.interpolate(occlusion, size, mode="bilinear")
        # in full precision: half of it is not enough to say where something is
        x = functional.grid_sample(features.float(), flow, align_corners=self.align_corners)
        x = self.bottleneck((x * occlusion).to(features.dtype))
        for block in self.up_blocks:
            x = block(x)
        return torch.sigmoid(self.final(x).float())

    def forward(self, image: Tensor, source: Keypoints, driving: Keypoints) -> Tensor:
        return self.decode(*self.encode(image), source, driving)


@dataclass
class Fomm:
    """The two networks of a model and the configuration that they share."""

    config: FommConfig
    keypoint_detector: KeypointDetector = field(init=False)
    generator: Generator = field(init=False)

    def __post_init__(self) -> None:
        self.keypoint_detector = KeypointDetector(self.config).eval()
        self.generator = Generator(self.config).eval()
