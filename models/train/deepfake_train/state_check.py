"""Putting a state dict into a network, with a comparison that can be read where it does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .stored_tensors import shown, shown_names

Network = TypeVar("Network")

# Counts steps of training; PyTorch before 0.4.1 did not save it, and inference does not use it.
COUNTER = "num_batches_tracked"
LINES = 12
# Far above what anyone published; wider networks than that need more memory than machines have.
WIDEST, MOST_BLOCKS = 4096, 64


class StateMismatchError(ValueError):
    """Names, shapes or numbers of tensors are not such that the network can have them."""


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
        ("not known", [f"  + {shown(key)} {shape}" for key, shape in found.unknown]),
        (
            "of another shape",
            [f"  ! {key}: {wanted} expected, {shape} found" for key, wanted, shape in found.different],
        ),
    )
    return "\n".join(line for title, lines in parts for line in _listed(title, lines))


def width(state: Mapping[str, object], key: str, default: int) -> int:
    """How many channels a convolution gives; ``default`` if that cannot be told.

    Raises ``StateMismatchError`` if nobody could build the network.
    """
    tensor = state.get(key)
    if not isinstance(tensor, Tensor) or tensor.dim() != 4:
        return default
    if tensor.shape[0] > WIDEST:
        raise StateMismatchError(f"{key}: {tensor.shape[0]} channels are more than the {WIDEST} that can be")
    return tensor.shape[0]


def real_numbers(tensor: Tensor) -> Tensor | None:
    """The numbers in float32, or None if they are whole ones or not all finite."""
    if not tensor.is_floating_point():
        return None
    full = tensor.float()
    # of least and greatest, which NaN spreads to, since isfinite makes copies of the whole
    ends = torch.aminmax(full) if full.numel() else ()
    return full if all(math.isfinite(end) for end in ends) else None


def _counter(wanted: Tensor, given: object) -> Tensor:
    """``COUNTER`` as it was saved; zero if it was not, or is none."""
    if isinstance(given, Tensor) and given.dtype == wanted.dtype and given.shape == wanted.shape:
        return given
    return wanted.new_zeros(wanted.shape, device="cpu")


def fit_state(network: nn.Module, state: Mapping[str, object], name: str) -> None:
    """Gives the network the tensors of ``state`` as its own, in float32; every name and shape must fit.

    The network may be on the device ``meta``. Raises ``StateMismatchError``, also for weights that are whole
    numbers or not finite.
    """
    expected = network.state_dict()
    if difference := compare(expected, state):
        raise StateMismatchError(f"{name} does not fit the network\n{difference}")
    tensors: dict[str, Tensor] = {}
    odd = []
    for key, wanted in expected.items():
        given = state.get(key)
        if key.endswith(COUNTER):
            tensors[key] = _counter(wanted, given)
        elif isinstance(given, Tensor) and (real := real_numbers(given)) is not None:
            tensors[key] = real
        else:
            odd.append(key)
    if odd:
        raise StateMismatchError(f"{name} has numbers that are whole or not finite in {shown_names(odd)}")
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


class _OnMeta(TorchFunctionMode):
    """Puts on the device ``meta`` what layers make their weights with.

    ``with torch.device("meta")`` PyTorch has since 2.0 only, and it puts there the little that layers work
    out as well, for which it loads 150 MB of Python in several seconds.
    """

    MAKERS = frozenset({torch.empty, torch.ones, torch.zeros})

    def __torch_function__(
        self,
        function: Callable[..., Any],
        _types: object,
        arguments: tuple[Any, ...] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        where = {"device": "meta"} if function in self.MAKERS else {}
        return function(*arguments, **{**(named or {}), **where})


def without_numbers(make: Callable[[], Network]) -> Network:
    """Networks on the device ``meta``: names and shapes, for a state that is about to be fitted."""
    with _OnMeta():
        return make()
