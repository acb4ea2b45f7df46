# SPDX-License-Identifier: Apache-2.0
"""Replaces an earlier result by a complete new one: moves the files, then the manifest.

A journal is written first: if the process is killed in the middle, the next run completes the switch. Does not know
how the files were made.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from sam2_ros.atomic_write import write_json
from sam2_ros.errors import UserError

from .manifest import MANIFEST, UNREADABLE, FileState, Manifest, file_record
from .staging import JOURNAL, LAST, NEW_LIST, STAGING, Staging

_RECORDS = ("summary.json", "result.json")
"""Records that programs write: a changed one does not stop a run; it is renamed instead of replaced."""
_WAITING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def switch(folder: Path, manifest: Manifest, replaced: tuple[str, ...], only: str = "") -> Manifest:
    """Move all files from staging to their final paths, and remove earlier files below `replaced` without a successor.

    Args:
        only: move only files whose names begin with this.

    Returns the new manifest. Raises UserError, before anything is moved, if a file is not ours to replace.
    """
    staging = folder / STAGING
    manifest = complete_switch(folder, manifest)  # one that failed half way, for example on a full disk
    new = [name for name in Staging(folder).names() if name.startswith(only)]
    check_free(folder, manifest, new)
    for name in new:
        if manifest.state(folder, name) is FileState.EDITED:
            _set_aside(folder / name)
    earlier = {name for prefix in replaced for name in manifest.below(prefix)} - set(new)
    gone = sorted(name for name in earlier if manifest.state(folder, name) is FileState.OURS)
    kept = {name: known for name, known in manifest.files.items() if name not in earlier}
    after = Manifest(manifest.command, {**kept, **{name: file_record(staging / name) for name in new}})
    write_json(staging / NEW_LIST, after.as_json(), indent=None)
    write_json(staging / JOURNAL, {"move": new, "remove": gone}, indent=None)
    with signals_waiting():
        _complete(folder, new, gone)
    return after


def complete_switch(folder: Path, manifest: Manifest) -> Manifest:
    """Complete the switch that a killed process began; returns the resulting manifest. Raises UserError."""
    path = folder / STAGING / JOURNAL
    if path.is_symlink() or not path.is_file():
        return manifest
    try:
        record = json.loads(path.read_text("utf-8"))
        listed = path.with_name(NEW_LIST)
        after = Manifest.from_json(json.loads(listed.read_text("utf-8"))) if listed.exists() else manifest
        new, gone = [str(name) for name in record["move"]], [str(name) for name in record["remove"]]
    except (OSError, *UNREADABLE) as error:
        raise UserError(
            f"'{path}' cannot be read ({type(error).__name__}): move '{path.parent}' away, or choose another folder"
        ) from None
    waiting = [name for name in new if (folder / STAGING / name).is_file()]
    check_free(folder, manifest, waiting)
    gone = [name for name in gone if manifest.state(folder, name) is FileState.OURS]
    with signals_waiting():
        _complete(folder, waiting, gone)
    return after


def check_free(folder: Path, manifest: Manifest, names: list[str]) -> None:
    """Raise UserError for the first name that is taken by something that is not ours to replace."""
    for name in names:
        state = manifest.state(folder, name)
        kept = state is FileState.EDITED and name.rpartition("/")[2] in _RECORDS
        if state not in (FileState.ABSENT, FileState.OURS) and not kept:
            raise UserError(why_blocked(folder, name, state))


def why_blocked(folder: Path, name: str, state: FileState) -> str:
    """Say in one line why a name cannot be written."""
    path = "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(folder / name))
    if state is FileState.LINK:
        why = "is, or lies behind, a link, and links are not followed: remove the link"
    elif state is FileState.EDITED:
        why = "was changed since an earlier run wrote it, and is not replaced: move it away"
    else:
        why = "was written by no earlier run, and is not replaced: move it away"
    return f"'{path}' {why}, or choose another folder"


def _complete(folder: Path, new: list[str], gone: list[str]) -> None:
    staging = folder / STAGING
    if LAST in new or LAST in gone:
        (folder / LAST).unlink(missing_ok=True)
    for name in gone:
        (folder / name).unlink(missing_ok=True)
        _drop_empty(folder, name)
    for name in new:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).replace(folder / name)
    if (staging / NEW_LIST).exists():
        (staging / NEW_LIST).replace(folder / MANIFEST)
    (staging / JOURNAL).unlink()


def _set_aside(path: Path) -> None:
    """Rename a record that a user changed to the first free name."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.changed{'' if number == 1 else number}")):
        number += 1
    path.rename(aside)


def _drop_empty(folder: Path, name: str) -> None:
    """Remove the folders that became empty with the file."""
    for above in (folder / name).parents:
        if above == folder:
            return
        try:
            above.rmdir()
        except OSError:
            return


@contextlib.contextmanager
def signals_waiting() -> Iterator[None]:
    """Delay SIGINT, SIGTERM and SIGHUP until the block has ended; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.getsignal(number) for number in _WAITING}
    ours = [number for number, handler in before.items() if handler is not None and handler != signal.SIG_IGN]
    for number in ours:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
        if came:
            signal.raise_signal(came[0])
