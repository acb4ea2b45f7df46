"""Plays the images of a bag to a live node over DDS, at the bag's rate, and records what the node publishes.

Does not know the node's code: it starts the command it is given and speaks through topics and services only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sam2_ros.engine import Prompt
from sam2_ros.errors import UserError
from sam2_ros.media.bag.order import OrderedTopic
from sam2_ros.media.bag.storage import BagReader, BagWriter
from sam2_ros.media.bag.timeline import BagTimeline
from sam2_ros.media.frame import NS_PER_S, SourceError
from sam2_ros.media.messages.cdr_header import header_stamp_ns, with_stamp
from sam2_ros.media.messages.diagnostics import node_values
from sam2_ros.share_folder import shared_folder

from .graph import POLL_S, LiveGraph, dds_environment, environment_set, own_domain_id, ros_arguments
from .messages import prompt_message
from .node_process import NodeProcess

_log = logging.getLogger(__name__)

DIAGNOSTICS_TOPIC = "/diagnostics"
DIAGNOSTICS_PATIENCE_S = 2.5
COMPRESSED_SUFFIX = "/compressed"
"""What image_transport, and the node, append to a topic's name for its compressed images."""


@dataclass(frozen=True)
class LiveReplayConfig:
    """How to start the node, and how patiently to wait for it; the camera's topic is the bag's."""

    node_command: tuple[str, ...]  # starts the node; ROS arguments are appended
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    node_name: str = "sam2_node"
    rate: float = 1.0  # 2 = twice as fast as recorded
    domain_id: int | None = None  # ROS_DOMAIN_ID; None = one of this process's own
    profiles_file: Path | None = None  # Fast DDS XML, without which big best-effort images vanish
    start_timeout_s: float = 180.0  # imports, model load, warm-up
    discovery_timeout_s: float = 30.0
    prompt_lead_s: float = 0.5  # prompts go out this long before their image, so that they are there first
    drain_timeout_s: float = 30.0  # after the last image

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ValueError(f"rate {self.rate} given, a number above 0 expected: 1 plays as recorded")

    @property
    def resolved_domain_id(self) -> int:
        return self.domain_id if self.domain_id is not None else own_domain_id()


@dataclass(frozen=True)
class LiveReplay:
    """What a live replay saw. Times are seconds of this process's steady clock, keyed by image stamp."""

    sent_s: Mapping[int, float]  # every image published: stamp_ns -> when
    objects_s: Mapping[int, float]  # every ~/objects message: stamp_ns of its image -> when it arrived
    diagnostics: Mapping[str, str]  # the node's last diagnostics, key -> value
    node_exit_status: int | None
    broken: int = 0  # messages of the bag that are no images: not sent

    @property
    def latency_ms(self) -> dict[int, float]:
        """Image published to objects received, by stamp_ns: the node, DDS both ways, this recorder."""
        return {
            stamp_ns: (arrived_s - self.sent_s[stamp_ns]) * 1e3
            for stamp_ns, arrived_s in self.objects_s.items()
            if stamp_ns in self.sent_s
        }


def missing_ros() -> str | None:
    """Why a live replay is impossible in this Python environment, in one line; None when it is possible."""
    try:
        import rclpy  # noqa: F401
    except ImportError as error:
        return f"rclpy cannot be imported ({error}): install ROS 2 and source it"
    try:
        import sam2_ros_msgs.msg  # noqa: F401
    except ImportError as error:
        return (
            f"sam2_ros_msgs cannot be imported ({error}): build it with "
            "`colcon build --base-paths . sam2_ros_msgs` and source install/setup.bash"
        )
    return None


def fastdds_profile() -> Path:
    """config/fastdds.xml, without which big images do not arrive. Raises UserError."""
    return shared_folder("config", "fastdds.xml") / "fastdds.xml"


