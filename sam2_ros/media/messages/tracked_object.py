# SPDX-License-Identifier: Apache-2.0
"""Converts a tracked object to plain field values of `sam2_ros_msgs/TrackedObject` and `ObjectStatus`, and back.

Knows neither rclpy nor rosbags: the live node and the bag writer both fill their message classes from these values, so
that live and recorded messages agree.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sam2_ros.engine.result import ObjectState, TrackedObject
from sam2_ros.media.ros_image import as_uint8


class Roi(NamedTuple):
    """sensor_msgs/RegionOfInterest in pixels; all zero when the object is not visible."""

    x_offset: int
    y_offset: int
    width: int
    height: int


def state_fields(obj: TrackedObject) -> dict[str, Any]:
    """Return the fields that both messages share: identity, state and scores."""
    return {
        "id": obj.id,
        "label": int(obj.label),
        "class_id": obj.class_id,
        "state": int(obj.state),
        "score": float(obj.score),
        "presence": float(obj.presence),
        "age": float(obj.age_s),
    }


def roi_of(obj: TrackedObject) -> Roi:
    """Return the tight box of the object's mask."""
    x0, y0, x1, y1 = (int(edge) for edge in obj.box)
    return Roi(x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else Roi(0, 0, 0, 0)


def cropped_mask(obj: TrackedObject) -> np.ndarray:
    """Crop the mask to [roi.height, roi.width] uint8, 0 or 255, contiguous: `data` of a mono8 image, step = width."""
    roi = roi_of(obj)
    crop = obj.mask[roi.y_offset : roi.y_offset + roi.height, roi.x_offset : roi.x_offset + roi.width]
    return np.ascontiguousarray(np.multiply(crop, 255, dtype=np.uint8))


def read_objects(message: Any) -> list[TrackedObject]:
    """Read the objects of a TrackedObjectArray (rclpy or rosbags), without logits; masks have the size of the image.

    Raises ValueError if a roi does not fit the image or a mask does not fit its roi.
    """
    height_px, width_px = int(message.image_height), int(message.image_width)
    return [_read_object(item, height_px, width_px) for item in message.objects]


def _read_object(item: Any, height_px: int, width_px: int) -> TrackedObject:
    roi, image = item.roi, item.mask
    mask = np.zeros((height_px, width_px), dtype=bool)
    x0, y0, x1, y1 = roi.x_offset, roi.y_offset, roi.x_offset + roi.width, roi.y_offset + roi.height
    if roi.width and roi.height:
        if x1 > width_px or y1 > height_px:
            raise ValueError(
                f"object '{item.id}': roi {roi.width}x{roi.height} at ({roi.x_offset}, {roi.y_offset}) "
                f"does not fit the image of {width_px}x{height_px}"
            )
        data = as_uint8(image.data)
        if (image.width, image.height) != (roi.width, roi.height) or data.size < image.step * image.height:
            raise ValueError(
                f"object '{item.id}': mask of {image.width}x{image.height} with {data.size} bytes, "
                f"expected the roi's {roi.width}x{roi.height}"
            )
        rows = data[: image.step * image.height].reshape(image.height, image.step)
        mask[y0:y1, x0:x1] = rows[:, : image.width] > 0
    return TrackedObject(
        id=str(item.id),
        label=int(item.label),
        class_id=str(item.class_id),
        mask=mask,
        score=float(item.score),
        presence=float(item.presence),
        state=ObjectState(int(item.state)),
        age_s=float(item.age),
        box=(int(x0), int(y0), int(x1), int(y1)),
        area_px=int(item.area),
        centroid_xy=(float(item.centroid.x), float(item.centroid.y)),
    )
