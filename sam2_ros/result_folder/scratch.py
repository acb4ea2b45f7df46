# SPDX-License-Identifier: Apache-2.0
"""Temporary folders outside a result folder; the next run removes those that a killed run left.

Does not know what they contain.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sam2_ros.atomic_write import write_json

from .guards import lock_folder
from .staging import MARKER

PREFIX = "sam2_ros-"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty folder in the system's temporary folder (TMPDIR), removed at the end. Raises OSError."""
    _remove_left()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = lock_folder(folder)
    try:
        write_json(folder / MARKER, {"sam2_ros": "scratch", "process": os.getpid()}, indent=None)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _remove_left() -> None:
    """Remove the folders of processes that have ended: marked as ours, of this user, and not locked."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            marker = folder / MARKER
            if folder.is_symlink() or marker.is_symlink() or not marker.is_file():
                continue
            if folder.lstat().st_uid != os.getuid():
                continue
            lock = lock_folder(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
