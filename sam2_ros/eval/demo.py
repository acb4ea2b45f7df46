"""The demo: a rendered robot-camera clip goes through the live node as a bag, and what comes back is scored.

Does not know the command line or the node's code: it is told the command that starts the node, if any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from sam2_ros.atomic_write import write_json
from sam2_ros.engine import FrameResult, Prompt, Tracker, TrackerConfig
from sam2_ros.engine.warm_up import warm_up
from sam2_ros.live.player import LiveReplayConfig, replay_live
from sam2_ros.media.bag.storage import BagWriter
from sam2_ros.media.bag.timeline import read_timeline
from sam2_ros.media.frames import open_source
from sam2_ros.media.overlay import VideoWriter, draw_overlay
from sam2_ros.media.results import LABEL_TOPIC, OBJECTS_TOPIC
from sam2_ros.offline.stream import track_frames
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.synthetic.clip import Clip
from sam2_ros.synthetic.render import demo_clip
from sam2_ros.weights.open_model import ModelOptions, open_model

from .metrics import spread
from .recording import read_results
from .scoring import ClipScore, ObjectTruth, score_clip

IMAGE_TOPIC = "/camera/image_raw"
FRAME_ID = "camera"
RATE_HZ = 10.0
NANO_IMAGE_SIZE = 256
"""Side of nano's input, px: what one core of a CPU has time for ten times a second, with two objects."""
RESULT_NAMES = ("camera/", "tracked/", "overlay.mp4", "summary.json")
OBJECT_IDS = ("cup", "robot")
"""The objects of the demo clip in the order of its masks; the robot drives behind a box for a while."""
FIRST_STAMP_NS = 1_700_000_000_000_000_000
"""Years old, as the stamps of a real bag are: nothing may compare them with today's clock."""

LIVE_LATENCY = (
    "From publishing an image to receiving its ~/objects message, on the steady clock of the process that "
    "plays the bag: DDS there and back, the node's work, and this recorder. Of the images that come while "
    "the node is busy, only the newest is processed; the rest are dropped and have no latency."
)
DIRECT_LATENCY = (
    "Duration of Tracker.step, in this process: no ROS graph was involved and no frame was dropped."
)


@dataclass(frozen=True)
class DemoConfig:
    """What the demo runs on. No `node_command`: the tracker directly, for the reason in `direct_because`."""

    out: Path
    model_options: ModelOptions = field(default_factory=ModelOptions)  # see `opened`
    node_command: tuple[str, ...] | None = None
    direct_because: str = ""
    profiles_file: Path | None = None
    frames: int | None = None  # only the first so many frames of the clip
    overwrite: bool = False  # see `ResultFolder`

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 2:
            raise ValueError(
                f"{self.frames} frames given, at least 2 expected: the prompted frame is not scored"
            )

    @property
    def opened(self) -> ModelOptions:
        """As the model is opened: image size 0 is `NANO_IMAGE_SIZE` for nano, else the model's own."""
        given = self.model_options
        smaller = given.model == "nano" and not given.image_size
        return replace(given, image_size=NANO_IMAGE_SIZE) if smaller else given


@dataclass(frozen=True)
class _Run:
    """What differs between the live and the direct run."""

    transport: str
    model: str
    device: str
    latency_ms_by_frame: Mapping[int, float]
    extra: Mapping[str, object]


def run_demo(
    config: DemoConfig, on_progress: Callable[[str, int, int], None] = lambda step, done, total: None
) -> dict[str, object]:
    """Render, replay, record, score, and write camera/, tracked/, overlay.mp4, report.html and summary.json.

    Returns the summary. Raises UserError; then an earlier
    result is as it was, but for node.log.
    """
    config.opened.resolved()  # a wrong name is told at once, not by a node that stays unconfigured
    with ResultFolder(config.out, "demo", RESULT_NAMES, overwrite=config.overwrite) as folder:
        return _run_demo(config, folder, on_progress)


def _run_demo(
    config: DemoConfig, folder: ResultFolder, on_progress: Callable[[str, int, int], None]
) -> dict[str, object]:
    camera_bag, tracked_bag = folder.stage("camera/"), folder.stage("tracked/")
    on_progress("rendering the clip", 0, 1)
    clip = demo_clip()
    total = len(clip.frames) if config.frames is None else min(config.frames, len(clip.frames))
    truths = clip_truths(clip, total)
    prompts = [Prompt(id=truth.id, box=mask_box(truth.masks_thw[0])) for truth in truths]
    write_camera_bag(camera_bag, clip.frames[:total])
    if config.node_command is not None:
        log = folder.live("node.log")
        run = _run_live(config, camera_bag, tracked_bag, log, prompts, total, on_progress)
    else:
        run = _run_direct(config, camera_bag, tracked_bag, prompts, total, on_progress)
    on_progress("scoring", total, total)
    results = read_results(tracked_bag, OBJECTS_TOPIC, {stamp_ns(frame): frame for frame in range(total)})
    score = score_clip(results, truths)
    summary = _summary(config, run, score, total, len(results))
    _write_overlay(folder.stage("overlay.mp4"), clip.frames[:total], results)
    write_json(folder.stage("summary.json"), summary, indent=2)
    return summary


def clip_truths(clip: Clip, frames: int) -> list[ObjectTruth]:
    """The known masks of the demo clip's first frames, one ObjectTruth per object, prompted on frame 0."""
    visible = clip.visible
    return [
        ObjectTruth(object_id, clip.masks[:frames, number], visible[:frames, number])
        for number, object_id in enumerate(OBJECT_IDS)
    ]


