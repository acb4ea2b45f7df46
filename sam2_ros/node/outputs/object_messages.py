# SPDX-License-Identifier: Apache-2.0
"""Makes the messages of one image: ~/objects with masks, ~/status without pixels (for `ros2 topic echo`).

Knows the layout of both; 3D locations are computed elsewhere.
"""

from __future__ import annotations

import math
from array import array
from typing import Any

import numpy as np
from geometry_msgs.msg import Point
from sensor_msgs.msg import Image, RegionOfInterest
from std_msgs.msg import Header

from sam2_ros.engine import FrameResult
from sam2_ros.engine import TrackedObject as EngineObject
from sam2_ros.media.messages.tracked_object import cropped_mask, roi_of, state_fields
from sam2_ros.media.ros_image import ImageFields, mono_to_image_fields
from sam2_ros.node.interfaces import ObjectStatus, ObjectStatusArray, TrackedObject, TrackedObjectArray
from sam2_ros.node.spatial.location import Location, ObjectLocations
from sam2_ros.node.spatial.location_messages import orientation_of


def objects_message(
    result: FrameResult, header: Header, spatial: ObjectLocations | None = None
) -> TrackedObjectArray:
    """The message ~/objects of one image, also if there are no objects."""
    locations = spatial.locations if spatial is not None else {}
    return TrackedObjectArray(
        header=header,
        position_frame_id=spatial.frame_id if spatial is not None else header.frame_id,
        image_height=result.height_px,
        image_width=result.width_px,
        objects=[_tracked_object(obj, header, locations.get(obj.id)) for obj in result.objects],
    )


def status_message(
    result: FrameResult, header: Header, spatial: ObjectLocations | None = None
) -> ObjectStatusArray:
    """The message ~/status of one image: the objects of ~/objects, hidden and lost ones included, without pixels."""
    locations = spatial.locations if spatial is not None else {}
    return ObjectStatusArray(
        header=header,
        position_frame_id=spatial.frame_id if spatial is not None else header.frame_id,
        objects=[_object_status(obj, locations.get(obj.id)) for obj in result.objects],
    )


def _tracked_object(obj: EngineObject, header: Header, location: Location | None) -> TrackedObject:
    message = TrackedObject(
        **state_fields(obj),
        roi=RegionOfInterest(**roi_of(obj)._asdict()),
        mask=mono_message(cropped_mask(obj), header),
        centroid=Point(x=float(obj.centroid_xy[0]), y=float(obj.centroid_xy[1]), z=0.0),
        area=int(obj.area_px),
    )
    _set_location(message, message.position, location)
    return message


def _object_status(obj: EngineObject, location: Location | None) -> ObjectStatus:
    """Without a location, pose, size and velocity are zero and `has_position` is false."""
    roi = RegionOfInterest(**roi_of(obj)._asdict())
    message = ObjectStatus(**state_fields(obj), roi=roi, position_stddev=math.nan)
    message.pose.orientation = orientation_of(location)
    if location is not None:
        message.position_stddev = location.stddev_m
    _set_location(message, message.pose.position, location)
    return message


def _set_location(message: Any, position: Point, location: Location | None) -> None:
    if location is None:
        return
    message.has_position = True
    for vector, xyz in (
        (position, location.position_xyz),
        (message.size, location.size_xyz),
        (message.velocity, location.velocity_xyz),
    ):
        vector.x, vector.y, vector.z = xyz


def image_message(fields: ImageFields, header: Header) -> Image:
    """A sensor_msgs/Image from ImageFields.

    `data` is assigned as array('B'), which copies once; a list, or the constructor, takes 100 times longer.
    """
    values = fields._asdict()
    data = array("B")
    data.frombytes(values.pop("data"))
    message = Image(header=header, **values)
    message.data = data
    return message


def mono_message(image_hw: np.ndarray, header: Header) -> Image:
    """[H, W] bool, uint8 or uint16 as a sensor_msgs/Image of mono8 or mono16."""
    return image_message(mono_to_image_fields(image_hw), header)
