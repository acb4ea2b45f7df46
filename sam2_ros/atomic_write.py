# SPDX-License-Identifier: Apache-2.0
"""Atomic file writes: into a temporary file beside the target, then renamed over it.

Knows no content except JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomic_write(path: Path, partial: Path | None = None, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to; when the block ends, the file is renamed to `path`.

    If the block raises, for example on a full disk, `path` stays as it was and the temporary file is removed. If `path`
    is a symbolic link, the link is replaced, not the file that it points to.

        with atomic_write(path) as partial:
            partial.write_text("{}")

    Args:
        path: the file to write.
        partial: the temporary file, on the same file system; default: ``.NAME.partial`` beside `path`.
        durable: sync the file to disk before the rename and the folder after it, so that a power failure leaves either
            the old or the new file.

    Raises:
        OSError: the file cannot be written.
    """
    partial = partial or path.with_name(f".{path.name.lstrip('.')}.partial")
    # A killed process may have left it. If it is a link, writing would follow the link.
    partial.unlink(missing_ok=True)
    try:
        yield partial
        if durable:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: Path, content: Any, indent: int | None = 1) -> None:
    """Write a JSON file with `atomic_write`; `indent` None writes one line. Raises OSError."""
    text = json.dumps(content, indent=indent, allow_nan=False) + "\n"
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")
