"""Converts a tracked object to the plain field values of `sam2_ros_msgs/TrackedObject` and back.

Knows neither rclpy nor rosbags: whoever owns the message class fills it from these values, so that a
recorded bag and the live node agree by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class ObjectFields:
    """Field values of one TrackedObject message, in the order of the message.

    mask_hw: [roi.height, roi.width] uint8, 0 or 255, contiguous: `data` of a mono8 image with step = width.
    """

    id: str
    label: int
    class_id: str
    state: int
    score: float
    presence: float
    age_s: float
    roi: Roi
    mask_hw: np.ndarray
    centroid_xy: tuple[float, float]
    area_px: int


class ReadObject(NamedTuple):
    """One object of a received or recorded TrackedObjectArray; mask is [image_height, image_width] bool."""

    id: str
    label: int
    state: ObjectState
    presence: float
    score: float
    mask: np.ndarray


def object_fields(obj: TrackedObject) -> ObjectFields:
    """The message fields of `obj`: its tight box as roi, the mask cropped to it as mono8 0/255."""
    roi = roi_of(obj)
    rows, columns = (
        slice(roi.y_offset, roi.y_offset + roi.height),
        slice(roi.x_offset, roi.x_offset + roi.width),
    )
    mask_hw = np.multiply(obj.mask[rows, columns], 255, dtype=np.uint8)
    visible = mask_hw.size > 0
    return ObjectFields(
        id=obj.id,
        label=int(obj.label),
        class_id=obj.class_id,
        state=int(obj.state),
        score=float(obj.score),
        presence=float(obj.presence),
        age_s=float(obj.age_s),
        roi=roi,
        mask_hw=np.ascontiguousarray(mask_hw),
        centroid_xy=(float(obj.centroid_xy[0]), float(obj.centroid_xy[1])) if visible else (0.0, 0.0),
        area_px=int(obj.area_px) if visible else 0,
    )


def roi_of(obj: TrackedObject) -> Roi:
    """The tight box of the object's mask."""
    x0, y0, x1, y1 = (int(edge) for edge in obj.box)
    return Roi(x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else Roi(0, 0, 0, 0)


def read_objects(message: Any) -> list[ReadObject]:
    """The objects of a TrackedObjectArray (rclpy or rosbags), each mask pasted back to the size of the image.

    Raises ValueError when a roi does not fit the image or the mask does not fit the roi.
    """
    height_px, width_px = int(message.image_height), int(message.image_width)
    return [_read_object(item, height_px, width_px) for item in message.objects]


def _read_object(item: Any, height_px: int, width_px: int) -> ReadObject:
    roi, image = item.roi, item.mask
    mask = np.zeros((height_px, width_px), dtype=bool)
    if roi.width and roi.height:
        if roi.x_offset + roi.width > width_px or roi.y_offset + roi.height > height_px:
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
        window = np.s_[roi.y_offset : roi.y_offset + roi.height, roi.x_offset : roi.x_offset + roi.width]
        mask[window] = rows[:, : image.width] > 0
    return ReadObject(
        str(item.id),
        int(item.label),
        ObjectState(int(item.state)),
        float(item.presence),
        float(item.score),
        mask,
    )
