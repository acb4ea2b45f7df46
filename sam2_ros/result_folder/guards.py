# SPDX-License-Identifier: Apache-2.0
"""Checks before a run: results replace no input, no other run writes to the folder, its name is valid.

Does not know what a folder contains.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

from sam2_ros.errors import UserError

_LINKS_DEPTH = 3
"""Levels of folders that are searched for links: datasets have sequences in a folder of a folder."""


def check_inputs(
    folder: Path, replaced: Iterable[str], inputs: Iterable[tuple[str, Path]], called: str = "--out"
) -> None:
    """Raise UserError if an input is the folder, or is, contains or is below a name that is replaced.

    Links are resolved first.

    Args:
        replaced: names of files in the folder, and of folders with `/` at the end.
        inputs: pairs of a description for messages and a path.
        called: the option that gave the folder.
    """
    out = _real(folder)
    places = {name: _real(folder / name.rstrip("/")) for name in replaced}
    for what, path in inputs:
        if _real(path) == out:
            raise UserError(
                f"{called} {folder} is {what} itself: name another folder, which the run does not read"
            )
        for link, (name, place) in itertools.product((path, *_links(path)), places.items()):
            real = _real(link)
            holds = place.is_relative_to(real) and real.is_relative_to(out)
            if real.is_relative_to(place) or holds:
                raise UserError(
                    f"{what} '{link}' lies in {called} {folder} where results are written ({name}): name another folder"
                )


def lock_folder(folder: Path) -> int | None:
    """Lock the folder itself, without a lock file; None if another process, or this one, holds the lock.

    Returns a file descriptor: `os.close` releases the lock, as does the end of the process. Raises OSError.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError:  # a file system without locks
        return lock
    return lock


def can_be_named(path: Path) -> bool:
    """False if the path has a NUL or a lone surrogate that no file system accepts."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _real(path: Path) -> Path:
    if not can_be_named(path):
        raise UserError(f"{str(path)!r} given, a name that files can have expected")
    return Path(os.path.realpath(path))


def _links(path: Path) -> list[Path]:
    """Return the links in a folder and the folders below: image folders are often made of links."""
    found: list[Path] = []
    folders = [path]
    for _ in range(_LINKS_DEPTH):
        below: list[Path] = []
        for folder in folders:
            with contextlib.suppress(OSError, ValueError), os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        found.append(Path(entry.path))
                    elif entry.is_dir():
                        below.append(Path(entry.path))
        folders = below
    return found
