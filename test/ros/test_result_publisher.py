# SPDX-License-Identifier: Apache-2.0
"""Results that wait for their transform, on a real graph: which outputs are sent at once, which later, in which order.

Transforms and depth are simulated, so neither tf2 nor message_filters is needed; everything else is the node's code.
"""

import contextlib
import os
import sys
import threading
import time

import numpy as np
import pytest
from ros_domains import next_domain

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

import rclpy
from depth_scenes import camera_info, card, depth_message, frame, pinhole_slopes, tracked, wall
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sam2_ros_msgs.msg import TrackedObjectArray
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

import sam2_ros.node.spatial.object_locator as spatial_module
from sam2_ros.node.diagnostics import WARN, Statistics
from sam2_ros.node.frame_history import StampedImage
from sam2_ros.node.object_registry import ObjectRegistry
from sam2_ros.node.outputs.publish import Outputs
from sam2_ros.node.outputs.result_publisher import ResultPublisher
from sam2_ros.node.parameters.params import NodeParams
from sam2_ros.node.spatial.location import NoPositionError, NotYetError
from sam2_ros.node.spatial.object_locator import ObjectLocator
from sam2_ros.node.spatial.transform import Transform

PERIOD_NS = 50_000_000
TIMEOUT_S = 20.0
SPEED_MPS = 0.4  # of the camera, along x of the target frame
CARD = card(pinhole_slopes(), (0.05, 0.02, 0.8), (0.12, 0.10))
DEPTH = depth_message(np.minimum(CARD, wall(pinhole_slopes(), 2.0)), "16UC1")


class PlayedSources:
    """The same depth image for every stamp."""

    depth_topic, info_topic = "/depth_image", "/camera_info"

    def depth_at(self, stamp_ns: int):
        return DEPTH

    def info_at(self, stamp_ns: int, frame_id: str):
        return camera_info()

    def silence(self) -> str:
        return ""

    def discontinuity(self) -> None:
        pass

    destroy = discontinuity


class PlayedTransforms:
    """Simulated tf of a moving camera, known from `oldest_ns` to `newest_ns`."""

    def __init__(self) -> None:
        self.oldest_ns, self.newest_ns = 0, -1

    def at(self, header) -> Transform:
        stamp_ns = header.stamp.sec * 10**9 + header.stamp.nanosec
        if stamp_ns < self.oldest_ns:
            raise NoPositionError("extrapolation into the past")
        if stamp_ns > self.newest_ns:
            raise NotYetError("extrapolation into the future", (stamp_ns - self.newest_ns) / 1e9)
        return Transform(np.eye(3), np.array([SPEED_MPS * stamp_ns / 1e9, 0.0, 0.0]))

    def forget(self) -> None:
        self.newest_ns = -1

    def destroy(self) -> None:
        pass