def replay_live(
    camera: BagTimeline,
    prompts: Mapping[int, Sequence[Prompt]],
    tracked_bag: Path,
    log_path: Path,
    config: LiveReplayConfig,
    on_progress: Callable[[str, int], None] = lambda step, images: None,
) -> LiveReplay:
    """Start the node, play `camera` to it, record into `tracked_bag`, end the node.

    Images go out as they were recorded, raw or compressed, under the stamps of the timeline. `prompts` are keyed by
    the stamp (ns) of the image they were made on. `on_progress` is told the step and the number of images played. The
    node's output goes to `log_path`. Raises UserError; what was heard until then is in `tracked_bag`.
    """
    unknown = sorted(set(prompts) - set(camera.stamps_ns))
    if unknown:
        raise UserError(
            f"prompts stamped {unknown} belong to no image of {camera.bag}: use the stamp of an image in the bag",
            status=1,
        )
    topic, parameters = camera.topic, dict(config.parameters)
    if camera.compressed:
        topic, parameters = (
            topic.removesuffix(COMPRESSED_SUFFIX),
            {**parameters, "image_transport": "compressed"},
        )
    environment = dds_environment(config.resolved_domain_id, config.profiles_file)
    command = [*config.node_command, *ros_arguments(config.node_name, topic, parameters)]
    # The player's own images need the profile and the domain too: DDS reads them when the context is made.
    with environment_set(environment), NodeProcess(command, log_path, environment) as process:
        with (
            _Player(config, camera, topic, process) as player,
            BagWriter(tracked_bag, storage="mcap") as writer,
        ):
            try:
                on_progress("waiting for the node", 0)
                player.wait_until_ready()
                player.play(prompts, on_progress)
                on_progress("waiting for the last result", len(player.sent_s))
                player.drain()
            finally:
                player.write(writer)
            diagnostics = player.last_diagnostics()
        status = process.stop()
    return LiveReplay(player.sent_s, player.objects_s, diagnostics, status, player.broken)


@dataclass(frozen=True)
class _Received:
    topic: str
    type_name: str
    stamp_ns: int
    cdr: bytes


