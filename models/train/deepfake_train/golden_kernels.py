"""Golden data for the crate `deepfake-kernels`: pictures sampled and composed by NumPy and OpenCV.

    python -m deepfake_train.golden_kernels ../../kernels/tests/golden      (from models/train)

Everything is formulated differently from the crate, so that the two can only agree by being right: whole
pictures instead of rows, areas as differences of an integral, interpolation by `numpy.interp` or OpenCV,
borders by `numpy.pad`, and colour matrices by inverting the equations of the standards. The README next to
the data describes the files.
"""

from __future__ import annotations

import argparse
import itertools
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bytes = NDArray[np.uint8]

MAGIC = b"DKG1"
# In the order of `PixelFormat::ALL`: the channels of each byte of a pixel; 4:2:0 apart.
PACKED = {"RGB": "rgb", "BGR": "bgr", "RGBA": "rgba", "BGRA": "bgra", "RGBx": "rgbx", "BGRx": "bgrx"}
FORMATS = [*PACKED, "NV12", "I420"]
MATRICES = {"BT.601": (0.299, 0.114), "BT.709": (0.2126, 0.0722)}
RANGES = ["full", "limited"]
Outside = Literal["constant", "edge", "reflect"]
BORDERS: dict[str, Outside] = {"constant": "constant", "replicate": "edge", "mirror": "reflect"}
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
# Samples added on every side before a picture is read outside its edge.
MARGIN = 40


@dataclass
class Color:
    matrix: str = "BT.601"
    range: str = "limited"

    def equations(self) -> tuple[Array, Array]:
        """The matrix and offset that take R'G'B' in 0..1 to code values of Y'CbCr."""
        red, blue = MATRICES[self.matrix]
        luma = np.array([red, 1.0 - red - blue, blue])
        difference_blue = (np.array([0.0, 0.0, 1.0]) - luma) / (1.0 - blue) / 2.0
        difference_red = (np.array([1.0, 0.0, 0.0]) - luma) / (1.0 - red) / 2.0
        black, luma_codes, difference_codes = (0, 255, 255) if self.range == "full" else (16, 219, 224)
        rows = np.stack(
            [luma * luma_codes, difference_blue * difference_codes, difference_red * difference_codes]
        )
        return rows, np.array([black, 128.0, 128.0])

    def to_rgb(self, codes: Array) -> Array:
        matrix, offset = self.equations()
        return np.einsum("ij,...j->...i", np.linalg.inv(matrix), codes - offset)

    def from_rgb(self, rgb: Array) -> Array:
        matrix, offset = self.equations()
        return np.einsum("ij,...j->...i", matrix, rgb) + offset


# --- resampling ------------------------------------------------------------------------------------------


def along_axis(plane: Array, scale: float, offset: float, outputs: int, mode: Outside) -> Array:
    """Resamples the first axis of `plane`; output i covers scale * i + offset to scale * (i + 1) + offset."""
    padded = np.pad(plane, [(MARGIN, MARGIN), *[(0, 0)] * (plane.ndim - 1)], mode=mode)
    start = scale * np.arange(outputs) + offset + MARGIN
    columns = padded.reshape(len(padded), -1).T
    if abs(scale) > 1.0:
        edges = np.arange(len(padded) + 1)
        integral = np.concatenate([np.zeros((len(columns), 1)), np.cumsum(columns, axis=1)], axis=1)
        taken = [
            (np.interp(start + scale, edges, line) - np.interp(start, edges, line)) / scale
            for line in integral
        ]
    else:
        centres = np.arange(len(padded)) + 0.5
        taken = [np.interp(start + scale / 2, centres, line) for line in columns]
    return np.stack(taken, axis=1).reshape(outputs, *plane.shape[1:])