class Bench:
    """A ResultPublisher with real publishers, and a listener. This thread does the worker's part."""

    def __init__(self, monkeypatch, tf_timeout: float = 5.0) -> None:
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self.transforms = PlayedTransforms()
        monkeypatch.setattr(spatial_module, "DepthSubscriptions", lambda node, slop_s: PlayedSources())
        monkeypatch.setattr(spatial_module, "Transforms", lambda node, target_frame: self.transforms)
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=next_domain())
        self.node = LifecycleNode("sam2", context=self.context)
        self.listener = rclpy.create_node("listener", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.listener)
        self.spinner = threading.Thread(target=self._spin, daemon=True)
        self.spinner.start()
        self.statistics = Statistics()
        self.spatial = ObjectLocator(self.node, 1000, 0.05, "odom", rectified=False)
        self.used = NodeParams(use_3d=True, target_frame="odom", tf_timeout=tf_timeout)
        self.outputs = Outputs(self.node, self.statistics, self.used)
        self.registry = ObjectRegistry(8)
        self.publisher = ResultPublisher(
            self.outputs,
            self.spatial,
            None,
            self.registry,
            self.statistics,
            settings=self,
            clock=self.node.get_clock(),
            log=self.node.get_logger(),
        )
        self.node.trigger_configure()
        self.node.trigger_activate()
        self.objects: list[TrackedObjectArray] = []
        self.labels: list[Image] = []
        self.clouds: list[PointCloud2] = []
        for kind, topic, heard in (
            (TrackedObjectArray, "/sam2/objects", self.objects),
            (Image, "/sam2/label_image", self.labels),
            (PointCloud2, "/sam2/object_cloud", self.clouds),
        ):
            self.listener.create_subscription(kind, topic, heard.append, QoSProfile(depth=100))
            self.wait(lambda topic=topic: self.node.count_subscribers(topic))
        self.begun_ns = 10**9 * int(time.time())
        self.index = 0
        # Until a message has arrived: a counted subscription may not be matched completely yet.
        self.transforms.newest_ns = 2**62
        self.wait(lambda: self.deliver() and self.objects and self.labels and self.clouds)
        time.sleep(0.2)
        for heard in (self.objects, self.labels, self.clouds):
            heard.clear()
        self.transforms.newest_ns = -1

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self.executor.spin()

    def close(self) -> None:
        assert self.publisher.stop()
        self.executor.shutdown(timeout_sec=2.0)
        self.context.try_shutdown()
        self.spinner.join(5.0)

    def wait(self, condition):
        deadline_s = time.monotonic() + TIMEOUT_S
        while not (value := condition()):
            assert time.monotonic() < deadline_s, self.spatial.line()
            time.sleep(0.005)
        return value

    def deliver(self, *ids: str) -> int:
        """The result of the next image; returns its stamp."""
        self.index += 1
        stamp_ns = self.begun_ns + self.index * PERIOD_NS
        header = Header(frame_id="camera")
        header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10**9)
        mask = np.isfinite(CARD)
        ids = ids or ("cup",)
        objects = [tracked(mask, name, label) for label, name in enumerate(ids, start=1)]
        result = frame(*objects, stamp_s=stamp_ns / 1e9)
        self.registry.confirm(result, [self.registry.admit(name, named=True) for name in ids])
        image = StampedImage(type("Message", (), {"header": header}), stamp_ns, "camera", time.monotonic())
        begun_s = time.monotonic()
        self.publisher.deliver(result, np.zeros((*mask.shape, 3), np.uint8), image)
        assert time.monotonic() - begun_s < 1.0  # far below tf_timeout
        return stamp_ns


def stamps(messages) -> list[int]:
    return [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec for message in messages]


@pytest.fixture
def bench(monkeypatch):
    made = Bench(monkeypatch)
    yield made
    made.close()


def test_masks_are_published_at_once_and_positions_follow_in_order_under_their_own_stamps(bench):
    sent = [bench.deliver() for _ in range(8)]
    bench.wait(lambda: stamps(bench.labels) == sent)
    assert bench.objects == []
    bench.transforms.newest_ns = sent[3]
    bench.wait(lambda: stamps(bench.objects) == sent[:4])
    bench.transforms.newest_ns = sent[-1] + 10**9
    sent.append(bench.deliver())  # its transform is there, but it must not overtake
    bench.wait(lambda: stamps(bench.objects) == sent and stamps(bench.clouds) == sent)
    for message, stamp_ns in zip(bench.objects, sent, strict=True):
        (cup,) = message.objects
        assert message.position_frame_id == "odom"
        expected = (0.05 + SPEED_MPS * stamp_ns / 1e9, 0.02, 0.8)
        assert (cup.position.x, cup.position.y, cup.position.z) == pytest.approx(expected, abs=0.004)
    # it moves with the camera, so in the camera's frame alone it would stand still
    assert bench.objects[-1].objects[0].velocity.x == pytest.approx(SPEED_MPS, abs=0.01)


def test_with_a_transform_that_is_there_nothing_waits(bench):
    bench.transforms.newest_ns = 2**62
    sent = [bench.deliver() for _ in range(5)]
    assert "sam2-positions" not in {thread.name for thread in threading.enumerate()}
    bench.wait(lambda: stamps(bench.objects) == sent)
    assert bench.spatial.line().values["images_waited_for_tf"] == "0"


