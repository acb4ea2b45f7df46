# SPDX-License-Identifier: Apache-2.0
"""Starts the node, and plays images to it back and forth until it is closed: a camera that never ends.

Back and forth, so that nothing jumps where the images begin again. Does not know what the images show.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from sam2_ros.engine import Prompt
from sam2_ros.errors import UserError

from .graph import LiveGraph, dds_environment, environment_set, own_domain_id, ros_arguments
from .node_process import NodeProcess
from .player import DISCOVERY_PATIENCE_S, NODE_NAME, LivePlayerConfig
from .ros_messages import camera_image, prompt_message

STILL_IMAGES = 5  # of the first image after the prompts, which are for the next image that the node takes


class CameraLoop:
    """A context manager: the node and its camera, on a graph of their own.

    Images have the time of publishing as their stamps. In the context ROS_DOMAIN_ID and the rest of the graph's
    environment are set, so that other nodes of this process join it.

    Args:
        config: how to start the node.
        images_thwc: ``[T, H, W, 3]`` uint8 RGB.
        prompts: on the first image; sent once, when the node is ready.
        topic, frame_id, rate_hz: of the camera.
        log_path: file for the node's output.
        on_end: called from another thread if the node ends or does not start, with the reason.

    Attributes:
        domain_id: ROS_DOMAIN_ID of the graph.
    """

    def __init__(
        self,
        config: LivePlayerConfig,
        images_thwc: Sequence[np.ndarray] | np.ndarray,
        prompts: Sequence[Prompt],
        topic: str,
        frame_id: str,
        rate_hz: float,
        log_path: Path,
        on_end: Callable[[UserError], None] = lambda error: None,
    ) -> None:
        self._config, self._images, self._prompts = config, images_thwc, prompts
        self._topic, self._frame_id, self._rate_hz = topic, frame_id, rate_hz
        self._log_path, self._on_end = log_path, on_end
        self.domain_id = own_domain_id()
        self._closing, self._ready = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)

    def __enter__(self) -> CameraLoop:
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sam2_ros_msgs.msg import PromptArray
        from sensor_msgs.msg import Image

        config = self._config
        environment = dds_environment(self.domain_id, config.profiles_file)
        command = [*config.node_command, *ros_arguments(NODE_NAME, self._topic, config.parameters)]
        with contextlib.ExitStack() as stack:
            stack.enter_context(environment_set(environment))
            self._process = stack.enter_context(NodeProcess(command, self._log_path, environment))
            graph = LiveGraph("sam2_ros_camera", self.domain_id, self._process, NODE_NAME)
            self._graph = stack.enter_context(graph)
            best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
            self._images_out = graph.node.create_publisher(Image, self._topic, best_effort)
            self._prompts_out = graph.node.create_publisher(PromptArray, f"/{NODE_NAME}/prompts", 10)
            stack.callback(self._stop)
            self._thread.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _stop(self) -> None:
        self._closing.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        """Publish the first image until the node is ready, then the prompts, then all images without end."""
        waiting = threading.Thread(target=self._wait_until_ready, name="ready", daemon=True)
        waiting.start()
        try:
            while not self._ready.is_set():
                if not self._publish(self._images[0]):
                    return
            if self._prompts:
                self._prompts_out.publish(prompt_message(self._prompts, 0, self._frame_id))
            first = itertools.repeat(0, STILL_IMAGES)
            for index in itertools.chain(first, _back_and_forth(len(self._images))):
                if not self._publish(self._images[index]):
                    return
        except UserError as error:
            self._end(error)

    def _wait_until_ready(self) -> None:
        graph = self._graph
        try:
            graph.wait_until_active(self._config.start_timeout_s)
            graph.wait_for(
                lambda: (
                    self._images_out.get_subscription_count() > 0
                    and self._prompts_out.get_subscription_count() > 0
                ),
                DISCOVERY_PATIENCE_S,
                f"subscribing to {self._topic} and ~/prompts",
            )
            self._ready.set()
        except UserError as error:
            self._end(error)
        except Exception:
            if not self._closing.is_set():  # otherwise the graph was closed meanwhile
                raise

    def _end(self, error: UserError) -> None:
        if not self._closing.is_set():
            self._closing.set()
            self._on_end(error)

    def _publish(self, image_hw3: np.ndarray) -> bool:
        """Publish an image, and wait until the next one is due; False: the end."""
        due_s = time.monotonic() + 1 / self._rate_hz
        message = camera_image(image_hw3, self._frame_id)
        message.header.stamp = self._graph.node.get_clock().now().to_msg()
        self._images_out.publish(message)
        self._process.check()
        return not self._closing.wait(max(0.0, due_s - time.monotonic()))


def _back_and_forth(count: int) -> Iterator[int]:
    """0, 1, ... count - 1, count - 2, ... 1, and so on without end."""
    return itertools.cycle([*range(count), *range(count - 2, 0, -1)])