def at_points(plane: Array, map_: Array, size: tuple[int, int], mode: Outside) -> Array:
    """Averages bilinearly interpolated points, as few a side as keep them within 1.5 samples."""
    a, b, tx, c, d, ty = map_
    across, down = (max(1, int(np.ceil(np.hypot(*side) / 1.5 - 1e-4))) for side in ((a, c), (b, d)))
    width, height = size
    x = (np.arange(width * across) + 0.5) / across
    y = (np.arange(height * down) + 0.5) / down
    x, y = np.meshgrid(x, y)
    padded = np.pad(plane, [(MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)], mode=mode)
    # From edges to indices of centres.
    u, v = a * x + b * y + tx + MARGIN - 0.5, c * x + d * y + ty + MARGIN - 0.5
    left, upper = np.floor(u).astype(int), np.floor(v).astype(int)
    total = np.zeros((*u.shape, plane.shape[2]))
    for right, lower in itertools.product((0, 1), (0, 1)):
        weight = (1 - np.abs(left + right - u)) * (1 - np.abs(upper + lower - v))
        total += weight[..., None] * padded[upper + lower, left + right]
    return total.reshape(height, down, width, across, -1).mean(axis=(1, 3))


def with_opencv(plane: Array, map_: Array, size: tuple[int, int], mode: Outside) -> Array | None:
    """The same by `cv2.resize`, where that can express it: a window of whole samples, both axes alike."""
    a, _, tx, _, d, ty = map_
    width, height = size
    window = np.array([tx, ty, a * width, d * height])
    whole = np.round(window).astype(int)
    if np.abs(window - whole).max() > 1e-5 or min(a, d) <= 0 or (a > 1) != (d > 1):
        return None
    left, upper, columns, rows = whole
    inside = left >= 0 and upper >= 0 and left + columns <= plane.shape[1] and upper + rows <= plane.shape[0]
    # Enlarging looks beyond the window, which cv2.resize cannot.
    if a <= 1 and ((left, upper) != (0, 0) or (rows, columns) != plane.shape[:2] or mode != "edge"):
        return None
    if not inside:
        plane = np.pad(plane, [(MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)], mode=mode)
        left, upper = left + MARGIN, upper + MARGIN
    crop = np.ascontiguousarray(plane[upper : upper + rows, left : left + columns])
    resized = cv2.resize(crop, size, interpolation=cv2.INTER_AREA if a > 1 else cv2.INTER_LINEAR)
    return resized.reshape(height, width, -1)


class Resampling:
    """Counts how often OpenCV had the word, so that the cases cannot drift away from it unnoticed."""

    by_opencv = 0

    @classmethod
    def run(cls, plane: Array, map_: Array, size: tuple[int, int], mode: Outside) -> Array:
        a, b, tx, c, d, ty = map_
        if b != 0 or c != 0:
            return at_points(plane, map_, size, mode)
        own = along_axis(plane, d, ty, size[1], mode)
        own = along_axis(own.transpose(1, 0, 2), a, tx, size[0], mode).transpose(1, 0, 2)
        theirs = with_opencv(plane, map_, size, mode)
        if theirs is None:
            return own
        # OpenCV leaves out parts of less than 1e-3 samples.
        assert np.abs(own - theirs).max() <= 1e-3 * max(1.0, np.abs(plane).max()), "NumPy and OpenCV disagree"
        cls.by_opencv += 1
        return theirs


# --- frames ----------------------------------------------------------------------------------------------


