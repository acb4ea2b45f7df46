# SPDX-License-Identifier: Apache-2.0
"""The staging folder of a result folder: holds new files until they are complete. A marker file shows that it is ours.

Does not know what happens to the files afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sam2_ros.atomic_write import write_json

from .manifest import FileState

STAGING = ".partial"
MARKER = ".sam2_ros.json"
JOURNAL = ".switch.json"
NEW_LIST = ".list.json"
"""The manifest after the switch. Everything that needs disk space is written before the first file moves."""
SCRATCH = ".scratch"
LAST = "summary.json"
"""Removed first and moved last: if it exists, the other files are complete."""


class Staging:
    """`.partial` in the result folder `folder`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / STAGING

    @property
    def state(self) -> FileState:
        """ABSENT, OURS (of any command, killed or not), LINK or FOREIGN."""
        path = self.path
        if path.is_symlink():
            return FileState.LINK
        if not path.exists():
            return FileState.ABSENT
        if not path.is_dir():
            return FileState.FOREIGN
        marker = path / MARKER
        if marker.is_file() and not marker.is_symlink():
            is_result = self.mark.get("sam2_ros") == "results"  # a result folder itself: --out DIR/.partial
            return FileState.FOREIGN if is_result else FileState.OURS
        names = {entry.name for entry in os.scandir(path)}
        return FileState.FOREIGN if names - {f"{MARKER}.partial"} else FileState.OURS

    @property
    def mark(self) -> dict[str, Any]:
        """The content of the marker file: `command` and `process` of the run that made the folder."""
        try:
            content = json.loads((self.path / MARKER).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def begin(self, command: str) -> None:
        """Make the folder and its marker file."""
        self.path.mkdir(exist_ok=True)
        mark = {"sam2_ros": "staging", "command": command, "process": os.getpid()}
        write_json(self.path / MARKER, mark, indent=None)

    def names(self) -> list[str]:
        """Return the files of the new result, `LAST` at the end, without incomplete ones."""
        found = []
        for folder, _, files in os.walk(self.path):
            where = Path(folder).relative_to(self.path)
            if where.parts[:1] == (SCRATCH,):
                continue
            for file in files:
                ours = not where.parts and file in (MARKER, JOURNAL, NEW_LIST)
                if not ours and not (file[0] == "." and ".partial" in file):
                    found.append((where / file).as_posix())
        return sorted(found, key=lambda name: (name.rpartition("/")[2] == LAST, name == LAST, name))

    def drop(self, keep: Iterable[str] = ()) -> None:
        """Remove the files outside the folders `keep` (`/` at the end)."""
        kept = tuple(keep)
        for name in self.names():
            if not name.startswith(kept):
                (self.path / name).unlink()

    def scratch(self, name: str) -> Path:
        """Make an empty folder for temporary files."""
        path = self.path / SCRATCH / name
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True)
        return path

    def clear(self) -> None:
        """Remove the folder, its marker file last."""
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != MARKER:
                path.unlink()
        (self.path / MARKER).unlink(missing_ok=True)
        self.path.rmdir()
