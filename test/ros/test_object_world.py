# SPDX-License-Identifier: Apache-2.0
"""An object in the robot's world on a live graph: its axes, tf frame, pose, cloud and masks, switched as it tracks."""

import array
import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")
pytest.importorskip("message_filters", reason="needs message_filters, which has no wheel")

from depth_scenes import cuboid, pinhole_slopes, rotation_about
from geometry_msgs.msg import PoseStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from sam2_ros_msgs.msg import ObjectStatusArray
from sam2_ros_msgs.srv import ObjectCloud, PublishMask
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from .conftest import FRAME_NS, HEIGHT_PX, WIDTH_PX, stamp_ns
from .test_positions import header

FOCAL_PX = 200.0
MATRIX = np.array([[FOCAL_PX, 0, WIDTH_PX / 2], [0, FOCAL_PX, HEIGHT_PX / 2], [0, 0, 1]])
SLOPES = pinhole_slopes(MATRIX, HEIGHT_PX, WIDTH_PX)
CENTRE, SIZE, WALL_M = (-0.06, -0.02, 0.8), (0.20, 0.12, 0.06), 1.5
BOX = (20.0, 20.0, 100.0, 100.0)
CLOUD_DTYPE = np.dtype([(name, "<f4") for name in "xyz"] + [("rgb", "<u4"), ("label", "<u4")])
TOO_LONG = "x" * 300


