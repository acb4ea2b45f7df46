# SPDX-License-Identifier: Apache-2.0
"""SA-V in its training format: one JSON file of masklets per video, which annotates 6 of its 24 frames per second.

Knows that format; the frames must already be extracted as images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sam2_ros.media.files.image_folder import image_files
from sam2_ros.media.frame_source import SourceError, natural_key
from sam2_ros.media.json_yaml import read_json
from sam2_ros.result_folder.manifest import is_safe_name

from .sequence import FileFrames, RunLengthTruth, VosSequence

ANNOTATED_EVERY = 4
FPS = 24.0
_FORM = "masklet[frame][object] = {size, counts}, masklet_id"


def annotation_files(folder: Path, kind: str) -> list[Path]:
    """List the `*_manual.json` or `*_auto.json` files directly in a folder; `kind` is manual or auto."""
    return sorted(folder.glob(f"*_{kind}.json"), key=lambda p: natural_key(p.name))


def sav_name(file: Path) -> str:
    """Return the name of the video from the name of its annotation file."""
    return file.stem.rsplit("_", 1)[0]


def sav_sequence(file: Path, folder: Path) -> VosSequence:
    """Open the video of an annotation file; its frames are in a folder named as the video. Raises SourceError."""
    record = _read(file)
    video = str(record.get("video_id") or sav_name(file))
    places = [folder / video, folder / "JPEGImages_24fps" / video, folder / "JPEGImages" / video]
    frames = next((place for place in places if place.is_dir()), None)
    if frames is None:
        raise SourceError(
            f"'{file.name}' has no frames: expected images in '{places[0]}'; make the folder and extract them there "
            f"(`ffmpeg -i {video}.mp4 -start_number 0 -q:v 2 {video}/%05d.jpg`)"
        )
    images = image_files(frames)
    if not images:
        raise SourceError(f"'{frames}' holds no image, the frames of '{file.name}' expected")
    truth, count = _truth(file, record), len(images)
    if truth.indices and truth.indices[-1] >= count:
        raise SourceError(
            f"'{file.name}' annotates frame {truth.indices[-1]} but '{frames}' has {count} images: "
            "extract every frame at 24 a second"
        )
    return VosSequence(video, FileFrames(tuple(images)), truth, FPS, overlapping=True)


def _truth(file: Path, record: dict[str, Any]) -> RunLengthTruth:
    try:
        masklets = record["masklet"]
        ids = record.get("masklet_id") or range(len(masklets[0]))
        by_frame = {
            number * ANNOTATED_EVERY: {str(name): rle for name, rle in zip(ids, rles, strict=True)}
            for number, rles in enumerate(masklets)
        }
        height, width = (int(side) for side in masklets[0][0]["size"])
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise SourceError(f"'{file}' is not an SA-V annotation ({error!r}): expected {_FORM}") from error
    if unusable := [name for name in by_frame.get(0, {}) if not is_safe_name(name)]:
        raise SourceError(
            f"'{file}' has the masklet_id {unusable[0]!r}: expected a number, or a name that does not begin with a dot"
        )
    return RunLengthTruth(by_frame, (height, width))


def _read(file: Path) -> dict[str, Any]:
    try:
        record = read_json(file)
    except (OSError, ValueError) as error:
        raise SourceError(f"'{file}' is not a readable JSON file ({error}): expected {_FORM}") from error
    if not isinstance(record, dict):
        raise SourceError(f"'{file}' is not an SA-V annotation: expected {_FORM}")
    return record