@dataclass
class Picture:
    """A frame as planes of shape [rows, columns, values]."""

    format: str
    color: Color
    width: int
    height: int
    planes: list[Bytes]

    @staticmethod
    def random(rng: np.random.Generator, format_: str, color: Color, size: tuple[int, int]) -> Picture:
        width, height = size
        half = ((height + 1) // 2, (width + 1) // 2)
        shapes = {
            "NV12": [(height, width, 1), (*half, 2)],
            "I420": [(height, width, 1), (*half, 1), (*half, 1)],
        }
        planes = shapes.get(format_) or [(height, width, len(PACKED[format_]))]
        return Picture(
            format_, color, width, height, [rng.integers(0, 256, shape, dtype=np.uint8) for shape in planes]
        )

    def sampled(self, map_: Array, size: tuple[int, int], border: str, constant: Array) -> Array:
        """R'G'B' in 0..1 of shape [height, width, 3]."""
        mode = BORDERS[border]
        main = self.planes[0].astype(np.float64)
        ones = np.ones((self.height, self.width, 1))
        inside = (
            Resampling.run(ones, map_, size, mode) if border == "constant" else np.ones((size[1], size[0], 1))
        )
        if self.format in PACKED:
            order = [PACKED[self.format].index(channel) for channel in "rgb"]
            rgb = Resampling.run(main[..., order], map_, size, mode) / 255.0
        else:
            difference = np.concatenate(self.planes[1:], axis=2).astype(np.float64)
            luma = Resampling.run(main, map_, size, mode)
            # The colour of the part that is inside; beyond the edge there is none, so the nearest stands in.
            difference = Resampling.run(difference, map_ / 2, size, "edge" if border == "constant" else mode)
            safe = np.where(inside > 0, inside, 1.0)
            rgb = self.color.to_rgb(np.concatenate([luma / safe, difference], axis=2)) * inside
        return np.clip(rgb + (1.0 - inside) * constant, 0.0, 1.0)


@dataclass
class Layer:
    image: NDArray[np.float32]  # [3, height, width]
    map: Array
    feather: float

    def over(self, below: Array) -> Array:
        """Paints onto `below`, [height, width, 3]."""
        height, width = below.shape[:2]
        a, b, tx, c, d, ty = self.map
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        u, v = a * x + b * y + tx, c * x + d * y + ty
        depth = np.minimum.reduce([u, self.image.shape[2] - u, v, self.image.shape[1] - v])
        opacity = np.clip(depth / self.feather, 0, 1) if self.feather > 0 else (depth >= 0).astype(np.float64)
        # Far outside the values do not matter, but their indices must exist: only rows and columns in sight.
        rows, columns = np.flatnonzero(opacity.any(axis=1)), np.flatnonzero(opacity.any(axis=0))
        if len(rows) == 0:
            return below
        top, left = rows[0], columns[0]
        size = (columns[-1] - left + 1, rows[-1] - top + 1)
        shifted = np.array([a, b, tx + a * left + b * top, c, d, ty + c * left + d * top])
        colors = Resampling.run(self.image.transpose(1, 2, 0).astype(np.float64), shifted, size, "edge")
        window = (slice(top, top + size[1]), slice(left, left + size[0]))
        share = opacity[window][..., None]
        result = below.copy()
        result[window] = below[window] * (1 - share) + np.clip(colors, 0, 1) * share
        return result


def composed(
    format_: str, color: Color, size: tuple[int, int], layers: list[Layer], background: Array
) -> Picture:
    width, height = size
    rgb = np.broadcast_to(np.asarray(background, dtype=np.float64), (height, width, 3))
    for layer in layers:
        rgb = layer.over(rgb)

    def codes(values: Array) -> Bytes:
        return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)

    if format_ in PACKED:
        named = {"r": rgb[..., 0], "g": rgb[..., 1], "b": rgb[..., 2], "a": np.ones(rgb.shape[:2])}
        named["x"] = named["a"]
        planes = [codes(np.stack([named[channel] for channel in PACKED[format_]], axis=2) * 255.0)]
        return Picture(format_, color, width, height, planes)
    luma = codes(color.from_rgb(rgb))[..., :1]
    even = np.pad(rgb, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")
    mean = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, 3).mean(axis=(1, 3))
    difference = codes(color.from_rgb(mean))[..., 1:]
    planes = [luma, difference] if format_ == "NV12" else [luma, difference[..., :1], difference[..., 1:]]
    return Picture(format_, color, width, height, planes)


# --- files -----------------------------------------------------------------------------------------------


@dataclass
class File:
    records: list[bytes] = field(default_factory=list)

    def write(self, path: Path) -> None:
        path.write_bytes(MAGIC + struct.pack("<I", len(self.records)) + b"".join(self.records))


def integers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def floats(values: Array | NDArray[np.float32]) -> bytes:
    return np.asarray(values, dtype="<f4").tobytes()


def named(name: str) -> bytes:
    return integers(len(name)) + name.encode()


def packed(picture: Picture, padding: int, filler: np.random.Generator | None) -> bytes:
    """Header and planes; `padding` bytes behind each row but the last, random or 0xA5."""
    color = picture.color
    result = integers(
        FORMATS.index(picture.format),
        list(MATRICES).index(color.matrix),
        RANGES.index(color.range),
        picture.width,
        picture.height,
    )
    for index, plane in enumerate(picture.planes):
        rows = plane.reshape(len(plane), -1)
        # Planes of different strides tell whether each is used.
        extra = padding + 2 * index if padding else 0
        space = np.full((len(rows), extra), 0xA5, dtype=np.uint8)
        if filler is not None:
            space = filler.integers(0, 256, space.shape, dtype=np.uint8)
        data = np.concatenate([rows, space], axis=1).tobytes()
        data = data[: len(data) - extra]
        result += integers(rows.shape[1] + extra, len(data)) + data
    return result