def test_a_result_whose_transform_is_late_has_no_position_is_counted_and_the_remedy_is_reported(monkeypatch):
    bench = Bench(monkeypatch, tf_timeout=0.05)
    sent = [bench.deliver()]
    bench.transforms.newest_ns = sent[0] - 30_000_000
    bench.wait(lambda: stamps(bench.objects) == sent)
    assert not bench.objects[0].objects[0].has_position
    line = bench.spatial.line()
    assert line.level == WARN
    assert "tf comes late: 0.0" in line.message
    assert "was still 0.030 s older than the image: raise tf_timeout, for example to 0." in line.message
    assert line.values["images_lacking_transform"] == "1"
    bench.close()


def test_an_image_before_tf_began_does_not_wait(bench):
    bench.transforms.oldest_ns = 2**62
    stamp_ns = bench.deliver()
    bench.wait(lambda: stamps(bench.objects) == [stamp_ns])
    assert not bench.objects[0].objects[0].has_position


def test_an_object_removed_while_a_result_waits_does_not_appear_in_it(bench):
    bench.deliver("cup", "ball")
    bench.deliver("cup", "ball")
    bench.registry.remove(["cup"])
    sent = bench.deliver("cup", "ball")  # a new object under the old id
    bench.transforms.newest_ns = sent
    bench.wait(lambda: len(bench.objects) == 3)
    assert [[obj.id for obj in message.objects] for message in bench.objects] == [
        ["ball"],
        ["ball"],
        ["ball", "cup"],
    ]
    assert set(np.frombuffer(bytes(bench.clouds[0].data), np.uint32)[4::5]) == {2}
    bench.transforms.newest_ns = -1
    sent = bench.deliver()
    bench.registry.reset()
    bench.transforms.newest_ns = sent
    assert bench.wait(lambda: len(bench.objects) == 4 and bench.objects[-1]).objects == []


def test_after_a_jump_nothing_from_before_waits_and_the_order_is_kept(bench):
    before = [bench.deliver(), bench.deliver()]
    bench.publisher.discontinuity()
    bench.begun_ns -= 3600 * 10**9
    after = bench.deliver()
    bench.wait(lambda: stamps(bench.objects) == before)
    bench.transforms.newest_ns = after
    bench.wait(lambda: stamps(bench.objects) == [*before, after])
    assert [message.objects[0].has_position for message in bench.objects] == [False, False, True]


def test_stopping_publishes_waiting_results_at_once(bench):
    sent = [bench.deliver() for _ in range(3)]
    bench.transforms.newest_ns = sent[0]
    begun_s = time.monotonic()
    assert bench.publisher.stop()
    assert time.monotonic() - begun_s < 1.0
    bench.wait(lambda: stamps(bench.objects) == sent)


def test_latency_is_until_the_positions_are_out(bench):
    sent = bench.deliver()
    time.sleep(0.3)
    bench.transforms.newest_ns = sent
    bench.wait(lambda: bench.objects)
    # Recorded after the last output is sent, so possibly after the first has arrived.
    bench.wait(lambda: bench.statistics.percentiles_ms()["latency"][2] > 250)


def test_without_tf2_msgs_there_are_no_tf_frames_and_everything_else_works(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "tf2_msgs.msg", None)
    bench = Bench(monkeypatch)
    try:
        for ids in (("cup",), ("cup", "box")):
            bench.outputs.follow(NodeParams(use_3d=True, publish_tf=True, pose_topics=ids))
        topics = {publisher.topic_name for publisher in bench.node.publishers}
        assert {"/pose/cup", "/pose/box"} <= {topic.removeprefix("/sam2") for topic in topics}
        assert "/tf" not in topics
        said = [line for line in capfd.readouterr().err.splitlines() if "no tf frames" in line]
        assert len(said) == 1
        assert "publish_tf needs the ROS package tf2_msgs" in said[0]
    finally:
        bench.close()
