# SPDX-License-Identifier: Apache-2.0
"""Plays seeded trials: publishes the table's RGB-D camera, moves the arm as it is told, and compares with the truth.

Does not know how the object is found or grasped. Time is simulated: it goes on by one image period once the image was
answered, so that a slow machine is not at a disadvantage. The answer to an image takes effect one period after it.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from array import array
from pathlib import Path
from typing import Any

import camera
import numpy as np
import rclpy
from camera import HEIGHT_PX, MATRIX, WIDTH_PX, View
from geometry_msgs.msg import TransformStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from sam2_ros_msgs.msg import ObjectStatusArray, Prompt, PromptArray, TrackedObjectArray
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from trials import Trial, TrialRecord
from world import SCENARIOS, World

from sam2_ros.engine.postprocess import tight_box
from sam2_ros.media.overlay import VideoWriter

FRAME, BASE = "camera", "base_link"
FIRST_S = 1000  # simulated time of the first image: a stamp of zero would mean "the next image"
BETWEEN_S = 5.0  # of simulated time between trials
LONGEST_S = 30.0  # of simulated time for a trial
PATIENCE_S = 5.0  # for the answer to an image, in real time
START_PATIENCE_S = 180.0
SHOWN_AT_MOST = 10  # images without an answer


class Link(Node):
    """The simulator's topics. The executor's thread collects the messages."""

    def __init__(self, node: str, moving_camera: bool) -> None:
        super().__init__("tabletop")
        self.moving_camera = moving_camera
        self.changed = threading.Condition()
        self.targets: dict[int, np.ndarray] = {}  # these four by the stamp of the image, ns
        self.phases: dict[int, tuple[str, str]] = {}
        self.statuses: dict[int, ObjectStatusArray] = {}
        self.objects: dict[int, TrackedObjectArray] = {}
        kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.image = self.create_publisher(Image, "/camera/image_raw", 2)
        self.depth = self.create_publisher(Image, "/camera/depth", 2)
        self.info = self.create_publisher(CameraInfo, "/camera/camera_info", 2)
        self.clock = self.create_publisher(Clock, "/clock", 2)
        self.tf = self.create_publisher(TFMessage, "/tf", 10)
        self.tf_static = self.create_publisher(TFMessage, "/tf_static", kept)
        self.detections = self.create_publisher(PromptArray, "/detector/prompts", 10)
        self.create_subscription(JointState, "/arm/targets", self.on_targets, 10)
        self.create_subscription(String, "/pick/phase", self.on_phase, 10)
        self.create_subscription(ObjectStatusArray, f"/{node}/status", self.on_status, 10)
        self.create_subscription(TrackedObjectArray, f"/{node}/objects", self.on_objects, 10)

    def on_targets(self, message: JointState) -> None:
        self.arrived(self.targets, nanoseconds(message.header.stamp), np.array(message.position))

    def on_phase(self, message: String) -> None:
        stamp, object_id, phase = message.data.split(" ", 2)
        seconds, _, rest = stamp.partition(".")
        self.arrived(self.phases, int(seconds + rest), (object_id, phase))

    def on_status(self, message: ObjectStatusArray) -> None:
        self.arrived(self.statuses, nanoseconds(message.header.stamp), message)

    def on_objects(self, message: TrackedObjectArray) -> None:
        self.arrived(self.objects, nanoseconds(message.header.stamp), message)

    def arrived(self, messages: dict[int, Any], stamp_ns: int, message: Any) -> None:
        with self.changed:
            messages[stamp_ns] = message
            self.changed.notify_all()

    def answers(self, stamp_ns: int) -> tuple[Any, Any, Any, Any]:
        """Targets, phase, status and objects of an image, None for what did not come within `PATIENCE_S`."""
        every = (self.targets, self.phases, self.statuses, self.objects)
        with self.changed:
            self.changed.wait_for(lambda: all(stamp_ns in one for one in every), PATIENCE_S)
            targets, phase, status, objects = (one.get(stamp_ns) for one in every)
            for one in every:
                for old in [stamp for stamp in one if stamp <= stamp_ns]:
                    del one[old]
        return targets, phase, status, objects

    def ready(self) -> bool:
        """Whether node and client listen."""
        heard = (self.image, self.depth, self.info, self.detections)
        return all(topic.get_subscription_count() for topic in heard) and bool(
            self.count_publishers("/arm/targets") and self.statuses_offered()
        )

    def statuses_offered(self) -> bool:
        return all(self.count_publishers(sub.topic_name) > 0 for sub in self.subscriptions)

    def publish(self, stamp_ns: int, view: View, depth_m: np.ndarray) -> None:
        """Sends one image with all that belongs to it, the image last."""
        self.clock.publish(Clock(clock=rclpy.time.Time(nanoseconds=stamp_ns).to_msg()))
        pose = transform(view.camera_in_base, stamp_ns)
        (self.tf if self.moving_camera else self.tf_static).publish(TFMessage(transforms=[pose]))
        info = CameraInfo(height=HEIGHT_PX, width=WIDTH_PX, distortion_model="plumb_bob", d=[0.0] * 5)
        info.k, info.p = MATRIX.ravel().tolist(), np.hstack([MATRIX, np.zeros((3, 1))]).ravel().tolist()
        depth, image = image_message(depth_m, "32FC1"), image_message(view.rgb, "rgb8")
        for publisher, message in ((self.info, info), (self.depth, depth), (self.image, image)):
            message.header.stamp, message.header.frame_id = pose.header.stamp, FRAME
            publisher.publish(message)

    def show_until_seen(self, stamp_ns: int, period_ns: int, view: View, noise: np.random.Generator) -> int:
        """Shows one view until the node answers, since a best-effort image may get lost. Returns its stamp."""
        for _ in range(SHOWN_AT_MOST):
            self.publish(stamp_ns, view, camera.measured_depth(view.depth_m, noise))
            if self.answers(stamp_ns)[2] is not None:
                return stamp_ns
            stamp_ns += period_ns
        raise SystemExit(f"the node answered none of {SHOWN_AT_MOST} images: see its log")

    def detect(self, stamp_ns: int, object_id: str, box: tuple[int, int, int, int]) -> None:
        """Plays the detector: a box on the first image, from the simulator's own mask."""
        prompt = Prompt(id=object_id, box=[float(side) for side in box])
        message = PromptArray(prompts=[prompt])
        message.header.stamp, message.header.frame_id = stamp_of(stamp_ns), FRAME
        self.detections.publish(message)