def single(values: tuple[float, ...] | Array) -> Array:
    """Rounded to what the crate sees."""
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def window(x: float, y: float, width: float, height: float, size: tuple[int, int]) -> Array:
    return single((width / size[0], 0.0, x, 0.0, height / size[1], y))


def turned(centre: tuple[float, float], side: float, angle: float, size: int) -> Array:
    scale = side / size
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    return single(
        (cos, -sin, centre[0] - (cos - sin) * size / 2, sin, cos, centre[1] - (sin + cos) * size / 2)
    )


def sample_cases() -> list[tuple[str, tuple[int, int], Array, tuple[int, int], list[str]]]:
    """Name, size of the frame, map, size of the output, borders."""
    every = list(BORDERS)
    return [
        ("shrink even", (36, 28), window(0, 0, 36, 28, (15, 12)), (15, 12), ["replicate"]),
        ("shrink odd", (37, 27), window(0, 0, 37, 27, (16, 11)), (16, 11), ["replicate"]),
        ("shrink a lot", (36, 28), window(0, 0, 36, 28, (3, 2)), (3, 2), ["mirror"]),
        ("shrink by whole samples", (24, 20), window(0, 0, 24, 20, (6, 5)), (6, 5), ["constant"]),
        ("enlarge even", (10, 8), window(0, 0, 10, 8, (23, 17)), (23, 17), ["replicate"]),
        ("enlarge odd", (9, 7), window(0, 0, 9, 7, (14, 12)), (14, 12), ["replicate"]),
        ("same size", (9, 8), single(IDENTITY), (9, 8), ["constant"]),
        ("crop inside", (37, 29), window(5.25, 3.5, 20.75, 18.125, (13, 9)), (13, 9), ["constant"]),
        ("shrink outside", (24, 18), window(-6, -4, 36, 26, (13, 11)), (13, 11), every),
        ("shrink far outside", (7, 5), window(-20.3, -17.7, 47.1, 40.9, (13, 11)), (13, 11), every),
        ("enlarge outside", (13, 11), window(-2.3, -1.6, 9.7, 8.2, (15, 13)), (15, 13), every),
        ("shrink and enlarge", (25, 9), window(-1.5, 0.5, 27.5, 7.25, (12, 15)), (12, 15), ["mirror"]),
        ("flipped", (19, 14), single((-1.3, 0, 18.5, 0, -0.7, 13.2)), (13, 15), ["replicate"]),
        ("rotated shrinking", (29, 25), turned((14.0, 11.5), 27.0, 0.35, 14), (14, 14), every),
        (
            "rotated enlarging",
            (15, 13),
            turned((7.0, 5.5), 9.0, -1.1, 14),
            (14, 14),
            ["replicate", "constant"],
        ),
        ("sheared", (15, 13), single((0.8, 1.6, -4.0, -0.3, 2.1, 1.5)), (12, 9), ["mirror"]),
        ("single pixel", (1, 1), window(-1.25, -0.75, 3.5, 2.5, (5, 4)), (5, 4), every),
    ]


