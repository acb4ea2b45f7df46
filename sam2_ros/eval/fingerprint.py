# SPDX-License-Identifier: Apache-2.0
"""Fingerprint of a run: decides whether an earlier result can be reused, and gives the reason if not.

Plain data, stored in the result; the keys are the words of messages. Does not know what was run.
"""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from sam2_ros import __version__
from sam2_ros.media.json_yaml import read_json
from sam2_ros.weights.catalogue import sha256
from sam2_ros.weights.open_model import ModelOptions

_CHANGED = {
    "model": "the model's file is another one",
    "sequence": "frames or masks have changed",
    "bag": "the bag has changed",
    "prompts": "the prompts have changed",
    "truth": "the truth has changed",
    "recorded": "the recording has changed",
}
"""Reasons for keys whose values are hashes. Of other keys, the old and the new value are shown."""


def code_fingerprint() -> dict[str, Any]:
    """Versions of the code that determine the result."""
    return {"version": __version__, "torch": torch.__version__}


def made_with(**more: str | None) -> dict[str, Any]:
    """Versions and time of a run, for summary.json. `more`: further versions by name."""
    versions = {"sam2_ros": __version__, "torch": torch.__version__, "python": platform.python_version()}
    return {"versions": versions | more, "created": datetime.now(timezone.utc).isoformat(timespec="seconds")}


def model_fingerprint(options: ModelOptions) -> dict[str, Any]:
    """Fingerprint of a model and how it is opened. Reads its files once per process.

    Raises what `ModelOptions.resolved` raises.
    """
    opened = options.resolved()
    digests = [_digest(path, path.stat().st_size, path.stat().st_mtime_ns) for path in opened.files()]
    return {
        "model": " ".join(digests),
        "device": opened.device.partition(":")[0],
        "precision": opened.precision,
        "image size": opened.image_size,
        "backend": opened.backend,
        "compile": opened.compile,
    }


def files_fingerprint(path: Path) -> str:
    """Digest of the names, sizes and times of a file, or of all files in a folder. Reads no contents."""
    digest = hashlib.sha256()
    try:
        files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        for file in files:
            status = file.stat()
            digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    except OSError as error:  # reported when the file is read
        return f"unreadable: {error.strerror}"
    return digest.hexdigest()


def reusable_record(file: Path, fingerprint: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The record in a JSON file if it has this `fingerprint`; else None and the reason, empty without a file."""
    try:
        record = read_json(file)
        known = record.get("fingerprint", {})
        changed = [key for key in fingerprint if known.get(key) != fingerprint[key]]
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError, AttributeError):
        return None, f"{file.name} cannot be decoded"
    if not known:
        return None, f"{file.name} is not from a complete run"
    if known == fingerprint:
        return record, ""
    return None, "; ".join(
        _CHANGED.get(key) or _change(key, known.get(key), fingerprint[key]) for key in changed
    )


@functools.lru_cache(maxsize=32)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    return sha256(path)


def _change(key: str, before: Any, now: Any) -> str:
    if key == "image size":
        before, now = (f"{size}" if size else "the model's default" for size in (before, now))
    return f"{key} was {_word(before)}, is {_word(now)}"


def _word(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items()) or "none"
    if isinstance(value, list):
        return " and ".join(value) or "none"
    return "not given" if value is None else str(value)
