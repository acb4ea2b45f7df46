# SPDX-License-Identifier: Apache-2.0
"""Atomic file writes: into a temporary file beside the target, which is then renamed.

Does not know what is in them, but for JSON.
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
    """Where to write a file meanwhile; at the end of the block it takes its place, and a link of its name is replaced.

    A block that fails, as on a full disk, leaves what was there before, and no half file.

        with atomic_write(path) as partial:
            partial.write_text("{}")

    Args:
        partial: on the same file system; left out: ``.NAME.partial`` beside it.
        durable: brought to the disk before it is renamed, so that a power failure leaves the earlier or the new one.

    Raises:
        OSError: it cannot be written.
    """
    partial = partial or path.with_name(f".{path.name.lstrip('.')}.partial")
    partial.unlink(
        missing_ok=True
    )  # what a killed process left; through a link of that name would be written
    try:
        yield partial
        if durable:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any, indent: int | None = 1) -> None:
    """A JSON file, written by `atomic_write`. `indent` None: one line. Raises OSError."""
    text = json.dumps(content, indent=indent, allow_nan=False) + "\n"
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")