def brick(turn_deg: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Rotation of a brick that shows its largest face and a side, and its depth image."""
    rotation = rotation_about(0, 0.5) @ rotation_about(2, math.radians(20 + turn_deg))
    return rotation, cuboid(SLOPES, CENTRE, SIZE, rotation)


def picture(body: np.ndarray) -> np.ndarray:
    """A red body on textured ground."""
    rows, columns = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    image = np.repeat((90 + 20 * ((rows // 7 + columns // 9) % 2))[..., None], 3, axis=2).astype(np.uint8)
    image[np.isfinite(body)] = (200, 30, 20)
    return image


def camera_info(focal_px: float = FOCAL_PX) -> CameraInfo:
    info = CameraInfo(height=HEIGHT_PX, width=WIDTH_PX, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = [focal_px, 0.0, WIDTH_PX / 2, 0.0, focal_px, HEIGHT_PX / 2, 0.0, 0.0, float(focal_px > 0)]
    return info


def send(robot, body, focal_px: float = FOCAL_PX) -> int:
    """Send one image, after its depth and camera_info; returns its stamp."""
    stamp = robot.next_stamp_ns()
    pixels = np.rint(np.minimum(body, WALL_M) * 1000).astype("<u2")
    depth = Image(height=HEIGHT_PX, width=WIDTH_PX, encoding="16UC1", step=pixels.strides[0])
    depth.data = array.array("B", pixels.tobytes())
    robot.publisher(Image, "/depth_image").publish(header(depth, stamp))
    robot.publisher(CameraInfo, "/camera_info").publish(header(camera_info(focal_px), stamp))
    return robot.send_image(picture(body), stamp_ns=stamp)


def see(robot, body, focal_px: float = FOCAL_PX):
    """Send one image as `send`, and return its objects."""
    stamp = send(robot, body, focal_px)
    return robot.wait_for("its objects", lambda: robot.objects_at(stamp))


NOTHING = np.full((HEIGHT_PX, WIDTH_PX), np.inf)


@pytest.fixture(scope="module")
def node(make_robot):
    robot = make_robot(
        use_3d=True,
        max_objects=2,
        publish_tf=True,
        pose_topics=["brick"],
        cloud_topics=["brick"],
        lost_after=0.3,
    )
    robot.listen_to_outputs()
    return robot


@pytest.fixture
def robot(node):
    node.reset()
    node.process(stamp_ns=node.next_stamp_ns(10_000_000_000))
    node.add(node.prompt("brick", box=BOX))
    node.wait_for("a position", lambda: any(obj.has_position for obj in see(node, brick()[1]).objects))
    return node


def at(messages, message):
    return next((each for each in messages if stamp_ns(each) == stamp_ns(message)), None)


def rotation_of(quaternion) -> np.ndarray:
    return Rotation.from_quat([quaternion.x, quaternion.y, quaternion.z, quaternion.w]).as_matrix()


def status_of(robot, message):
    statuses = robot.listen(ObjectStatusArray, "/sam2/status")
    return robot.wait_for("its status", lambda: at(statuses, message)).objects[0]


def hide(robot):
    robot.wait_for("the brick to hide", lambda: see(robot, NOTHING).objects[0].state in (2, 3))


def test_the_orientation_of_a_turning_box_is_near_the_true_one_and_never_flips(robot):
    statuses, last = robot.listen(ObjectStatusArray, "/sam2/status"), None
    robot.wait_for("a status", lambda: see(robot, brick()[1]) and statuses)
    for turn_deg in range(0, 40, 4):
        true, body = brick(turn_deg)
        status = status_of(robot, see(robot, body))
        assert status.has_position
        assert 0 < status.position_stddev < 0.05
        found = rotation_of(status.pose.orientation)
        for axis in (0, 2):  # the longest edge and the normal of the large face
            assert np.degrees(np.arccos(min(1.0, abs(found[:, axis] @ true[:, axis])))) < 7, turn_deg
        if last is not None:
            assert np.degrees(Rotation.from_matrix(last.T @ found).magnitude()) < 12, turn_deg
        last = found


def test_the_tf_frame_and_the_pose_of_a_visible_object_equal_its_status(robot):
    tf2_ros = pytest.importorskip("tf2_ros", reason="needs tf2_ros, which has no wheel")
    from rclpy.time import Time

    robot.listen(ObjectStatusArray, "/sam2/status")
    poses = robot.listen(PoseStamped, "/sam2/pose/brick")
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, robot.node)
    robot.wait_for(
        "tf", lambda: see(robot, brick()[1]) and buffer.can_transform("camera", "sam2/brick", Time())
    )
    message = see(robot, brick(8)[1])
    status, stamp = status_of(robot, message), Time.from_msg(message.header.stamp)
    robot.wait_for("its frame", lambda: buffer.can_transform("camera", "sam2/brick", stamp))
    found = buffer.lookup_transform("camera", "sam2/brick", stamp).transform
    place, turned = status.pose.position, status.pose.orientation
    moved = found.translation
    assert (moved.x, moved.y, moved.z) == pytest.approx((place.x, place.y, place.z))
    assert np.allclose(rotation_of(found.rotation), rotation_of(turned))  # tf2 may negate all four numbers
    pose = robot.wait_for("its pose", lambda: at(poses, message))
    assert pose.header.frame_id == "camera"
    assert (pose.pose.position, pose.pose.orientation) == (place, turned)

    hide(robot)
    newest = buffer.get_latest_common_time("camera", "sam2/brick")
    poses.clear()
    hidden = see(robot, NOTHING)
    assert not status_of(robot, hidden).has_position
    assert buffer.get_latest_common_time("camera", "sam2/brick") == newest
    assert newest.nanoseconds < stamp_ns(hidden)
    assert not poses
    # Switched off and on at run time.
    assert robot.set_parameter("publish_tf", False).successful
    robot.wait_for("no publisher of tf", lambda: not robot.node.count_publishers("/tf"))
    assert robot.set_parameter("publish_tf", True).successful
    robot.wait_for("a publisher of tf", lambda: robot.node.count_publishers("/tf"))
    refused = robot.set_parameter("tf_prefix", "/sam2/")
    assert not refused.successful
    assert "does not begin with /" in refused.reason
    listener.unregister()


def points_of(cloud) -> np.ndarray:
    return np.frombuffer(bytes(cloud.data), CLOUD_DTYPE).reshape(cloud.height, cloud.width)


def ask(robot, object_id="brick", organized=False):
    return robot.call(ObjectCloud, "cloud", ObjectCloud.Request(id=object_id, organized=organized))


def off_the_box_m(points, rotation) -> np.ndarray:
    """[n] distance of points from the faces of the brick."""
    local = (np.stack([points[name] for name in "xyz"], axis=-1) - np.array(CENTRE)) @ rotation
    beyond = np.abs(local) - np.array(SIZE) / 2
    return np.where((beyond > 0).any(-1), np.linalg.norm(np.maximum(beyond, 0), axis=-1), -beyond.max(-1))


def test_the_cloud_of_an_object_on_demand_lies_on_it_and_organized_has_the_cameras_grid(robot):
    rotation, body = brick()
    message = see(robot, body)
    (obj,) = message.objects
    listed, grid = ask(robot), ask(robot, organized=True)
    assert (listed.success, grid.success) == (True, True), listed.message + grid.message
    for reply in (listed, grid):
        assert (reply.cloud.header.stamp, reply.cloud.header.frame_id) == (message.header.stamp, "camera")
    points = points_of(listed.cloud)[0]
    assert listed.cloud.is_dense
    assert obj.area * 0.8 < len(points) <= obj.area  # every pixel with depth, not a sample
    assert np.percentile(off_the_box_m(points, rotation), 95) < 0.01
    assert set(points["label"]) == {obj.label}
    cells = points_of(grid.cloud)
    assert cells.shape == (HEIGHT_PX, WIDTH_PX)
    assert not grid.cloud.is_dense
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), bool)
    roi = obj.roi
    part = np.frombuffer(bytes(obj.mask.data), np.uint8).reshape(roi.height, roi.width) > 0
    mask[roi.y_offset : roi.y_offset + roi.height, roi.x_offset : roi.x_offset + roi.width] = part
    assert np.isnan(cells["x"][~mask]).all()
    inside = ~np.isnan(cells["z"])
    assert np.count_nonzero(inside) == len(points)
    rows, columns = np.nonzero(inside)
    slopes = SLOPES[rows, columns]
    assert cells["x"][inside] / cells["z"][inside] == pytest.approx(slopes[:, 0], abs=1e-4)
    assert cells["y"][inside] / cells["z"][inside] == pytest.approx(slopes[:, 1], abs=1e-4)


def test_a_cloud_that_cannot_be_is_refused_with_the_reason(robot):
    hide(robot)
    hidden, unknown = ask(robot), ask(robot, "cup")
    assert not hidden.success
    assert "'brick'" in hidden.message
    assert "expected TRACKING; ask again when it is visible" in hidden.message
    assert not unknown.success
    assert "no object 'cup' in the newest image; there are: brick" in unknown.message
    assert not len(hidden.cloud.data)


def test_without_a_calibration_there_is_no_position_and_no_cloud_and_tracking_continues(robot):
    for _ in range(8):  # the last camera_info may still be the good one
        message = see(robot, brick()[1], focal_px=0.0)
    (obj,) = message.objects
    assert (obj.state, obj.has_position) == (1, False)
    refused = ask(robot)
    assert not refused.success
    assert "camera_info is uncalibrated: K[0] is 0, expected a focal length" in refused.message
    assert "uncalibrated" in robot.diagnostics()["depth"]["message"]
    robot.wait_for("a position", lambda: see(robot, brick()[1]).objects[0].has_position)


def test_the_cloud_topic_has_every_point_of_the_newest_image(robot):
    clouds = robot.listen(PointCloud2, "/sam2/cloud/brick")
    rotation, body = brick()
    robot.wait_for("a cloud", lambda: see(robot, body) and clouds)
    message = see(robot, body)
    cloud = robot.wait_for("its cloud", lambda: at(clouds, message))
    points = points_of(cloud)[0]
    assert np.percentile(off_the_box_m(points, rotation), 95) < 0.01
    assert len(points) > 0.8 * message.objects[0].area
    robot.deafen("/sam2/cloud/brick")


def test_topics_of_objects_come_and_go_while_the_node_tracks(robot):
    for parameter, kind in (("pose_topics", "pose"), ("cloud_topics", "cloud"), ("mask_topics", "mask")):
        before = list(see(robot, brick()[1]).objects)
        for ids, there in ((["brick", "left cup"], True), (["brick"], False), (["brick", "left cup"], True)):
            reply = robot.set_parameter(parameter, ids)
            assert (reply.successful, reply.reason) == (True, "")
            robot.wait_for(
                f"{kind} {there}",
                lambda kind=kind, there=there: (
                    bool(robot.node.count_publishers(f"/sam2/{kind}/left_cup")) == there
                    and robot.node.count_publishers(f"/sam2/{kind}/brick")
                ),
            )
            assert [obj.label for obj in see(robot, brick()[1]).objects] == [obj.label for obj in before]
        for bad, said in ((["a b", "a_b"], f"the {kind}s of 'a b' and 'a_b'"), ([TOO_LONG], "shorter id")):
            refused = robot.set_parameter(parameter, bad)
            assert not refused.successful
            assert said in refused.reason
            assert f"parameter {parameter}" in refused.reason
        assert robot.node.count_publishers(f"/sam2/{kind}/left_cup")  # a refused list changes nothing
        assert robot.set_parameter(parameter, ["brick"]).successful
    assert robot.set_parameter("mask_topics", [""]).successful
    assert see(robot, brick()[1]).objects[0].state == 1


def publish_mask(robot, object_id, on=True):
    return robot.call(PublishMask, "publish_mask", PublishMask.Request(id=object_id, on=on))


def test_a_mask_topic_on_request_and_its_first_mask_reaches_a_late_subscriber(robot):
    assert publish_mask(robot, "brick", on=False).success
    reply = publish_mask(robot, "brick")
    assert (reply.success, reply.message, reply.topic) == (True, "", "/sam2/mask/brick")
    early = publish_mask(robot, "my cup")
    assert early.success
    assert early.topic == "/sam2/mask/my_cup"
    assert "no object 'my cup' yet" in early.message
    clash = publish_mask(robot, "my_cup")
    assert not clash.success
    assert "rename one" in clash.message
    assert not publish_mask(robot, "").success

    first = see(robot, brick()[1])
    for turn_deg in (4, 8, 12):
        see(robot, brick(turn_deg)[1])
    late = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    topic = "/sam2/first_mask/brick"
    subscription = robot.node.create_subscription(Image, topic, late.append, latched)
    robot.wait_for("the first mask", lambda: late)
    assert stamp_ns(late[0]) == stamp_ns(first)
    assert (late[0].encoding, late[0].height, late[0].width) == ("mono8", HEIGHT_PX, WIDTH_PX)
    assert 0 < np.count_nonzero(np.frombuffer(bytes(late[0].data), np.uint8)) == first.objects[0].area
    masks = robot.listen(Image, "/sam2/mask/brick")
    robot.wait_for("the mask of each image", lambda: at(masks, see(robot, brick()[1])))
    assert len(late) == 1

    # Lost and found again is a new start.
    robot.wait_for("the brick to be lost", lambda: see(robot, NOTHING).objects[0].state == 3)
    robot.wait_for("the brick", lambda: see(robot, brick()[1]).objects[0].state == 1)
    robot.wait_for("a new first mask", lambda: len(late) == 2)
    robot.node.destroy_subscription(subscription)
    assert publish_mask(robot, "brick", on=False).success
    assert publish_mask(robot, "my cup", on=False).success
    robot.wait_for("no publisher", lambda: not robot.node.count_publishers(topic))


def test_boxes_of_vision_msgs_are_oriented_and_say_how_sure_they_are(robot):
    vision = pytest.importorskip("vision_msgs.msg", reason="needs vision_msgs, which has no wheel")
    boxes = robot.listen(vision.Detection3DArray, "/sam2/detections_3d")
    robot.listen(ObjectStatusArray, "/sam2/status")
    robot.wait_for("a box", lambda: see(robot, brick()[1]) and any(each.detections for each in boxes))
    message = see(robot, brick()[1])
    (found,) = robot.wait_for("its box", lambda: at(boxes, message)).detections
    status = status_of(robot, message)
    assert found.bbox.center.orientation == status.pose.orientation
    assert found.results[0].pose.pose == status.pose
    edges = sorted((found.bbox.size.x, found.bbox.size.y, found.bbox.size.z), reverse=True)
    assert edges[:2] == pytest.approx(SIZE[:2], abs=0.02)
    covariance = np.array(found.results[0].pose.covariance).reshape(6, 6)
    assert np.sqrt(covariance[:3, :3].diagonal()) == pytest.approx([status.position_stddev] * 3)
    assert (np.degrees(np.sqrt(covariance[3:, 3:].diagonal())) < 10).all()


def test_topics_are_switched_while_images_stream_and_no_message_is_lost(robot):
    assert robot.set_parameter("mask_topics", ["brick"]).successful
    robot.listen(Image, "/sam2/mask/brick")
    lost = robot.diagnostics()["messages_not_published"]
    for number in range(30):
        ids = ["brick", "left cup"] if number % 2 else [""]
        robot.send_image(picture(brick()[1]))
        for parameter in ("mask_topics", "pose_topics", "cloud_topics"):
            assert robot.set_parameter(parameter, ids).successful
    stamp = robot.send_image(picture(brick()[1]))
    robot.wait_for("the last image", lambda: robot.objects_at(stamp))
    assert robot.diagnostics()["messages_not_published"] == lost
    assert "Traceback" not in robot.log()
    robot.deafen("/sam2/mask/brick")
    assert robot.set_parameter("mask_topics", [""]).successful


def test_a_cloud_waits_for_the_transform_at_the_stamp_of_its_image(make_robot):
    pytest.importorskip("tf2_ros", reason="needs tf2_ros, which has no wheel")
    from geometry_msgs.msg import TransformStamped
    from tf2_msgs.msg import TFMessage

    robot = make_robot(use_3d=True, target_frame="base", tf_timeout=5.0)
    transforms = robot.publisher(TFMessage, "/tf")

    def camera_at(stamp):
        moved = header(TransformStamped(child_frame_id="camera"), stamp, "base")
        moved.transform.translation.x, moved.transform.rotation.w = 2.0, 1.0
        transforms.publish(TFMessage(transforms=[moved]))

    robot.listen_to_outputs()
    robot.add(robot.prompt("brick", box=BOX))
    rotation, body = brick()
    for _ in range(3):  # the objects of an image come with its transform
        stamp = robot.next_stamp_ns()
        camera_at(stamp - 1), camera_at(stamp + 1)
        robot._stamp_ns = stamp - FRAME_NS
        see(robot, body)
    robot.deafen("/sam2/objects")
    stamp = send(robot, body)
    robot.wait_for("its labels", lambda: robot.label_image_at(stamp))
    waiting = robot.client(ObjectCloud, "cloud").call_async(ObjectCloud.Request(id="brick"))
    assert not waiting.done()
    camera_at(stamp)
    reply = robot.wait_for("the cloud", waiting.done) and waiting.result()
    assert reply.success, reply.message
    assert (reply.cloud.header.frame_id, stamp_ns(reply.cloud)) == ("base", stamp)
    points = points_of(reply.cloud)[0].copy()
    points["x"] -= 2.0
    assert np.percentile(off_the_box_m(points, rotation), 95) < 0.01
