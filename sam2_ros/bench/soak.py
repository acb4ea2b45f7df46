# SPDX-License-Identifier: Apache-2.0
"""Endurance test: runs the live node on a rendered camera for minutes, and reads its memory, rate and latency.

Does not know how the node is started and receives images (`live.player`), nor how readings are judged (`soak_report`).
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from sam2_ros.atomic_write import write_json
from sam2_ros.engine import ObjectState, Prompt
from sam2_ros.engine.postprocess import tight_box
from sam2_ros.errors import UserError
from sam2_ros.eval.metrics import mask_iou, spread
from sam2_ros.live.player import CameraImage, LivePlayer, LivePlayerConfig, node_latency_ms
from sam2_ros.live.ros_messages import camera_image, prompt_message
from sam2_ros.media.messages.tracked_object import read_objects
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.synthetic.clip import Clip, ClipConfig, to_and_fro
from sam2_ros.synthetic.render import render_clip
from sam2_ros.weights.open_model import ModelOptions

from .churn import ADD, REFINE, REMOVE, Churn
from .process_watch import read_footprint
from .soak_report import Reading, StampCheck, check_stamps, compare_minutes, draw_readings, failures

READINGS = "soak.jsonl"
IMAGE_TOPIC = "/camera/image_raw"
FRAME_ID = "camera"
CLIP_SEED = 0
CLIP_FRAMES = 90
LEAD_S = 1.0  # from the prompts to the first image, whose stamp they have
DRAIN_S = 3.0  # after the last image: wait for its result, and for diagnostics that count it
READING_PERIOD_S = 1.0


@dataclass(frozen=True)
class SoakConfig:
    """Settings of the test."""

    out: Path
    node_command: tuple[str, ...]  # command that starts the node; ROS arguments are appended
    minutes: float = 10.0
    rate_hz: float = 15.0
    width_px: int = 640
    height_px: int = 480
    model_options: ModelOptions = field(default_factory=ModelOptions)
    objects: int = 2
    guests: int = 0  # most further objects, added, refined and removed at random, one change per second
    seed: int = 0  # of the random changes
    profiles_file: Path | None = None  # Fast DDS XML: without it, large best-effort images get lost
    overwrite: bool = False  # see `ResultFolder`

    def __post_init__(self) -> None:
        if not self.minutes > 0 or not self.rate_hz > 0:
            raise ValueError(f"{self.minutes} minutes at {self.rate_hz} Hz given, both above 0 expected")


def run_soak(
    config: SoakConfig, on_progress: Callable[[str, int, int], None] = lambda step, done, total: None
) -> dict[str, Any]:
    """Runs the test; writes soak.jsonl (a reading per second), soak.png, soak.json and node.log to `config.out`.

    Returns the content of soak.json; its `failures` are empty if the test passed. A run that ends early writes its
    readings, unless the folder has an earlier result, which then stays unchanged. Raises UserError.
    """
    config.model_options.resolved()  # reports a wrong model name at once, before a node fails to configure
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
    # Nothing is hidden: every image is the same amount of work, so that rates can be compared.
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
    with folder.stage(READINGS).open("w", encoding="utf-8") as lines:
        run = _LiveRun(config, clip, folder.live("node.log"), lines)
        with run.player:
            on_progress("waiting for the node", 0, total_s)
            run.wait_until_ready()
            run.play(lambda done_s: on_progress("playing", done_s, total_s))
    report = run.report()
    draw_readings(folder.stage("soak.png"), run.readings, config.rate_hz)
    write_json(folder.stage("soak.json"), report, indent=2)
    return report


class _LiveRun:
    """One run: the rendered camera, the user's prompts, and a reading of the node every second."""

    def __init__(self, config: SoakConfig, clip: Clip, log_path: Path, lines: IO[str]) -> None:
        self._config = config
        self._clip = clip
        self._lines = lines
        # Objects are never forgotten: with fewer objects, the last minute would be less work than the second.
        parameters: dict[str, str | int | float | bool] = {
            **asdict(config.model_options),
            "max_objects": config.objects + config.guests,
            "forget_after": 0.0,
        }
        player_config = LivePlayerConfig(
            config.node_command,
            parameters,
            profiles_file=config.profiles_file,
            start_timeout_s=config.model_options.patience_s,
        )
        self.player = LivePlayer(player_config, IMAGE_TOPIC, log_path, self._on_message)
        self._frames: dict[int, int] = {}  # stamp_ns -> frame of the clip
        self._answered_ns: list[int] = []
        self._labelled_ns: list[int] = []
        self._answers: list[tuple[float, list[float]]] = []  # latency, ms, and the IoU of each object
        self._tracking: int | None = None
        self._bank_mb: list[float] = []
        self._guests = Churn(config.seed, config.guests, "guest", (ADD, REFINE, REMOVE), share=1.0)
        self._guest_ids: list[str] = []
        self._changes: Counter[str] = Counter()
        self._skipped = 0
        self._elapsed_s = 0.0
        self.readings: list[Reading] = []

    def wait_until_ready(self) -> None:
        """Waits until the node is active and all topics and services are matched."""
        from sam2_ros_msgs.srv import AddObjects, RemoveObjects

        self.player.graph.expect(AddObjects, "add_objects")
        self.player.graph.expect(RemoveObjects, "remove_objects")
        self.player.wait_until_ready()

    def play(self, on_progress: Callable[[int], None]) -> None:
        """Publishes images at the camera's rate, and reads the node every second."""
        first_ns = time.time_ns() + round(LEAD_S * 1e9)
        self._prompt(first_ns)

        def on_sent(image: CameraImage) -> None:
            self._elapsed_s = self.player.elapsed_s
            if self._elapsed_s >= READING_PERIOD_S * len(self.readings):
                self._read()
                self._change_guests(image.stamp_ns)
                on_progress(int(self._elapsed_s))

        self.player.play(self._images(first_ns), (first_ns - time.time_ns()) / 1e9, on_sent=on_sent)
        self.player.drain(DRAIN_S)
        self._read()

    def _images(self, first_ns: int) -> Iterator[CameraImage]:
        """The clip forward and backward, so that there are no cuts, on an absolute schedule."""
        clip, period_s = self._clip, 1 / self._config.rate_hz
        messages = [camera_image(frame, FRAME_ID) for frame in clip.frames]
        slot = 0
        while slot * period_s < 60 * self._config.minutes:
            frame, stamp_ns = to_and_fro(slot, len(messages)), first_ns + round(slot * period_s * 1e9)
            self._frames[stamp_ns] = frame
            stamp = messages[frame].header.stamp
            stamp.sec, stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
            yield CameraImage(slot * period_s, stamp_ns, messages[frame])
            # Like a camera on a busy host, skip images that are late; do not send them in a burst.
            due = max(slot + 1, math.floor(self.player.elapsed_s / period_s))
            self._skipped += due - slot - 1
            slot = due

    def report(self) -> dict[str, Any]:
        """The content of soak.json. To be called when the player has ended."""
        config, last, sent_ns = self._config, self.readings[-1], list(self.player.sent_s)
        stamps: dict[str, StampCheck] = {
            "~/objects": check_stamps(sent_ns, self._answered_ns),
            "~/label_image": check_stamps(sent_ns, self._labelled_ns),
        }
        compared = compare_minutes(self.readings)
        answered = len(set(self._answered_ns))
        tracking = [r.objects_tracking for r in self.readings if r.objects_tracking is not None]
        ious = [iou for _, found in self._answers for iou in found]
        own = self.player.diagnostics
        return {
            "minutes": round(self._elapsed_s / 60, 2),
            "rate_hz": config.rate_hz,
            "size": f"{config.width_px}x{config.height_px}",
            "model": config.model_options.model,
            "device": own.get("device", config.model_options.device),
            "objects": config.objects,
            "images_sent": len(sent_ns),
            "images_not_sent": self._skipped,  # this machine was too busy to send them in time
            "received_by_node": int(own.get("frames_in", 0)),
            "processed": answered,
            "dropped": len(sent_ns) - answered,
            "label_images": len(self._labelled_ns),
            "memory_judged": compared["judged"],
            "memory_mb": compared["memory_mb"],
            "memory_anonymous_mb": compared["anonymous_mb"],
            "processed_hz": compared["rate_hz"] or {"mean": round(answered / self._elapsed_s, 2)},
            "stamps": {topic: asdict(check) for topic, check in stamps.items()},
            "latency_ms": spread(latency_ms for latency_ms, _ in self._answers).as_dict(),
            "node_latency_ms": node_latency_ms(own),
            "cpu_s": round(last.cpu_s - self.readings[0].cpu_s, 1),
            "bank_mb": {"begin": self._bank_mb[0], "end": self._bank_mb[-1]} if self._bank_mb else {},
            "objects_tracking": round(float(np.mean(tracking)), 2) if tracking else None,
            "mean_iou": round(float(np.mean(ious)), 4) if ious else None,
            "guests": config.guests,
            "changes": dict(self._changes),
            "failures": failures(compared, stamps, answered, even_work=config.guests == 0),
            "node_exit_status": self.player.exit_status,
        }

    def _prompt(self, stamp_ns: int) -> None:
        """Prompts every object by service, with a box on the image with `stamp_ns`."""
        prompts = [
            Prompt(id=_object_id(number), box=tight_box(mask_hw))
            for number, mask_hw in enumerate(self._clip.masks[0])
        ]
        reply = self._add(prompts, stamp_ns)
        if not reply.success:
            raise UserError(f"the node refused the objects: {reply.message}", status=1)

    def _add(self, prompts: Sequence[Prompt], stamp_ns: int) -> Any:
        """Adds prompts on the image with `stamp_ns`; returns the node's reply."""
        from sam2_ros_msgs.srv import AddObjects

        request = AddObjects.Request(prompts=prompt_message(prompts, stamp_ns, FRAME_ID).prompts)
        return self.player.graph.call(AddObjects, "add_objects", request)

    def _change_guests(self, stamp_ns: int) -> None:
        """Adds, refines or removes one of the guests, on the image just sent."""
        from sam2_ros_msgs.srv import RemoveObjects

        if self._config.guests == 0:
            return
        change = self._guests.next(self._guest_ids, self._clip.masks[self._frames[stamp_ns]])
        assert change is not None  # `share` is 1: there is always a change
        if change.action == REMOVE:
            removal = RemoveObjects.Request(ids=change.ids)
            reply = self.player.graph.call(RemoveObjects, "remove_objects", removal)
            self._guest_ids.remove(change.ids[0])
        else:
            reply = self._add(change.prompts, stamp_ns)
            if change.action == ADD and len(self._guest_ids) < self._config.guests:
                self._guest_ids += change.ids
        self._changes[change.action if reply.success else f"{change.action} refused"] += 1

    def _read(self) -> None:
        footprint = read_footprint(self.player.process.pid)
        before = self.readings[-1].processed if self.readings else 0
        answers = self._answers[before:]
        now_ms, ious = spread(ms for ms, _ in answers), [iou for _, found in answers for iou in found]
        reading = Reading(
            t_s=round(self._elapsed_s, 3),
            resident_mb=round(footprint.resident_mb, 3),
            anonymous_mb=round(footprint.anonymous_mb, 3),
            shared_mb=round(footprint.shared_mb, 3),
            cpu_s=footprint.cpu_s,
            sent=len(self.player.sent_s),
            processed=before + len(answers),
            latency_ms_p50=round(now_ms.p50, 2) if now_ms.count else None,
            latency_ms_p95=round(now_ms.p95, 2) if now_ms.count else None,
            objects_tracking=self._tracking,
            mean_iou=round(float(np.mean(ious)), 4) if ious else None,
            node=self.player.diagnostics,
        )
        self.readings.append(reading)
        self._lines.write(json.dumps(asdict(reading)) + "\n")
        self._lines.flush()

    def _on_message(self, topic: str, stamp_ns: int, cdr: bytes, arrived_s: float) -> None:
        """Called on the graph's thread: only appends whole entries to lists."""
        player = self.player
        sent_s = player.sent_s.get(stamp_ns)
        if topic == player.objects_topic:
            self._answered_ns.append(stamp_ns)
            if sent_s is not None:
                ious, self._tracking = self._score(cdr, self._frames[stamp_ns])
                self._answers.append(((arrived_s - sent_s) * 1e3, ious))
        elif topic == player.label_topic:
            self._labelled_ns.append(stamp_ns)
        elif player.sent_s and "memory_bank_mb" in player.diagnostics:
            self._bank_mb.append(float(player.diagnostics["memory_bank_mb"]))

    def _score(self, cdr: bytes, frame: int) -> tuple[list[float], int]:
        """IoU of each object with its true mask (0 if it is not in the message), and the number in state TRACKING."""
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
