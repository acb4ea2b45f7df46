# SPDX-License-Identifier: Apache-2.0
"""Writes and reads state files: safetensors with a versioned header and a checksum over everything.

A file is replaced as a whole or stays as it is, and a file that is read is checked before anything of it is used.
Does not know what is in a state.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from sam2_ros.atomic_write import atomic_write
from sam2_ros.errors import UserError

from .header import Tensors, decode, encode
from .saved_state import SavedState

FORMAT, VERSION = "sam2_ros state", 1
MOST_BYTES = 1 << 34
EXPECTED = "expected a file written by ~/save_state, ~/enroll, the parameter state_file or `sam2-ros enroll`"


def write_state(path: Path, state: SavedState) -> int:
    """Write a state file; returns its size in bytes.

    Killed at any moment, even by a power failure, it leaves either the old file or the new one.

    Raises:
        UserError: it cannot be written: no such folder, no permission, a full disk; or something is there that is no
            state file. What was there stays as it was.
    """
    check_replaceable(path)
    header, tensors = encode(state)
    about = {"format": FORMAT, "version": str(VERSION), "state": header}
    about["checksum"] = _checksum(header, tensors)
    content = save(tensors, about)
    try:
        with atomic_write(path, durable=True) as partial, partial.open("wb") as file:
            file.write(content)
            file.flush()
    except OSError as error:
        raise UserError(
            f"state file {path} cannot be written ({error.strerror or error}); give a path in a folder that exists, is "
            f"writable and has {len(content) / 1e6:.0f} MB of room",
            status=1,
        ) from None
    return len(content)


def check_replaceable(path: Path) -> None:
    """Raise UserError if something is at a path that is not a file of this format, of any version."""
    try:
        if not (path.exists() or path.is_symlink()):
            return
        with path.open("rb") as file:
            start = file.read(8)
            header = file.read(min(int.from_bytes(start, "little"), MOST_BYTES))
        if _about(start + header).get("format") == FORMAT:
            return
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise UserError(
        f"{path} is there and is no state file, which is not replaced: give another path, or remove it"
    )


def read_state(path: Path) -> SavedState:
    """Read a state file and check everything in it.

    Raises:
        UserError: no such file; not a state file; damaged; or written by a newer version.
    """
    try:
        if not path.is_file():
            raise UserError(f"state file {path} does not exist, or is not a file; {EXPECTED}")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"state file {path} cannot be read ({error.strerror or error})") from None
    try:
        about = _about(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path} is damaged, or not a state file; {EXPECTED}") from None
    if about.get("format") != FORMAT:
        raise UserError(f"{path} is a safetensors file of another kind; {EXPECTED}")
    if about.get("version") != str(VERSION):
        raise UserError(
            f"{path} has version {about.get('version')!s:.20} of the format; this sam2_ros reads version {VERSION}: "
            "use the sam2_ros that wrote it, or prompt or enrol the objects again"
        )
    try:
        tensors, header = load(content), str(about["state"])
    except Exception as error:  # safetensors raises kinds of its own
        raise _damaged(path, f"{type(error).__name__}") from None
    if _checksum(header, tensors) != about.get("checksum"):
        raise _damaged(path, "its checksum does not agree")
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise _damaged(path, f"tensor {name[:40]} has values that are not finite numbers")
    try:
        return decode(header, tensors)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise _damaged(path, f"{type(error).__name__}: {str(error)[:80]}") from None


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"state file {path} is damaged ({reason}): load an older copy, or prompt the objects again"
    )


def _about(content: bytes) -> dict[str, Any]:
    """The metadata of a safetensors file."""
    size = int.from_bytes(content[:8], "little")
    if len(content) > MOST_BYTES or not 2 <= size <= len(content) - 8:
        raise ValueError("no header")
    about: dict[str, Any] = json.loads(content[8 : 8 + size])["__metadata__"]
    about.get("format")
    return about


def _checksum(header: str, tensors: Tensors) -> str:
    """Of the header, and of names, kinds, shapes and bytes of all tensors."""
    digest = hashlib.blake2b(header.encode("utf-8", "surrogatepass"), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode("utf-8", "surrogatepass"))
        digest.update(tensor.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
