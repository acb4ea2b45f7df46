# SPDX-License-Identifier: Apache-2.0
"""Exports the user's keyframes as `prompts.json` and mask files, with which `sam2-ros track` repeats the tracking.

Does not track, and does not know clicks: a keyframe is written as the mask that the user saw.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sam2_ros.atomic_write import write_json
from sam2_ros.errors import UserError
from sam2_ros.text import counted, readable
from sam2_ros.ui.cancelled import Cancelled

from .exported import Export, ExportedKeyframe, ExportRequest, unique_names
from .file_names import unique_file_names
from .folder import new_export_folder, zip_folder

_ON = 255


def export_prompts(request: ExportRequest, keyframes: Sequence[ExportedKeyframe]) -> Export:
    """Write prompts.json, masks/NAME-FRAME.png and README.txt with the command that repeats the tracking; zipped.

    A keyframe with an empty mask (the object is not visible there) is no prompt: it is left out, with a note.

    Raises UserError if no keyframe has a mask, or one has another size; Cancelled.
    """
    source = request.source
    used, notes = _usable(request, keyframes)
    names = unique_names(request.objects)
    classes = {one.number: one.class_id for one in request.objects}
    numbers = sorted(names)
    files = dict(zip(numbers, unique_file_names(names[number] for number in numbers), strict=True))
    with new_export_folder(request.exports, source.name) as folder:
        (folder / "masks").mkdir()
        entries: list[dict[str, Any]] = []
        for done, one in enumerate(used, start=1):
            if request.is_cancelled():
                raise Cancelled(f"export of '{source.name}' was cancelled")
            file = f"masks/{files[one.number]}-{one.frame:06d}.png"
            write_mask(folder / file, one.mask)
            entry: dict[str, Any] = {"id": names[one.number], "frame": one.frame}
            # A mask of the whole image has no background, by which a reader would know what is the object.
            entry["mask"] = f"{file}#{_ON}" if one.mask.all() else file
            if classes[one.number]:
                entry["class_id"] = classes[one.number]
            if one.replace:
                entry["replace"] = True
            entries.append(entry)
            request.on_progress(done, len(used))
        write_json(folder / "prompts.json", entries)
        (folder / "README.txt").write_text(_readme(request, used, notes), encoding="utf-8")
        packed = zip_folder(folder, f"{folder.name}-prompts", request.is_cancelled)
        return Export(folder, packed, tuple(notes))


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write a ``[H, W]`` bool mask as a PNG: 255 on the object, 0 beside it. Raises OSError.

    OpenCV encodes and Python writes, because a file name that is not UTF-8 aborts the process in OpenCV.
    """
    _, encoded = cv2.imencode(".png", mask.astype(np.uint8) * _ON)
    path.write_bytes(encoded.tobytes())


def track_command(request: ExportRequest, keyframes: Sequence[ExportedKeyframe]) -> str:
    """Return the command that repeats the tracking, to be run in the folder of prompts.json."""
    source = request.source
    command = [
        "sam2-ros",
        "track",
        str(source.path.absolute()),
        "--prompts",
        "prompts.json",
        "--out",
        "tracked",
    ]
    if source.topic:
        command += ["--topic", source.topic]
    if _begins_late(keyframes):
        command.append("--backward")
    return shlex.join([*command, *source.track_options])


def _usable(
    request: ExportRequest, keyframes: Sequence[ExportedKeyframe]
) -> tuple[list[ExportedKeyframe], list[str]]:
    """Return the keyframes with a mask, in the order of frames and objects, and notes on those that are left out."""
    expected = (request.source.height_px, request.source.width_px)
    known = {one.number for one in request.objects}
    for one in keyframes:
        if one.mask.shape != expected or one.mask.dtype != bool or one.number not in known:
            raise UserError(
                f"keyframe {one.frame} of object {one.number} has a mask of shape {one.mask.shape} and type "
                f"{one.mask.dtype}, {expected} bool of one of the objects {sorted(known)} expected"
            )
    used = sorted((one for one in keyframes if one.mask.any()), key=lambda one: (one.frame, one.number))
    if not used:
        raise UserError(
            f"'{request.source.name}' has no keyframe with a mask, at least one expected: click on an object first"
        )
    empty = len(keyframes) - len(used)
    note = f"{counted(empty, 'keyframe')} without a visible object left out: a prompt needs a mask"
    return used, [note] if empty else []


def _begins_late(keyframes: Sequence[ExportedKeyframe]) -> bool:
    """True if an object has its first keyframe after frame 0: tracked backward, it may be seen before."""
    first: dict[int, int] = {}
    for one in keyframes:
        first[one.number] = min(first.get(one.number, one.frame), one.frame)
    return max(first.values()) > 0


def _readme(request: ExportRequest, used: Sequence[ExportedKeyframe], notes: Sequence[str]) -> str:
    lines = [
        f"Prompts on '{readable(request.source.name)}': {counted(len(used), 'mask')}.",
        "Track them again, in this folder:",
        "",
        f"    {track_command(request, used)}",
        "",
        *notes,
    ]
    return "\n".join(lines).rstrip() + "\n"
