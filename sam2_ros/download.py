"""Downloads official checkpoints: resumes, checks, and puts a file in place only when it is complete.

Does not choose what to download or when: nothing is ever fetched unless a user asks for it by name.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from sam2_ros.weights import CheckpointError, ModelInfo, sha256

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30.0


def fetch(
    info: ModelInfo,
    folder: Path,
    on_progress: Callable[[int, int | None], None] = lambda done_bytes, total_bytes: None,
) -> Path:
    """Download `info.file` from `info.url` into `folder` and return its path; a file that is there is kept.

    What an interrupted download left (`*.partial`) is continued. Raises CheckpointError, with the manual
    step, when the server cannot be reached, the file stays incomplete, or its SHA-256 is a wrong one.
    """
    if not info.url:
        raise CheckpointError(
            f"model '{info.name}' comes with sam2_ros and is not downloaded: reinstall sam2_ros"
        )
    target = folder / info.file
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    try:
        total_bytes = _transfer(info.url, partial, on_progress)
    except (OSError, http.client.HTTPException) as error:  # URLError and the time-outs are OSErrors
        reason = getattr(error, "reason", None) or error
        raise CheckpointError(
            f"{info.url} cannot be downloaded ({reason}): run this again to go on where it stopped, or "
            f"download it elsewhere and put it at {target}"
        ) from error
    size_bytes = partial.stat().st_size
    if total_bytes is not None and size_bytes != total_bytes:
        raise CheckpointError(
            f"{info.url} ended after {size_bytes} of {total_bytes} bytes: run this again to go on"
        )
    digest = sha256(partial)
    if info.sha256 and digest != info.sha256:
        partial.unlink()
        raise CheckpointError(
            f"{info.url} gave a file with SHA-256 {digest}, expected {info.sha256}: it was removed, run again"
        )
    partial.replace(target)
    return target


def _transfer(url: str, partial: Path, on_progress: Callable[[int, int | None], None]) -> int | None:
    """Append to `partial` what it lacks. Returns the size the whole file should have, None when unknown."""
    have_bytes = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have_bytes}-"} if have_bytes else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if (
            error.code == 416 and have_bytes
        ):  # nothing left to send: the last attempt ended just before the checks
            return None
        raise
    with response:
        resumed = response.status == 206
        if not resumed:  # the server sends the whole file, whatever was asked for
            have_bytes = 0
        length = response.headers.get("Content-Length")
        total_bytes = have_bytes + int(length) if length is not None else None
        with partial.open("ab" if resumed else "wb") as file:
            while block := response.read(BLOCK_BYTES):
                file.write(block)
                have_bytes += len(block)
                on_progress(have_bytes, total_bytes)
    return total_bytes
