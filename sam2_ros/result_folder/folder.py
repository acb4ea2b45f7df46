# SPDX-License-Identifier: Apache-2.0
"""`ResultFolder`: the output folder of a command. Locks it, replaces an earlier result as a whole, and no other files.

Does not know what the files contain.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path

from sam2_ros.errors import UserError
from sam2_ros.text import some

from .guards import can_be_named, check_inputs, lock_folder
from .manifest import MANIFEST, FileState, Manifest
from .staging import JOURNAL, MARKER, STAGING, Staging
from .switch import check_free, complete_switch, signals_waiting, switch, why_blocked

_IGNORED = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "lost+found", f"{MANIFEST}.partial"})
"""Files of file managers and file systems: a folder with nothing else counts as empty."""
_OLD_RESULTS = ("summary.json", "checkpoint.pt", "soak.json", "sam2_ros_onnx.json", "masks.json")
"""A folder with one of these is recognised as the result of an earlier version, without a manifest."""


class ResultFolder:
    """The output folder of one run of one command.

    New files are written into `staging`, below the folder; `commit` moves them over the earlier ones. Until then an
    earlier result stays unchanged, even if the process is killed. Only files that an earlier run of the same command
    wrote, and that are unchanged since, are replaced or removed: `.sam2_ros.json` in the folder (the manifest) lists
    them. Symbolic links below the folder are not followed; the folder itself may be one.

        with ResultFolder("out", "track", ("masks/", "summary.json"), [("the source", source)]) as folder:
            folder.stage("masks/00000.png").write_bytes(png)
            folder.stage("summary.json").write_text("{}")

    Args:
        path: the folder: new, empty, or with a manifest.
        command: the command that writes; results of another command are not replaced.
        replaces: names of the files and folders (with `/` at the end) that the run writes: an earlier run's files in
            these folders are removed unless the new run writes them again.
        inputs: what the run reads, as pairs of a description for messages and a path. No input may be replaced.
        overwrite: also accept a folder with other files in it; none of those is replaced.
        resume: keep what an interrupted run left in `staging`, for this run.
        adopt: files known to be from a run of an earlier version, without a manifest.
        called: the option that gave the folder, for messages.

    Raises:
        UserError: the folder cannot be used; nothing has changed.
    """

    def __init__(
        self,
        path: str | Path,
        command: str,
        replaces: Iterable[str] = (),
        inputs: Iterable[tuple[str, Path]] = (),
        overwrite: bool = False,
        resume: bool = False,
        adopt: Iterable[str] = (),
        called: str = "--out",
    ) -> None:
        self.path = Path(path)
        self.command = command
        self.replaces = tuple(replaces)
        self._called = called
        self._overwrite = overwrite
        self._adopt = tuple(adopt)
        self._resume = resume
        self._made: list[Path] = []
        self._lock: int | None = None
        self._was_foreign = False
        self._committed = False
        self._manifest = Manifest(command)
        self._staging = Staging(self.path)
        try:
            self._check(inputs)
        except OSError as error:
            raise self._unusable(error) from error

    @property
    def staging(self) -> Path:
        """The folder of new files until `commit`."""
        return self._staging.path

    def has_file(self, name: str) -> bool:
        """True if an earlier run wrote this file, changed since or not."""
        return self.state(name) in (FileState.OURS, FileState.EDITED)

    def open(self) -> ResultFolder:
        """Make and lock the folder; complete the switch of a killed run, or remove what it left. Raises UserError."""
        try:
            self._make()
            self._lock = self._take_lock()
            self._check_there()  # again: under the lock no other run can change it
            self._begin()
        except OSError as error:
            self.end()
            raise self._unusable(error) from error
        except BaseException:
            self.close()
            raise
        return self

    def target(self, name: str) -> Path:
        """Return the final path of a file, or of a folder (`/` at the end). Raises UserError if it is not ours."""
        self._check_replaced(name)
        return self.path / name.rstrip("/")

    def stage(self, name: str) -> Path:
        """Return the staging path of a file or folder; its parent folder exists. Raises as `target`."""
        self.target(name)
        path = self.staging / name.rstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def scratch(self, name: str) -> Path:
        """Make an empty folder for temporary files, removed at the end of the run, or by the next run."""
        return self._staging.scratch(name)

    def live(self, name: str) -> Path:
        """Return the path of a file that is read while it grows, such as a log; an earlier one is removed now."""
        path = self.target(name)
        path.unlink(missing_ok=True)  # a new file, as the earlier one may be a hard link
        path.parent.mkdir(parents=True, exist_ok=True)
        self.own(name)
        return path

    def own(self, *names: str) -> None:
        """List in the manifest files that the run replaces or appends to during its work. Raises as `target`."""
        check_free(self.path, self._manifest, list(names))
        if any(self._manifest.files.get(name, ()) is not None for name in names):
            self._manifest.files.update(dict.fromkeys(names))
            self._manifest.write(self.path)

    def put(self, name: str) -> Path:
        """Move one file from staging to its final path now; the run may replace it again."""
        self.own(name)
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return (self.staging / name).replace(path)

    def state(self, name: str) -> FileState:
        """Return the state of what is at a name now."""
        return self._manifest.state(self.path, name)

    def commit(self, replaced: Iterable[str] | None = None, only: str = "") -> None:
        """Move all files from staging to their final paths.

        Args:
            replaced: names as in the constructor's `replaces` (the default): earlier files there that the new result
                does not have are removed.
            only: move only files whose names begin with this; the others stay in staging.
        """
        names = self.replaces if replaced is None else tuple(replaced)
        self._manifest = switch(self.path, self._manifest, names, only)
        self._committed = True
        if not only:
            with signals_waiting():
                self._staging.clear()
                self._staging.begin(self.command)

    def staged(self) -> list[str]:
        """Return the names of the complete files in staging."""
        return self._staging.names()

    def drop_staged(self, keep: Iterable[str] = ()) -> None:
        """Remove from staging the files outside the folders `keep` (`/` at the end)."""
        self._staging.drop(keep)

    def close(self) -> None:
        """Release the lock; staging stays, for a run that resumes."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def end(self) -> None:
        """Remove staging and release the lock; remove the folder as well if this run made it and it is empty."""
        if self._lock is None and not self._made:
            return
        if (self.staging / JOURNAL).exists():  # an incomplete switch: the next run completes it
            self.close()
            return
        with signals_waiting(), contextlib.suppress(OSError):
            if (self.staging / MARKER).is_file():
                self._staging.clear()
            there = {entry.name for entry in os.scandir(self.path)} - {MANIFEST}
            if not self._manifest.files and (self._was_foreign or not there):
                (self.path / MANIFEST).unlink(missing_ok=True)
                for made in reversed(self._made):
                    made.rmdir()
        self._made = []
        self.close()

    def __enter__(self) -> ResultFolder:
        return self.open() if self._lock is None else self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._lock is None:
            return
        if error is not None and self._resume and self.staged():
            self.close()
            return
        try:
            if error is None and not self._committed and self.staged():
                self.commit()
        finally:
            self.end()

    def _check(self, inputs: Iterable[tuple[str, Path]]) -> None:
        """Make every check that is possible before anything is changed. Raises UserError."""
        path = self.path
        if not can_be_named(path):
            raise UserError(f"{self._called} {str(path)!r} given, the name of a folder expected")
        if path.exists() and not path.is_dir():
            raise UserError(f"{self._called} {path} is a file, a folder or a new name expected")
        if path.is_symlink() and not path.exists():
            raise UserError(f"{self._called} {path} is a link to nothing, a folder or a new name expected")
        check_inputs(path, (*self.replaces, STAGING + "/", MANIFEST), inputs, self._called)
        if path.exists():
            self._complete_killed()
            self._check_there()

    def _unusable(self, error: OSError) -> UserError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free some space, or name a folder elsewhere" if full else "a folder or a new name expected"
        return UserError(f"{self._called} {self.path} cannot be written ({error.strerror}): {remedy}")

    def _complete_killed(self) -> None:
        """Complete the switch that a killed process began, so that the manifest matches the files."""
        if self._staging.state is not FileState.OURS or not (self.staging / JOURNAL).exists():
            return
        lock = self._take_lock()
        try:
            manifest = Manifest.read(self.path)
            if manifest is not None:
                complete_switch(self.path, manifest)
        finally:
            os.close(lock)

    def _check_there(self) -> None:
        manifest = Manifest.read(self.path)
        if manifest is None:
            if not self._adopt:
                self._check_foreign()
            manifest = Manifest(self.command, dict.fromkeys(self._adopt))
        elif manifest.command != self.command and manifest.files:
            raise UserError(
                f"{self._called} {self.path} holds results of `sam2-ros {manifest.command}`, those of "
                f"`sam2-ros {self.command}` need a folder of their own: name a new or empty one"
            )
        self._manifest = Manifest(self.command, manifest.files)
        if self._staging.state in (FileState.LINK, FileState.FOREIGN):
            raise UserError(why_blocked(self.path, STAGING, self._staging.state))
        for name in self.replaces:
            self._check_replaced(name)

    def _check_foreign(self) -> None:
        there = sorted(entry.name for entry in os.scandir(self.path) if entry.name not in _IGNORED)
        if there == [STAGING] and self._staging.state is FileState.OURS:
            return
        self._was_foreign = bool(there)
        if not there or self._overwrite:
            return
        found = some((repr(name)[1:-1] for name in there), 3)
        older = (
            "; a result of an older version has no list of its files, which is why it is not replaced"
            if any(name in there for name in _OLD_RESULTS)
            else ""
        )
        beside = (
            ", or give --overwrite to write beside these files, none of which is replaced"
            if self._called == "--out"
            else ""
        )
        raise UserError(
            f"{self._called} {self.path} is not empty, and no earlier run wrote what is in it ({found}){older}: name a "
            f"new or empty folder{beside}"
        )

    def _check_replaced(self, name: str) -> None:
        """Raise UserError unless a file can be replaced; for a folder, unless it is ours with unchanged files."""
        if not name.endswith("/"):
            check_free(self.path, self._manifest, [name])
            return
        ours = self._manifest.below(name)
        folder = self.path / name.rstrip("/")
        state = self._manifest.state(self.path, name.rstrip("/"))
        if state is FileState.LINK or (state is not FileState.ABSENT and not folder.is_dir()):
            raise UserError(why_blocked(self.path, name.rstrip("/"), state))
        if state is not FileState.ABSENT and not ours and any(folder.iterdir()):
            raise UserError(why_blocked(self.path, name.rstrip("/"), FileState.FOREIGN))
        check_free(self.path, self._manifest, ours)

    def _make(self) -> None:
        missing = self.path
        found = []
        while not missing.exists():
            found.append(missing)
            missing = missing.parent
        for folder in reversed(found):
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                self._made.append(folder)

    def _take_lock(self) -> int:
        lock = lock_folder(self.path)
        if lock is None:
            raise UserError(
                f"{self._called} {self.path} is in use by another run{self._holder()}: wait for its end, or name "
                "another folder"
            )
        return lock

    def _holder(self) -> str:
        process = self._staging.mark.get("process")
        return f" (process {process})" if isinstance(process, int) else ""

    def _begin(self) -> None:
        """Make an empty staging folder, or reuse the one that is resumed."""
        resumed = self._resume and self._staging.mark.get("command") == self.command
        if self._staging.state is FileState.OURS and not resumed:
            self._staging.clear()
        self._manifest.write(self.path)
        self._staging.begin(self.command)
