# SPDX-License-Identifier: Apache-2.0
"""The new folder of one export, and the zip file of its content. Nothing that exists is ever replaced.

Does not know what is exported.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from sam2_ros.atomic_write import atomic_write
from sam2_ros.errors import UserError
from sam2_ros.ui.cancelled import Cancelled

from .file_names import safe_file_name

_MOST_FOLDERS = 100_000
_STORED = frozenset({".png", ".mp4", ".mcap", ".db3", ".jpg", ".zip"})
"""Suffixes of files that are compressed already."""


@contextlib.contextmanager
def new_export_folder(exports: Path, name: str) -> Iterator[Path]:
    """Make the folder `exports/NAME-N` with the first free number; removed again if the block raises.

    Raises UserError if it cannot be made, or if the disk is full in the block.
    """
    try:
        exports.mkdir(parents=True, exist_ok=True)
        folder = _made(exports, safe_file_name(name, "export"))
    except OSError as error:
        raise UserError(
            f"folder for exports '{exports}' cannot be written ({error.strerror}): free space, or change its rights",
            status=1,
        ) from error
    try:
        yield folder
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(
            f"export to '{folder}' failed ({error.strerror or error}): free space and export again", status=1
        ) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def zip_folder(folder: Path, name: str, is_cancelled: Callable[[], bool] = lambda: False) -> Path:
    """Pack the files of a folder, hidden ones left out, into `folder/NAME.zip`; its entries begin with `NAME/`.

    Raises Cancelled, OSError.
    """
    target = folder / f"{name}.zip"
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != target]
    with atomic_write(target) as partial, zipfile.ZipFile(partial, "w", strict_timestamps=False) as archive:
        for path in files:
            inside = path.relative_to(folder)
            if path == partial or any(part.startswith(".") for part in inside.parts):
                continue
            if is_cancelled():
                raise Cancelled(f"{target.name} was cancelled")
            packing = zipfile.ZIP_STORED if path.suffix.lower() in _STORED else zipfile.ZIP_DEFLATED
            archive.write(path, f"{name}/{inside.as_posix()}", packing)
    return target


def size_bytes(folder: Path) -> int:
    """Return the size of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _made(exports: Path, name: str) -> Path:
    for number in range(1, _MOST_FOLDERS):
        folder = exports / f"{name}-{number}"
        try:
            os.mkdir(folder)
        except FileExistsError:
            continue
        return folder
    raise UserError(f"'{exports}' has {_MOST_FOLDERS} exports of '{name}': remove some", status=1)