def nanoseconds(stamp: Any) -> int:
    return int(stamp.sec * 1_000_000_000 + stamp.nanosec)


def stamp_of(stamp_ns: int) -> Any:
    return rclpy.time.Time(nanoseconds=stamp_ns).to_msg()


def image_message(pixels: np.ndarray, encoding: str) -> Image:
    data = array("B", pixels.tobytes())
    return Image(height=HEIGHT_PX, width=WIDTH_PX, encoding=encoding, step=pixels.strides[0], data=data)


def transform(camera_in_base: np.ndarray, stamp_ns: int) -> TransformStamped:
    pose = TransformStamped(child_frame_id=FRAME)
    pose.header.stamp, pose.header.frame_id = stamp_of(stamp_ns), BASE
    at, turn = pose.transform.translation, pose.transform.rotation
    at.x, at.y, at.z = camera_in_base[:3, 3].tolist()
    turn.x, turn.y, turn.z, turn.w = Rotation.from_matrix(camera_in_base[:3, :3]).as_quat().tolist()
    return pose


def play(link: Link, trial: Trial, video: VideoWriter, start_ns: int, rate_hz: float) -> TrialRecord:
    """Plays one trial until the client says that it ended, or for `LONGEST_S`."""
    world = World(trial.seed, trial.scenario, link.moving_camera, trial.twins)
    record = TrialRecord(trial, world.name, rate_hz)
    noise = np.random.default_rng((trial.seed, trial.number))
    period_ns = round(1e9 / rate_hz)
    began_s, targets, doing, silent = time.monotonic(), world.targets, "", 0
    try:
        first = world.view()
        stamp_ns = link.show_until_seen(start_ns, period_ns, first, noise)
        link.detect(stamp_ns, trial.object_id, tight_box(first.bodies == world.wanted))
        stamp_ns += period_ns
        while world.time_s < LONGEST_S:
            view = world.view()
            link.publish(stamp_ns, view, camera.measured_depth(view.depth_m, noise))
            record.truth(stamp_ns, world, view, doing)
            world.step(targets, 1 / rate_hz)
            commanded, phase, status, objects = link.answers(stamp_ns)
            record.result(stamp_ns, status, objects)
            video.write(record.picture())
            silent = silent + 1 if commanded is None or phase is None else 0
            if silent:
                record.unanswered += 1
                if silent == SHOWN_AT_MOST:
                    record.ended = "node or client stopped answering"
                    break
            elif phase[0] == trial.object_id:
                targets, doing = commanded, phase[1]
                if doing.startswith(("done", "gave up")):
                    record.ended = doing
                    break
            stamp_ns += period_ns
        record.finish(world.lifted(), time.monotonic() - began_s)
    finally:
        world.close()
    return record


def main() -> None:
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    rclpy.init()
    link = Link(args.node, args.moving_camera)
    executor = SingleThreadedExecutor()
    executor.add_node(link)
    spinner = threading.Thread(target=executor.spin, daemon=True)
    spinner.start()
    deadline_s = time.monotonic() + START_PATIENCE_S
    while not link.ready():
        if time.monotonic() > deadline_s:
            raise SystemExit(
                f"no node '{args.node}' with use_3d, or no client, within {START_PATIENCE_S:.0f} s"
            )
        time.sleep(0.1)
    video = VideoWriter(args.out / "overlay.mp4", args.rate)
    stamp_ns = FIRST_S * 1_000_000_000
    with (args.out / "trials.jsonl").open("w") as lines:
        for number in range(args.trials):
            scenario = args.scenario[number % len(args.scenario)]
            trial = Trial(number, args.seed * 1000 + number, scenario, args.twins)
            record = play(link, trial, video, stamp_ns, args.rate)
            record.write_pictures(args.out / "pictures")
            lines.write(json.dumps(record.summary()) + "\n")
            lines.flush()
            print(record.line(), flush=True)
            stamp_ns = record.last_ns + round(BETWEEN_S * 1e9)
    video.close()
    executor.shutdown()
    rclpy.shutdown()
    spinner.join(5.0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first trial; the same seed, the same tables"
    )
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=SCENARIOS, help="played in turns")
    parser.add_argument("--moving-camera", action="store_true", help="the camera swings around the table")
    parser.add_argument(
        "--twins", action="store_true", help="the other things are of the same kind as the wanted one"
    )
    parser.add_argument("--rate", type=float, default=10.0, help="images per simulated second")
    parser.add_argument("--node", default="sam2_node", help="name of the node")
    parser.add_argument("--out", type=Path, default=Path("out/examples/pick_and_place"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
