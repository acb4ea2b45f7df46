# SPDX-License-Identifier: Apache-2.0
"""Writes the results of a run into a folder: label images, JSON, an overlay video, a rosbag2, a summary.

Knows the layout of that folder; knows nothing of where frames come from or how they were tracked.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from sam2_ros.atomic_write import write_json
from sam2_ros.engine.result import FrameResult, TrackedObject
from sam2_ros.result_folder.folder import ResultFolder

from .bag.storage import BagWriter
from .frame_source import Frame
from .overlay import PALETTE, VideoWriter, draw_overlay

SAVE_KINDS = ("masks", "video", "bag", "json")
OBJECTS_TOPIC = "/sam2_node/objects"
LABEL_TOPIC = "/sam2_node/label_image"
_NAMES = {"masks": "masks/", "video": "overlay.mp4", "bag": "tracked/", "json": "objects.json"}

_log = logging.getLogger(__name__)


def track_result_names(save: Collection[str]) -> tuple[str, ...]:
    """Return the names that a run with these `--save` kinds writes, for `ResultFolder`'s `replaces`."""
    return (*(_NAMES[kind] for kind in SAVE_KINDS if kind in save), "summary.json")


@dataclass(frozen=True)
class RunInfo:
    """The run's entries in summary.json. `source_fps` is also the rate of the overlay video."""

    source: str
    source_fps: float
    model: str = ""
    device: str = ""
    precision: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.source_fps) and self.source_fps > 0):
            raise ValueError(f"source_fps is {self.source_fps}, expected frames per second above 0")


