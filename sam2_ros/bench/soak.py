"""Runs the real node on a live camera for minutes: does it stay as it was in memory, rate and honesty?

Does not know the node's code: it starts the command it is given and speaks through topics and services only.
"""

from __future__ import annotations

import array
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from sam2_ros.atomic_write import write_json
from sam2_ros.engine import ObjectState, Prompt
from sam2_ros.errors import UserError
from sam2_ros.eval.demo import mask_box
from sam2_ros.eval.metrics import mask_iou, spread
from sam2_ros.live.graph import LiveGraph, dds_environment, environment_set, own_domain_id, ros_arguments
from sam2_ros.live.messages import prompt_message
from sam2_ros.live.node_process import NodeProcess
from sam2_ros.media.messages.cdr_header import header_stamp_ns
from sam2_ros.media.messages.diagnostics import node_values
from sam2_ros.media.messages.tracked_object import read_objects
from sam2_ros.media.ros_image import rgb_to_image_fields
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.synthetic.clip import Clip, ClipConfig
from sam2_ros.synthetic.render import render_clip
from sam2_ros.weights.open_model import ModelOptions

from .churn import ADD, REFINE, REMOVE, Churn
from .process_watch import read_footprint
from .soak_report import Reading, StampCheck, check_stamps, compare_minutes, draw, failures

READINGS = "soak.jsonl"
NODE_NAME = "sam2_node"
IMAGE_TOPIC = "/camera/image_raw"
FRAME_ID = "camera"
CLIP_SEED = 0
CLIP_FRAMES = 90
DISCOVERY_TIMEOUT_S = 30.0
LEAD_S = 1.0  # from prompting to the first image, which the prompts name by its stamp
DRAIN_S = 3.0  # after the last image, for its result and for the diagnostics that count it
READING_PERIOD_S = 1.0


@dataclass(frozen=True)
class SoakConfig:
    """What is run, and for how long."""

    out: Path
    node_command: tuple[str, ...]  # starts the node; ROS arguments are appended
    minutes: float = 10.0
    rate_hz: float = 15.0
    width_px: int = 640
    height_px: int = 480
    model_options: ModelOptions = field(default_factory=ModelOptions)
    objects: int = 2
    guests: int = 0  # at most so many more objects, added, refined and removed at random, one change a second
    seed: int = 0  # of what happens to them
    profiles_file: Path | None = None  # Fast DDS XML, without which big best-effort images vanish
    overwrite: bool = False  # see `ResultFolder`

    def __post_init__(self) -> None:
        if not self.minutes > 0 or not self.rate_hz > 0:
            raise ValueError(f"{self.minutes} minutes at {self.rate_hz} Hz given, both above 0 expected")


def run_soak(
    config: SoakConfig, on_progress: Callable[[str, int, int], None] = lambda step, done, total: None
) -> dict[str, Any]:
    """Run; leave soak.jsonl (a reading per second), soak.png, soak.json and node.log in `config.out`.

    Returns what is in soak.json; `failures` there is empty when everything held. A run that ends early leaves its
    readings, unless an earlier run's result is there, which stays as it is. Raises UserError.
    """
    config.model_options.resolved()  # a wrong name is told at once, not by a node that stays unconfigured
    names = (READINGS, "soak.png", "soak.json")
    with ResultFolder(config.out, "soak", names, overwrite=config.overwrite) as folder:
        try:
            return _run(config, folder, on_progress)
        except BaseException:
            if READINGS in folder.staged() and not folder.has_file("soak.json"):
                folder.drop_staged([READINGS])
                folder.commit((READINGS,))
            raise


