# SPDX-License-Identifier: Apache-2.0
"""Downloads official checkpoints: resumes, checks, and puts a file in place only when it is complete.

Does not choose what to download or when: nothing is downloaded unless a user asks for it by name.
"""

from __future__ import annotations

import http.client
import re
import shutil
import urllib.error
from collections.abc import Callable
from pathlib import Path

from sam2_ros.atomic_write import atomic_write
from sam2_ros.errors import CheckpointError
from sam2_ros.text import readable

from .catalogue import ModelInfo, download_dir, hub_file, list_models, sha256
from .http import Pace, open_url
from .load import load_model

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30.0
LEAST_BYTES = 1 << 16
"""Least bytes in each `TIMEOUT_S`. A limit per read would not end a download from a server that sends single bytes."""
MOST_BYTES = 1 << 33
"""Most bytes of a file whose size is not known beforehand."""


def fetch(
    info: ModelInfo,
    folder: Path,
    on_progress: Callable[[int, int | None], None] = lambda done_bytes, total_bytes: None,
) -> Path:
    """Download the checkpoint of a model; an interrupted download (`*.partial`) is resumed.

    Args:
        info: the model.
        folder: where its file goes; a file that is there already is kept.
        on_progress: called with the bytes done and the bytes in all, None = not known.

    Returns:
        The path of the file.

    Raises:
        CheckpointError: the server cannot be reached or is too slow; the size is not the announced or published one;
            the file is incomplete; or its SHA-256 is wrong. The message says how to continue.
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
        total_bytes = _transfer(info, partial, on_progress)
    except (OSError, http.client.HTTPException) as error:  # URLError and the time-outs are OSErrors
        said = " ".join(str(getattr(error, "reason", None) or error).split())
        reason = readable(said) or type(error).__name__
        raise CheckpointError(
            f"{info.url} cannot be downloaded ({reason}): run this again to resume, or download it elsewhere and put "
            f"it at {target}"
        ) from error
    size_bytes = partial.stat().st_size
    if total_bytes is not None and size_bytes != total_bytes:
        raise CheckpointError(
            f"{info.url} ended after {size_bytes} of {total_bytes} bytes: run this again to resume"
        )
    digest = sha256(partial)
    if info.sha256 and digest != info.sha256:
        partial.unlink()
        raise CheckpointError(
            f"{info.url} gave a file with SHA-256 {digest}, expected {info.sha256}: it was removed, run again"
        )
    partial.replace(target)
    return target


def fetch_from_hub(repository: str, endpoint: str | None = None) -> Path:
    """Download the checkpoint of a Hugging Face repository into the cache of huggingface_hub.

    From an official repository the official file, whose SHA-256 is checked; from others `model.safetensors`, as
    transformers saves it.

    Args:
        repository: ``owner/name``.
        endpoint: a mirror; None = ``$HF_ENDPOINT``, else huggingface.co.

    Returns:
        The path of the file.

    Raises:
        CheckpointError: it cannot be downloaded, or is not the published file.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import logging as hub_logging

    hub_logging.set_verbosity_error()  # its warnings repeat what the error says
    info = next((info for info in list_models() if info.hub == repository), None)
    file = hub_file(info)
    try:
        path = Path(hf_hub_download(repository, file, endpoint=endpoint))
    except Exception as error:  # the library raises many kinds: its own, of httpx, of the system
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(
            f"{file} of Hugging Face model '{repository}' cannot be downloaded ({reason}): run this again, or download "
            f"it elsewhere and give its path as the model"
        ) from error
    digest = sha256(path) if info is not None and info.sha256 else ""
    if info is not None and digest != info.sha256:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise CheckpointError(
            f"'{repository}' gave a {file} with SHA-256 {digest}, expected {info.sha256}: it was removed, run again"
        )
    return path


def adopt_file(file: Path) -> ModelInfo:
    """Copy an official checkpoint that was downloaded by hand to the folder where its name is looked up.

    Args:
        file: the checkpoint, under any name.

    Returns:
        The official model, recognised by SHA-256.

    Raises:
        CheckpointError: not a checkpoint, or not an official one.
    """
    config = load_model(file, device="cpu", precision="fp32").config
    digest = sha256(file)
    info = next((info for info in list_models() if info.sha256 == digest), None)
    if info is None:
        raise CheckpointError(
            f"{file} is a SAM {config.version} {config.name} but none of the published files: give its path as the "
            "model"
        )
    folder = download_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / info.file) as partial:
        shutil.copyfile(file, partial)
    return info


def _transfer(info: ModelInfo, partial: Path, on_progress: Callable[[int, int | None], None]) -> int | None:
    """Append the missing part to `partial`. Returns the size of the whole file; None = not known."""
    url = info.url
    have_bytes = partial.stat().st_size if partial.exists() else 0
    try:
        response = open_url(url, {"Range": f"bytes={have_bytes}-"} if have_bytes else {}, TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have_bytes:  # complete: the last attempt ended just before the checks
            return None
        raise
    with response:
        resumed = response.status == 206
        if not resumed:  # the server ignores the range and sends the whole file
            have_bytes = 0
        elif (start := _range_start(response)) not in (None, have_bytes):
            raise CheckpointError(
                f"{url} resumes at byte {start}, expected {have_bytes}: remove {partial} and run this again"
            )
        length = response.headers.get("Content-Length")
        if length is not None and not re.fullmatch(r"[0-9]{1,18}", length.strip()):
            raise CheckpointError(
                f"{url} announces '{readable(length[:40])}' bytes, expected a number: the response was discarded; "
                "check for a proxy"
            )
        total_bytes = have_bytes + int(length) if length is not None else None
        if total_bytes is not None and info.size_bytes and total_bytes != info.size_bytes:
            raise CheckpointError(
                f"{url} announces {total_bytes} bytes, expected {info.size_bytes}: the response was discarded; check "
                f"for a proxy or a log-in page"
            )
        most_bytes = info.size_bytes or total_bytes or MOST_BYTES
        pace = Pace(TIMEOUT_S, LEAST_BYTES)
        with partial.open("ab" if resumed else "wb") as file:
            while block := response.read1(BLOCK_BYTES):
                have_bytes += len(block)
                if have_bytes > most_bytes:
                    break
                file.write(block)
                pace.check(have_bytes)
                on_progress(have_bytes, total_bytes)
    if have_bytes > most_bytes:
        partial.unlink()
        raise CheckpointError(
            f"{url} sends more than the expected {most_bytes} bytes: the download was discarded; check for a proxy"
        )
    return total_bytes


def _range_start(response: http.client.HTTPResponse) -> int | None:
    """The first byte of a partial response; None if its header does not say."""
    match = re.match(r"\s*bytes\s+([0-9]{1,18})-", response.headers.get("Content-Range") or "")
    return int(match[1]) if match else None
