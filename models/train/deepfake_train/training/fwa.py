"""Training of the face-warping-artifact classifier."""

from __future__ import annotations

import copy
import json
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ..evaluation.classification import auc, rate_above
from ..evaluation.classification import calibration as reliability
from ..fakes import MILD
from ..fakes.prepared import REAL
from ..networks.mobilenet import PRESETS, MobileNet, load_graph, load_trunk, mobilenet_graph, normalise
from .averaging import AveragedWeights
from .calibration import calibrate, sigmoid
from .fwa_data import Batch, Faces, HeldOut, Sources, held_out, make_batch
from .loop import step_seed
from .placement import placed

GRAPH, REPORT = "fwa-lite.onnx", "held-out.json"
AHEAD = 3
"""Batches that each worker makes before they are asked for."""
CHUNK = 64
FALSE_ALARMS, BAND = 0.025, 0.05
"""Shares of mildly degraded real pictures above the threshold, and above the start of the uncertain band.
Real cameras do more than the simulated one: of their pictures about twice as many are above."""


@dataclass(frozen=True)
class FwaSettings:
    """What makes a run what it is.

    ``start`` is a graph of the zoo (``.onnx``) to go on from, a trunk with batch norms (``.npz``), or
    nothing. ``frozen`` is how many of the trunk's first layers stay as they are, ``average`` the decay of the
    averaged weights. ``half`` computes in bfloat16 where that loses nothing.
    """

    sources: Sources
    preset: str = "full"
    start: Path | None = None
    frozen: int = 0
    batch: int = 64
    weight_decay: float = 0.02
    smoothing: float = 0.02
    average: float = 0.998
    half: bool = False
    seed: int = 1

    def plain(self) -> dict[str, Any]:
        """As plain data, for the folder of the run."""
        values = asdict(self)
        values["sources"] = self.sources.settings()
        values["start"] = None if self.start is None else str(self.start)
        return values


class FwaTraining:
    """As the loop wants it: binary cross entropy, gradients of bounded length, averaged weights.

    With ``workers`` processes that make batches; 0: they are made where they are used. They are the same.
    """

    def __init__(
        self, settings: FwaSettings, *, device: str = "cpu", workers: int = 0, held: int = 3
    ) -> None:
        self.settings, self.device = settings, torch.device(device)
        torch.manual_seed(settings.seed)
        self.network = placed(start(settings), self.device)
        self.network.freeze(settings.frozen)
        matrices = [p for p in self.network.parameters() if p.requires_grad and p.ndim > 1]
        vectors = [p for p in self.network.parameters() if p.requires_grad and p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=0.0,
            betas=(0.9, 0.99),
        )
        self.average = AveragedWeights(self.network, settings.average)
        self._shown = held_out(settings.sources, held, self.network.shape.side, (MILD,))
        self._batches = _Batches(settings, self.network.shape.side, workers)
        self._blended: dict[str, torch.Tensor] = {}
        self._blended_share = 0.0

    def step(self, number: int, learning_rate: float) -> dict[str, float]:
        """The losses, and the share of pictures on the right side of 0."""
        batch = self._batches.get(number)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.network.train()
        with self._precision():
            logits = self.network(normalise(torch.from_numpy(batch.pictures).to(self.device)))
        logits = logits.float()[:, 0]
        fake = torch.from_numpy(batch.fake).to(self.device, torch.float32)
        soft = fake * (1 - self.settings.smoothing) + self.settings.smoothing / 2
        loss = functional.binary_cross_entropy_with_logits(logits, soft)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        learning = [p for p in self.network.parameters() if p.requires_grad]
        torch.nn.utils.clip_grad_norm_(learning, 5.0)
        self.optimizer.step()
        self.average.update()
        right = ((logits > 0) == (fake > 0.5)).float().mean()
        return {"total": loss.item(), "right": right.item()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])

    def samples(self) -> NDArray[np.uint8]:
        """Held-out pairs, a column each, the scores written into them."""
        logits = self.logits(self._shown.pictures)
        tiles = []
        for picture, logit in zip(self._shown.pictures, logits, strict=True):
            tile = cv2.resize(picture, (160, 160), interpolation=cv2.INTER_AREA)
            text = f"{sigmoid(logit):.2f}"
            for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
                cv2.putText(tile, text, (6, 152), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, width, cv2.LINE_AA)
            tiles.append(tile)
        return np.vstack((np.hstack(tiles[0::2]), np.hstack(tiles[1::2])))

    def blend(self, graph: Path, share: float) -> None:
        """Takes a share of the weights of a graph of the zoo into the averaged ones, once training is done.

        What was gone on from a graph lies close enough to it that the weights between the two are good ones:
        they forget less of what the graph knew (Wortsman et al., "Robust fine-tuning", 2022).
        """
        other = MobileNet(self.network.shape, norm=self.network.norm)
        load_graph(other, graph)
        self._blended = {key: tensor.to(self.device) * share for key, tensor in other.state_dict().items()}
        self._blended_share = share

    def averaged(self) -> MobileNet:
        """A network of the averaged weights, blended if that was asked for, on the CPU."""
        weights = self.average.weights()
        if self._blended:
            weights = {
                key: tensor * (1 - self._blended_share) + self._blended[key]
                for key, tensor in weights.items()
            }
        network = copy.deepcopy(self.network).cpu()
        network.load_state_dict(weights)
        return network.eval()

    @torch.no_grad()
    def logits(self, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        """[N] of pictures [N, S, S, 3] BGR, by the averaged weights."""
        network = self.averaged().to(self.device)
        parts = [
            network(normalise(torch.from_numpy(pictures[at : at + CHUNK]).to(self.device)))[:, 0]
            .float()
            .cpu()
            for at in range(0, len(pictures), CHUNK)
        ]
        return torch.cat(parts).double().numpy()

    def finish(self, folder: Path, *, count: int = 100) -> dict[str, Any]:
        """Calibrates on held-out pictures as they come, degraded mildly and badly; writes the graph.

        Threshold and all else that is found are of pictures as hard as those of the training, ``count`` pairs
        a family and strength; they are written and returned.
        """
        side = self.network.shape.side
        coming = held_out(self.settings.sources, count, side, plain=True)
        calibration = calibrate(self.logits(coming.pictures), coming.fake)
        held = held_out(self.settings.sources, count, side)
        logits = self.logits(held.pictures)
        graph = mobilenet_graph(self.averaged(), scale=calibration.scale, offset=calibration.offset)
        onnx.save(graph, folder / GRAPH)
        report = summary(held, logits, calibration.probabilities(logits)) | {
            "calibration": {"scale": calibration.scale, "offset": calibration.offset},
            "error before": {
                level: _error(sigmoid(logits[at]), held.fake[at]) for level, at in _levels(held).items()
            },
        }
        (folder / REPORT).write_text(json.dumps(report, indent=2), encoding="utf-8")
        return report

    def close(self) -> None:
        """Ends the workers."""
        self._batches.close()

    @contextmanager
    def _precision(self) -> Iterator[None]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.half):
            yield