class ResultWriter:
    """Collects the results of one run; `close` moves all of them into `out_dir` at once.

    Until then the files are in `out_dir/.partial`, so that an interrupted run leaves an earlier result unchanged. Files
    of an earlier run are replaced; other files are not touched, and a folder with only other files is refused (see
    `ResultFolder`; an open one may be passed as `out_dir`).

        with ResultWriter("out", RunInfo("clip.mp4", 30.0), save=("masks", "json")) as writer:
            for frame in source:
                writer.add(frame, tracker.step(frame.image))
        print(writer.summary["frames"])
    """

    def __init__(
        self, out_dir: str | Path | ResultFolder, info: RunInfo, save: Collection[str] = SAVE_KINDS
    ) -> None:
        unknown = sorted(set(save) - set(SAVE_KINDS))
        if unknown:
            raise ValueError(f"cannot save {', '.join(unknown)}; expected any of {', '.join(SAVE_KINDS)}")
        self.info = info
        self.save = tuple(kind for kind in SAVE_KINDS if kind in save)
        self.summary: dict[str, Any] = {}
        if isinstance(out_dir, ResultFolder):
            self._folder = out_dir
        else:
            self._folder = ResultFolder(
                out_dir, "track", track_result_names(self.save), called="output"
            ).open()
        self.out_dir = self._folder.path
        self._records: list[dict[str, Any]] = []
        self._objects: dict[str, dict[str, Any]] = {}
        self._missing: dict[str, Any] = {}
        self._mask_names: set[str] = set()
        self._total_ms: list[float] = []
        self._started_s = time.perf_counter()
        self._bag: BagWriter | None = None
        self._video: VideoWriter | None = None

    def add(self, frame: Frame, result: FrameResult) -> None:
        """Add one frame and its objects. Frames may come in any order."""
        if result.height_px != frame.image.shape[0] or result.width_px != frame.image.shape[1]:
            raise ValueError(
                f"frame {frame.index} is {frame.image.shape[1]}x{frame.image.shape[0]}, "
                f"its result {result.width_px}x{result.height_px}"
            )
        labels_hw = result.label_image()
        if "masks" in self.save:
            write_label_png(self._folder.stage(f"masks/{self._mask_name(frame)}"), labels_hw)
        if "video" in self.save:
            if self._video is None:
                self._video = VideoWriter(self._folder.stage("overlay.mp4"), self.info.source_fps)
            self._video.write(draw_overlay(frame.image, result), frame.stamp_s)
        if "bag" in self.save:
            if self._bag is None:
                self._bag = BagWriter(self._folder.stage("tracked/"))
            self._bag.write_objects(OBJECTS_TOPIC, frame.stamp_ns, frame.frame_id, result)
            self._bag.write_label_image(LABEL_TOPIC, frame.stamp_ns, frame.frame_id, labels_hw)
        self._record(frame, result)

    def note_missing(self, frames: Sequence[int], count: int) -> None:
        """Record the frames of the source that are missing: their numbers (the first ones, of many) and their count."""
        self._missing = {"frames_missing": count, "missing": list(frames)}

    def _mask_name(self, frame: Frame) -> str:
        """Return the mask's file name: from the frame's file, or from its number without one."""
        if not frame.name:
            return f"{frame.index:05d}.png"
        name = f"{Path(frame.name).stem}.png"
        if name in self._mask_names:  # the source has 1.jpg and 1.png
            name = f"{frame.name}.png"
        while name in self._mask_names:
            name = f"{name}.png"
        self._mask_names.add(name)
        return name

    def close(self) -> dict[str, Any]:
        """Complete every file, move all into `out_dir` and return the content of summary.json."""
        if self.summary:
            return self.summary
        elapsed_s = time.perf_counter() - self._started_s
        if self._video is not None:
            self._video.close()
        if self._bag is not None:
            self._bag.close()
        self._records.sort(key=lambda record: record["frame"])
        if "json" in self.save:
            write_json(self._folder.stage("objects.json"), self._records)
        self.summary = self._summary(elapsed_s)
        write_json(self._folder.stage("summary.json"), self.summary)
        self._folder.commit()
        self._folder.end()
        return self.summary

    def abort(self) -> None:
        """Discard this run; an earlier result stays."""
        if self._video is not None:
            self._video.abort()
        if self._bag is not None:
            self._bag.close()
        self._folder.end()

    def _record(self, frame: Frame, result: FrameResult) -> None:
        total_ms = result.timings_ms.get("total")
        if total_ms is not None:
            self._total_ms.append(total_ms)
        self._records.append(
            {
                "frame": frame.index,
                **({"name": frame.name} if frame.name else {}),
                "stamp": frame.stamp_s,
                "ms": _finite(total_ms),
                "objects": [object_record(obj) for obj in result.objects],
            }
        )
        for obj in result.objects:
            first = {"label": obj.label, "class_id": obj.class_id, "frames": 0, "frames_visible": 0}
            known = self._objects.setdefault(obj.id, first)
            known["frames"] += 1
            known["frames_visible"] += int(obj.visible)
            known["last_state"] = obj.state.name

    def _summary(self, elapsed_s: float) -> dict[str, Any]:
        """Make summary.json; `fps` is the tracker's own rate if it was timed, else that of the whole run."""
        frames = len(self._records)
        tracking_s = sum(self._total_ms) / 1000
        if self._total_ms and tracking_s > 0:
            fps = len(self._total_ms) / tracking_s
        else:
            fps = frames / elapsed_s if elapsed_s > 0 else 0.0
        info = asdict(self.info)
        return {
            "source": info.pop("source"),
            "frames": frames,
            **self._missing,
            "fps": round(fps, 3),
            "objects": self._objects,
            **info,
            "saved": list(self.save),
        }

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.close()
        else:
            self.abort()


def object_record(obj: TrackedObject) -> dict[str, Any]:
    """Convert one object of one frame to plain JSON values; a number that is not finite becomes null."""
    return {
        "id": obj.id,
        "label": int(obj.label),
        "class_id": obj.class_id,
        "state": obj.state.name,
        "score": _finite(obj.score),
        "presence": _finite(obj.presence),
        "box": [int(edge) for edge in obj.box],
        "area": int(obj.area_px),
        "centroid": [_finite(value) for value in obj.centroid_xy],
        "age": _finite(obj.age_s),
    }


def write_label_png(path: Path, labels_hw: np.ndarray) -> None:
    """Write [H, W] uint16 labels as a palette PNG whose values are the labels.

    A palette ends at 255: an image with a higher label is written as 16-bit grey, with the same values and a warning.
    """
    if labels_hw.max(initial=0) > 255:
        _log.warning(
            "%s has labels above 255: written as 16-bit grey, as a palette has 256 entries", path.name
        )
        path.write_bytes(cv2.imencode(".png", labels_hw.astype(np.uint16))[1].tobytes())
        return
    image = Image.fromarray(labels_hw.astype(np.uint8))
    image.putpalette(PALETTE.tobytes())
    image.save(path)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 6)
