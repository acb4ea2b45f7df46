# SPDX-License-Identifier: Apache-2.0
"""The manifest of a result folder, `.sam2_ros.json`: the command, and size, time and digest of each file it wrote.

Does not decide which files may be replaced.
"""

from __future__ import annotations

import enum
import hashlib
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sam2_ros.atomic_write import write_json
from sam2_ros.errors import UserError

MANIFEST = ".sam2_ros.json"
_SEPARATORS = {os.sep, os.altsep}
FORMAT = 1


class FileState(enum.Enum):
    """The state of what is at the path of a result."""

    ABSENT = "absent"
    OURS = "ours"  # written by an earlier run, unchanged since
    EDITED = "edited"  # written by an earlier run, changed since
    FOREIGN = "foreign"
    LINK = "link"  # the file, or a folder between it and the result folder, is a symbolic link


UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""Exceptions that reading JSON of unknown content can raise."""


class FileRecord(NamedTuple):
    """Size, time and digest of a file when it was written."""

    size_bytes: int
    mtime_ns: int
    digest: str


def is_safe_name(part: str) -> bool:
    """True if a name stays in its folder: one component, not hidden, without control characters."""
    try:
        size_bytes = len(os.fsencode(part))
    except UnicodeEncodeError:  # a lone surrogate
        return False
    unusable = any(char in _SEPARATORS or ord(char) < 32 or ord(char) == 127 for char in part)
    return 0 < size_bytes <= 255 and not part.startswith(".") and not unusable


def name_parts(name: str) -> tuple[str, ...]:
    """Split a relative name at `/`. Raises UserError if it could leave its folder."""
    parts = tuple(name.split("/"))
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise UserError(f"{name!r} given, a name inside the folder for results expected")
    return parts


def file_record(path: Path) -> FileRecord:
    """Record a file's size, time and digest; reads the file once. Raises OSError."""
    status = path.stat()
    return FileRecord(status.st_size, status.st_mtime_ns, _digest(path))


@dataclass
class Manifest:
    """The files that a command wrote into a folder, by relative name with `/`.

    Attributes:
        command: the command that wrote them.
        files: None for a file that grows or is replaced during a run: it is recognised by its name alone.
    """

    command: str
    files: dict[str, FileRecord | None] = field(default_factory=dict)

    def state(self, folder: Path, name: str) -> FileState:
        """Return the state of `name` in `folder`. Reads a file if its time has changed and its size has not."""
        parts, path = name_parts(name), folder
        for depth, part in enumerate(parts, start=1):
            path = path / part
            mode = _mode(path)
            if mode is None:
                return FileState.ABSENT
            if stat.S_ISLNK(mode):
                return FileState.LINK
            if not (stat.S_ISREG(mode) if depth == len(parts) else stat.S_ISDIR(mode)):
                return FileState.FOREIGN
        if name not in self.files:
            return FileState.FOREIGN
        known, now = self.files[name], path.lstat()
        if known is None:
            return FileState.OURS
        if now.st_size != known.size_bytes:
            return FileState.EDITED
        same = now.st_mtime_ns == known.mtime_ns or _digest(path) == known.digest
        return FileState.OURS if same else FileState.EDITED

    def below(self, prefix: str) -> list[str]:
        """Return its files in a folder (`/` at the end), or the one file of that name."""
        if prefix.endswith("/"):
            return [name for name in self.files if name.startswith(prefix)]
        return [prefix] if prefix in self.files else []

    def as_json(self) -> dict[str, Any]:
        return {"sam2_ros": "results", "format": FORMAT, "command": self.command, "files": self.files}

    @classmethod
    def from_json(cls, content: Any) -> Manifest:
        """Raises one of `UNREADABLE` if the content is not a manifest."""
        if content["sam2_ros"] != "results" or content["format"] != FORMAT:
            raise ValueError("another format")
        files = {}
        for name, known in content["files"].items():
            name_parts(name)
            files[name] = None if known is None else FileRecord(int(known[0]), int(known[1]), str(known[2]))
        return cls(str(content["command"]), files)

    def write(self, folder: Path) -> None:
        write_json(folder / MANIFEST, self.as_json(), indent=None)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """Read the manifest of a folder; None if it has none. Raises UserError if it cannot be read."""
        path = folder / MANIFEST
        mode = _mode(path)
        if mode is None:
            return None
        if not stat.S_ISREG(mode):
            raise UserError(f"'{path}' is not a regular file: remove it, or choose another folder")
        try:
            return cls.from_json(json.loads(path.read_text("utf-8")))
        except (OSError, *UNREADABLE) as error:
            raise UserError(
                f"'{path}', the list of the results there, cannot be read ({type(error).__name__}): "
                "choose another folder"
            ) from None


def _mode(path: Path) -> int | None:
    try:
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