def _run(
    config: SoakConfig, folder: ResultFolder, on_progress: Callable[[str, int, int], None]
) -> dict[str, Any]:
    total_s = math.ceil(60 * config.minutes)
    on_progress("rendering the clip", 0, total_s)
    # Nothing in it hides: every image is as much work as any other, so that rates can be compared.
    clip_config = ClipConfig(
        config.height_px,
        config.width_px,
        CLIP_FRAMES,
        objects=config.objects,
        distractors=1,
        occluders=0,
        hide_probability=0,
    )
    clip = render_clip(CLIP_SEED, clip_config)
    domain_id = own_domain_id()
    environment = dds_environment(domain_id, config.profiles_file)
    # Never forgotten: with fewer objects the last minute would be less work than the second.
    parameters: dict[str, str | int | float | bool] = {
        **asdict(config.model_options),
        "max_objects": config.objects + config.guests,
        "forget_after": 0.0,
    }
    command = [
        *config.node_command,
        *ros_arguments(NODE_NAME, IMAGE_TOPIC, parameters),
    ]
    log_path = folder.live("node.log")
    with environment_set(environment), NodeProcess(command, log_path, environment) as process:
        with (
            LiveGraph("sam2_ros_soak", domain_id, process, NODE_NAME) as graph,
            folder.stage(READINGS).open("w", encoding="utf-8") as lines,
        ):
            camera = _Camera(config, clip, graph, process, lines)
            on_progress("waiting for the node", 0, total_s)
            camera.wait_until_ready()
            camera.play(lambda done_s: on_progress("playing", done_s, total_s))
        exit_status = process.stop()
    report = camera.report()
    report["node_exit_status"] = exit_status
    draw(folder.stage("soak.png"), camera.readings, config.rate_hz)
    write_json(folder.stage("soak.json"), report, indent=2)
    return report


