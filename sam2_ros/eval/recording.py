# SPDX-License-Identifier: Apache-2.0
"""Reads a recorded `~/objects` topic back as the tracker's results, so that both are scored and drawn alike.

Does not know who recorded it: a live node's messages and a tracker's results written to a bag look the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sam2_ros.engine import FrameResult
from sam2_ros.media.bag.storage import BagReader
from sam2_ros.media.messages.tracked_object import read_objects


def read_results(bag: Path, topic: str, frame_by_stamp_ns: Mapping[int, int]) -> Iterator[FrameResult]:
    """The TrackedObjectArrays on `topic` whose image is known, one by one as recorded; masks at the image's size.

    `frame_by_stamp_ns` numbers the images. What a message does not carry (logits, stage times) is empty.
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
