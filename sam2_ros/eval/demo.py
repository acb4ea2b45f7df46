# SPDX-License-Identifier: Apache-2.0
"""The demo: renders a robot-camera clip into a rosbag2 with prompts and ground truth, and replays it live.

Does not know how a replay works or is scored, nor the command line: the command that starts the node is given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sam2_ros.atomic_write import write_json
from sam2_ros.engine import Prompt
from sam2_ros.engine.postprocess import tight_box
from sam2_ros.media.bag.storage import BagWriter
from sam2_ros.media.overlay import VideoWriter, draw_overlay
from sam2_ros.media.results import OBJECTS_TOPIC
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.synthetic.clip import Clip
from sam2_ros.synthetic.render import demo_clip
from sam2_ros.weights.open_model import ModelOptions

from .metrics import mean, rounded
from .recording import read_results
from .replay.replay import replay_into
from .replay.replay_config import DIRECT, NODE, SUMMARIES, ReplayConfig
from .replay.score import newest_results

IMAGE_TOPIC, LABELS_TOPIC = "/camera/image_raw", "/truth/labels"
FRAME_ID = "camera"
RATE_HZ = 10.0
NANO_IMAGE_SIZE = 256
"""Side of nano's input in pixels: one CPU core processes it ten times a second with two objects."""
INPUT_NAMES = ("camera/", "truth/", "prompts.json")
RESULT_NAMES = (*INPUT_NAMES, *ReplayConfig.recordings((NODE, DIRECT)), "overlay.mp4", *SUMMARIES)
OBJECT_IDS = ("cup", "robot")
"""The objects of the demo clip, in the order of its masks; the robot is hidden behind a box for a while."""
FIRST_STAMP_NS = 1_700_000_000_000_000_000
"""In the past, as in a real bag: shows that no code compares stamps with the current time."""


@dataclass(frozen=True)
class DemoConfig:
    """Settings of the demo. Without `node_command` the tracker runs directly; `direct_because` is the reason."""

    out: Path
    model_options: ModelOptions = field(default_factory=ModelOptions)  # see `opened`
    node_command: tuple[str, ...] | None = None
    direct_because: str = ""
    profiles_file: Path | None = None
    frames: int | None = None  # number of frames from the clip's start; None = all
    overwrite: bool = False  # see `ResultFolder`
    policies: tuple[str, ...] = ("default",)  # see `TrackerConfig`

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 2:
            raise ValueError(
                f"{self.frames} frames given, at least 2 expected: the prompted frame is not scored"
            )

    @property
    def opened(self) -> ModelOptions:
        """The model options in effect: image size 0 becomes `NANO_IMAGE_SIZE` for nano, else the model's default."""
        return smaller_nano(self.model_options)


def smaller_nano(given: ModelOptions) -> ModelOptions:
    """The options with image size `NANO_IMAGE_SIZE` instead of 0 for nano."""
    smaller = given.model == "nano" and not given.image_size
    return replace(given, image_size=NANO_IMAGE_SIZE) if smaller else given


def run_demo(
    config: DemoConfig, on_progress: Callable[[str, int, int], None] = lambda step, done, total: None
) -> dict[str, Any]:
    """Renders camera/, truth/ and prompts.json, replays them, and writes overlay.mp4.

    Returns the demo's numbers; summary.json holds them together with those of the replay. Raises what `run_replay`
    raises; an earlier result is then unchanged, except node.log.
    """
    config.opened.resolved()  # reports a wrong model name at once, before a node fails to configure
    with ResultFolder(config.out, "demo", RESULT_NAMES, overwrite=config.overwrite) as folder:
        on_progress("rendering the clip", 0, 1)
        clip = demo_clip()
        frames, masks = clip.frames[: config.frames], clip.masks[: config.frames]
        prompts = [Prompt(id, box=tight_box(mask)) for id, mask in zip(OBJECT_IDS, masks[0], strict=True)]
        write_inputs(folder, Clip(frames, masks), prompts)
        replayed = replay_into(folder, _replay_config(config, folder, prompts), on_progress)
        (run,) = replayed["runs"]
        _write_overlay(folder, f"{run}/tracked/", frames)
        numbers = demo_numbers(config, replayed)
        # The demo's numbers come first in the file, and override the replay's (`transport` has another meaning there).
        write_json(folder.stage("summary.json"), {**numbers, **replayed, **numbers})
    return numbers


