"""The training of a First Order Motion Model, step by step."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ...fomm import Fomm, Generator, KeypointDetector, Keypoints
from ..averaging import AveragedWeights
from ..landmarks import POINTS
from ..loop import step_seed
from ..placement import placed
from .adversary import (
    Judgement,
    PatchDiscriminator,
    adversarial_loss,
    discriminator_loss,
    feature_matching,
)
from .equivariance import Transformation, equivariance
from .expression_reader import ExpressionReader, openings_loss, points_loss
from .losses import (
    TURNS,
    LossOptions,
    anchor_loss,
    detail_loss,
    flow_loss,
    gap_loss,
    heat_loss,
    keep_loss,
    picture_loss,
    point_weights,
    structure_loss,
    warp_loss,
)
from .pairs import Pairs, PairSource, augmented, mixed
from .parts import face_parts
from .perceptual import Vgg16, feature_distance
from .sheet import sample_sheet

BETAS = (0.5, 0.999)
MOST_GRADIENT = 10.0
"""Norm of the gradient beyond which it is scaled down."""


@dataclass(frozen=True)
class FommOptions:
    """How to train, apart from how long: pairs a step, decay of the averaged weights, the loss."""

    batch: int
    seed: int
    losses: LossOptions
    average: float = 0.999
    half: bool = False
    """Convolutions in bfloat16."""
    frozen_painter: bool = False
    """Only what finds and moves is trained, not what encodes and paints pictures."""
    frozen_detector: bool = False
    """Key-points stay where they are; only what is made of them is trained."""
    frozen_motion: bool = False
    """Key-points and flow stay as they are; what encodes and paints is trained, and what says where nothing
    of the source can be seen."""
    frozen_norms: bool = False
    """Batch norms keep their statistics, so that what is trained is what will be used; for fine-tuning."""

    def keeps_keypoints(self) -> bool:
        """Whether key-points stay where they are."""
        return self.frozen_detector or self.frozen_motion


@dataclass(frozen=True)
class Renewed:
    """Key-points that were begun anew, and the detector that knew them all."""

    keypoints: tuple[int, ...]
    known: KeypointDetector

    def kept(self, count: int) -> list[int]:
        """The other key-points."""
        return [number for number in range(count) if number not in self.keypoints]


class FommTraining:
    """A model, its optimiser and its average, and the pairs it learns from (see ``training.loop.Training``).

    ``sources`` are where pairs come from and what share of the batch each gives. ``held_out`` is shown on the
    sample sheets, and not learned from.
    """

    def __init__(
        self,
        model: Fomm,
        sources: Sequence[tuple[PairSource, float]],
        held_out: Pairs,
        options: FommOptions,
        perceptual: Vgg16 | None = None,
        renewed: Renewed | None = None,
        reader: ExpressionReader | None = None,
    ) -> None:
        weights = options.losses.weights
        if perceptual is None and (weights.perceptual or weights.parts):
            raise ValueError("losses on features need the weights of VGG-16")
        if reader is None and weights.seen():
            raise ValueError("losses on what FaceMesh sees need FaceMesh")
        if weights.keep and renewed is None:
            raise ValueError("the loss 'keep' needs key-points that were begun anew")
        self.options, self.perceptual, self.reader = options, perceptual, reader
        self.device = held_out.source.device
        self._held_out = held_out
        self._sources = list(zip([s for s, _ in sources], _shares(sources, options.batch), strict=True))
        self.detector = placed(model.keypoint_detector, self.device)
        self.generator = placed(model.generator, self.device)
        self._config = model.config
        self._networks: dict[str, nn.Module] = {"kp_detector": self.detector, "generator": self.generator}
        parameters = _trained(self.detector, self.generator, options)
        for network in (self.detector, self.generator):
            for parameter in network.parameters():
                parameter.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)
        self._parameters = parameters
        self._optimizers = {"model": torch.optim.Adam(parameters, betas=BETAS)}
        self._averages = {
            name: AveragedWeights(network, options.average) for name, network in self._networks.items()
        }
        self.discriminator: PatchDiscriminator | None = None
        if weights.adversarial:
            # its first weights too come from the seed of the run
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(step_seed(options.seed, 0, "discriminator"))
                self.discriminator = placed(PatchDiscriminator(), self.device)
            self._networks["discriminator"] = self.discriminator
            self._optimizers["discriminator"] = torch.optim.Adam(self.discriminator.parameters(), betas=BETAS)
        self._known = None if renewed is None else placed(renewed.known.eval(), self.device)
        self._kept = [] if renewed is None else renewed.kept(model.config.keypoints)
        self._point_weights = point_weights(options.losses.part_emphasis, self.device)

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.half)

    def step(self, number: int, learning_rate: float) -> dict[str, float]:
        """Draws pairs, lowers the loss; the terms of the loss, weighted, and the norm of the gradient."""
        generator = torch.Generator(self.device).manual_seed(step_seed(self.options.seed, number))
        # a key-point that is to be at the left eye must find that in pictures where it is on the left
        mirrored = not self.options.losses.anchors
        pairs = augmented(mixed(self._sources, generator), generator, mirrored=mirrored)
        for network in self._networks.values():
            network.train()
        if self.options.keeps_keypoints():
            self.detector.eval()
        if self.options.frozen_motion:
            self.generator.dense_motion_network.eval()
        if self.options.frozen_norms:
            for network in (self.detector, self.generator):
                _freeze_norms(network)
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.zero_grad(set_to_none=True)
        terms, real, made = self.losses(pairs, generator)
        total = torch.stack(list(terms.values())).sum()
        total.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, MOST_GRADIENT)
        self._optimizers["model"].step()
        terms |= {"total": total, "gradient": norm}
        if self.discriminator is not None:
            terms["discriminator"] = self._train_discriminator(real, made)
        for average in self._averages.values():
            average.update()
        return dict(
            zip(terms, torch.stack([t.detach().float() for t in terms.values()]).tolist(), strict=True)
        )

    def losses(
        self, pairs: Pairs, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
        """The weighted terms of the loss, and the parts of the driving pictures and of what was made."""
        options, weights = self.options.losses, self.options.losses.weights
        source, driving, source_points, driving_points = pairs
        count = len(source)
        transformation = Transformation(count, generator)
        place = torch.randint(POINTS, (count,), generator=generator, device=self.device)
        pictures = [source, driving]
        transformed = weights.equivariance or weights.frames
        if transformed:
            pictures.append(transformation.pictures(driving))
        seen = _channels_last(torch.cat(pictures))
        with self._precision():
            # one call, so that the batch norms see all of them alike
            heat, frames = self.detector.maps(seen)
        found = self.detector.locate(heat, frames)
        in_source, in_driving, *in_transformed = (
            Keypoints(*(part[index * count : (index + 1) * count] for part in found))
            for index in range(len(pictures))
        )
        with self._precision():
            small = self.generator.dense_motion_network.down(source)
            motion = self.generator.dense_motion_network(small, in_source, in_driving)
        terms: dict[str, Tensor] = {}
        real_parts: list[Tensor] = []
        made_parts: list[Tensor] = []
        if weights.painting():
            with self._precision():
                features, _ = self.generator.encode(_channels_last(source))
                made = self.generator.paint(features, motion)
            real_parts, made_parts = (face_parts(x, driving_points, place) for x in (driving, made))
            terms |= self._painted(made, driving, real_parts, made_parts)
            if weights.seen():
                terms |= self._seen(made, driving, driving_points, generator)
        if weights.flow:
            terms["flow"] = weights.flow * flow_loss(
                motion.flow, source_points, driving_points, self._point_weights
            )
        if weights.gaps:
            terms["gaps"] = weights.gaps * gap_loss(motion.flow, source_points, driving_points)
        if weights.turns:
            terms["turns"] = weights.turns * gap_loss(motion.flow, source_points, driving_points, TURNS)
        if weights.warp:
            terms["warp"] = weights.warp * warp_loss(
                motion.flow, small.float(), self.generator.dense_motion_network.down(driving).float()
            )
        if transformed:
            values, products = equivariance(in_driving, in_transformed[0], transformation)
            terms["equivariance"] = weights.equivariance * values
            terms["frames"] = weights.frames * products
        if weights.keep and self._known is not None:
            with torch.no_grad(), self._precision():
                known = self._known.maps(seen)
            terms["keep"] = weights.keep * keep_loss(found, self._known.locate(*known), self._kept)
        if weights.heat:
            points = torch.cat((source_points, driving_points))
            terms["heat"] = weights.heat * heat_loss(
                heat[: 2 * count], self.detector.temperature, points, options.anchors
            )
        if weights.keypoints:
            terms["key-points"] = weights.keypoints * anchor_loss(
                in_source.value, in_driving.value, source_points, driving_points, options.anchors
            )
        return terms, real_parts, made_parts

    def _painted(
        self, made: Tensor, driving: Tensor, real_parts: list[Tensor], made_parts: list[Tensor]
    ) -> dict[str, Tensor]:
        """The terms that look at the finished pictures."""
        options, weights = self.options.losses, self.options.losses.weights
        terms: dict[str, Tensor] = {}
        if self.perceptual is not None and weights.perceptual:
            terms["perceptual"] = (
                weights.perceptual
                * torch.stack(
                    [
                        self._distance(_scaled(made, s), _scaled(driving, s), options.depth)
                        for s in options.scales
                    ]
                ).sum()
            )
        if self.perceptual is not None and weights.parts:
            terms["parts"] = (
                weights.parts
                * torch.stack(
                    [
                        self._distance(a, b, options.part_depth)
                        for a, b in zip(made_parts, real_parts, strict=True)
                    ]
                ).sum()
            )
        if weights.picture:
            terms["picture"] = weights.picture * picture_loss(made, driving)
        if weights.detail:
            terms["detail"] = weights.detail * detail_loss(made, driving)
        if weights.structure:
            terms["structure"] = weights.structure * structure_loss(made, driving)
        if weights.part_picture:
            mouth, eyes = (picture_loss(made_parts[part], real_parts[part]) for part in (0, 1))
            terms["part picture"] = weights.part_picture * (mouth + eyes)
        if self.discriminator is not None:
            judged = [self._judged(part) for part in made_parts]
            terms["adversarial"] = weights.adversarial * torch.stack([*map(adversarial_loss, judged)]).sum()
            if weights.features:
                with torch.no_grad():
                    real = [self._judged(part) for part in real_parts]
                matching = [feature_matching(a, b) for a, b in zip(real, judged, strict=True)]
                terms["features"] = weights.features * torch.stack(matching).sum()
        return terms

    def _seen(
        self, made: Tensor, driving: Tensor, points: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The terms that look at the finished pictures through FaceMesh."""
        assert self.reader is not None
        weights = self.options.losses.weights
        squares = self.reader.squares(points, generator)
        with torch.no_grad():
            wanted = self.reader(driving, squares)
        found = self.reader(made.float(), squares)
        terms: dict[str, Tensor] = {}
        if weights.landmarks:
            terms["landmarks"] = weights.landmarks * points_loss(found, wanted, self._point_weights)
        if weights.openings:
            terms["openings"] = weights.openings * openings_loss(found, wanted)
        return terms

    def _distance(self, made: Tensor, wanted: Tensor, depth: int) -> Tensor:
        assert self.perceptual is not None
        with self._precision():
            return feature_distance(
                self.perceptual, _channels_last(made), _channels_last(wanted), depth=depth
            )

    def _judged(self, part: Tensor) -> Judgement:
        assert self.discriminator is not None
        with self._precision():
            return self.discriminator(_channels_last(part))

    def _train_discriminator(self, real: list[Tensor], made: list[Tensor]) -> Tensor:
        optimizer = self._optimizers["discriminator"]
        optimizer.zero_grad(set_to_none=True)  # the model's step has left something in it
        losses = [
            discriminator_loss(self._judged(a), self._judged(b.detach()))
            for a, b in zip(real, made, strict=True)
        ]
        loss = torch.stack(losses).sum()
        loss.backward()
        optimizer.step()
        return loss

    def averaged(self) -> Fomm:
        """A model with the averaged weights, on the device of the training."""
        model = Fomm(self._config)
        model.keypoint_detector.load_state_dict(self._averages["kp_detector"].weights())
        model.generator.load_state_dict(self._averages["generator"].weights())
        model.keypoint_detector.to(self.device)
        model.generator.to(self.device)
        return model

    def state_dict(self) -> dict[str, Any]:
        groups: tuple[tuple[str, Mapping[str, Any]], ...] = (
            ("networks", self._networks),
            ("optimizers", self._optimizers),
            ("averages", self._averages),
        )
        return {group: {name: part.state_dict() for name, part in parts.items()} for group, parts in groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, network in self._networks.items():
            network.load_state_dict(state["networks"][name])
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, average in self._averages.items():
            average.load_state_dict(state["averages"][name])

    def samples(self) -> NDArray[np.uint8]:
        """Source, driving picture and what the averaged weights make of them, for the held-out pairs."""
        return sample_sheet(self.averaged(), self._held_out)

    def mask_shares(self) -> list[float]:
        """How much of the pictures of the sample sheet moves with the background, and with each key-point.

        A key-point with next to nothing is idle: nothing is learned for it (see `weights.renewed`).
        """
        model = self.averaged()
        detector, motion = model.keypoint_detector, model.generator.dense_motion_network
        pictures = zip(self._held_out.source.split(1), self._held_out.driving.split(1), strict=True)
        with torch.no_grad():
            # one after the other, as the sheet's: this must not need more memory than a step
            masks = [motion(motion.down(a), detector(a), detector(b)).mask.mean((2, 3)) for a, b in pictures]
        return torch.cat(masks).mean(0).tolist()


def _trained(detector: nn.Module, generator: Generator, options: FommOptions) -> list[nn.Parameter]:
    """What the options leave to be trained."""
    motion = generator.dense_motion_network
    trained: list[nn.Module] = [motion] if options.frozen_painter else [*generator.children()]
    if options.frozen_motion:
        trained = [motion.occlusion if network is motion else network for network in trained]
    if not options.keeps_keypoints():
        trained.append(detector)
    return [parameter for network in trained for parameter in network.parameters()]


def _shares(sources: Sequence[tuple[PairSource, float]], batch: int) -> list[int]:
    """Whole numbers of pairs, ``batch`` in all, as near to the shares as may be."""
    total = sum(share for _, share in sources)
    edges, reached = [0], 0.0
    for _, share in sources:
        reached += share / total
        edges.append(round(reached * batch))
    return [b - a for a, b in itertools.pairwise(edges)]


def _channels_last(pictures: Tensor) -> Tensor:
    return pictures.contiguous(memory_format=torch.channels_last)


def _scaled(pictures: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return pictures
    size = round(pictures.shape[-1] * scale)
    return functional.interpolate(pictures, size=(size, size), mode="area")


def _freeze_norms(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
