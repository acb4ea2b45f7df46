# SPDX-License-Identifier: Apache-2.0
"""Turns an opened source into the plain values that exports take: request, frames with masks, keyframes.

Pixels are read from the source itself, not from the JPEGs of the page. Does not know files that are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sam2_ros.engine import ObjectState
from sam2_ros.errors import UserError
from sam2_ros.media.files.image_folder import FolderFrames
from sam2_ros.ui.effects.settings import EffectSettings
from sam2_ros.ui.export.exported import (
    ExportedFrame,
    ExportedKeyframe,
    ExportedMask,
    ExportedObject,
    ExportedSource,
    ExportRequest,
)
from sam2_ros.ui.frames import DEMO, SourceSpec
from sam2_ros.ui.frames.decoder import fitted
from sam2_ros.ui.frames.source_spec import DEMO_FPS
from sam2_ros.weights.open_model import ModelOptions

from .events import NEVER_TRACKED
from .session import Session

_DEFAULTS = ModelOptions()


class Exporting:
    """One export of an opened source, as it is when the frames are read.

    Args:
        session: the opened source.
        spec: its path and options.
        model_options: of the model that tracked it.

    Raises:
        UserError: not all frames are decoded yet, so that their number is not certain.
    """

    def __init__(self, session: Session, spec: SourceSpec, model_options: ModelOptions) -> None:
        self._session, self._spec, self._options = session, spec, model_options
        self._state = session.state()
        source = self._state["source"]
        if source["decoded"] < source["frames"]:
            raise UserError(
                f"{source['decoded']} of {source['frames']} frames of '{source['name']}' are read: export when all are"
            )
        self._hw = (source["height"], source["width"])
        self._numbers = {one["object"] for one in self._state["objects"]}

    @property
    def settings(self) -> EffectSettings:
        """The effects of the page; the usual emoji where none was chosen."""
        given = dict(self._state["settings"])
        given["object"] = {key: value for key, value in given["object"].items() if key != "emoji" or value}
        return EffectSettings.from_settings(given)

    def tracked_frames(self) -> list[int]:
        """Numbers of the frames on which some object has a mask or is known to be absent, in order."""
        lanes = self._session.lanes().values()
        tracked = [lane.state != NEVER_TRACKED for lane in lanes]
        found = np.flatnonzero(np.any(tracked, axis=0)).tolist() if tracked else []
        return [index for index in found if not self._session.is_missing(index)]

    def request(
        self,
        exports: Path,
        frames: int,
        on_progress: Callable[[int, int], None],
        is_cancelled: Callable[[], bool],
    ) -> ExportRequest:
        """What is exported.

        Args:
            exports: folder of the exports.
            frames: number of frames that will be given, for the progress.
            on_progress, is_cancelled: see `ExportRequest`.
        """
        source, spec = self._state["source"], self._spec
        is_bag = source["kind"] == "bag"
        with spec.open() as opened:
            topic = opened.topic or ""
        exported = ExportedSource(
            source["name"], spec.path, source["width"], source["height"], source["fps"] or DEMO_FPS, frames, topic,
            is_bag, tuple(self._track_options(source["kind"])),
        )  # fmt: skip
        objects = [
            ExportedObject(one["object"], one["name"], one["class"], one["colour"])
            for one in self._state["objects"]
        ]
        return ExportRequest(exported, objects, exports, on_progress, is_cancelled)

    def frames(self) -> Iterator[ExportedFrame]:
        """The tracked frames with their masks, without images."""
        with self._spec.open() as opened:
            names = opened.names if isinstance(opened, FolderFrames) and opened.kind == "folder" else None
            frame_id = opened.frame_id
        for index in self.tracked_frames():
            yield ExportedFrame(
                index,
                self._session.stamp_ns(index),
                self._masks(index),
                name=names[index] if names else "",
                frame_id=frame_id,
            )

    def frames_with_images(self) -> Iterator[ExportedFrame]:
        """Every frame that decodes, with its image as the source has it, and the masks that it has."""
        with self._spec.open() as opened:
            for frame in opened:
                yield ExportedFrame(
                    frame.index,
                    frame.stamp_ns,
                    self._masks(frame.index),
                    fitted(frame.image, self._hw),
                    frame.name,
                    frame.frame_id,
                )

    def keyframes(self) -> list[ExportedKeyframe]:
        """The masks that the user has prompted, by frame and object."""
        frames = sorted({key["frame"] for one in self._state["objects"] for key in one["keyframes"]})
        return [
            ExportedKeyframe(mask.object, frame, mask.mask_hw)
            for frame in frames
            if not self._session.is_missing(frame)
            for mask in self._session.masks(frame)
            if mask.keyframe and mask.object in self._numbers
        ]

    def _masks(self, index: int) -> list[ExportedMask]:
        return [
            ExportedMask(
                mask.object, mask.mask_hw, mask.presence, mask.predicted_iou, ObjectState(mask.state)
            )
            for mask in self._session.masks(index)
            if mask.object in self._numbers
        ]

    def _track_options(self, kind: str) -> Iterator[Any]:
        """Options of `sam2-ros track` that open source and model as they were opened here."""
        fps = DEMO_FPS if kind == DEMO else self._spec.fps
        if fps is not None:
            yield from ("--fps", f"{fps:g}")
        if self._spec.glob is not None:
            yield from ("--glob", self._spec.glob)
        chosen = self._options.in_any_folder()
        for name in ("model", "device", "precision", "image_size", "backend"):
            value = getattr(chosen, name)
            if name == "model" or value != getattr(_DEFAULTS, name):
                yield from (f"--{name.replace('_', '-')}", str(value))
