"""Where networks that are trained lie, and how their weights do."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def placed(network: Network, device: torch.device) -> Network:
    """The same network on that device, laid out for fast convolutions: up to twice as fast, on CPUs too."""
    return network.to(device).to(memory_format=torch.channels_last)
