"""Batch norms of random models: they hold, give or take some, the statistics of what they saw."""

from __future__ import annotations

import torch
from torch import nn


def norms_of(*networks: nn.Module) -> list[nn.BatchNorm2d]:
    """All batch norms of pictures, network after network."""
    return [
        module for network in networks for module in network.modules() if isinstance(module, nn.BatchNorm2d)
    ]


def start_norms(norms: list[nn.BatchNorm2d]) -> None:
    """Gives them weights that do something, and has the next pictures alone count for their statistics."""
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.7, 1.3)
        nn.init.normal_(norm.bias, std=0.2)
        norm.momentum = 1.0


def settle_norm(norm: nn.BatchNorm2d) -> None:
    """Moves the statistics a little away from what was seen, as those of a trained model are."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    mean += 0.1 * variance.sqrt() * torch.randn_like(mean)
    variance *= torch.empty_like(variance).uniform_(0.8, 1.25)