def write_inputs(folder: ResultFolder, clip: Clip, prompts: Sequence[Prompt]) -> None:
    """Writes the clip as a recorded camera topic, its masks as label images, and boxes on the first image."""
    with (
        BagWriter(folder.stage("camera/"), storage="mcap") as camera,
        BagWriter(folder.stage("truth/"), storage="mcap") as truth,
    ):
        for frame, (image, masks) in enumerate(zip(clip.frames, clip.masks, strict=True)):
            camera.write_image(IMAGE_TOPIC, stamp_ns(frame), FRAME_ID, image)
            truth.write_label_image(LABELS_TOPIC, stamp_ns(frame), FRAME_ID, label_image(masks))
    boxes = [{"id": prompt.id, "frame": 0, "box": prompt.box} for prompt in prompts]
    folder.stage("prompts.json").write_text(json.dumps(boxes) + "\n")


def label_image(masks_nhw: np.ndarray) -> np.ndarray:
    """Label image ``[H, W]`` uint16 of disjoint masks ``[N, H, W]``: k where the k-th mask is, 0 elsewhere."""
    numbers = np.arange(1, len(masks_nhw) + 1, dtype=np.uint16)
    return np.asarray((masks_nhw * numbers[:, None, None]).sum(axis=0, dtype=np.uint16))


def stamp_ns(frame: int) -> int:
    """Stamp of a frame in the bags, nanoseconds."""
    return FIRST_STAMP_NS + round(frame * 1e9 / RATE_HZ)


def _replay_config(config: DemoConfig, folder: ResultFolder, prompts: Sequence[Prompt]) -> ReplayConfig:
    direct = config.node_command is None
    return ReplayConfig(
        bag=folder.stage("camera/"),
        out=config.out,
        prompts={0: prompts},
        node_command=config.node_command,
        direct=direct,
        truth=folder.stage("truth/"),
        model_options=config.opened,
        profiles_file=config.profiles_file,
        prompts_file=str(config.out / "prompts.json"),
        policies=config.policies,
        command="sam2-ros demo",
        notes=(f"Tracked directly, without a ROS graph, because {config.direct_because}.",) if direct else (),
    )


def _write_overlay(folder: ResultFolder, recording: str, frames_thwc: np.ndarray) -> None:
    """Writes every frame of the clip. A dropped frame shows the newest earlier result, which a robot would use."""
    frame_by_stamp = {stamp_ns(frame): frame for frame in range(len(frames_thwc))}
    results = read_results(folder.stage(recording), OBJECTS_TOPIC, frame_by_stamp)
    video = VideoWriter(folder.stage("overlay.mp4"), RATE_HZ)
    try:
        for image, newest in zip(frames_thwc, newest_results(results, len(frames_thwc)), strict=True):
            video.write(image if newest is None else draw_overlay(image, newest))
    finally:
        video.close()


def demo_numbers(config: DemoConfig, replayed: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of the demo's run, over processed frames after the prompted one; IoU over visible objects only."""
    ((name, run),) = replayed["runs"].items()
    overlaps = {id: _overlaps(one["curve"]) for id, one in run["objects"].items()}
    of_node = {key: run[key] for key in ("node_latency_ms", "node_exit_status") if key in run}
    return {
        "transport": "ros2" if name == NODE else DIRECT,
        **(of_node if name == NODE else {"reason": config.direct_because}),
        "source": "rendered clip, 640x480, 10 Hz",
        **{key: replayed[key] for key in ("model", "device", "image_size")},
        "frames_in": run["images_in"],
        "frames_processed": run["processed"],
        "dropped": run["dropped"],
        "mean_iou": rounded(mean(overlap for seen in overlaps.values() for overlap in seen)),
        **{key: run["processed_only"][key] for key in ("missed", "false_presence")},
        "latency_ms": run["latency_ms"],
        "per_object": {
            id: {
                "mean_iou": rounded(mean(overlaps[id])),
                **{
                    key: one["processed_only"][key]
                    for key in ("missed", "false_presence", "frames_visible", "frames_hidden")
                },
                "reacquired_s": one["processed_only"]["time_to_recover_s"],
            }
            for id, one in run["objects"].items()
        },
    }


def _overlaps(curve: Mapping[str, Sequence[Any]]) -> list[float]:
    """IoU (0..1) on each processed frame with the object visible."""
    entries = zip(curve["J"], curve["visible"], curve["processed"], strict=True)
    return [j / 100 for j, visible, processed in entries if visible and processed]
