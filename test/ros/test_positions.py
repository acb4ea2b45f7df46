# SPDX-License-Identifier: Apache-2.0
"""Depth on a live graph: every object has a position in metres, and without depth tracking continues."""

import array
import contextlib
import signal
import threading
import time
from functools import partial

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")
pytest.importorskip("message_filters", reason="needs message_filters, which has no wheel")

from geometry_msgs.msg import TransformStamped
from sam2_ros_msgs.msg import ObjectStatusArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from visualization_msgs.msg import Marker, MarkerArray

from .conftest import BOX, DISC, HEIGHT_PX, WIDTH_PX, scene, stamp_ns

FOCAL_PX = 200.0
BOX_M, WALL_M = 0.8, 1.5
OK, WARN = 0, 1


def header(message, stamp, frame_id="camera"):
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    return message


def camera_info() -> CameraInfo:
    info = CameraInfo(height=HEIGHT_PX, width=WIDTH_PX, distortion_model="plumb_bob", d=[0.0] * 5)
    cx, cy = WIDTH_PX / 2, HEIGHT_PX / 2
    info.k = [FOCAL_PX, 0.0, cx, 0.0, FOCAL_PX, cy, 0.0, 0.0, 1.0]
    info.p = [FOCAL_PX, 0.0, cx, 0.0, 0.0, FOCAL_PX, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def depth_image(encoding: str = "16UC1", shift_px: int = 0) -> Image:
    metres = np.full((HEIGHT_PX, WIDTH_PX), WALL_M, np.float32)
    metres[30:70, 30 + shift_px : 70 + shift_px] = BOX_M
    pixels = np.rint(metres * 1000).astype("<u2") if encoding == "16UC1" else metres.astype("<f4")
    message = Image(height=HEIGHT_PX, width=WIDTH_PX, encoding=encoding, step=pixels.strides[0])
    message.data = array.array("B", pixels.tobytes())
    return message


def see(robot, depth=None, stamp=None, shift_px=0):
    """Send one image and its depth, depth first so that it is there; returns the objects."""
    stamp = stamp or robot.next_stamp_ns()
    if depth is not None:
        robot.publisher(Image, "/depth_image").publish(header(depth, stamp))
    robot.publisher(CameraInfo, "/camera_info").publish(header(camera_info(), stamp))
    return robot.process(scene(shift_px), stamp_ns=stamp)


def located(robot, **fields):
    """Send images until the box has a position: messages of different topics may arrive in any order."""
    return robot.wait_for(
        "a position", lambda: next((o for o in see(robot, **fields).objects if o.has_position), None)
    )


@pytest.fixture(scope="module")
def node(make_robot):
    robot = make_robot(use_3d=True, max_objects=3)
    robot.listen_to_outputs()
    return robot


@pytest.fixture
def robot(node):
    node.reset()
    node.process(stamp_ns=node.next_stamp_ns(10_000_000_000))
    node.add(node.prompt("box", box=BOX))
    node.process()
    return node


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_every_object_has_its_position_and_size_in_metres(robot, encoding):
    box = located(robot, depth=depth_image(encoding))
    # The box spans 30..70 px on both axes: its centre is 30.5 px left of the principal point and 10.5 above it.
    assert box.position.z == pytest.approx(BOX_M, abs=0.01)
    assert box.position.x == pytest.approx(-30.5 / FOCAL_PX * BOX_M, abs=0.02)
    assert box.position.y == pytest.approx(-10.5 / FOCAL_PX * BOX_M, abs=0.02)
    assert box.size.x == pytest.approx(40 / FOCAL_PX * BOX_M, abs=0.04)
    assert (box.velocity.x, box.velocity.y, box.velocity.z) == pytest.approx((0, 0, 0), abs=0.05)


def test_a_moving_object_has_a_velocity(robot):
    located(robot, depth=depth_image())
    for shift_px in range(0, 24, 4):  # 4 px in 0.1 s are 40 px/s
        message = see(robot, depth_image(shift_px=shift_px), shift_px=shift_px)
    (box,) = message.objects
    assert box.velocity.x == pytest.approx(40 / FOCAL_PX * BOX_M, abs=0.06)
    assert abs(box.velocity.z) < 0.1


def test_the_status_of_an_image_has_the_positions_of_its_objects(robot):
    statuses = robot.listen(ObjectStatusArray, "/sam2/status")
    robot.wait_for("a status", lambda: located(robot, depth=depth_image()) and statuses)
    with_depth, without = see(robot, depth_image()), see(robot)
    for message, has_position in ((with_depth, True), (without, False)):
        status = robot.wait_for("its status", partial(one_of, statuses, stamp_ns(message)))
        assert status.position_frame_id == message.position_frame_id
        ((light,), (full,)) = status.objects, message.objects
        assert light.has_position == full.has_position == has_position
        assert light.pose.position == full.position
        assert (light.size, light.velocity) == (full.size, full.velocity)


def one_of(messages, stamp):
    return next((message for message in messages if stamp_ns(message) == stamp), None)


def test_cloud_and_markers_show_the_objects_under_the_images_stamp(robot):
    clouds = robot.listen(PointCloud2, "/sam2/object_cloud")
    markers = robot.listen(MarkerArray, "/sam2/markers")
    robot.add(robot.prompt("disc", points=[(*DISC, True)]))
    robot.wait_for("both", lambda: see(robot, depth_image()) and clouds and markers)
    clouds.clear(), markers.clear()
    message = see(robot, depth_image())
    stamp = stamp_ns(message)
    cloud = robot.wait_for("the cloud", lambda: next((m for m in clouds if stamp_ns(m) == stamp), None))
    assert cloud.header.frame_id == "camera"
    points = np.frombuffer(
        bytes(cloud.data), np.dtype([(name, "<f4") for name in "xyz"] + [("rgb", "<u4"), ("label", "<u4")])
    )
    label = {obj.id: obj.label for obj in message.objects}
    on_the_box = points[points["label"] == label["box"]]
    assert len(on_the_box) > 100
    assert np.median(on_the_box["z"]) == pytest.approx(BOX_M, abs=0.01)
    red, blue = np.median(on_the_box["rgb"] >> 16 & 255), np.median(on_the_box["rgb"] & 255)
    assert red > 150 > blue
    shown = robot.wait_for("the markers", lambda: markers and markers[-1])
    names = {marker.text.split()[0] for marker in shown.markers if marker.type == Marker.TEXT_VIEW_FACING}
    assert names == {"box", "disc"}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda depth: header(depth, 0, "depth_optical_frame"), "depth_optical_frame"),
        (lambda depth: setattr(depth, "encoding", "rgb8"), "rgb8"),
        (lambda depth: setattr(depth, "height", HEIGHT_PX // 2), f"{WIDTH_PX}"),
    ],
)
def test_unusable_depth_loses_the_position_but_not_the_track(robot, spoil, said):
    located(robot, depth=depth_image())

    def lacking():
        stamp = robot.next_stamp_ns()
        depth = depth_image()
        header(depth, stamp)
        spoil(depth)
        depth.header.stamp.sec, depth.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        robot.publisher(Image, "/depth_image").publish(depth)
        (box,) = robot.process(stamp_ns=stamp).objects
        assert box.state == 1
        status = robot.diagnostics()["depth"]
        return not box.has_position and status["level"] == WARN and said in status["message"]

    robot.wait_for("the warning with the reason", lacking)
    assert located(robot, depth=depth_image()).position.z == pytest.approx(BOX_M, abs=0.01)


