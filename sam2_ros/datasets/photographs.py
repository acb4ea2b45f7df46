# SPDX-License-Identifier: Apache-2.0
"""Photographs with ground-truth instances: `instances.json` in COCO's format, and the images it names.

Does not know how they are used. Crowd annotations are left out, as they are not single instances.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.json_yaml import read_json

from .sequence import decode_rle, read_image

INSTANCES = "instances.json"
_FORM = "COCO's images [{id, file_name, height, width}] and annotations [{image_id, segmentation}]"


@dataclass(frozen=True)
class Photograph:
    """One image and its ground-truth instances."""

    name: str
    path: Path
    hw: tuple[int, int]  # height, width in pixels
    segmentations: tuple[Any, ...]  # polygons or run lengths, as in the file
    categories: tuple[int, ...] = ()  # `category_id` of each, -1 if the file has none

    def image(self) -> np.ndarray:
        """``[H, W, 3]`` uint8 RGB. Raises SourceError."""
        image = read_image(self.path)
        if image.shape[:2] != self.hw:
            raise SourceError(
                f"'{self.path}' is {image.shape[1]} x {image.shape[0]} px, the {self.hw[1]} x {self.hw[0]} px of "
                f"{INSTANCES} expected: copy the image of that set"
            )
        return image

    def masks(self) -> list[np.ndarray]:
        """Return a ``[H, W]`` bool mask of every instance. Raises SourceError."""
        return [self._mask(segmentation) for segmentation in self.segmentations]

    def _mask(self, segmentation: Any) -> np.ndarray:
        if not isinstance(segmentation, list):
            return decode_rle(segmentation)
        try:
            return np.asarray(coco.decode(coco.merge(coco.frPyObjects(segmentation, *self.hw)))).astype(bool)
        except Exception as error:  # pycocotools raises bare Exception for unknown input
            raise SourceError(
                f"a polygon of '{self.name}' cannot be read ({error}): expected {_FORM}"
            ) from error


def is_photographs(path: Path) -> bool:
    return (path / INSTANCES).is_file()


def open_photographs(path: Path) -> list[Photograph]:
    """Open the photographs of the folder `path` with its `instances.json`, sorted by name. Raises SourceError."""
    file = path / INSTANCES
    try:
        record = read_json(file)
        segmentations: dict[Any, list[Any]] = {}
        categories: dict[Any, list[int]] = {}
        for one in record["annotations"]:
            if not one.get("iscrowd"):
                segmentations.setdefault(one["image_id"], []).append(one["segmentation"])
                categories.setdefault(one["image_id"], []).append(int(one.get("category_id", -1)))
        found = [
            Photograph(
                str(one["file_name"]),
                _where(path, str(one["file_name"])),
                (int(one["height"]), int(one["width"])),
                tuple(segmentations.get(one["id"], ())),
                tuple(categories.get(one["id"], ())),
            )
            for one in record["images"]
        ]
    except SourceError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise SourceError(f"'{file}' cannot be read ({error!r}): expected {_FORM}") from error
    if not any(photograph.segmentations for photograph in found):
        raise SourceError(f"'{file}' has no instance of any image, at least one expected")
    return sorted(found, key=lambda photograph: photograph.name)


def _where(path: Path, name: str) -> Path:
    for place in (path / "images" / name, path / name):
        if place.is_file():
            return place
    raise SourceError(
        f"image '{name}' of '{path / INSTANCES}' is not there: '{path / 'images' / name}' expected"
    )
