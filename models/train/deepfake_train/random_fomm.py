"""FOMM models with random weights: as slow as trained ones of the same widths, and as hard on number formats.

For measurements with models that cannot be shipped, because of their size or their licence.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .fomm import Fomm, FommConfig, Keypoints
from .random_norms import norms_of, settle_norm, start_norms

# standard deviations of what the last layers give, so that maps have peaks and the picture does not saturate
HEAT_DEVIATION = 0.2  # before the division by the temperature
JACOBIAN_DEVIATION = 0.2
MASK_DEVIATION = 1.5
PICTURE_DEVIATION = 1.0
PICTURES = 2


def random_fomm(config: FommConfig, seed: int) -> Fomm:
    """A model whose batch norms hold, give or take some, the statistics of what they saw of noise."""
    torch.manual_seed(seed)
    model = Fomm(config)
    detector, generator = model.keypoint_detector, model.generator
    motion = generator.dense_motion_network
    norms = norms_of(detector, generator)
    start_norms(norms)
    with torch.inference_mode():
        nn.init.normal_(detector.jacobian.weight, std=0.01)
        pictures = _pictures()
        detector.train()
        detector(pictures)
        detector.eval()
        features = detector.predictor(detector.down(pictures))
        _scale(detector.kp, features, HEAT_DEVIATION)
        _scale(detector.jacobian, features, JACOBIAN_DEVIATION)

        shape = (PICTURES, config.keypoints, 2)
        source, driving = (
            Keypoints(torch.rand(shape) * 1.6 - 0.8, torch.eye(2) + 0.2 * torch.randn(*shape, 2))
            for _ in range(2)
        )
        generator.train()
        generator(pictures, source, driving)
        generator.eval()
        for layers, deviation in (
            ((motion.mask, motion.occlusion), MASK_DEVIATION),
            ((generator.final,), PICTURE_DEVIATION),
        ):
            # with a hook, since what goes into a layer is not at hand elsewhere
            seen = _inputs(layers[0], generator, (pictures, source, driving))
            for layer in layers:
                _scale(layer, seen, deviation)
        for norm in norms:
            settle_norm(norm)
    return model


def _pictures() -> Tensor:
    """Smooth noise and fine noise, in 0..1."""
    coarse = nn.functional.interpolate(torch.rand(PICTURES, 3, 16, 16), size=(256, 256), mode="bicubic")
    return (0.8 * coarse + 0.2 * torch.rand(PICTURES, 3, 256, 256)).clamp(0, 1)


def _scale(layer: nn.Conv2d, features: Tensor, deviation: float) -> None:
    """Scales the weights so that the layer's output deviates from its bias by as much as is wanted."""
    bias = layer.bias
    assert bias is not None
    layer.weight *= deviation / (layer(features) - bias[:, None, None]).std()


def _inputs(layer: nn.Module, network: nn.Module, arguments: tuple[Tensor | Keypoints, ...]) -> Tensor:
    """What goes into a layer when the network is called."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _layer, given: seen.append(given[0]))
    network(*arguments)
    handle.remove()
    return seen[0]