def mask_box(mask_hw: np.ndarray) -> tuple[float, float, float, float]:
    """Tight half-open box x0, y0, x1, y1 of a [H, W] mask that is not empty."""
    rows, columns = np.flatnonzero(mask_hw.any(axis=1)), np.flatnonzero(mask_hw.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def stamp_ns(frame: int) -> int:
    """Stamp of the clip's frame in the bags."""
    return FIRST_STAMP_NS + round(frame * 1e9 / RATE_HZ)


def write_camera_bag(path: Path, frames_thwc: np.ndarray) -> None:
    """Write frames as raw rgb8 images, as a camera driver's topic would be recorded."""
    with BagWriter(path, storage="mcap") as writer:
        for frame, image in enumerate(frames_thwc):
            writer.write_image(IMAGE_TOPIC, stamp_ns(frame), FRAME_ID, image)


def _run_live(
    config: DemoConfig,
    camera_bag: Path,
    tracked_bag: Path,
    log: Path,
    prompts: Sequence[Prompt],
    total: int,
    on_progress: Callable[[str, int, int], None],
) -> _Run:
    assert config.node_command is not None
    replay = replay_live(
        read_timeline(camera_bag, IMAGE_TOPIC),
        {stamp_ns(0): prompts},
        tracked_bag,
        log,
        LiveReplayConfig(
            node_command=config.node_command,
            parameters={
                **asdict(config.opened),
                "max_objects": len(prompts),
            },
            profiles_file=config.profiles_file,
            start_timeout_s=config.opened.patience_s,
        ),
        lambda step, images: on_progress(step, images, total),
    )
    frame_by_stamp = {stamp_ns(frame): frame for frame in range(total)}
    return _Run(
        transport="ros2",
        model=replay.diagnostics.get("model", config.opened.model),
        device=replay.diagnostics.get("device", config.opened.device),
        latency_ms_by_frame={frame_by_stamp[stamp]: ms for stamp, ms in sorted(replay.latency_ms.items())},
        extra={
            "node_latency_ms": {
                name: float(replay.diagnostics[key])
                for name, key in ((p, f"latency_ms_{p}") for p in ("p50", "p95", "p99"))
                if key in replay.diagnostics
            },
            "node_exit_status": replay.node_exit_status,
        },
    )


def _run_direct(
    config: DemoConfig,
    camera_bag: Path,
    tracked_bag: Path,
    prompts: Sequence[Prompt],
    total: int,
    on_progress: Callable[[str, int, int], None],
) -> _Run:
    on_progress("loading the model", 0, total)
    settings = TrackerConfig(max_objects=len(prompts))
    model = open_model(config.opened, settings)
    warm_up(model, settings)
    tracker = Tracker(model, settings)
    latency_ms: dict[int, float] = {}
    source = open_source(camera_bag, IMAGE_TOPIC)
    with BagWriter(tracked_bag, storage="mcap") as writer:
        for tracked in track_frames(tracker, source, {0: prompts}):
            frame, result = tracked.frame, tracked.result
            writer.write_objects(OBJECTS_TOPIC, frame.stamp_ns, FRAME_ID, result)
            writer.write_label_image(LABEL_TOPIC, frame.stamp_ns, FRAME_ID, result.label_image())
            latency_ms[frame.index] = tracked.step_ms
            on_progress("tracking", len(latency_ms), total)
    source.close()
    return _Run("direct", model.config.name, str(model.device), latency_ms, {"reason": config.direct_because})


def _summary(
    config: DemoConfig, run: _Run, score: ClipScore, total: int, processed: int
) -> dict[str, object]:
    return {
        "transport": run.transport,
        **run.extra,
        "source": "rendered clip, 640x480, 10 Hz",
        "model": run.model,
        "device": run.device,
        "image_size": config.opened.image_size,
        "frames_in": total,
        "frames_processed": processed,
        "dropped": total - processed,
        "mean_iou": _rounded(score.mean_iou),
        "missed": _rounded(score.missed),
        "false_presence": _rounded(score.false_presence),
        "latency_ms": spread(run.latency_ms_by_frame.values()).as_dict(),
        "per_object": {
            scored.id: {
                "mean_iou": _rounded(scored.mean_iou),
                "missed": _rounded(scored.missed),
                "false_presence": _rounded(scored.false_presence),
                "frames_visible": scored.frames_visible,
                "frames_hidden": scored.frames_hidden,
                "reacquired_s": [
                    None if frames is None else frames / RATE_HZ for frames in scored.reacquired_frames
                ],
            }
            for scored in score.per_object
        },
    }


def _notes(config: DemoConfig) -> list[str]:
    how = (
        "Played as a rosbag2 over DDS to the live node in a process of its own"
        if config.node_command
        else f"Tracked directly, without a ROS graph, because {config.direct_because}"
    )
    return [
        f"{how}; each object was prompted with a box on the first frame.",
        "Mean IoU counts processed frames in which the object can be seen, the prompted frame left out. "
        "False presence is the share of processed frames with the object hidden in which its state was "
        "TRACKING; the state changes after two frames that agree, so one per hidden stretch is its price.",
    ]


def _write_overlay(path: Path, frames_thwc: np.ndarray, results: Sequence[FrameResult]) -> None:
    """Every frame of the clip; a dropped one shows the newest result there was, as a robot would see it."""
    by_frame = {result.frame_index: result for result in results}
    writer = VideoWriter(path, RATE_HZ)
    newest: FrameResult | None = None
    try:
        for frame, image in enumerate(frames_thwc):
            newest = by_frame.get(frame, newest)
            writer.write(image if newest is None else draw_overlay(image, newest))
    finally:
        writer.close()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
