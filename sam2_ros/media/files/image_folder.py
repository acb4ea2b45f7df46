# SPDX-License-Identifier: Apache-2.0
"""Frames of a folder of image files, in the order of their names.

A folder has no frame rate, and has time stamps only if its file names are stamps. Does not know videos.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from sam2_ros.media.frame_source import NS_PER_S, Frame, FrameSource, SourceError, median_gap_ns
from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.media.pixels.image_reader import ImageReader

from .mixed import find_mixed
from .names import order_names

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")

_log = logging.getLogger(__name__)


def image_files(folder: Path) -> list[Path]:
    """List the images directly in `folder`, ordered by name, without hidden ones (`._0001.jpg` of macOS)."""
    names = [path.name for path in _images(folder)]
    return [folder / name for name in order_names(names).names]


def _images(folder: Path) -> list[Path]:
    files = (p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    return [p for p in files if p.is_file()]


class FolderFrames(FrameSource):
    """Stamps are those in the file names (`1700000000.25.png`), else index / fps from 0.

    Args:
        folder: a folder with the images directly in it.
        images: converts the pixels to RGB.
        glob: only names that match, such as `*_rgb.png`; None = all. With it, mixed kinds of files are a warning only.
        fps: stamps are index / fps; None = the stamps of the file names, else 30 frames per second.

    Raises SourceError if the folder certainly has other images among its frames; the message tells how to choose.
    """

    kind = "folder"

    def __init__(
        self,
        folder: Path,
        images: ImageReader | None = None,
        glob: str | None = None,
        fps: float | None = None,
    ) -> None:
        self._images = images or ImageReader()
        self.name = str(folder)
        if fps is not None and not (math.isfinite(fps) and 0 < fps <= 1000):
            raise SourceError(f"--fps {fps} given, frames per second above 0 and up to 1000 expected")
        found = _images(folder)
        if not found:
            raise SourceError(f"folder '{folder}' {_what_is_there(folder)}")
        chosen = found if glob is None else [path for path in found if fnmatchcase(path.name, glob)]
        if not chosen:
            raise SourceError(
                f"no image of folder '{folder}' fits --glob '{glob}': a pattern of names in that folder expected; it "
                f"holds {len(found)} images, such as {found[0].name}"
            )
        order = order_names([path.name for path in chosen])
        self._files = [folder / name for name in order.names]
        self.length = len(self._files)
        if order.note:
            _log.warning("folder '%s': %s", folder, order.note)
        if (mixed := find_mixed(self._files)) is not None:
            if mixed.certain and glob is None:
                raise SourceError(f"folder '{folder}' {mixed.line}")
            _log.warning("folder '%s' %s", folder, mixed.line)
        self._stamps_ns = order.stamps_ns if fps is None else None
        self.has_stamps = self._stamps_ns is not None
        self.fps = fps or min(NS_PER_S / median_gap_ns(self._stamps_ns or ()), 1000.0)

    @property
    def names(self) -> list[str]:
        """Names of the files, by index of the frame."""
        return [file.name for file in self._files]

    def _frames(self) -> Iterator[Frame]:
        for index, file in enumerate(self._files):
            try:
                image_rgb = self._images.file(file.read_bytes())
            except (ImageError, OSError) as error:
                self._skip(file.name, error)
                continue
            yield Frame(index, self._stamp_ns(index), image_rgb, name=file.name)

    def frames_from(self, first: int) -> Iterator[Frame]:
        for index in range(first, len(self._files)):
            file = self._files[index]
            with contextlib.suppress(ImageError, OSError):
                yield Frame(
                    index, self._stamp_ns(index), self._images.file(file.read_bytes()), name=file.name
                )

    def _stamp_ns(self, index: int) -> int:
        if self._stamps_ns is not None:
            return self._stamps_ns[index]
        return round(index * NS_PER_S / self.fps)


def _what_is_there(folder: Path) -> str:
    """Describe the content for the error: the usual mistake is a folder one level too high."""
    expected = f"expected image files ({', '.join(s[1:] for s in IMAGE_SUFFIXES)}) or a rosbag2"
    inside = sorted(p for p in folder.iterdir() if p.is_dir())
    holding = next((p for p in inside if _images(p)), None)
    if holding is not None:
        return f"holds no images itself, {expected}; did you mean '{holding}'?"
    count = sum(1 for _ in folder.iterdir())
    return f"is empty, {expected}" if not count else f"holds no images among its {count} entries, {expected}"
