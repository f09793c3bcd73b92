"""A classifier on real pictures and fakes: per family, per level of compression, per frame and per video."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from ..animate import Animator
from ..faces import FaceFinder, Picture
from ..fakes import FAMILIES, MILD, Pack, degrade
from . import classification, plots, suspects
from .classification import Scores
from .clips import different_names
from .compression import LEVELS, available, checked, compress
from .detector import Detector
from .suspects import REAL, Suspects
from .tables import number, table, write_results

DEGRADATIONS = {"degraded mildly": MILD, "degraded": 1.0}
"""Levels beside those of compression: what training puts pictures through, by strength."""

GROUPS = ("held-out", "camera", "video", "own")
"""What can be asked for: stills of the pack's splits ``val`` and ``photo``, videos, our own output."""

UNTOUCHED = "none"
MEASURES = {"auc": "AUC", "eer": "EER", "ap": "AP", "recall_at_1": "recall at 1 %", "recall_at_5": "at 5 %"}


class Source(NamedTuple):
    """The pictures of a group, made when they are asked for; ``most``: of how many parts at most."""

    suspects: Iterable[Suspects]
    most: int


class Scored(NamedTuple):
    """Scores of what `Suspects` holds, at one level; ``clips`` [N] are names."""

    group: str
    family: str
    level: str
    scores: Scores
    clips: NDArray[np.str_]


class Digest:
    """Tells whether two evaluations looked at the same pictures."""

    def __init__(self) -> None:
        self._sums: dict[str, hashlib._Hash] = {}

    def add(self, of: Suspects) -> None:
        summed = self._sums.setdefault(f"{of.group}, {of.family}", hashlib.sha256())
        for picture in of.pictures:
            summed.update(picture.tobytes())

    def read(self) -> dict[str, str]:
        return {name: summed.hexdigest()[:16] for name, summed in self._sums.items()}


def score(detector: Detector, of: Suspects, level: str) -> Scores:
    """What the level does to the whole pictures, a degradation to the crops."""
    if level in DEGRADATIONS:
        crops = [
            degrade(suspects.generator(level, of.family, name, index), crop, DEGRADATIONS[level])
            for index, (crop, name) in enumerate(
                zip(_crops(detector, of.pictures, of), of.clips, strict=True)
            )
        ]
        return detector.scores(crops)
    return detector.scores(_crops(detector, compress(of.pictures, level, moving=of.moving), of))


def _crops(detector: Detector, pictures: Iterable[Picture], of: Suspects) -> Iterable[Picture]:
    return (detector.crop(picture, points) for picture, points in zip(pictures, of.points, strict=True))


class Results:
    """All scores, and what is to be known of them."""

    def __init__(self, detector: str, threshold: float, scored: Sequence[Scored]) -> None:
        self.detector, self.threshold = detector, threshold
        self._scored = list(scored)

    def groups(self) -> list[str]:
        return list(dict.fromkeys(of.group for of in self._scored))

    def families(self, group: str) -> list[str]:
        found = (of.family for of in self._scored if of.group == group and of.family != REAL)
        return list(dict.fromkeys(found))

    def levels(self, group: str) -> list[str]:
        return list(dict.fromkeys(of.level for of in self._scored if of.group == group))

    def frames(self, group: str, family: str, level: str) -> Scores:
        """Scores of the pictures; an empty family is that of all fakes."""
        return _join(of.scores for of in self._matching(group, family, level))

    def videos(self, group: str, family: str, level: str) -> Scores:
        """Mean score of each video."""
        means = []
        for of in self._matching(group, family, level):
            means += [of.scores[of.clips == name].mean() for name in dict.fromkeys(of.clips)]
        return np.array(means)

    def as_dictionary(self) -> dict[str, Any]:
        """Groups, in them levels, in them families."""
        return {
            group: {level: self._at(group, level) for level in self.levels(group)} for group in self.groups()
        }

    def calibration(self, group: str) -> classification.Calibration:
        """Over all families of a group, at the levels at which it has both real pictures and fakes."""
        of_group = [of for of in self._scored if of.group == group and len(of.scores)]
        real, fake = (
            {of.level for of in of_group if (of.family == REAL) is wanted} for wanted in (True, False)
        )
        both = [of for of in of_group if of.level in real & fake]
        return classification.calibration(
            _join(of.scores for of in both if of.family == REAL),
            _join(of.scores for of in both if of.family != REAL),
        )

    def _at(self, group: str, level: str) -> dict[str, Any]:
        real = self.frames(group, REAL, level)
        families = {}
        for family in self.families(group):
            fake = self.frames(group, family, level)
            entry = classification.summary(real, fake)
            entry["recall_at_threshold"] = classification.rate_above(fake, self.threshold)
            of_videos = classification.summary(
                self.videos(group, REAL, level), self.videos(group, family, level)
            )
            families[family] = {"frame": entry, "video": of_videos}
        return {
            "real": len(real),
            "false_positives_at_threshold": classification.rate_above(real, self.threshold),
            "families": families,
        }

    def _matching(self, group: str, family: str, level: str) -> list[Scored]:
        return [
            of
            for of in self._scored
            if (of.group, of.level) == (group, level)
            and (of.family == family or (not family and of.family != REAL))
        ]


