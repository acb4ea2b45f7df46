"""~/status: every object of one image in a few numbers, without pixels, so that `ros2 topic echo` shows it well.

Knows the layout of the message; where an object is in space is told by whoever located it.
"""

from __future__ import annotations

import math

from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from sam2_ros.engine import FrameResult, TrackedObject
from sam2_ros.media.messages.tracked_object import roi_of
from sam2_ros.node.interfaces import ObjectStatus, ObjectStatusArray
from sam2_ros.node.spatial.location import Location, SpatialResult


def status_message(
    result: FrameResult, header: Header, spatial: SpatialResult | None = None
) -> ObjectStatusArray:
    """What ~/objects says of the same image, hidden and lost objects included; possibly nothing."""
    locations = spatial.locations if spatial is not None else {}
    return ObjectStatusArray(
        header=header,
        position_frame_id=spatial.frame_id if spatial is not None else header.frame_id,
        objects=[object_status(obj, locations.get(obj.id)) for obj in result.objects],
    )


def object_status(obj: TrackedObject, location: Location | None) -> ObjectStatus:
    """One object; without a location its pose, size and velocity are zeros and `has_position` is false."""
    roi = roi_of(obj)
    message = ObjectStatus(
        id=obj.id,
        label=int(obj.label),
        class_id=obj.class_id,
        state=int(obj.state),
        score=float(obj.score),
        presence=float(obj.presence),
        age=float(obj.age_s),
        roi=RegionOfInterest(
            x_offset=roi.x_offset, y_offset=roi.y_offset, width=roi.width, height=roi.height
        ),
        position_stddev=math.nan,  # not estimated
    )
    message.pose.orientation.w = 1.0
    if location is not None:
        message.has_position = True
        for vector, xyz in (
            (message.pose.position, location.position_xyz),
            (message.size, location.size_xyz),
            (message.velocity, location.velocity_xyz),
        ):
            vector.x, vector.y, vector.z = xyz
    return message
