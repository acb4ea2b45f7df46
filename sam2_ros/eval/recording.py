# SPDX-License-Identifier: Apache-2.0
"""Reads a recorded `~/objects` topic as tracker results, so that both are scored and drawn by the same code.

Does not know the recorder: messages of a live node and results that a tracker wrote to a bag look the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sam2_ros.engine import FrameResult
from sam2_ros.media.bag.storage import BagReader
from sam2_ros.media.messages.tracked_object import read_objects


def read_results(bag: Path, topic: str, frame_by_stamp_ns: Mapping[int, int]) -> Iterator[FrameResult]:
    """Yields the TrackedObjectArrays on `topic` with a known stamp, in recorded order; masks at the image's size.

    `frame_by_stamp_ns`: stamp -> frame index of the known images. Fields that a message lacks (logits, stage times)
    are empty.
    """
    with BagReader(bag) as reader:
        for _, _, message in reader.messages([topic]):
            stamp_ns = int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)
            frame = frame_by_stamp_ns.get(stamp_ns)
            if frame is not None:
                yield _frame_result(message, frame, stamp_ns)


def _frame_result(message: Any, frame: int, stamp_ns: int) -> FrameResult:
    return FrameResult(
        frame_index=frame,
        stamp_s=stamp_ns * 1e-9,
        height_px=int(message.image_height),
        width_px=int(message.image_width),
        objects=read_objects(message),
    )