def start(settings: FwaSettings) -> MobileNet:
    """The network as the run begins."""
    origin = settings.start
    network = MobileNet(PRESETS[settings.preset], norm=origin is None or origin.suffix != ".onnx")
    if origin is not None and origin.suffix == ".onnx":
        load_graph(network, origin)
    elif origin is not None:
        load_trunk(network, origin)
    return network


def summary(held: HeldOut, logits: NDArray[np.float64], scores: NDArray[np.float64]) -> dict[str, Any]:
    """Threshold and uncertain band chosen on mildly degraded pictures; by strength the area under the curve
    of each family, false alarms, recall and calibration error."""
    mild = scores[(held.strengths == MILD) & ~held.fake]
    threshold, band = (float(np.quantile(mild, 1 - share)) for share in (FALSE_ALARMS, BAND))
    report: dict[str, Any] = {"threshold": threshold, "uncertain from": band}
    for level, at in _levels(held).items():
        real = at & ~held.fake
        report[level] = {
            "false alarms": rate_above(scores[real], threshold),
            "calibration error": _error(scores[at], held.fake[at]),
        }
        for family in sorted({str(name) for name in held.families} - {REAL}):
            fake = at & (held.families == family)
            report[level][family] = {
                "area under curve": auc(logits[real], logits[fake]),
                "recall": rate_above(scores[fake], threshold),
            }
    return report


def _error(scores: NDArray[np.float64], fake: NDArray[np.bool_]) -> float:
    return reliability(scores[~fake], scores[fake]).error


def _levels(held: HeldOut) -> dict[str, NDArray[np.bool_]]:
    return {"mild": held.strengths == MILD, "strong": held.strengths != MILD}


_opened: dict[str, Faces] = {}


def _open(sources: Sources) -> None:
    """In a worker: pictures are decoded and made by one thread a worker."""
    # Ctrl-C goes to all processes of a terminal: the loop ends the step that it is in, and needs its batch
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _opened["train"] = Faces(sources, "train")


def _make(seed: int, size: int, side: int) -> Batch:
    return make_batch(_opened["train"], seed, size, side)


class _Batches:
    """The batch of a step, made where it is asked for or by workers a little ahead."""

    def __init__(self, settings: FwaSettings, side: int, workers: int) -> None:
        self._settings, self._side, self._ahead = settings, side, AHEAD * workers
        self._waiting: dict[int, Future[Batch]] = {}
        self._pool: ProcessPoolExecutor | None = None
        if workers:
            # spawned: a fork of a process that uses CUDA or threads may hang
            self._pool = ProcessPoolExecutor(
                workers, get_context("spawn"), initializer=_open, initargs=(settings.sources,)
            )
        else:
            self._faces = Faces(settings.sources, "train")

    def get(self, step: int) -> Batch:
        """The batch of a step; the same one whenever it is asked for."""
        if self._pool is None:
            return make_batch(self._faces, self._seed(step), self._settings.batch, self._side)
        for number in range(step, step + self._ahead + 1):
            if number not in self._waiting:
                self._waiting[number] = self._pool.submit(
                    _make, self._seed(number), self._settings.batch, self._side
                )
        return self._waiting.pop(step).result()

    def close(self) -> None:
        """Ends the workers; what they were making is lost."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _seed(self, step: int) -> int:
        return step_seed(self._settings.seed, step, "batch")
