# SPDX-License-Identifier: Apache-2.0
"""Makes what the page shows of one moment: a JPEG of bounded size, masks as run lengths, and the objects as JSON.

Reads messages by their fields. Imports no ROS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from sam2_ros.media.overlay import colour_of
from sam2_ros.media.pixels.image_reader import ImageReader
from sam2_ros.media.ros_image import as_uint8
from sam2_ros.ui.session.events import ObjectMask
from sam2_ros.ui.store.run_lengths import to_runs

STATES = ("PENDING", "TRACKING", "OCCLUDED", "LOST")


@dataclass(frozen=True)
class Shown:
    """An image as the page has it, by which its prompts are brought back to pixels of the image.

    Attributes:
        stamp_ns, frame_id: header of the image.
        width, height: of the image, pixels.
        picture_width, picture_height: of the JPEG, pixels.
    """

    stamp_ns: int
    frame_id: str
    width: int
    height: int
    picture_width: int
    picture_height: int

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """A pixel of the picture as one of the image; both count from the centre of the first pixel."""
        return (
            min(max((x + 0.5) * self.width / self.picture_width - 0.5, 0.0), self.width - 1.0),
            min(max((y + 0.5) * self.height / self.picture_height - 0.5, 0.0), self.height - 1.0),
        )

    def edge(self, x: float, y: float) -> tuple[float, float]:
        """A corner of a box in the picture as one in the image; 0 is the edge of the first pixel."""
        return (
            min(max(x * self.width / self.picture_width, 0.0), float(self.width)),
            min(max(y * self.height / self.picture_height, 0.0), float(self.height)),
        )


def encoded(
    message: Any, stamp_ns: int, reader: ImageReader, longest_side_px: int, quality: int
) -> tuple[bytes, Shown]:
    """A JPEG of an Image or CompressedImage, reduced to `longest_side_px`. Raises ImageError."""
    image = reader.message(message)
    height, width = image.shape[:2]
    share = min(1.0, longest_side_px / max(height, width))
    if share < 1:
        size = max(1, round(width * share)), max(1, round(height * share))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    quality_of = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality_of)
    frame_id = message.header.frame_id
    return jpeg.tobytes(), Shown(stamp_ns, frame_id, width, height, image.shape[1], image.shape[0])


def masks_of(message: Any, shown: Shown) -> list[ObjectMask]:
    """The masks of a TrackedObjectArray, at the size of the picture."""
    height, width = shown.picture_height, shown.picture_width
    found = []
    for one in message.objects:
        mask: np.ndarray = np.zeros((int(message.image_height), int(message.image_width)), np.uint8)
        roi = one.roi
        if one.mask.height and one.mask.width:
            crop = as_uint8(one.mask.data).reshape(one.mask.height, one.mask.step or one.mask.width)
            target = mask[roi.y_offset : roi.y_offset + roi.height, roi.x_offset : roi.x_offset + roi.width]
            np.copyto(target, crop[: target.shape[0], : target.shape[1]])
        if mask.shape != (height, width):
            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
        found.append(
            ObjectMask(
                int(one.label), to_runs(mask > 0), height, width, one.presence, one.score, int(one.state)
            )
        )
    return found


def objects_of(message: Any) -> list[dict[str, Any]]:
    """The objects of a TrackedObjectArray without pixels, as JSON; numbers are the labels."""
    return [_object(one, message.position_frame_id) for one in message.objects]


def _object(one: Any, frame_id: str) -> dict[str, Any]:
    found = {
        "object": int(one.label),
        "id": one.id,
        "class": one.class_id,
        "colour": "#{:02x}{:02x}{:02x}".format(*colour_of(int(one.label))),
        "state": STATES[one.state] if one.state < len(STATES) else str(one.state),
        "presence": _number(one.presence, 2),
        "iou": _number(one.score, 3),
        "age_s": _number(one.age, 1),
    }
    if one.has_position:
        xyz = [one.position.x, one.position.y, one.position.z]
        found["position"] = [_number(value, 3) for value in xyz]
        found["distance_m"] = _number(math.hypot(*xyz), 3)
        found["position_frame"] = frame_id
    return found


def _number(value: float, digits: int) -> float:
    """JSON has no NaN or infinity."""
    return round(value, digits) if math.isfinite(value) else 0.0
