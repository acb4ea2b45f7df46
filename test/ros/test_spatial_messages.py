# SPDX-License-Identifier: Apache-2.0
"""Locations as messages: the bytes of a cloud, markers, vision_msgs boxes."""

import numpy as np
import pytest

from sam2_ros.errors import UserError

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from builtin_interfaces.msg import Time
from depth_scenes import frame, tracked
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from sam2_ros.media.overlay import colour_of
from sam2_ros.node.spatial.location import Location, ObjectLocations
from sam2_ros.node.spatial.location_messages import cloud_message, detections_3d_message, markers_message

HEADER = Header(stamp=Time(sec=7, nanosec=8), frame_id="camera")
MASK = np.ones((4, 6), bool)


def location(points, pixels, velocity=(0.0, 0.0, 0.0)) -> Location:
    return Location(
        (1.0, 2.0, 3.0), (0.1, 0.2, 0.0), velocity, np.array(points, np.float32), np.array(pixels)
    )


CUP = location([(1, 2, 3), (1.5, 2.5, 3.5)], [(5, 0), (0, 3)])
BALL = location([(-1, -2, 4)], [(2, 1)], velocity=(0.0, 0.3, 0.4))
RESULT = frame(tracked(MASK, "cup", 3), tracked(MASK, "hidden", 4), tracked(MASK, "ball", 70_000 % 65_535))


def spatial(frame_id: str = "base", **locations: Location) -> ObjectLocations:
    return ObjectLocations(frame_id, locations or {"cup": CUP, "ball": BALL}, "")


def through_the_wire(message):
    """The message serialized and deserialized, as a subscriber gets it."""
    return deserialize_message(serialize_message(message), type(message))


def test_a_cloud_as_pcl_and_rviz_read_it():
    image = np.zeros((4, 6, 3), np.uint8)
    image[0, 5], image[3, 0], image[1, 2] = (255, 2, 3), (4, 5, 6), (7, 8, 9)
    cloud = through_the_wire(cloud_message(spatial(), RESULT, image, HEADER))
    assert isinstance(cloud, PointCloud2)
    assert (cloud.header.frame_id, cloud.header.stamp) == ("base", HEADER.stamp)
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, 3, 20, 60)
    assert cloud.is_dense
    assert not cloud.is_bigendian
    kinds = {PointField.FLOAT32: np.float32, PointField.UINT32: np.uint32}
    rows = np.frombuffer(cloud.data, np.uint8).reshape(3, 20)
    fields = {
        field.name: rows[:, field.offset : field.offset + 4].copy().view(kinds[field.datatype])[:, 0].tolist()
        for field in cloud.fields
    }
    assert fields["x"] == [1.0, 1.5, -1.0]
    assert fields["y"] == [2.0, 2.5, -2.0]
    assert fields["z"] == [3.0, 3.5, 4.0]
    assert fields["label"] == [3, 3, 4465]
    packed = np.array(fields["rgb"], np.float32).view(np.uint32)
    assert [hex(value) for value in packed] == ["0xff0203", "0x40506", "0x70809"]


def test_a_cloud_of_nothing():
    empty = ObjectLocations("base", {}, "no depth")
    cloud = through_the_wire(cloud_message(empty, RESULT, np.zeros((4, 6, 3), np.uint8), HEADER))
    assert (cloud.width, len(cloud.data), len(cloud.fields)) == (0, 0, 5)


def test_markers_of_what_stands_and_what_moves():
    array = through_the_wire(markers_message(spatial(), RESULT, HEADER))
    assert isinstance(array, MarkerArray)
    wipe, *markers = array.markers
    assert wipe.action == Marker.DELETEALL
    kinds = [(marker.ns, marker.id, marker.type) for marker in markers]
    assert kinds == [
        ("box", 3, Marker.CUBE),
        ("name", 3, Marker.TEXT_VIEW_FACING),
        ("box", 4465, Marker.CUBE),
        ("name", 4465, Marker.TEXT_VIEW_FACING),
        ("velocity", 4465, Marker.ARROW),
    ]
    for marker in markers:
        assert marker.action == Marker.ADD
        assert (marker.header.frame_id, marker.header.stamp) == ("base", HEADER.stamp)
        assert (marker.lifetime.sec, marker.lifetime.nanosec) == (0, 500_000_000)
        colour = [round(255 * channel) for channel in (marker.color.r, marker.color.g, marker.color.b)]
        assert tuple(colour) == colour_of(marker.id)
        assert marker.pose.orientation.w == 1.0
    box, name, *_, arrow = markers
    assert (box.pose.position.x, box.pose.position.y, box.pose.position.z) == (1.0, 2.0, 3.0)
    assert (box.scale.x, box.scale.y) == (0.1, 0.2)
    assert 0 < box.scale.z < 0.01  # flat, but RViz needs some thickness
    assert name.text == "cup TRACKING"
    start, tip = arrow.points
    assert (tip.x - start.x, tip.y - start.y, tip.z - start.z) == pytest.approx((0.0, 0.3, 0.4))


@pytest.mark.parametrize(("frame_id", "axis", "sign"), [("camera", "y", -1), ("base", "z", 1)])
def test_names_stand_above(frame_id, axis, sign):
    box, name = markers_message(spatial(frame_id, cup=CUP), RESULT, HEADER).markers[1:]
    lift = getattr(name.pose.position, axis) - getattr(box.pose.position, axis)
    assert lift * sign > getattr(box.scale, axis) / 2


def test_detections_of_vision_msgs():
    vision = pytest.importorskip(
        "vision_msgs.msg", reason="needs vision_msgs (apt: ros-<distro>-vision-msgs)"
    )
    array = through_the_wire(detections_3d_message(spatial(), RESULT, HEADER))
    assert isinstance(array, vision.Detection3DArray)
    assert (array.header.frame_id, array.header.stamp) == ("base", HEADER.stamp)
    assert [detection.id for detection in array.detections] == ["cup", "ball"]
    cup = array.detections[0]
    assert cup.header == array.header
    assert (cup.results[0].hypothesis.class_id, cup.results[0].hypothesis.score) == ("mug", 0.9)
    assert cup.results[0].pose.pose.position == cup.bbox.center.position
    assert cup.bbox.center.orientation.w == 1.0
    assert cup.results[0].pose.pose.orientation.w == 1.0
    assert (cup.bbox.center.position.x, cup.bbox.center.position.y, cup.bbox.center.position.z) == (
        1.0,
        2.0,
        3.0,
    )
    assert (cup.bbox.size.x, cup.bbox.size.y, cup.bbox.size.z) == (0.1, 0.2, 0.0)


def test_without_vision_msgs_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "vision_msgs.msg", None)
    with pytest.raises(UserError, match=r"~/detections_3d needs the ROS package vision_msgs.*-vision-msgs"):
        detections_3d_message(spatial(), RESULT, HEADER)
