"""Putting a state dict into a network, with a comparison that can be read where it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

# Counts steps of training; PyTorch before 0.4.1 did not save it, and inference does not use it.
COUNTER = "num_batches_tracked"
LINES = 12


class StateMismatchError(ValueError):
    """Names or shapes of tensors are not those of the network."""


def _listed(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    rest = [f"  ... and {len(lines) - LINES} more"] if len(lines) > LINES else []
    return [f"{len(lines)} {title}:", *lines[:LINES], *rest]


Shape = tuple[int, ...]


@dataclass(frozen=True)
class Differences:
    """How tensors by name differ from those of a network."""

    missing: list[tuple[str, Shape]]
    # Name, shape wanted, and shape found, or the type of what is no tensor.
    different: list[tuple[str, Shape, Shape | str]]
    unknown: list[tuple[str, Shape | str]]


def differences(wanted: Mapping[str, Shape], given: Mapping[str, object]) -> Differences:
    """Compares names and shapes; the order of each kind is that of the mapping its names come from."""
    shapes = {
        key: tuple(value.shape) if isinstance(value, Tensor) else f"({type(value).__name__})"
        for key, value in given.items()
    }
    return Differences(
        missing=[(key, shape) for key, shape in wanted.items() if key not in shapes],
        different=[
            (key, shape, shapes[key])
            for key, shape in wanted.items()
            if key in shapes and shapes[key] != shape
        ],
        unknown=[(key, shape) for key, shape in shapes.items() if key not in wanted],
    )


def compare(expected: Mapping[str, Tensor], given: Mapping[str, object]) -> str:
    """What is missing, not known or of another shape, for a human; empty if everything fits."""
    counters = {key for key in expected if key.endswith(COUNTER)}
    found = differences(
        {key: tuple(tensor.shape) for key, tensor in expected.items() if key not in counters},
        {key: value for key, value in given.items() if key not in counters},
    )
    parts = (
        ("missing", [f"  - {key} {shape}" for key, shape in found.missing]),
        ("not known", [f"  + {key} {shape}" for key, shape in found.unknown]),
        (
            "of another shape",
            [f"  ! {key}: {wanted} expected, {shape} found" for key, wanted, shape in found.different],
        ),
    )
    return "\n".join(line for title, lines in parts for line in _listed(title, lines))


def fit_state(network: nn.Module, state: Mapping[str, object], name: str) -> None:
    """Gives the network the tensors of ``state`` as its own, in float32; every name and shape must fit.

    The network may be on the device ``meta``. Raises ``StateMismatchError``.
    """
    expected = network.state_dict()
    if difference := compare(expected, state):
        raise StateMismatchError(f"{name} does not fit the network\n{difference}")
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    tensors = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    for key, tensor in expected.items():
        if key not in tensors:
            tensors[key] = tensor.new_zeros(tensor.shape, device="cpu")
    _assign(network, tensors)


def _assign(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """``load_state_dict(assign=True)``, which PyTorch has since 2.1 only."""
    for prefix, module in network.named_modules():
        dot = f"{prefix}." if prefix else ""
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(tensors[dot + name], requires_grad=parameter.requires_grad))
        for name, _ in module.named_buffers(recurse=False):
            if dot + name in tensors:  # else one that is not saved
                setattr(module, name, tensors[dot + name])


def without_numbers(make: Callable[[], Network]) -> Network:
    """A network on the device ``meta``: names and shapes, for a state that is about to be fitted."""
    if hasattr(torch.device, "__enter__"):  # since PyTorch 2.0
        with torch.device("meta"):
            return make()
    return make().to("meta")
