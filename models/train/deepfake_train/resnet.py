"""The residual networks of the face-warping-artifact papers in PyTorch: plain operators, torchvision's names.

Two things differ between the frameworks that the published classifiers were trained in, and neither leaves a
trace in the weights: TF-slim halves the map in the last unit of a stage, torchvision in the first; and
TF-slim pads the pooling of the stem at the far edges only, torchvision all around.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .random_norms import norms_of, settle_norm, start_norms

SIZE = 224
CLASSES = 2
EXPANSION = 4
# of blue, green and red in 0..255, taken off before the network; there is no division by a deviation
BGR_MEAN = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class ResNetConfig:
    """Shape of a network; the defaults are ResNet-50 as torchvision has it."""

    units: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    slim: bool = False
    """Strides and padding as in TF-slim instead of torchvision."""
    pyramid: tuple[int, ...] = ()
    """Cells along a side of each level of the pooling pyramid; without one the map's mean is classified."""

    def stride(self, stage: int, unit: int) -> int:
        """By how much a unit divides the size of its map."""
        if self.slim:
            return 2 if stage < len(self.units) - 1 and unit == self.units[stage] - 1 else 1
        return 2 if stage > 0 and unit == 0 else 1

    @property
    def channels(self) -> int:
        """Of the last map."""
        return self.width * EXPANSION << (len(self.units) - 1)

    @property
    def features(self) -> int:
        """Numbers that are classified."""
        return self.channels * (sum(cells**2 for cells in self.pyramid) if self.pyramid else 1)

    @property
    def head(self) -> str:
        """Name of the last layer in a checkpoint."""
        return "classifier" if self.pyramid else "fc"


DSP_FWA = ResNetConfig(pyramid=(1, 2, 6))
FWA = ResNetConfig(slim=True)
# of the same depth in stages, for tests
TINY = {
    config: ResNetConfig((1, 1, 1, 1), 2, slim=config.slim, pyramid=config.pyramid)
    for config in (DSP_FWA, FWA)
}


def pool_sizes(side: int, cells: int) -> tuple[int, int]:
    """Kernel and stride that pool a map of that side to a number of cells along it."""
    return math.ceil(side / cells), side // cells


class Bottleneck(nn.Module):
    """A residual unit: narrow, convolve, widen."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.stride = stride
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        skip = x[:, :, :: self.stride, :: self.stride] if self.downsample is None else self.downsample(x)
        return functional.relu(y + skip)


class ResNet(nn.Module):
    """Pictures [N,3,224,224], BGR without ``BGR_MEAN``, to logits [N,2]: class 0 fake, class 1 real."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv2d(3, config.width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(config.width)
        channels = config.width
        for stage, units in enumerate(config.units):
            width = config.width << stage
            layer = nn.Sequential()
            for unit in range(units):
                layer.append(Bottleneck(channels, width, config.stride(stage, unit)))
                channels = width * EXPANSION
            setattr(self, f"layer{stage + 1}", layer)
        setattr(self, config.head, nn.Linear(config.features, CLASSES))

    def embed(self, x: Tensor) -> Tensor:
        """What the last layer classifies, [N, features]."""
        x = functional.relu(self.bn1(self.conv1(x)))
        if self.config.slim:
            x = functional.max_pool2d(functional.pad(x, (0, 1, 0, 1), value=-math.inf), 3, 2)
        else:
            x = functional.max_pool2d(x, 3, 2, 1)
        for stage in range(len(self.config.units)):
            x = getattr(self, f"layer{stage + 1}")(x)
        if not self.config.pyramid:
            return x.mean((2, 3))
        levels = (
            functional.max_pool2d(x, *pool_sizes(x.shape[-1], cells)).flatten(1)
            for cells in self.config.pyramid
        )
        return torch.cat(list(levels), 1)

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.config.head)(self.embed(x))


def random_pictures(count: int) -> Tensor:
    """Coloured smooth noise with some fine noise in the network's range."""
    colour = torch.rand(count, 3, 1, 1)
    coarse = functional.interpolate(torch.rand(count, 3, 14, 14), size=(SIZE, SIZE), mode="bicubic")
    noise = 0.5 * colour + 0.4 * coarse + 0.1 * torch.rand(count, 3, SIZE, SIZE)
    return 255 * noise.clamp(0, 1) - torch.tensor(BGR_MEAN)[:, None, None]


def random_resnet(config: ResNetConfig, seed: int) -> ResNet:
    """A network whose batch norms hold, give or take some, the statistics of noise; its logits differ."""
    torch.manual_seed(seed)
    model = ResNet(config)
    norms = norms_of(model)
    start_norms(norms)
    for unit in (module for module in model.modules() if isinstance(module, Bottleneck)):
        # Units that change their map as little as trained ones do: with more, rounding alone grows to 2e-4 in
        # the logits, and to compare implementations would say nothing.
        nn.init.uniform_(unit.bn3.weight, 0.2, 0.5)
    pictures = random_pictures(8)
    head: nn.Linear = getattr(model, config.head)
    with torch.inference_mode():
        model.train()
        model(pictures)
        model.eval()
        for norm in norms:
            settle_norm(norm)
        logits = model(pictures)
        head.weight.mul_(1.5 / logits.std(0).mean())
        head.bias.sub_(model(pictures).mean(0))
    return model
