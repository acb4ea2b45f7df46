# SPDX-License-Identifier: Apache-2.0
"""What is exported: a source, its objects, and its frames with masks, as plain values; and the result of an export.

Does not know where they come from or how they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sam2_ros.engine.postprocess import measure_mask
from sam2_ros.engine.result import FrameResult, ObjectState, TrackedObject
from sam2_ros.errors import UserError
from sam2_ros.ui.cancelled import Cancelled

NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class ExportedSource:
    """The source of the frames.

    Attributes:
        name: shown name; decides the name of the export's folder.
        path: video file, folder of images or rosbag2.
        width_px, height_px: size of its frames.
        fps: usual rate, frames per second.
        frames: number of frames that the iterator yields, for the progress.
        topic: image topic of a bag, else "".
        is_bag: True for a rosbag2.
        track_options: options of `sam2-ros track` that open the model as it was used, such as
            ("--model", "nano", "--image-size", "256").
    """

    name: str
    path: Path
    width_px: int
    height_px: int
    fps: float
    frames: int
    topic: str = ""
    is_bag: bool = False
    track_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportedObject:
    """One object: its number (1 or more), its name and class as the user wrote them, and its colour "#rrggbb"."""

    number: int
    name: str = ""
    class_id: str = ""
    colour: str = "#20c060"


@dataclass(frozen=True)
class ExportedMask:
    """One object on one frame.

    Attributes:
        number: the object's.
        mask: ``[H, W]`` bool, all False where it is not visible.
        presence: object score logit.
        score: predicted IoU, 0..1.
        state: the tracker's state of the object.
    """

    number: int
    mask: np.ndarray
    presence: float = 0.0
    score: float = 0.0
    state: ObjectState = ObjectState.TRACKING


@dataclass(frozen=True)
class ExportedFrame:
    """One frame and its objects. For masks and bags, leave out frames that were never tracked: one without masks says
    that no object is visible.

    Attributes:
        index: number of the frame as the source numbers it (`media.Frame.index`).
        stamp_ns: the image's own time, nanoseconds.
        masks: at most one for each object.
        image_rgb: ``[H, W, 3]`` uint8; needed for a movie only, else None.
        name: name of the frame's file in a folder, else "".
        frame_id: camera frame of a ROS image, else "".
    """

    index: int
    stamp_ns: int
    masks: Sequence[ExportedMask] = ()
    image_rgb: np.ndarray | None = None
    name: str = ""
    frame_id: str = ""


@dataclass(frozen=True)
class ExportedKeyframe:
    """A frame on which the user decided the mask of an object.

    Attributes:
        number: the object's.
        frame: index of the frame, as in `ExportedFrame`.
        mask: ``[H, W]`` bool.
        replace: True if the tracker forgot the object's earlier memories on this frame.
    """

    number: int
    frame: int
    mask: np.ndarray
    replace: bool = False


@dataclass(frozen=True)
class ExportRequest:
    """One export: of what, where to, and who wants to know how far it is.

    Attributes:
        source, objects: what is exported.
        exports: the folder `exports/` of the project; made if it does not exist. The result is a new folder in it.
        on_progress: called with the number of steps done and their total.
        is_cancelled: asked before every frame; True ends the export with `Cancelled`, and nothing of it is left.
    """

    source: ExportedSource
    objects: Sequence[ExportedObject]
    exports: Path
    on_progress: Callable[[int, int], None] = field(default=lambda done, total: None)
    is_cancelled: Callable[[], bool] = field(default=lambda: False)

    def watched(self, frames: Iterable[ExportedFrame]) -> Iterator[ExportedFrame]:
        """Yield the frames; report the progress and end when cancelled. Raises Cancelled."""
        for done, frame in enumerate(frames, start=1):
            if self.is_cancelled():
                raise Cancelled(f"export of '{self.source.name}' was cancelled")
            self._check(frame)
            yield frame
            self.on_progress(done, max(self.source.frames, done))

    def _check(self, frame: ExportedFrame) -> None:
        expected = (self.source.height_px, self.source.width_px)
        known = {one.number for one in self.objects}
        for one in frame.masks:
            if one.mask.shape != expected or one.mask.dtype != bool:
                raise UserError(
                    f"mask of object {one.number} on frame {frame.index} has shape {one.mask.shape} and type "
                    f"{one.mask.dtype}, {expected} bool expected: the size of the frames"
                )
            if one.number not in known:
                raise UserError(
                    f"frame {frame.index} has a mask of object {one.number}, one of {sorted(known)} expected"
                )


@dataclass(frozen=True)
class Export:
    """What an export wrote.

    Attributes:
        folder: the new folder.
        file: the file in it to download; None if there is none, as a notice says.
        notes: one line each, to be shown to the user.
    """

    folder: Path
    file: Path | None
    notes: tuple[str, ...] = ()


def labels_of(objects: Iterable[ExportedObject]) -> dict[int, int]:
    """Number of each object -> its value in label images: 1, 2, ... in the order of the numbers."""
    return {number: label for label, number in enumerate(sorted({one.number for one in objects}), start=1)}


def unique_names(objects: Iterable[ExportedObject]) -> dict[int, str]:
    """Number of each object -> a name that no other has: "cup", "cup 2"; without a name "object 3"."""
    names: dict[int, str] = {}
    for one in sorted(objects, key=lambda one: one.number):
        wanted = one.name.replace("\0", "").encode("utf-8", "replace").decode().strip()
        wanted = name = wanted or f"object {one.number}"
        count = 1
        while name in names.values():
            count += 1
            name = f"{wanted} {count}"
        names[one.number] = name
    return names


def frame_result(request: ExportRequest, frame: ExportedFrame) -> FrameResult:
    """The frame's masks as a tracker's result, objects in the order of their labels."""
    names, labels = unique_names(request.objects), labels_of(request.objects)
    classes = {one.number: one.class_id for one in request.objects}
    found = []
    for one in sorted(frame.masks, key=lambda one: one.number):
        box, area_px, centroid_xy = measure_mask(one.mask)
        found.append(
            TrackedObject(
                id=names[one.number],
                label=labels[one.number],
                class_id=classes[one.number],
                mask=one.mask,
                score=one.score,
                presence=one.presence,
                state=one.state,
                box=box,
                area_px=area_px,
                centroid_xy=centroid_xy,
            )
        )
    return FrameResult(
        frame.index, frame.stamp_ns / NS_PER_S, request.source.height_px, request.source.width_px, found
    )