def test_without_depth_at_its_stamp_an_image_is_tracked_without_a_position(robot):
    located(robot, depth=depth_image())
    (box,) = robot.process(stamp_ns=robot.next_stamp_ns(500_000_000)).objects
    assert (box.state, box.has_position) == (1, False)


def test_positions_are_in_the_target_frame_at_the_images_stamp(make_robot):
    pytest.importorskip("tf2_ros", reason="needs tf2_ros, which has no wheel")
    from tf2_msgs.msg import TFMessage

    robot = make_robot(use_3d=True, target_frame="base")
    robot.listen_to_outputs()
    robot.add(robot.prompt("box", box=BOX))
    transforms = robot.publisher(TFMessage, "/tf")

    def arm_at(stamp, x):
        """The camera looks along the base's x axis, `x` metres in front of it."""
        transform = TransformStamped(child_frame_id="camera")
        header(transform, stamp, "base")
        transform.transform.translation.x = x
        rotation = transform.transform.rotation
        rotation.x, rotation.y, rotation.z, rotation.w = -0.5, 0.5, -0.5, 0.5
        transforms.publish(TFMessage(transforms=[transform]))

    def on_the_move():
        """The arm moves at 1 m/s; the position must be that at the image's stamp, between two transforms."""
        stamp = robot.next_stamp_ns()
        arm_at(stamp - 50_000_000, 2.0 - 0.05)
        arm_at(stamp + 50_000_000, 2.0 + 0.05)
        message = see(robot, depth_image(), stamp)
        return message if message.objects[0].has_position else None

    message = robot.wait_for("a position in base", on_the_move)
    assert message.position_frame_id == "base"
    (box,) = message.objects
    assert box.position.x == pytest.approx(2.0 + BOX_M, abs=0.015)
    assert box.position.y == pytest.approx(30.5 / FOCAL_PX * BOX_M, abs=0.02)
    assert box.position.z == pytest.approx(10.5 / FOCAL_PX * BOX_M, abs=0.02)
    # Without a transform at the stamp there is no position, and the reason is reported.
    late = see(robot, depth_image(), robot.next_stamp_ns(3_000_000_000))
    assert not late.objects[0].has_position