def evaluate_fwa(
    model: Path,
    zoo: Path,
    pack: Path,
    clips: Sequence[Path],
    out: Path,
    *,
    animator: Path,
    groups: Sequence[str] = GROUPS,
    stills: Sequence[Path] = (),
    levels: Sequence[str] = LEVELS,
    every: int = 5,
    portraits: int = 40,
    threads: int = 2,
) -> dict[str, Any]:
    """Writes ``results.json``, ``results.md``, ``scores.npz`` and plots; returns the results.

    ``animator`` is the motion model of which the detector's own-output family is made. The held-out faces of
    each pack in ``stills`` are a group of their own. Groups without pictures are left out, which is printed.
    Raises ``ValueError`` for levels that do not exist, clips or packs of the same name, and where nothing is
    left.
    """
    detector, finder, faces = Detector(model, threads), FaceFinder(zoo), Pack(pack)
    # before the clips are gone through: a model that is of no use is told at once
    own = Animator(animator, threads) if "own" in groups and clips else None
    asked = list(dict.fromkeys((UNTOUCHED, *map(checked, levels))))  # the tables need what was not compressed
    levels = [level for level in asked if available(level)]
    different_names(clips)
    footage: list[suspects.Footage] = []
    if {"video", "own"} & set(groups):
        footage = [suspects.footage(path, finder, every=every) for path in clips]
    seen = [clip for clip in footage if clip.pictures]
    sources: dict[str, Source] = {}
    for pictures_of, split in (("held-out", "val"), ("camera", "photo")):
        if pictures_of in groups:
            name = f"{pictures_of} stills"
            sources[name] = _stills(faces, split, name)
    for folder in stills:
        name = f"{folder.name} stills"
        if name in sources:
            raise ValueError(f"{folder}: there are '{name}' already; rename the folder")
        sources[name] = _stills(Pack(folder), "val", name)
    if "video" in groups:
        sources["video"] = Source(suspects.videos(seen), (1 + len(FAMILIES)) * len(seen))
    if "own" in groups:
        sources["own output"] = Source((), 0)  # unless there is somebody to drive it
    if own is not None and seen:
        # the drivers, the portraits as they are and moved, and the drivers moved by each other
        count = 2 * len(seen) + 1 + min(portraits, len(faces.indices("val")))
        made = suspects.own_output(own, finder, faces, seen, portraits=portraits)
        sources["own output"] = Source(made, count)
    scored, digest = [], Digest()
    for name, source in sources.items():
        for of in track(source.suspects, name, total=source.most) if source.most else ():
            digest.add(of)
            for level in (*levels, *DEGRADATIONS) if not of.moving else levels:
                scored.append(
                    Scored(of.group, of.family, level, score(detector, of, level), np.array(of.clips))
                )
            if not of.moving or of.family == REAL:
                print(f"{of.group}, {of.family}: {len(of.pictures)} pictures", flush=True)
    scored = _of_both_classes(scored, sources)
    results = Results(detector.name, detector.threshold, scored)
    content = {
        "model": detector.name,
        "threshold": detector.threshold,
        "animator": animator.name,
        "videos": {clip.name: len(clip.pictures) for clip in footage},
        "every": every,
        "not_available": [level for level in asked if level not in levels],
        "groups": results.as_dictionary(),
        "calibration_error": {group: results.calibration(group).error for group in results.groups()},
        "pictures_sha256": digest.read(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_results(content, out / "results.json")
    (out / "results.md").write_text(markdown(content), encoding="utf-8")
    _save_scores(scored, out / "scores.npz")
    _plot(results, out)
    return content


def _stills(pack: Pack, split: str, group: str) -> Source:
    made = suspects.stills(pack, split, group)
    return Source(made, 1 + len(FAMILIES) if len(pack.indices(split)) > 1 else 0)


def _of_both_classes(scored: Sequence[Scored], groups: Iterable[str]) -> list[Scored]:
    """Without groups that lack real pictures or fakes."""
    kept = []
    for group in groups:
        of_group = [of for of in scored if of.group == group]
        filled = [of for of in of_group if len(of.scores)]
        if len({of.family == REAL for of in filled}) == 2:
            kept += filled
        else:
            print(f"{group}: left out, as there are not both real pictures and fakes", flush=True)
    if not kept:
        raise ValueError("no group has both real pictures and fakes: nothing to evaluate")
    return kept


def markdown(content: dict[str, Any]) -> str:
    """The tables for a model card."""
    parts = [
        f"{content['model']}: fakes of each family against the real ones of the group; nothing compressed.",
        "",
        _family_table(content),
        "AUC per frame after compression (H.264 of x264, constant rate factor):",
        "",
        _level_table(content, lambda of: of["frame"].get("auc")),
        f"Part called fake at the manifest's threshold, {content['threshold']}; real ones (false positives):",
        "",
        _false_positive_table(content),
        "... and fakes (found):",
        "",
        _level_table(content, lambda of: of["frame"].get("recall_at_threshold")),
        "Training fits calibration and threshold on held-out stills of its packs (split val): what is said "
        "of them here flatters.",
        "",
        "Expected calibration error, both classes weighing the same, all families and levels: "
        + "; ".join(f"{group} {number(of)}" for group, of in content["calibration_error"].items())
        + ".",
        "",
    ]
    return "\n".join(parts)


def _family_table(content: dict[str, Any]) -> str:
    rows = []
    for group, by_level in content["groups"].items():
        for family, of in by_level[UNTOUCHED]["families"].items():
            still = group.endswith("stills")  # a still is no video
            rows.append(
                [
                    f"{group}: {family}",
                    f"{of['frame'].get('real', 0)} / {of['frame'].get('fake', 0)}",
                    *(number(of["frame"].get(key)) for key in MEASURES),
                    *(["", ""] if still else [number(of["video"].get(key)) for key in ("auc", "eer")]),
                ]
            )
    return table(["", "real / fake", *MEASURES.values(), "AUC of videos", "EER of videos"], rows)


def _level_table(content: dict[str, Any], value: Callable[[dict[str, Any]], float | None]) -> str:
    levels = _all_levels(content)
    rows = []
    for group, by_level in content["groups"].items():
        for family in by_level[UNTOUCHED]["families"]:
            cells = [
                number(value(by_level[level]["families"][family]))
                if level in by_level and family in by_level[level]["families"]
                else ""
                for level in levels
            ]
            rows.append([f"{group}: {family}", *cells])
    return table(["", *levels], rows)


def _false_positive_table(content: dict[str, Any]) -> str:
    levels = _all_levels(content)
    rows = [
        [
            group,
            *(
                number(by_level[level]["false_positives_at_threshold"]) if level in by_level else ""
                for level in levels
            ),
        ]
        for group, by_level in content["groups"].items()
    ]
    return table(["", *levels], rows)


def _all_levels(content: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(level for by_level in content["groups"].values() for level in by_level))


def _plot(results: Results, out: Path) -> None:
    for group in results.groups():
        real = results.frames(group, REAL, UNTOUCHED)
        curves = {
            family: classification.roc(real, results.frames(group, family, UNTOUCHED))
            for family in results.families(group)
        }
        plots.plot_roc(curves, f"{results.detector}: {group}", out / f"roc-{group.replace(' ', '-')}.png")
    plots.plot_reliability(
        {group: results.calibration(group) for group in results.groups()},
        results.detector,
        out / "reliability.png",
    )


def _save_scores(scored: Sequence[Scored], path: Path) -> None:
    """One row a picture and level, so that two models can be compared picture by picture."""
    counts = [len(of.scores) for of in scored]
    # to NumPy's stubs, which have a flag among the names of the arrays, any key might be that
    columns: dict[str, Any] = {
        key: np.repeat([getattr(of, key) for of in scored], counts) for key in ("group", "family", "level")
    }
    clips = np.concatenate([of.clips for of in scored if len(of.clips)])
    np.savez_compressed(
        path, score=_join(of.scores for of in scored).astype(np.float32), clip=clips, **columns
    )


def _join(scores: Iterable[Scores]) -> Scores:
    return np.concatenate([np.zeros(0), *scores])
