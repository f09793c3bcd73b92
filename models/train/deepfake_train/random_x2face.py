"""X2Face models with random weights: as slow as trained ones of their widths, and as hard on number formats.

For measurements and tests; the published weights cannot be shipped.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .random_norms import norms_of, settle_norm, start_norms
from .x2face import SIZE, UNet, X2Face, X2FaceConfig

# Standard deviations of what the last layers give: pixels move by some 6, each for itself, and confidences
# differ. More would make faces so rough that sampling them shows nothing but how the flow was rounded.
FLOW_DEVIATION = 0.05
CONFIDENCE_DEVIATION = 1.0
PICTURES = 6


def smooth_pictures(count: int, *, detail: float = 0.0) -> Tensor:
    """Smooth noise in 0..1, [count, 3, 256, 256], with ``detail`` of fine noise."""
    # as coarse as faces are, so that pictures still differ where maps are of one pixel
    coarse = functional.interpolate(torch.rand(count, 3, 5, 5), size=(SIZE, SIZE), mode="bicubic")
    return ((1 - detail) * coarse + detail * torch.rand(count, 3, SIZE, SIZE)).clamp(0, 1)


def random_x2face(config: X2FaceConfig, seed: int) -> X2Face:
    """A model whose batch norms hold, give or take some, the statistics of what they saw of noise."""
    torch.manual_seed(seed)
    model = X2Face(config)
    start_norms(norms_of(model))
    with torch.inference_mode():
        pictures = smooth_pictures(PICTURES, detail=0.2)
        for network, deviations in (
            (model.embedding_network, [FLOW_DEVIATION, FLOW_DEVIATION, CONFIDENCE_DEVIATION]),
            (model.driving_network, [FLOW_DEVIATION, FLOW_DEVIATION]),
        ):
            network.train()
            network(pictures)
            network.eval()
            _settle(network)
            deviation = network(pictures)[0].std((0, 2, 3))
            last = network.get_parameter("model.up.2.weight")
            last.mul_((torch.tensor(deviations) / deviation)[:, None, None, None])
    return model.eval()


def _settle(network: nn.Module) -> None:
    assert isinstance(network, UNet)
    for norm in norms_of(network):
        # a channel that happened to be silent for these few pictures would be amplified beyond measure
        variance = norm.get_buffer("running_var")
        variance.clamp_(min=0.3 * float(variance.mean()))
        settle_norm(norm)
