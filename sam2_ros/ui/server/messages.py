# SPDX-License-Identifier: Apache-2.0
"""Binary messages of the socket, little endian: frames, masks, thumbnails, previews, lanes.

A message begins with its kind as 4 bytes. Does not know who asks for it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from sam2_ros.ui.session import Lane, ObjectMask

FRAME, MASKS, THUMBNAIL, PREVIEW, LANES = 1, 2, 3, 4, 5
_PRESENCE_LOGIT = 8.0  # the largest that a lane tells apart


def jpeg_message(kind: int, source: int, index: int, jpeg: bytes) -> bytes:
    """u32 kind (`FRAME` or `THUMBNAIL`), u32 source, u32 index, then the JPEG."""
    return struct.pack("<III", kind, source, index) + jpeg


def masks_message(source: int, index: int, masks: Sequence[ObjectMask], kind: int = MASKS) -> bytes:
    """u32 kind, u32 source, u32 index, u32 number of masks; then of each mask u32 object, u32 state, f32 presence,
    f32 predicted IoU, u32 number of runs, and the runs as u32."""
    parts = [struct.pack("<IIII", kind, source, index, len(masks))]
    for mask in masks:
        runs = np.asarray(mask.runs, "<u4")
        parts.append(
            struct.pack("<IIffI", mask.object, mask.state, mask.presence, mask.predicted_iou, len(runs))
        )
        parts.append(runs.tobytes())
    return b"".join(parts)


def lanes_message(source: int, lanes: Mapping[int, Lane]) -> bytes:
    """u32 kind, u32 source, u32 number of lanes; then of each lane u32 object, u32 frames, and a byte a frame of state
    (255 = never tracked), of presence (logit / 8, clamped to -1..1, * 127 + 128) and of predicted IoU (* 255), padded
    with zeros to a multiple of 4."""
    parts = [struct.pack("<III", LANES, source, len(lanes))]
    for number, lane in lanes.items():
        presence = np.clip(lane.presence / _PRESENCE_LOGIT, -1, 1) * 127 + 128
        iou = np.clip(lane.predicted_iou, 0, 1) * 255
        body = lane.state.tobytes() + presence.astype(np.uint8).tobytes() + iou.astype(np.uint8).tobytes()
        parts.append(struct.pack("<II", number, len(lane.state)) + body + bytes(-len(body) % 4))
    return b"".join(parts)
