"""What keeps a run from harming what it reads, and two runs from writing to one folder.

Does not know what a folder holds.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from sam2_ros.result_folder.manifest import ResultFolderError


def check_inputs(
    folder: Path, replaced: Iterable[str], inputs: Iterable[tuple[str, Path]], called: str = "--out"
) -> None:
    """Nothing that is read may be, hold, or lie in what is replaced, nor be the folder itself; links are resolved.

    Args:
        replaced: names of files in the folder, and of folders with `/` at the end.
        inputs: what it is called in messages, and the path.
        called: the option that named the folder.

    Raises ResultFolderError.
    """
    out = _real(folder)
    places = {name: _real(folder / name.rstrip("/")) for name in replaced}
    for what, path in inputs:
        real = _real(path)
        if real == out:
            raise ResultFolderError(
                f"{called} {folder} is {what} itself: name another folder, whose files are not read"
            )
        for name, place in places.items():
            holds = place.is_relative_to(real) and real.is_relative_to(out)
            if real.is_relative_to(place) or holds:
                raise ResultFolderError(
                    f"{what} '{path}' lies in {called} {folder} where results are written ({name}): name another folder"
                )


def lock_folder(folder: Path) -> int | None:
    """Locks the folder itself, so that nothing is left; None where another process, or this one, has done so.

    The lock ends with `os.close` of what is returned, at the latest with the process. Raises OSError.
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


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
