"""Finds a user's annotated sequences on disk and reads their frames and label images.

Knows folders and files; does not know clips, models or how the labels were made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sam2_ros.media.datasets.sequence import VOID
from sam2_ros.media.file_frames import image_files
from sam2_ros.media.ros_image import ImageError, compressed_to_rgb

from .config import TrainConfigError

LAYOUTS = "SEQ/frames with SEQ/masks, or JPEGImages/SEQ with Annotations/SEQ"


@dataclass(frozen=True)
class Footage:
    """One sequence: its frames in order, and the label image of each, None where there is none."""

    name: str
    frames: tuple[Path, ...]
    labels: tuple[Path | None, ...]

    @property
    def annotated(self) -> tuple[int, ...]:
        """Indices of the frames that have a label image."""
        return tuple(index for index, path in enumerate(self.labels) if path is not None)


def find_footage(folders: Iterable[str | Path]) -> list[Footage]:
    """All sequences in some folders, by name.

    A folder holds ``SEQ/frames/*.jpg`` and ``SEQ/masks/*.png`` (or is itself such a SEQ), or as DAVIS and MOSE
    ``JPEGImages/SEQ/*.jpg`` and ``Annotations/SEQ/*.png`` (a level for the resolution between is passed through).
    A label image has its frame's name; frames without one are tracked through in validation and not trained on.

    Raises:
        TrainConfigError: no such folder, none of the layouts, a sequence without label images, a name twice.
    """
    found: dict[str, Footage] = {}
    for folder in (Path(f).expanduser() for f in folders):
        if not folder.is_dir():
            raise TrainConfigError(f"data '{folder}' is no folder; expected one with {LAYOUTS}")
        pairs = _pairs(folder)
        if not pairs:
            raise TrainConfigError(f"data '{folder}' has none of the known layouts; expected {LAYOUTS}")
        for name, frames, masks in pairs:
            if name in found:
                raise TrainConfigError(
                    f"data '{folder}': a sequence '{name}' is in another folder, too; rename one"
                )
            found[name] = _footage(name, frames, masks)
    return [found[name] for name in sorted(found)]


def _pairs(folder: Path) -> list[tuple[str, Path, Path]]:
    """Name, folder of frames and folder of label images of each sequence."""
    images, labels = folder / "JPEGImages", folder / "Annotations"
    if images.is_dir() and labels.is_dir():
        inner = _folders(images)
        if len(inner) == 1 and not image_files(inner[0]) and (labels / inner[0].name).is_dir():
            images, labels = inner[0], labels / inner[0].name
        return [(f.name, f, labels / f.name) for f in _folders(images)]
    if (folder / "frames").is_dir() and (folder / "masks").is_dir():
        return [(folder.resolve().name, folder / "frames", folder / "masks")]
    return [
        (f.name, f / "frames", f / "masks")
        for f in _folders(folder)
        if (f / "frames").is_dir() and (f / "masks").is_dir()
    ]


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _footage(name: str, frames_dir: Path, masks_dir: Path) -> Footage:
    frames = image_files(frames_dir)
    if not frames:
        raise TrainConfigError(f"sequence '{name}': no images in {frames_dir}")
    masks = {p.stem: p for p in masks_dir.glob("*.png")} if masks_dir.is_dir() else {}
    labels = tuple(masks.get(path.stem) for path in frames)
    if not any(labels):
        raise TrainConfigError(
            f"sequence '{name}': no PNG in {masks_dir} has the name of a frame, such as {frames[0].stem}.png"
        )
    footage = Footage(name, tuple(frames), labels)
    _compare_sizes(footage)
    return footage


def _compare_sizes(footage: Footage) -> None:
    """Of the first annotated frame, from the files' headers: most mistakes are of a whole sequence."""
    first = footage.annotated[0]
    label = footage.labels[first]
    try:
        with Image.open(footage.frames[first]) as frame, Image.open(label) as mask:  # type: ignore[arg-type]
            sizes, bands = (frame.size, mask.size), mask.getbands()
    except (OSError, ValueError, SyntaxError) as error:
        raise TrainConfigError(f"sequence '{footage.name}': {error}") from None
    if len(bands) != 1:
        raise TrainConfigError(_not_labels(label, "".join(bands)))
    if sizes[0] != sizes[1]:
        raise TrainConfigError(_other_size(label, sizes[1], sizes[0]))


def _not_labels(path: Path | None, mode: str) -> str:
    return (
        f"label image {path} is {mode}; expected a palette or grey PNG whose values are the objects' numbers"
    )


def _other_size(path: Path | None, wh: tuple[int, ...], frame_wh: tuple[int, ...]) -> str:
    return f"label image {path} is {wh[0]}x{wh[1]}, its frame {frame_wh[0]}x{frame_wh[1]}; expected one size"


def read_frame(path: Path) -> np.ndarray:
    """``[H, W, 3]`` uint8 RGB.

    Raises:
        TrainConfigError: not an image that can be read.
    """
    try:
        return compressed_to_rgb(path.read_bytes())
    except (ImageError, OSError) as error:
        raise TrainConfigError(f"frame {path} cannot be read: {error}") from None


def read_labels(path: Path, hw: tuple[int, int] | None = None) -> np.ndarray:
    """``[H, W]`` integers: 0 = background, any other value = an object; beside lower values 255 is nobody's.

    Raises:
        TrainConfigError: not an image with one value per pixel, or not of the size `hw` of its frame.
    """
    try:
        with Image.open(path) as image:
            mode, values = image.mode, np.asarray(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise TrainConfigError(f"label image {path} cannot be read: {error}") from None
    if values.ndim != 2:
        raise TrainConfigError(_not_labels(path, mode))
    if hw is not None and values.shape != hw:
        raise TrainConfigError(_other_size(path, values.shape[::-1], hw[::-1]))
    labels = values.astype(np.int32)
    if ((labels > 0) & (labels < VOID)).any():
        labels[labels == VOID] = 0
    return labels