class _Player:
    """The camera, the prompting user and the recorder in one rclpy node."""

    def __init__(
        self, config: LiveReplayConfig, camera: BagTimeline, image_topic: str, process: NodeProcess
    ) -> None:
        self._config = config
        self._camera = camera
        self._image_topic = f"{image_topic}{COMPRESSED_SUFFIX}" if camera.compressed else image_topic
        self._process = process
        self._received: list[_Received] = []  # appended by the executor's thread only
        self.sent_s: dict[int, float] = {}
        self.objects_s: dict[int, float] = {}
        self.broken = 0

    def __enter__(self) -> _Player:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sam2_ros_msgs.msg import PromptArray, TrackedObjectArray
        from sensor_msgs.msg import CompressedImage, Image

        config = self._config
        self._graph = LiveGraph(
            "sam2_ros_player", config.resolved_domain_id, self._process, config.node_name
        ).__enter__()
        self._node = self._graph.node
        own = f"/{config.node_name}"
        self._objects_topic = f"{own}/objects"
        # As camera drivers publish.
        camera_qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        image_type = CompressedImage if self._camera.compressed else Image
        self._images = self._node.create_publisher(image_type, self._image_topic, camera_qos)
        self._prompts = self._node.create_publisher(PromptArray, f"{own}/prompts", QoSProfile(depth=10))
        self._listen(TrackedObjectArray, "sam2_ros_msgs/msg/TrackedObjectArray", self._objects_topic)
        self._listen(Image, "sensor_msgs/msg/Image", f"{own}/label_image")
        self._listen(DiagnosticArray, "diagnostic_msgs/msg/DiagnosticArray", DIAGNOSTICS_TOPIC)
        return self

    def __exit__(self, *exception: object) -> None:
        self._graph.__exit__(*exception)

    def _listen(self, message_type: type, type_name: str, topic: str) -> None:
        from rclpy.qos import QoSProfile

        # Messages stay CDR bytes: recorded exactly as they came, and no time goes into making Python objects
        # while images are being played.
        def store(cdr: bytes) -> None:
            arrived_s = time.monotonic()
            stamp_ns = header_stamp_ns(cdr)
            self._received.append(_Received(topic, type_name, stamp_ns, cdr))
            if topic == self._objects_topic:
                self.objects_s.setdefault(stamp_ns, arrived_s)

        self._node.create_subscription(message_type, topic, store, QoSProfile(depth=50), raw=True)

    def wait_until_ready(self) -> None:
        """Until the node is active and every topic between it and the player is matched."""
        self._graph.wait_until_active(self._config.start_timeout_s)
        self._graph.wait_for(
            lambda: (
                self._images.get_subscription_count() > 0
                and self._prompts.get_subscription_count() > 0
                and self._node.count_publishers(self._objects_topic) > 0
            ),
            self._config.discovery_timeout_s,
            f"subscribing to {self._image_topic} and ~/prompts and offering ~/objects",
        )

    def play(self, prompts: Mapping[int, Sequence[Prompt]], on_progress: Callable[[str, int], None]) -> None:
        """Publish the bag's images at its pace; prompts go out `prompt_lead_s` before the image of their stamp.

        Topics overtake each other, and a camera does not wait: the lead delays no image but the first.
        """
        images, rate = self._camera.images, self._config.rate
        due_s = [(image.received_ns - images[0].received_ns) / NS_PER_S / rate for image in images]
        waiting = [
            (due, image) for due, image in zip(due_s, images, strict=True) if image.stamp_ns in prompts
        ]
        start_s = time.monotonic() + self._config.prompt_lead_s
        with BagReader(self._camera.bag) as reader:
            raw_images = OrderedTopic(reader, self._camera.topic)
            raw_images.scan()
            for due, image, raw in zip(due_s, images, raw_images, strict=True):
                while waiting and waiting[0][0] - self._config.prompt_lead_s <= due:
                    prompt_due, prompted = waiting.pop(0)
                    _sleep_until(start_s + prompt_due - self._config.prompt_lead_s)
                    given = prompts[prompted.stamp_ns]
                    self._prompts.publish(prompt_message(given, prompted.stamp_ns, prompted.frame_id))
                message = (
                    bytes(raw.cdr)
                    if image.stamp_ns == image.header_ns
                    else with_stamp(raw.cdr, image.stamp_ns)
                )
                try:
                    reader.decode(raw)
                except SourceError as error:
                    # A camera sends whole messages; rclpy gives up on one that does not deserialize.
                    _log.warning("not played: %s", error)
                    self.broken += 1
                    continue
                _sleep_until(start_s + due)
                self._process.check()
                self.sent_s[image.stamp_ns] = time.monotonic()
                self._images.publish(message)
                on_progress("playing", len(self.sent_s))

    def drain(self) -> None:
        """Until the newest image's objects are there: the node always gets to the newest one."""
        if not self.sent_s:
            raise UserError(
                f"no message on {self._camera.topic} of {self._camera.bag} is a whole image", status=1
            )
        newest_ns = max(self.sent_s)
        deadline_s = time.monotonic() + self._config.drain_timeout_s
        while newest_ns not in self.objects_s and time.monotonic() < deadline_s:
            self._process.check()
            time.sleep(POLL_S)
        if not self.objects_s:
            raise UserError(
                f"{len(self.sent_s)} images were played but nothing came on {self._objects_topic}; "
                f"{self._process.last_words()}",
                status=1,
            )
        # The node tells its counts and times once a second: wait for those that include the last image, whose
        # label image arrives meanwhile.
        told = sum(message.topic == DIAGNOSTICS_TOPIC for message in self._received)
        deadline_s = time.monotonic() + DIAGNOSTICS_PATIENCE_S
        while time.monotonic() < deadline_s and told == sum(
            message.topic == DIAGNOSTICS_TOPIC for message in list(self._received)
        ):
            time.sleep(POLL_S)

    def write(self, writer: BagWriter) -> None:
        """What was heard, in order of arrival; recorded at its own stamp, to lie beside the camera bag."""
        for message in list(self._received):
            if message.stamp_ns in self.sent_s:
                writer.write_raw(message.topic, message.type_name, message.stamp_ns, message.cdr)

    def last_diagnostics(self) -> dict[str, str]:
        """Key -> newest value over the node's statuses."""
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.serialization import deserialize_message

        messages = [
            deserialize_message(message.cdr, DiagnosticArray)
            for message in list(self._received)
            if message.topic == DIAGNOSTICS_TOPIC
        ]
        return node_values(messages, self._objects_topic.rpartition("/")[0])


def _sleep_until(due_s: float) -> None:
    time.sleep(max(0.0, due_s - time.monotonic()))