BASE_SPEED_MPS, TF_HZ = 0.5, 50.0


@contextlib.contextmanager
def moving_base(robot, lag_s):
    """Broadcast tf of a camera that looks and drives along its base's x axis, each transform sent `lag_s` late."""
    from tf2_msgs.msg import TFMessage

    transforms, stop = robot.publisher(TFMessage, "/tf"), threading.Event()
    begun_ns = time.time_ns()

    def at(stamp):
        return BASE_SPEED_MPS * (stamp - begun_ns) / 1e9

    def broadcast():
        while not stop.wait(1 / TF_HZ):
            stamp = time.time_ns() - int(lag_s * 1e9)
            transform = header(TransformStamped(child_frame_id="camera"), stamp, "odom")
            transform.transform.translation.x = at(stamp)
            rotation = transform.transform.rotation
            rotation.x, rotation.y, rotation.z, rotation.w = -0.5, 0.5, -0.5, 0.5
            transforms.publish(TFMessage(transforms=[transform]))

    broadcaster = threading.Thread(target=broadcast, daemon=True)
    broadcaster.start()
    try:
        yield at
    finally:
        stop.set()
        broadcaster.join()


def drive(robot, images):
    """Send `images` images at 10 Hz, stamped now, without waiting for results; returns the results that arrive."""
    sent = []
    for _ in range(images):
        sent.append(time.time_ns())
        robot.publisher(Image, "/depth_image").publish(header(depth_image(), sent[-1]))
        robot.publisher(CameraInfo, "/camera_info").publish(header(camera_info(), sent[-1]))
        robot.send_image(scene(), stamp_ns=sent[-1])
        time.sleep(0.1)
    robot.wait_for("the last result", lambda: robot.objects_at(sent[-1]))
    return [message for stamp in sent if (message := robot.objects_at(stamp))]


def test_on_a_moving_base_every_image_has_its_position_though_tf_comes_later_than_the_result(make_robot):
    pytest.importorskip("tf2_ros", reason="needs tf2_ros, which has no wheel")
    robot = make_robot(use_3d=True, target_frame="odom", tf_timeout=2.0)
    robot.listen_to_outputs()
    robot.process(stamp_ns=time.time_ns())
    robot.add(robot.prompt("box", box=BOX))
    with moving_base(robot, lag_s=0.5) as base_x:
        robot.wait_for("tf", lambda: drive(robot, 1)[-1].objects[0].has_position)
        lacking = robot.diagnostics()["images_lacking_positions"]
        messages = drive(robot, 15)
        assert len(messages) >= 5
        for message in messages:
            (box,) = message.objects
            assert box.has_position
            assert box.position.x == pytest.approx(base_x(stamp_ns(message)) + BOX_M, abs=0.01)
            assert box.position.y == pytest.approx(30.5 / FOCAL_PX * BOX_M, abs=0.02)
            assert box.velocity.x in (0.0, pytest.approx(BASE_SPEED_MPS, abs=0.05))  # unknown, or right
        assert [stamp_ns(message) for message in messages] == sorted(map(stamp_ns, messages))
        shown = robot.diagnostics()
        assert shown["images_lacking_positions"] == lacking
        assert int(shown["images_waited_for_tf"]) >= len(messages) // 2  # all, unless the machine is busy
        # Without waiting hardly any has a position, and the status says what to do.
        assert robot.set_parameter("tf_timeout", 0.0).successful
        messages = drive(robot, 15)
        assert sum(message.objects[0].has_position for message in messages) < len(messages) // 2
        status = robot.diagnostics()["depth"]
        assert status["level"] == WARN
        assert "tf comes late" in status["message"]
        assert "raise tf_timeout" in status["message"]
    # tf is silent and results wait: the process still ends in time.
    assert robot.set_parameter("tf_timeout", 10.0).successful
    robot.send_image(scene(), stamp_ns=time.time_ns())
    robot.process_handle.send_signal(signal.SIGINT)
    assert robot.process_handle.wait(5.0) == 0


def test_detections_3d_carry_id_class_position_and_size(robot):
    vision = pytest.importorskip("vision_msgs.msg", reason="needs vision_msgs, which has no wheel")
    boxes = robot.listen(vision.Detection3DArray, "/sam2/detections_3d")
    message = robot.wait_for(
        "a detection", lambda: see(robot, depth_image()) and next((m for m in boxes if m.detections), None)
    )
    (found,) = message.detections
    assert found.id == "box"
    assert found.bbox.center.position.z == pytest.approx(BOX_M, abs=0.05)
    assert found.bbox.size.x == pytest.approx(40 / FOCAL_PX * BOX_M, abs=0.04)
