# SPDX-License-Identifier: Apache-2.0
"""Makes messages of locations: point clouds, poses, tf frames, markers for RViz, vision_msgs boxes.

Knows message layouts only. All messages have the stamp of the image and the frame of the positions.
"""

from __future__ import annotations

import math
from array import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, PoseStamped, Quaternion, TransformStamped, Vector3
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from sam2_ros.engine import FrameResult, TrackedObject
from sam2_ros.media.overlay import colour_of
from sam2_ros.node.packages import require

from .location import Location, ObjectLocations, Vector
from .orientation import UNKNOWN_STDDEV_RAD, quaternion_of

MARKER_LIFETIME_NS = 500_000_000
MIN_SHOWN_SPEED_MPS = 0.05  # a lower speed is likely noise
MIN_SHOWN_SIZE_M = 0.005  # RViz warns of a cube without thickness
TEXT_HEIGHT_M = 0.05
# rgb is 0x00RRGGBB in the bytes of a float32, as PCL and RViz read it.
CLOUD_DTYPE = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4"), ("label", "<u4")])
_CLOUD_FIELDS = [
    PointField(name=name, offset=4 * number, datatype=datatype, count=1)
    for number, (name, datatype) in enumerate(
        [(name, PointField.FLOAT32) for name in ("x", "y", "z", "rgb")] + [("label", PointField.UINT32)]
    )
]


def cloud_message(
    spatial: ObjectLocations, result: FrameResult, image_rgb: np.ndarray, header: Header
) -> PointCloud2:
    """The surface points of all objects, with the colour of the [H, W, 3] uint8 RGB image and the object's label."""
    located = _located(spatial, result)
    points = np.empty(sum(len(location.points) for _, location in located), CLOUD_DTYPE)
    begin = 0
    for obj, location in located:
        part = points[begin : begin + len(location.points)]
        part[:] = _cloud_points(location.points, location.pixels, image_rgb, obj.label)
        begin += len(part)
    return _cloud(points[None], _header(spatial, header), is_dense=True)


def object_cloud_message(
    points: np.ndarray,
    pixels: np.ndarray,
    label: int,
    image_rgb: np.ndarray,
    header: Header,
    organized: bool,
) -> PointCloud2:
    """[n, 3] points of one object at [n, 2] pixels as a cloud, fields as those of `cloud_message`.

    organized: one point per pixel of the [H, W, 3] image; NaN and the label 0 outside the object.
    """
    listed = _cloud_points(points, pixels, image_rgb, label)
    if not organized:
        return _cloud(listed[None], header, is_dense=True)
    grid = np.zeros(image_rgb.shape[:2], CLOUD_DTYPE)
    for name in ("x", "y", "z"):
        grid[name] = np.nan
    grid[pixels[:, 1], pixels[:, 0]] = listed
    return _cloud(grid, header, is_dense=False)


def _cloud_points(points: np.ndarray, pixels: np.ndarray, image_rgb: np.ndarray, label: int) -> np.ndarray:
    made = np.empty(len(points), CLOUD_DTYPE)
    made["x"], made["y"], made["z"] = points.T
    red, green, blue = image_rgb[pixels[:, 1], pixels[:, 0]].T.astype(np.uint32)
    made["rgb"] = red << 16 | green << 8 | blue
    made["label"] = label
    return made


def _cloud(points_hw: np.ndarray, header: Header, is_dense: bool) -> PointCloud2:
    message = PointCloud2(
        header=header,
        height=points_hw.shape[0],
        width=points_hw.shape[1],
        fields=_CLOUD_FIELDS,
        is_bigendian=False,
        point_step=CLOUD_DTYPE.itemsize,
        row_step=CLOUD_DTYPE.itemsize * points_hw.shape[1],
        is_dense=is_dense,
    )
    data = array("B")
    data.frombytes(points_hw.tobytes())
    message.data = data  # as an array: a list, or the constructor, takes 100 times longer
    return message


def orientation_of(location: Location | None) -> Quaternion:
    """The object's axes as a quaternion; the identity if they are not known."""
    if location is None or location.axes is None or not location.axes.distinct:
        return Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)
    x, y, z, w = quaternion_of(location.axes.rotation)
    return Quaternion(x=x, y=y, z=z, w=w)


def pose_message(location: Location, frame_id: str, header: Header) -> PoseStamped:
    message = PoseStamped(header=Header(stamp=header.stamp, frame_id=frame_id))
    message.pose.position = _point(location.position_xyz)
    message.pose.orientation = orientation_of(location)
    return message


def tf_message(spatial: ObjectLocations, result: FrameResult, header: Header, prefix: str) -> Any:
    """A tf2_msgs/TFMessage with a frame `<prefix><id>` per located object; UserError if tf2_msgs is not installed."""
    tf2 = require("tf2_msgs.msg", "tf2_msgs", "publish_tf")
    message = tf2.TFMessage()
    for obj, location in _located(spatial, result):
        made = TransformStamped(header=_header(spatial, header), child_frame_id=f"{prefix}{obj.id}")
        x, y, z = location.position_xyz
        made.transform.translation = Vector3(x=x, y=y, z=z)
        made.transform.rotation = orientation_of(location)
        message.transforms.append(made)
    return message


