# SPDX-License-Identifier: Apache-2.0
"""A video sequence with ground truth: its frames, and the masks of the annotated frames.

Does not know the layout of a dataset on disk; `layouts` and `sav` find the files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.media.ros_image import compressed_to_rgb

VOID = 255
"""Value of pixels that are not scored, in masks that also have objects with lower values (DAVIS 2017)."""


@dataclass(frozen=True)
class FrameTruth:
    """The ground truth of one annotated frame.

    Attributes:
        masks: ``[H, W]`` bool by object, only of visible objects.
        hw: height and width of the annotation, pixels.
        void_hw: ``[H, W]`` bool, pixels that are not scored; None = there are none.
        file: the annotation's file, for messages; "" = no file of its own.
    """

    masks: Mapping[str, np.ndarray]
    hw: tuple[int, int]
    void_hw: np.ndarray | None = None
    file: str = ""

    def mask(self, name: str) -> np.ndarray:
        """Return the object's mask; empty if the object is not visible."""
        return self.masks.get(name, np.zeros(self.hw, bool))


class Truth(Protocol):
    """The annotated frames of one sequence."""

    @property
    def indices(self) -> tuple[int, ...]:
        """Indices of the annotated frames, in ascending order."""

    def at(self, index: int) -> FrameTruth:
        """Read the ground truth of an annotated frame. Raises SourceError."""

    def identity(self) -> Iterator[str]:
        """Yield texts that change when the annotations change: names, sizes and times of files, which are not read."""


class SequenceFrames(Protocol):
    """The frames of one sequence, in order."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each frame, without suffix."""

    def at(self, index: int) -> np.ndarray:
        """``[H, W, 3]`` uint8 RGB. Raises SourceError."""

    def identity(self) -> Iterator[str]:
        """Yield texts that change when the frames change: names, sizes and times of files, which are not read."""


@dataclass(frozen=True)
class FileFrames:
    """Frames in files."""

    files: tuple[Path, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(file.stem for file in self.files)

    def at(self, index: int) -> np.ndarray:
        return read_image(self.files[index])

    def identity(self) -> Iterator[str]:
        return map(_file_identity, self.files)


@dataclass(frozen=True)
class VosSequence:
    """One video.

    Attributes:
        name: name of its folder or file.
        frames: all frames in order.
        truth: ground truth of some or all frames.
        fps: frames per second.
        overlapping: True if masks of objects may overlap; else a pixel belongs to at most one object.
        group: name of a group that is also scored as a whole; "" = none.
    """

    name: str
    frames: SequenceFrames
    truth: Truth
    fps: float
    overlapping: bool = False
    group: str = ""

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.frames.names)

    def image(self, index: int) -> np.ndarray:
        """``[H, W, 3]`` uint8 RGB. Raises SourceError."""
        return self.frames.at(index)

    def annotated(self, index: int, image_hw3: np.ndarray) -> FrameTruth | None:
        """Read the ground truth of a frame, and check its size against the image; None if not annotated.

        Raises SourceError.
        """
        if index not in self.truth.indices:
            return None
        truth = self.truth.at(index)
        if truth.hw != image_hw3.shape[:2]:
            where = f"'{truth.file}'" if truth.file else f"the mask of frame {self.frames.names[index]}"
            swapped = truth.hw == image_hw3.shape[1::-1]
            exif = " (frames are read as stored, EXIF orientation is not applied: save them upright)"
            raise SourceError(
                f"sequence '{self.name}': {where} is {truth.hw[1]} x {truth.hw[0]} px, the size of its frame "
                f"expected, {image_hw3.shape[1]} x {image_hw3.shape[0]}: replace one of them{exif if swapped else ''}"
            )
        return truth

    def identity(self) -> str:
        """Return a digest that changes when a file changes or is read differently, not when it moves.

        Raises SourceError.
        """
        digest = hashlib.sha256(f"{self.fps} {self.overlapping} {self.group}".encode())
        try:
            for word in (*self.frames.identity(), *self.truth.identity()):
                digest.update(f"\n{word}".encode(errors="backslashreplace"))
        except OSError as error:
            raise SourceError(
                f"sequence '{self.name}': a file is gone ({error}): expected the files that were listed at the start"
            ) from error
        return digest.hexdigest()

    @cached_property
    def first_frames(self) -> dict[str, int]:
        """The first annotated frame that shows each object. Reads every annotation once."""
        first: dict[str, int] = {}
        for index in self.truth.indices:
            for name in self.truth.at(index).masks:
                first.setdefault(name, index)
        return first