class _Camera:
    """The camera, the prompting user, the listener and the watch on the node's process."""

    def __init__(
        self, config: SoakConfig, clip: Clip, graph: LiveGraph, process: NodeProcess, lines: IO[str]
    ) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sam2_ros_msgs.msg import TrackedObjectArray
        from sam2_ros_msgs.srv import AddObjects, RemoveObjects
        from sensor_msgs.msg import Image

        self._config = config
        self._clip = clip
        self._graph = graph
        graph.expect(AddObjects, "add_objects")
        graph.expect(RemoveObjects, "remove_objects")
        self._process = process
        self._lines = lines
        self._lock = threading.Lock()  # callbacks write what `play` reads
        self._sent: dict[int, tuple[float, int]] = {}  # stamp_ns -> when (steady clock), frame of the clip
        self._answered_ns: list[int] = []
        self._labelled_ns: list[int] = []
        self._latencies_ms: list[float] = []
        self._ious: list[float] = []
        self._tracking: int | None = None
        self._diagnostics: dict[str, str] = {}
        self._bank_mb: list[float] = []
        self._guests = Churn(config.seed, config.guests, "guest", (ADD, REFINE, REMOVE), share=1.0)
        self._guest_ids: list[str] = []
        self._changes: Counter[str] = Counter()
        self._skipped = 0
        self._elapsed_s = 0.0
        self.readings: list[Reading] = []

        node, own = graph.node, f"/{NODE_NAME}"
        # As camera drivers publish.
        camera_qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._images = node.create_publisher(Image, IMAGE_TOPIC, camera_qos)
        qos = QoSProfile(depth=50)
        node.create_subscription(TrackedObjectArray, f"{own}/objects", self._on_objects, qos, raw=True)
        node.create_subscription(Image, f"{own}/label_image", self._on_label_image, qos, raw=True)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, QoSProfile(depth=10))
        self._messages = [_image_message(frame) for frame in clip.frames]
        # To and fro: a camera has no cuts.
        self._order = [*range(len(clip.frames)), *range(len(clip.frames) - 2, 0, -1)]

    def wait_until_ready(self) -> None:
        """Until the node is active and both directions are matched."""
        self._graph.wait_until_active(self._config.model_options.patience_s)
        objects = f"/{NODE_NAME}/objects"
        self._graph.wait_for(
            lambda: (
                self._images.get_subscription_count() > 0 and self._graph.node.count_publishers(objects) > 0
            ),
            DISCOVERY_TIMEOUT_S,
            f"subscribing to {IMAGE_TOPIC} and offering ~/objects",
        )

    def play(self, on_progress: Callable[[int], None]) -> None:
        """Images at the camera's rate on an absolute schedule, a reading of the node every second."""
        period_s, total_s = 1 / self._config.rate_hz, 60 * self._config.minutes
        first_ns = time.time_ns() + round(LEAD_S * 1e9)
        start_s = time.monotonic() + LEAD_S
        self._prompt(first_ns)
        slot, next_reading_s = 0, 0.0
        while slot * period_s < total_s:
            time.sleep(max(0.0, start_s + slot * period_s - time.monotonic()))
            self._send(first_ns + round(slot * period_s * 1e9), self._order[slot % len(self._order)])
            self._elapsed_s = time.monotonic() - start_s
            if self._elapsed_s >= next_reading_s:
                self._process.check()
                self._read(self._elapsed_s)
                self._change_guests(first_ns + round(slot * period_s * 1e9), slot)
                next_reading_s += READING_PERIOD_S
                on_progress(int(self._elapsed_s))
            # A camera whose host was busy has lost images; it does not send them in a burst afterwards.
            due = max(slot + 1, math.floor((time.monotonic() - start_s) / period_s))
            self._skipped += due - slot - 1
            slot = due
        newest_ns = max(self._sent)
        deadline_s = time.monotonic() + DRAIN_S
        while time.monotonic() < deadline_s and not (
            self._answered_ns
            and self._answered_ns[-1] == newest_ns
            and self._diagnostics.get("frames_processed") == str(len(self._answered_ns))
        ):
            self._process.check()
            time.sleep(0.05)
        self._read(self._elapsed_s)

    def report(self) -> dict[str, Any]:
        config, last = self._config, self.readings[-1]
        stamps: dict[str, StampCheck] = {
            "~/objects": check_stamps(list(self._sent), self._answered_ns),
            "~/label_image": check_stamps(list(self._sent), self._labelled_ns),
        }
        compared = compare_minutes(self.readings)
        answered = len(set(self._answered_ns))
        tracking = [r.objects_tracking for r in self.readings if r.objects_tracking is not None]
        own = self._diagnostics
        return {
            "minutes": round(self._elapsed_s / 60, 2),
            "rate_hz": config.rate_hz,
            "size": f"{config.width_px}x{config.height_px}",
            "model": config.model_options.model,
            "device": own.get("device", config.model_options.device),
            "objects": config.objects,
            "images_sent": len(self._sent),
            "images_not_sent": self._skipped,  # the camera's own machine was too busy
            "received_by_node": int(own.get("frames_in", 0)),
            "processed": answered,
            "dropped": len(self._sent) - answered,
            "label_images": len(self._labelled_ns),
            "memory_judged": compared["judged"],
            "memory_mb": compared["memory_mb"],
            "memory_anonymous_mb": compared["anonymous_mb"],
            "processed_hz": compared["rate_hz"] or {"mean": round(answered / self._elapsed_s, 2)},
            "stamps": {topic: asdict(check) for topic, check in stamps.items()},
            "latency_ms": spread(self._latencies_ms).as_dict(),
            "node_latency_ms": {
                share: float(own[f"latency_ms_{share}"])
                for share in ("p50", "p95", "p99")
                if f"latency_ms_{share}" in own
            },
            "cpu_s": round(last.cpu_s - self.readings[0].cpu_s, 1),
            "bank_mb": {"begin": self._bank_mb[0], "end": self._bank_mb[-1]} if self._bank_mb else {},
            "objects_tracking": round(float(np.mean(tracking)), 2) if tracking else None,
            "mean_iou": round(float(np.mean(self._ious)), 4) if self._ious else None,
            "guests": config.guests,
            "changes": dict(self._changes),
            "failures": failures(compared, stamps, answered, even_work=config.guests == 0),
        }

    def _prompt(self, stamp_ns: int) -> None:
        """Every object as a box, made on the image of `stamp_ns`, by service."""
        from sam2_ros_msgs.srv import AddObjects

        prompts = [
            Prompt(id=_object_id(number), box=mask_box(mask_hw))
            for number, mask_hw in enumerate(self._clip.masks[0])
        ]
        request = AddObjects.Request(prompts=prompt_message(prompts, stamp_ns, FRAME_ID).prompts)
        reply = self._graph.call(AddObjects, "add_objects", request)
        if not reply.success:
            raise UserError(f"the node refused the objects: {reply.message}", status=1)

    def _change_guests(self, stamp_ns: int, slot: int) -> None:
        """One more of them, a refinement on the image just sent, or one less."""
        from sam2_ros_msgs.srv import AddObjects, RemoveObjects

        if self._config.guests == 0:
            return
        change = self._guests.next(self._guest_ids, self._clip.masks[self._order[slot % len(self._order)]])
        assert change is not None  # something happens each time
        if change.action == REMOVE:
            reply = self._graph.call(RemoveObjects, "remove_objects", RemoveObjects.Request(ids=change.ids))
            self._guest_ids.remove(change.ids[0])
        else:
            message = prompt_message(change.prompts, stamp_ns, FRAME_ID)
            reply = self._graph.call(AddObjects, "add_objects", AddObjects.Request(prompts=message.prompts))
            if change.action == ADD and len(self._guest_ids) < self._config.guests:
                self._guest_ids += change.ids
        self._changes[change.action if reply.success else f"{change.action} refused"] += 1

    def _send(self, stamp_ns: int, frame: int) -> None:
        message = self._messages[frame]
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
        with self._lock:
            self._sent[stamp_ns] = (time.monotonic(), frame)
        self._images.publish(message)

    def _read(self, t_s: float) -> None:
        footprint = read_footprint(self._process.pid)
        before = self.readings[-1].processed if self.readings else 0
        with self._lock:
            now_ms, ious = spread(self._latencies_ms[before:]), self._ious[before * self._config.objects :]
            reading = Reading(
                t_s=round(t_s, 3),
                resident_mb=round(footprint.resident_mb, 3),
                anonymous_mb=round(footprint.anonymous_mb, 3),
                shared_mb=round(footprint.shared_mb, 3),
                cpu_s=footprint.cpu_s,
                sent=len(self._sent),
                processed=len(self._latencies_ms),
                latency_ms_p50=round(now_ms.p50, 2) if now_ms.count else None,
                latency_ms_p95=round(now_ms.p95, 2) if now_ms.count else None,
                objects_tracking=self._tracking,
                mean_iou=round(float(np.mean(ious)), 4) if ious else None,
                node=dict(self._diagnostics),
            )
        self.readings.append(reading)
        self._lines.write(json.dumps(reading.as_dict()) + "\n")
        self._lines.flush()

    # Callbacks, on the graph's thread. Messages stay CDR bytes where only their stamp is of interest.

    def _on_objects(self, cdr: bytes) -> None:
        arrived_s = time.monotonic()
        stamp_ns = header_stamp_ns(cdr)
        with self._lock:
            self._answered_ns.append(stamp_ns)
            sent = self._sent.get(stamp_ns)
        if sent is None:
            return
        sent_s, frame = sent
        ious, tracking = self._score(cdr, frame)  # without the lock, for which the next image would wait
        with self._lock:
            self._ious.extend(ious)
            self._tracking = tracking
            self._latencies_ms.append((arrived_s - sent_s) * 1e3)

    def _on_label_image(self, cdr: bytes) -> None:
        with self._lock:
            self._labelled_ns.append(header_stamp_ns(cdr))

    def _on_diagnostics(self, message: Any) -> None:
        values = node_values([message], f"/{NODE_NAME}")
        if not values:
            return  # another node's
        with self._lock:
            self._diagnostics = values
            if self._sent and "memory_bank_mb" in values:
                self._bank_mb.append(float(values["memory_bank_mb"]))

    def _score(self, cdr: bytes, frame: int) -> tuple[list[float], int]:
        """IoU of each object with its known mask (0 for one that is not in the message), and how many track."""
        from rclpy.serialization import deserialize_message
        from sam2_ros_msgs.msg import TrackedObjectArray

        found = {obj.id: obj for obj in read_objects(deserialize_message(cdr, TrackedObjectArray))}
        ious = [
            mask_iou(found[_object_id(number)].mask, truth_hw) if _object_id(number) in found else 0.0
            for number, truth_hw in enumerate(self._clip.masks[frame])
        ]
        return ious, sum(obj.state is ObjectState.TRACKING for obj in found.values())


def _object_id(number: int) -> str:
    return f"thing_{number + 1}"


def _image_message(frame_hwc: np.ndarray) -> Any:
    """A sensor_msgs/Image that is sent again and again; only its stamp changes."""
    from sensor_msgs.msg import Image

    fields = rgb_to_image_fields(frame_hwc)
    message = Image(height=fields.height, width=fields.width, encoding=fields.encoding, step=fields.step)
    message.header.frame_id = FRAME_ID
    message.data = array.array("B", fields.data.tobytes())
    return message