def markers_message(spatial: ObjectLocations, result: FrameResult, header: Header) -> MarkerArray:
    """Per located object: a box, its name, and if it moves an arrow as long as its motion in one second.

    Each array begins with DELETEALL, so that markers of removed objects disappear.
    """
    # Up is -y in a camera's own frame and z in any other frame (REP 103).
    above = (0.0, -1.0, 0.0) if spatial.frame_id == header.frame_id else (0.0, 0.0, 1.0)
    markers = [Marker(header=_header(spatial, header), action=Marker.DELETEALL)]
    for obj, location in _located(spatial, result):
        markers += _object_markers(obj, location, _header(spatial, header), above)
    return MarkerArray(markers=markers)


def _object_markers(obj: TrackedObject, location: Location, header: Header, above: Vector) -> list[Marker]:
    position, size = location.position_xyz, location.size_xyz
    red, green, blue = (channel / 255 for channel in colour_of(obj.label))

    def marker(namespace: str, kind: int, scale: Vector, opacity: float) -> Marker:
        made = Marker(header=header, ns=namespace, id=obj.label, type=kind, action=Marker.ADD)
        made.scale = Vector3(x=scale[0], y=scale[1], z=scale[2])
        made.color = ColorRGBA(r=red, g=green, b=blue, a=opacity)
        made.lifetime = Duration(sec=0, nanosec=MARKER_LIFETIME_NS)
        made.pose.orientation.w = 1.0
        return made

    shown = [max(length, MIN_SHOWN_SIZE_M) for length in size]
    cube = marker("box", Marker.CUBE, (shown[0], shown[1], shown[2]), 0.4)
    cube.pose.position = _point(position)
    text = marker("name", Marker.TEXT_VIEW_FACING, (0.0, 0.0, TEXT_HEIGHT_M), 1.0)
    lift_m = TEXT_HEIGHT_M + sum(abs(axis) * length for axis, length in zip(above, size, strict=True)) / 2
    text.pose.position = _point(_moved(position, above, lift_m))
    text.text = f"{obj.id} {obj.state.name}"
    if math.hypot(*location.velocity_xyz) < MIN_SHOWN_SPEED_MPS:
        return [cube, text]
    arrow = marker("velocity", Marker.ARROW, (0.01, 0.02, 0.03), 1.0)  # shaft and head diameter, head length
    arrow.points = [_point(position), _point(_moved(position, location.velocity_xyz, 1.0))]
    return [cube, text, arrow]


def detections_3d_message(spatial: ObjectLocations, result: FrameResult, header: Header) -> Any:
    """The located objects as a vision_msgs/Detection3DArray; UserError if vision_msgs is not installed."""
    vision = require("vision_msgs.msg", "vision_msgs", "~/detections_3d")
    message = vision.Detection3DArray(header=_header(spatial, header))
    for obj, location in _located(spatial, result):
        hypothesis = vision.ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = obj.class_id
        hypothesis.hypothesis.score = float(obj.score)
        hypothesis.pose.pose.position = _point(location.position_xyz)
        detection = vision.Detection3D(header=_header(spatial, header), id=obj.id, results=[hypothesis])
        detection.bbox.center.position = _point(location.position_xyz)
        detection.bbox.center.orientation = hypothesis.pose.pose.orientation = orientation_of(location)
        hypothesis.pose.covariance = _covariance(location)
        size = location.size_xyz if location.axes is None else location.axes.size_xyz
        detection.bbox.size = Vector3(x=float(size[0]), y=float(size[1]), z=float(size[2]))
        message.detections.append(detection)
    return message


def _covariance(location: Location) -> np.ndarray:
    """[36] of x, y, z and the rotations about them, row by row: what stddev_m and the axes' quality say."""
    angle = UNKNOWN_STDDEV_RAD if location.axes is None else location.axes.stddev_rad
    distance = location.stddev_m if math.isfinite(location.stddev_m) else 0.0
    return np.diag([distance**2] * 3 + [angle**2] * 3).ravel()


def _located(spatial: ObjectLocations, result: FrameResult) -> list[tuple[TrackedObject, Location]]:
    return [(obj, spatial.locations[obj.id]) for obj in result.objects if obj.id in spatial.locations]


def _header(spatial: ObjectLocations, header: Header) -> Header:
    return Header(stamp=header.stamp, frame_id=spatial.frame_id)


def _point(position: Vector) -> Point:
    return Point(x=position[0], y=position[1], z=position[2])


def _moved(position: Vector, direction: Vector, by: float) -> Vector:
    x, y, z = (start + by * step for start, step in zip(position, direction, strict=True))
    return x, y, z