def write_samples(path: Path) -> int:
    rng = np.random.default_rng(1)
    file = File()
    shapes = itertools.cycle(itertools.product(("planar", "interleaved"), ("rgb", "bgr")))
    norms = itertools.cycle(
        [
            ((0, 0, 0), (1, 1, 1)),
            ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ((0.5, 0.4, 0.3), (0.5, 1, 2)),
        ]
    )
    paddings = itertools.cycle((0, 5, 16))
    colors = [Color(matrix, range_) for matrix, range_ in itertools.product(MATRICES, RANGES)]
    for format_ in FORMATS:
        # Colour spaces do not depend on the map, so most cases take them in turn.
        turn = itertools.cycle(colors)
        for name, frame_size, map_, size, borders in sample_cases():
            spaces = colors if name == "shrink odd" and format_ not in PACKED else [next(turn)]
            for border, color in itertools.product(borders, spaces):
                picture = Picture.random(rng, format_, color, frame_size)
                constant = single((0.9, 0.2, 0.4))
                layout, channels = next(shapes)
                mean, std = (single(values) for values in next(norms))
                rgb = picture.sampled(map_, size, border, constant)
                values = (rgb if channels == "rgb" else rgb[..., ::-1]) - mean
                values = values / std
                values = values.transpose(2, 0, 1) if layout == "planar" else values
                title = f"{name}, {border}, {format_} {color.matrix} {color.range}, {layout} {channels}"
                file.records.append(
                    named(title)
                    + packed(picture, next(paddings), rng)
                    + floats(map_)
                    + integers(*size, layout == "interleaved", channels == "bgr", list(BORDERS).index(border))
                    + floats(constant)
                    + floats(mean)
                    + floats(std)
                    + floats(values)
                )
    file.write(path)
    return len(file.records)


def compose_cases(rng: np.random.Generator) -> list[tuple[str, tuple[int, int], list[Layer]]]:
    def layer(size: tuple[int, int], map_: Array, feather: float) -> Layer:
        # Some values beyond 0..1, to be clamped.
        image = rng.uniform(-0.1, 1.1, (3, size[1], size[0])).astype(np.float32)
        return Layer(image, map_, feather)

    def whole(image: tuple[int, int], frame: tuple[int, int]) -> Array:
        return window(0, 0, *image, frame)

    return [
        ("background", (7, 5), []),
        ("enlarged", (31, 23), [layer((8, 6), whole((8, 6), (31, 23)), 0.0)]),
        ("shrunk", (16, 12), [layer((23, 19), whole((23, 19), (16, 12)), 0.0)]),
        ("same size", (9, 7), [layer((9, 7), single(IDENTITY), 0.0)]),
        (
            "placed with a soft edge",
            (26, 21),
            [layer((12, 10), window(-4.1, -3.2, 17.3, 15.1, (26, 21)), 2.5)],
        ),
        (
            "shrunk with a soft edge",
            (18, 15),
            [layer((21, 25), window(-5.2, -6.1, 33.1, 37.4, (18, 15)), 4.0)],
        ),
        ("rotated", (25, 25), [layer((11, 11), turned((5.5, 5.6), 19.0, 0.5, 25), 0.0)]),
        (
            "rotated, shrunk, soft edge",
            (17, 17),
            [layer((25, 25), turned((12.0, 13.0), 44.0, -0.8, 17), 3.0)],
        ),
        (
            "three over each other",
            (27, 25),
            [
                layer((9, 8), whole((9, 8), (27, 25)), 0.0),
                layer((14, 14), window(-2.3, -3.1, 20.2, 21.7, (27, 25)), 3.0),
                layer((10, 10), turned((4.6, 4.1), 21.0, 1.9, 27), 1.5),
            ],
        ),
        ("reaches outside", (13, 11), [layer((20, 16), window(3.3, 2.6, 9.1, 9.7, (13, 11)), 1.0)]),
    ]


def write_compositions(path: Path) -> int:
    rng = np.random.default_rng(2)
    file = File()
    background = single((0.15, 0.6, 0.85))
    colors = itertools.cycle(
        [Color(matrix, range_) for matrix, range_ in itertools.product(MATRICES, RANGES)]
    )
    paddings = itertools.cycle((0, 3, 8, 13, 2))
    for format_ in FORMATS:
        for name, size, layers in compose_cases(rng):
            color = next(colors)
            picture = composed(format_, color, size, layers, background)
            record = named(f"{name}, {format_} {color.matrix} {color.range}") + integers(len(layers))
            for layer in layers:
                record += integers(layer.image.shape[2], layer.image.shape[1])
                record += floats(layer.map) + floats(np.array([layer.feather])) + floats(layer.image)
            file.records.append(record + floats(background) + packed(picture, next(paddings), None))
    file.write(path)
    return len(file.records)


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the golden data of the crate deepfake-kernels.")
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    samples = write_samples(directory / "sample.bin")
    compositions = write_compositions(directory / "compose.bin")
    print(f"{samples} samples, {compositions} compositions, {Resampling.by_opencv} planes by OpenCV")


if __name__ == "__main__":
    main()
