# SPDX-License-Identifier: Apache-2.0
"""Uploaded pictures of a project: decoded, reduced and written anew as PNG, so that nothing of the file itself is kept.

Finds files by the listing of the folder, never by a path that a client gives. Does not know HTTP.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import cv2

from sam2_ros.atomic_write import atomic_write
from sam2_ros.errors import UserError
from sam2_ros.text import readable
from sam2_ros.ui.effects.replacement import Replacement, read_picture
from sam2_ros.ui.export.file_names import safe_file_name


class Pictures:
    """The folder `pictures/` of a project."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most

    def add(self, data: bytes, name: str) -> str:
        """Keep an uploaded picture; returns the name by which the settings and `find` know it.

        Args:
            data: the uploaded file.
            name: its name at the user's, of which a safe part is kept.

        Raises:
            UserError: no picture, a too large one, or too many; or it cannot be written.
        """
        picture = read_picture(data, name)
        _, encoded = cv2.imencode(".png", cv2.cvtColor(picture.picture_rgba, cv2.COLOR_RGBA2BGRA))
        png = encoded.tobytes()
        digest = hashlib.sha256(png).hexdigest()[:12]
        kept = f"{safe_file_name(Path(name).stem, 'picture')}-{digest}.png"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            there = os.listdir(self._folder)
            if kept not in there:
                if len(there) >= self._most:
                    raise UserError(f"{len(there)} pictures are in '{self._folder}': remove some")
                with atomic_write(self._folder / kept) as partial:
                    partial.write_bytes(png)
        except OSError as error:
            raise UserError(
                f"picture '{kept}' cannot be written to '{self._folder}' ({error.strerror}): free space, or change its "
                "rights",
                status=1,
            ) from error
        return kept

    def find(self, name: str) -> Path | None:
        """The file of a picture; None if there is none of this name."""
        return find_file(self._folder, name, (".png",))

    def read(self, name: str) -> Replacement:
        """A picture, for the effect that replaces an object. Raises UserError."""
        path = self.find(name)
        if path is None:
            raise UserError(f"picture '{readable(name[:80])}' is not in the project: upload it again")
        return read_picture(path.read_bytes(), name)


def find_file(folder: Path, name: str, suffixes: tuple[str, ...]) -> Path | None:
    """The file of this name directly in a folder; None if there is none, if it is a link, or has another suffix."""
    entry = _entry(folder, name)
    if entry is None or not entry.is_file(follow_symlinks=False) or not name.lower().endswith(suffixes):
        return None
    return Path(entry.path)


def find_folder(folder: Path, name: str) -> Path | None:
    """The folder of this name directly in a folder; None if there is none, or if it is a link."""
    entry = _entry(folder, name)
    return Path(entry.path) if entry is not None and entry.is_dir(follow_symlinks=False) else None


def _entry(folder: Path, name: str) -> os.DirEntry[str] | None:
    if name.startswith("."):
        return None
    try:
        with os.scandir(folder) as entries:
            return next((entry for entry in entries if entry.name == name), None)
    except OSError:
        return None
