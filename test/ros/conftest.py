# SPDX-License-Identifier: Apache-2.0
"""The client side of a live ROS graph for tests: the real node in its own process, a camera, a user and a listener.

Knows topics, services and messages only, not the node's code. Nothing sleeps a fixed time: every wait has a condition,
and a limit that is reached only if something is broken.
"""

from __future__ import annotations

import array
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from node_services import services
from ros_domains import next_domain

HEIGHT_PX, WIDTH_PX = 120, 160
IMAGE_SIZE = 256  # the node's image_size in tests: half the time of nano's own size
START_TIMEOUT_S = 240.0
TIMEOUT_S = 60.0
ASK_AGAIN_S = 5.0
READ_ONLY = {"get_state", "list_parameters", "describe_parameters"}  # services that answer at once, too
FRAME_NS = 100_000_000


def scene(shift_px: int = 0) -> np.ndarray:
    """[120, 160, 3] uint8 RGB: a red box and a blue disc on a textured ground, moved right by `shift_px`."""
    rows, columns = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    image = np.repeat((90 + 20 * ((rows // 7 + columns // 9) % 2))[..., None], 3, axis=2).astype(np.uint8)
    image[30:70, 30 + shift_px : 70 + shift_px] = (200, 30, 20)
    image[(rows - 80) ** 2 + (columns - 110 - shift_px) ** 2 < 400] = (20, 60, 210)
    return image


BOX = (30.0, 30.0, 70.0, 70.0)  # of the red box in scene()
DISC = (110.0, 80.0)  # on the blue disc in scene()


class Robot:
    """One node under test with its clients. Messages are kept by topic, in order of arrival."""

    def __init__(
        self,
        log_path: Path,
        parameters: dict[str, Any] | None = None,
        command: list[str] | None = None,
        name: str = "sam2",
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._command = command or [sys.executable, "-m", "sam2_ros.node.node"]
        self._parameters = {"image_reliability": "reliable", "image_size": IMAGE_SIZE, **(parameters or {})}
        self.domain_id = next_domain()
        self._stamp_ns = 1_000_000_000_000
        self._clients: dict[str, Any] = {}
        self._publishers: dict[str, Any] = {}
        self._subscriptions: dict[str, Any] = {}
        self.received: dict[str, list[Any]] = defaultdict(list)

    def __enter__(self) -> Robot:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        arguments = ["-r", f"__node:={self.name}", "-r", "image_raw:=/camera/image_raw"]
        for key, value in self._parameters.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ["-p", f"{key}:={text}"]
        environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(self.domain_id),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
        }
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self._log = self.log_path.open("wb")
        self.process_handle = subprocess.Popen(
            [*self._command, "--ros-args", *arguments],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=self.domain_id)
        self.node = rclpy.create_node(f"test_robot_{self.domain_id}", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._spinner = threading.Thread(target=self._spin, daemon=True)
        self._spinner.start()
        for service_type, name in services():
            self.client(service_type, name)
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process_handle.poll() is None:
            self.process_handle.send_signal(signal.SIGINT)
            try:
                self.process_handle.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process_handle.kill()
                self.process_handle.wait()
        self._executor.shutdown(timeout_sec=2.0)
        self._context.try_shutdown()
        self._spinner.join(5.0)
        self._log.close()

    def _spin(self) -> None:
        from rclpy.executors import ExternalShutdownException

        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    # Waiting

    def wait_for(self, what: str, condition: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> Any:
        """Poll until `condition` returns a true value, and return it; a failure shows the node's log."""
        deadline_s = time.monotonic() + timeout_s
        while not (value := condition()):
            if self.process_handle.poll() is not None:
                pytest.fail(
                    f"the node ended with {self.process_handle.returncode} before {what}\n{self.log()}"
                )
            if time.monotonic() > deadline_s:
                pytest.fail(f"{what}: not within {timeout_s:.0f} s\n{self.log()}")
            time.sleep(0.005)
        return value

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    # Listening

    def listen(self, message_type: type, topic: str) -> list[Any]:
        """Subscribe and wait until the node has matched; returns the list of received messages."""
        if topic not in self._subscriptions:
            subscription = self.node.create_subscription(message_type, topic, self.received[topic].append, 10)
            self._subscriptions[topic] = subscription
            self.wait_for(
                f"a publisher of {topic}", lambda: self.node.count_publishers(topic), START_TIMEOUT_S
            )
        return self.received[topic]

    def deafen(self, topic: str) -> None:
        self.node.destroy_subscription(self._subscriptions.pop(topic))

    def listen_to_outputs(self) -> None:
        """Subscribe to both outputs, and wait until images reach the node and results return."""
        from sam2_ros_msgs.msg import TrackedObjectArray
        from sensor_msgs.msg import Image

        self.listen(TrackedObjectArray, f"/{self.name}/objects")
        self.listen(Image, f"/{self.name}/label_image")
        self.wait_until_tracking()

    def wait_until_tracking(self) -> None:
        """Send images until both outputs of one image have arrived: then both directions are matched."""
        last_s = 0.0

        def answered() -> bool:
            nonlocal last_s
            if time.monotonic() - last_s > 0.5:
                last_s = time.monotonic()
                self.send_image(scene())
            stamps = [
                {stamp_ns(m) for m in self.received[f"/{self.name}/{t}"]} for t in ("objects", "label_image")
            ]
            return bool(stamps[0] & stamps[1])

        self.wait_for("the first result", answered, START_TIMEOUT_S)
        newest_ns = self._stamp_ns
        self.wait_for("the last warm-up image", lambda: self.objects_at(newest_ns))

    # The camera

    def next_stamp_ns(self, step_ns: int = FRAME_NS) -> int:
        self._stamp_ns += step_ns
        return self._stamp_ns

    def publisher(self, message_type: type, topic: str) -> Any:
        """A publisher that the node has already matched."""
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(message_type, topic, 10)
        publisher = self._publishers[topic]
        self.wait_for(
            f"a subscription of {topic}", lambda: publisher.get_subscription_count(), START_TIMEOUT_S
        )
        return publisher

    def send_image(
        self, image: np.ndarray, encoding: str = "rgb8", frame_id: str = "camera", **fields: Any
    ) -> int:
        """Publish [H, W, C] uint8 unchanged, with a new stamp; returns the stamp. `fields` overwrite message fields."""
        from sensor_msgs.msg import Image

        publisher = self.publisher(Image, "/camera/image_raw")
        message = Image(height=image.shape[0], width=image.shape[1], encoding=encoding, step=image.strides[0])
        message.data = array.array("B", image.tobytes())
        return self._stamped(publisher, message, frame_id, fields)

    def send_compressed(self, data: bytes, format: str = "jpeg", frame_id: str = "camera") -> int:
        from sensor_msgs.msg import CompressedImage

        message = CompressedImage(format=format)
        message.data = array.array("B", data)
        publisher = self.publisher(CompressedImage, "/camera/image_raw/compressed")
        return self._stamped(publisher, message, frame_id, {})

    def _stamped(self, publisher: Any, message: Any, frame_id: str, fields: dict[str, Any]) -> int:
        stamp = fields.pop("stamp_ns", None) or self.next_stamp_ns()
        self._stamp_ns = stamp
        message.header.frame_id = frame_id
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        for name, value in fields.items():
            setattr(message, name, value)
        publisher.publish(message)
        return stamp

    def objects_at(self, stamp: int) -> Any:
        """The TrackedObjectArray of one image, or None if it has not arrived yet."""
        return next(
            (m for m in reversed(self.received[f"/{self.name}/objects"]) if stamp_ns(m) == stamp), None
        )

    def label_image_at(self, stamp: int) -> Any:
        messages = self.received[f"/{self.name}/label_image"]
        return next((m for m in reversed(messages) if stamp_ns(m) == stamp), None)

    def process(self, image: np.ndarray | None = None, encoding: str = "rgb8", **fields: Any) -> Any:
        """Send one image and wait for its TrackedObjectArray."""
        stamp = self.send_image(scene() if image is None else image, encoding, **fields)
        return self.wait_for(f"the objects of image {stamp}", lambda: self.objects_at(stamp))

    # The user

    def prompt(self, object_id: str = "", box: Any = (), points: Any = (), **fields: Any) -> Any:
        """A sam2_ros_msgs/Prompt; points are (x, y, positive)."""
        from sam2_ros_msgs.msg import Prompt, PromptPoint

        message = Prompt(id=object_id, box=list(box), **fields)
        message.points = [PromptPoint(x=float(x), y=float(y), positive=bool(on)) for x, y, on in points]
        return message

    def send_prompts(self, *prompts: Any) -> None:
        """Publish on ~/prompts, and return when the node has received them, which neither log nor replies show."""
        from sam2_ros_msgs.msg import PromptArray

        self.publisher(PromptArray, f"/{self.name}/prompts").publish(PromptArray(prompts=list(prompts)))

    def add(self, *prompts: Any) -> Any:
        from sam2_ros_msgs.srv import AddObjects

        return self.call(AddObjects, "add_objects", AddObjects.Request(prompts=list(prompts)))

    def remove(self, *ids: str) -> Any:
        from sam2_ros_msgs.srv import RemoveObjects

        return self.call(RemoveObjects, "remove_objects", RemoveObjects.Request(ids=list(ids)))

    def reset(self) -> Any:
        from std_srvs.srv import Trigger

        return self.call(Trigger, "reset", Trigger.Request())

    def enable(self, on: bool) -> Any:
        from std_srvs.srv import SetBool

        return self.call(SetBool, "enable", SetBool.Request(data=on))

    def state(self) -> str:
        from lifecycle_msgs.srv import GetState

        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def transition(self, label: str) -> bool:
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request(transition=Transition(label=label))
        return self.call(ChangeState, "change_state", request, START_TIMEOUT_S).success

    def set_parameter(self, name: str, value: Any) -> Any:
        """Returns the SetParametersResult."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.call(SetParameters, "set_parameters", request).results[0]

    def call(self, service_type: type, name: str, request: Any, timeout_s: float = TIMEOUT_S) -> Any:
        """Call ~/name and wait for the reply.

        A service that has discovered a client's request topic, but not yet its reply topic, loses the reply
        (https://github.com/ros2/rmw_fastrtps/issues/842). So requests that only read are repeated, and the clients of
        all others exist before the node (`services`).
        """
        client = self.client(service_type, name)
        self.wait_for(f"the service {name}", client.service_is_ready, START_TIMEOUT_S)
        replies = [client.call_async(request)]
        asked_s = time.monotonic()

        def reply() -> Any:
            nonlocal asked_s
            if name in READ_ONLY and time.monotonic() - asked_s > ASK_AGAIN_S:
                asked_s = time.monotonic()
                replies.append(client.call_async(request))
            return next((future for future in replies if future.done()), None)

        return self.wait_for(f"the reply of {name}", reply, timeout_s).result()

    def client(self, service_type: type, name: str) -> Any:
        if name not in self._clients:
            self._clients[name] = self.node.create_client(service_type, f"/{self.name}/{name}")
        return self._clients[name]

    def diagnostics(self) -> dict[str, Any]:
        """The next DiagnosticArray.

        "level" and "message" by status ("tracking", "camera"), and all values.
        """
        from diagnostic_msgs.msg import DiagnosticArray

        messages = self.listen(DiagnosticArray, "/diagnostics")
        seen = len(messages)
        message = self.wait_for("diagnostics", lambda: len(messages) > seen and messages[-1])
        summary: dict[str, Any] = {}
        for status in message.status:
            owner, _, name = status.name.rpartition(": ")
            assert owner == f"/{self.name}", status.name
            assert status.hardware_id.startswith("/camera/image_raw"), status.hardware_id
            summary[name] = {"level": status.level[0], "message": status.message}
            summary.update({value.key: value.value for value in status.values})
        return summary


def ids(message: Any) -> list[str]:
    return [obj.id for obj in message.objects]


def labels(message: Any) -> dict[str, int]:
    return {obj.id: obj.label for obj in message.objects}


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The nodes' model: SAM2_ROS_TEST_MODEL, else the shipped weights.

    If those are missing: random weights, which are enough for tests that do not check the quality of masks.
    """
    if given := os.environ.get("SAM2_ROS_TEST_MODEL"):
        return given
    from random_models import random_model

    from sam2_ros.engine import config_for
    from sam2_ros.errors import CheckpointError
    from sam2_ros.weights.catalogue import find_checkpoint
    from sam2_ros.weights.load import save_model

    try:
        find_checkpoint("nano")
    except CheckpointError:
        path = tmp_path_factory.mktemp("weights") / "random.safetensors"
        save_model(random_model(config_for("nano")), path)
        return str(path)
    return "nano"


@pytest.fixture(scope="module")
def make_robot(tmp_path_factory: pytest.TempPathFactory, model: str) -> Iterator[Callable[..., Robot]]:
    """Start nodes that live as long as the module's tests; each has its own graph."""
    started: list[Robot] = []

    def make(command: list[str] | None = None, **parameters: Any) -> Robot:
        log_path = tmp_path_factory.mktemp("node") / "node.log"
        robot = Robot(log_path, {"model": model, **parameters}, command).__enter__()
        started.append(robot)
        return robot

    yield make
    for robot in started:
        robot.__exit__()
