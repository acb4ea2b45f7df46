# SPDX-License-Identifier: Apache-2.0
"""Photographs with instance masks, in memory: which instances can be cut out, and their decoded pixels.

Does not know the files or their format: `PhotographRecord` reads them. Decoded pixels are kept up to a limit of memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from sam2_ros.errors import UserError

from .cutout_sprite import make_cutout_sprite

Rng = np.random.Generator
CUTOUT_LEAST_PX = 48  # length of the smallest instance that becomes an object
FRONT_LEAST_PX = 24  # of the smallest one that passes in front
LEAST_FILL, LEAST_SOLIDITY, LEAST_WHOLE = 0.2, 0.45, 0.92
BORDER_PX = 2
UPSCALED_AT_MOST = (
    2.2  # an object is drawn at most this much longer than in its photograph, if there is a choice
)


class PhotographRecord(Protocol):
    """A photograph on disk; `datasets.photographs.Photograph` is one."""

    @property
    def name(self) -> str: ...
    @property
    def hw(self) -> tuple[int, int]: ...
    @property
    def categories(self) -> tuple[int, ...]:
        """The class of each instance, in the order of `masks`."""
        ...

    def image(self) -> np.ndarray:
        """[H, W, 3] uint8 RGB."""
        ...

    def masks(self) -> list[np.ndarray]:
        """[H, W] bool, one for each instance."""
        ...


class Instance(NamedTuple):
    """One instance of a photograph."""

    photograph: int
    number: int  # among the instances of its photograph
    category: int
    box: tuple[int, int, int, int]  # x0, y0, x1, y1 px, half-open
    area_px: int
    at_border: bool
    whole: bool  # connected and reasonably filled

    @property
    def length_px(self) -> int:
        x0, y0, x1, y1 = self.box
        return max(x1 - x0, y1 - y0)


class Pixels(NamedTuple):
    """A decoded photograph."""

    image: np.ndarray  # [H, W, 3] uint8 RGB
    masks: tuple[np.ndarray, ...]  # [H, W] uint8, 0 or 255


@dataclass(frozen=True)
class Cutout:
    """An instance, cut out."""

    instance: Instance
    sprite: np.ndarray  # [S, S, 4] uint8 RGB + alpha, shared: do not change


class PhotographBank:
    """Chooses and decodes the instances of a set of photographs.

    Args:
        records: the photographs.
        name: what an error calls them.
        cache_mb: limit of the memory for decoded photographs, and again for cut-outs.

    Raises:
        UserError: no instance can be cut out, or a photograph cannot be read.
    """

    def __init__(self, records: Sequence[PhotographRecord], name: str, cache_mb: int = 96) -> None:
        self._records = tuple(records)
        self._pixels = _Recent(cache_mb)
        self._sprites = _Recent(cache_mb)
        self.instances = tuple(
            tuple(_described(index, record.categories, record.masks()))
            for index, record in enumerate(self._records)
        )
        every = [one for own in self.instances for one in own if one.whole]
        self.objects = [one for one in every if not one.at_border and one.length_px >= CUTOUT_LEAST_PX]
        self.fronts = [one for one in every if one.length_px >= FRONT_LEAST_PX]
        if not self.objects:
            raise UserError(
                f"photographs '{name}' have no instance to cut out: at least one expected that is in one piece, "
                f"{CUTOUT_LEAST_PX} px long or more, and clear of the image's border"
            )

    def __len__(self) -> int:
        return len(self._records)

    def pixel_size(self, photograph: int) -> tuple[int, int]:
        """Return height and width of a photograph, px."""
        return self._records[photograph].hw

    def check(self) -> None:
        """Decode every photograph once. Raises UserError for one that cannot be read, or a mask of another size."""
        for record in self._records:
            size = record.image().shape[:2]
            for mask in record.masks():
                if mask.shape != size:
                    raise UserError(
                        f"a mask of photograph '{record.name}' is {mask.shape[1]} x {mask.shape[0]} px, the "
                        f"{size[1]} x {size[0]} px of the photograph expected"
                    )

    def pixels(self, photograph: int) -> Pixels:
        """Return a photograph and its masks, decoded now or before. Raises UserError."""

        def decode() -> Pixels:
            record = self._records[photograph]
            return Pixels(record.image(), tuple(mask.astype(np.uint8) * 255 for mask in record.masks()))

        return self._pixels.get(photograph, decode, lambda p: p.image.nbytes + sum(m.nbytes for m in p.masks))

    def choose(
        self,
        rng: Rng,
        length_px: float,
        category: int | None = None,
        front: bool = False,
        other_than: Instance | None = None,
    ) -> Instance:
        """Choose an instance that is sharp enough at `length_px`, if there is one.

        Args:
            category: choose from this class, if it has another instance than `other_than`.
            front: also small ones and ones that the border of their photograph cuts.
        """
        pool = self.fronts if front else self.objects
        sharp = [one for one in pool if one.length_px * UPSCALED_AT_MOST >= length_px]
        for choices in (sharp, pool):
            same = [one for one in choices if one.category == category and one != other_than]
            if same:
                return same[int(rng.integers(len(same)))]
        choices = sharp or sorted(pool, key=lambda one: -one.length_px)[:8]
        # Rare classes are chosen more often than by chance: people are a third of COCO's instances.
        _, kind, counts = np.unique(
            [one.category for one in choices], return_inverse=True, return_counts=True
        )
        weight = counts[kind] ** -0.35
        return choices[int(rng.choice(len(choices), p=weight / weight.sum()))]

    def cutout(self, instance: Instance) -> Cutout:
        """Cut an instance out. Raises UserError."""

        def make() -> np.ndarray:
            image, masks = self.pixels(instance.photograph)
            return make_cutout_sprite(image, masks[instance.number], instance.box)

        return Cutout(instance, self._sprites.get(instance[:2], make, lambda sprite: sprite.nbytes))


def _described(photograph: int, categories: tuple[int, ...], masks: list[np.ndarray]) -> list[Instance]:
    """Describe the instances of a photograph, without those of no pixel."""
    found = []
    for number, mask in enumerate(masks):
        area = int(np.count_nonzero(mask))
        if not area:
            continue
        x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
        rows, columns = mask.shape
        at_border = min(x, y, columns - x - width, rows - y - height) < BORDER_PX
        inside = mask[y : y + height, x : x + width].astype(np.uint8)
        found.append(
            Instance(
                photograph,
                number,
                categories[number],
                (x, y, x + width, y + height),
                area,
                at_border,
                _is_whole(inside, area),
            )
        )
    return found


def _is_whole(inside: np.ndarray, area: int) -> bool:
    """Tell whether a mask, cropped to its box, is in one piece and reasonably filled."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(inside)
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = cv2.contourArea(cv2.convexHull(np.concatenate(outlines)))
    return bool(
        stats[1:, cv2.CC_STAT_AREA].max() >= LEAST_WHOLE * area
        and area >= LEAST_FILL * inside.size
        and area >= LEAST_SOLIDITY * hull
    )


class _Recent:
    """The values used last, up to a limit of memory."""

    def __init__(self, limit_mb: int) -> None:
        self._limit = limit_mb << 20
        self._bytes = 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any], size: Callable[[Any], int]) -> Any:
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key][0]
        value = make()
        self._values[key] = value, size(value)
        self._bytes += self._values[key][1]
        while self._bytes > self._limit and len(self._values) > 1:
            self._bytes -= self._values.popitem(last=False)[1][1]
        return value