@dataclass(frozen=True)
class PaletteTruth:
    """Masks as label images: value = object, 0 = background; an image of only 0 and 255 shows one object, "1".

    Attributes:
        files: label image by frame index.
        first: if given, only these objects count, each from its frame on (YouTube-VOS meta.json).
        merged: all objects count as one, "1" (DAVIS 2016).
    """

    files: Mapping[int, Path]
    first: Mapping[str, int] | None = None
    merged: bool = False

    @property
    def indices(self) -> tuple[int, ...]:
        return tuple(sorted(self.files))

    def at(self, index: int) -> FrameTruth:
        values = read_label_image(self.files[index])
        hw = (values.shape[0], values.shape[1])
        if self.merged or self._binary:
            return FrameTruth({"1": values > 0} if values.any() else {}, hw, file=str(self.files[index]))
        void = values == VOID
        masks = {str(value): values == value for value in np.unique(values) if value not in (0, VOID)}
        if self.first is not None:
            masks = {name: mask for name, mask in masks.items() if index >= self.first.get(name, index + 1)}
        return FrameTruth(masks, hw, void if void.any() else None, str(self.files[index]))

    def identity(self) -> Iterator[str]:
        yield f"{self.first} {self.merged}"
        yield from (_file_identity(self.files[index]) for index in self.indices)

    @cached_property
    def _binary(self) -> bool:
        """True if 255 is the object: the first image that is not empty has no other value."""
        for index in self.indices:
            found = set(np.unique(read_label_image(self.files[index])).tolist()) - {0}
            if found:
                return found == {VOID}
        return False


@dataclass(frozen=True)
class FolderTruth:
    """A folder of black and white masks for each object (SA-V val and test); a missing file = not visible."""

    files: Mapping[str, Mapping[int, Path]]  # by object, then by frame

    @property
    def indices(self) -> tuple[int, ...]:
        return tuple(sorted({index for files in self.files.values() for index in files}))

    def at(self, index: int) -> FrameTruth:
        masks = {
            name: read_label_image(files[index]) > 0 for name, files in self.files.items() if index in files
        }
        files = [str(of_object[index]) for of_object in self.files.values() if index in of_object]
        sizes = {mask.shape: file for mask, file in zip(masks.values(), files, strict=True)}
        if len(sizes) != 1:
            said = " and ".join(
                f"'{file}' is {width} x {height} px" for (height, width), file in sizes.items()
            )
            raise SourceError(f"{said}: masks of one size expected in one frame")
        height, width = next(iter(sizes))
        shown = {name: mask for name, mask in masks.items() if mask.any()}
        return FrameTruth(shown, (height, width), file=files[0])

    def identity(self) -> Iterator[str]:
        for name, files in self.files.items():
            yield name
            yield from (_file_identity(files[index]) for index in sorted(files))


@dataclass(frozen=True)
class RunLengthTruth:
    """COCO run-length masks by frame and object (SA-V train); `hw` is the size of the frames in pixels."""

    frames: Mapping[int, Mapping[str, Mapping[str, Any]]]
    hw: tuple[int, int]

    @property
    def indices(self) -> tuple[int, ...]:
        return tuple(sorted(self.frames))

    def at(self, index: int) -> FrameTruth:
        masks = {name: decode_rle(rle) for name, rle in self.frames[index].items()}
        return FrameTruth({name: mask for name, mask in masks.items() if mask.any()}, self.hw)

    def identity(self) -> Iterator[str]:
        yield repr((self.hw, self.frames))


def decode_rle(rle: Mapping[str, Any]) -> np.ndarray:
    """Decode ``{"size": [H, W], "counts": str or [int]}`` to ``[H, W]`` bool. Raises SourceError."""
    try:
        height, width = (int(side) for side in rle["size"])
        counts = rle["counts"]
        if isinstance(counts, list):
            packed = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        else:
            packed = {"size": [height, width], "counts": counts}
        return np.asarray(coco.decode(packed)).astype(bool)
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"a mask is not a run-length encoding ({error!r}): expected {{size: [H, W], counts: ...}}"
        ) from error


def _file_identity(path: Path) -> str:
    status = path.stat()
    return f"{path.name} {status.st_size} {status.st_mtime_ns}"


def read_image(path: Path) -> np.ndarray:
    """``[H, W, 3]`` uint8 RGB. Raises SourceError."""
    try:
        return compressed_to_rgb(path.read_bytes())
    except (ImageError, OSError) as error:
        raise SourceError(
            f"'{path}' is not a readable image ({error}): expected a JPEG or PNG file: copy it anew"
        ) from error


def read_label_image(path: Path) -> np.ndarray:
    """Read the ``[H, W]`` values of a palette image, a grey image, or a colour image with equal channels.

    Raises SourceError.
    """
    try:
        with Image.open(path) as image:
            if image.format == "JPEG":
                raise SourceError(
                    f"mask '{path}' is a JPEG, which changes the numbers of objects: expected a palette or grey PNG"
                )
            if image.mode == "1":
                return np.asarray(image).astype(np.uint8) * VOID
            values = np.asarray(image)
    except SourceError:
        raise
    except (OSError, ValueError, SyntaxError) as error:
        raise SourceError(
            f"mask '{path}' does not decode ({error}): expected a palette PNG: copy it anew"
        ) from error
    if values.ndim == 3:
        colours = values[..., :3] if values.shape[2] > 2 else values[..., :1]
        if (colours != colours[..., :1]).any():
            raise SourceError(
                f"mask '{path}' is a colour image: expected a palette or grey PNG, value = number of the object"
            )
        values = colours[..., 0]
    return values
