"""An exponential moving average of weights, which gives steadier pictures and scores than the last step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class AveragedWeights:
    """Average of what a network held after each step; ``state_dict`` fits that network.

    The decay grows with the steps up to ``decay``, so that the first weights, which are random, are soon
    forgotten. Tensors of whole numbers (counters) are those of the last step.
    """

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        self.decay = decay
        self._network = network
        self._steps = 0
        self._average = {
            key: tensor.detach().clone(memory_format=torch.preserve_format)
            for key, tensor in network.state_dict().items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights of now; once after every step of the optimiser."""
        decay = min(self.decay, (1 + self._steps) / (10 + self._steps))
        self._steps += 1
        for key, tensor in self._network.state_dict().items():
            if tensor.is_floating_point():
                self._average[key].lerp_(tensor, 1 - decay)
            else:
                self._average[key].copy_(tensor)

    def weights(self) -> dict[str, Tensor]:
        """The average, by the network's own names."""
        return self._average

    def state_dict(self) -> dict[str, Any]:
        """All that ``load_state_dict`` needs to go on as if never interrupted."""
        return {"steps": self._steps, "average": self._average}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a ``state_dict`` of an average over the same network."""
        self._steps = state["steps"]
        for key, tensor in self._average.items():
            tensor.copy_(state["average"][key])
