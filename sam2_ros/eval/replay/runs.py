# SPDX-License-Identifier: Apache-2.0
"""Executes the runs over a bag: the tracker directly, the live node, or a recording made earlier.

Does not know the truth. A run gives a rosbag2 with the results, and the latency of each.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sam2_ros.engine import Prompt, Sam2Model, Tracker, TrackerConfig
from sam2_ros.engine.model.sam2 import PRECISIONS
from sam2_ros.engine.warm_up import warm_up
from sam2_ros.live.bag_replay import replay_live
from sam2_ros.live.player import DIAGNOSTICS_TOPIC, LivePlayerConfig, node_latency_ms
from sam2_ros.media.bag.storage import BagReader, BagWriter
from sam2_ros.media.bag.timeline import BagTimeline
from sam2_ros.media.frame_source import Frame, SourceError
from sam2_ros.media.frames import open_source
from sam2_ros.media.messages.cdr_header import header_stamp_ns
from sam2_ros.media.messages.diagnostics import node_values
from sam2_ros.media.messages.message_types import OBJECTS_TYPE
from sam2_ros.media.pixels.image_reader import ImageReader
from sam2_ros.media.results import LABEL_TOPIC, OBJECTS_TOPIC
from sam2_ros.offline.stream import track_frames
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.weights.open_model import ModelOptions

from .replay_config import DIRECT, NODE, ReplayConfig

DIRECT_LATENCY = "duration of Tracker.step in this process: no ROS graph, no image dropped"
NODE_LATENCY = "image published to ~/objects received, by the player: DDS both ways, the node, the recorder"
RECORDED_LATENCY = "image recorded to ~/objects recorded, by the recorder's clock"
NO_LATENCY = "not measured: the recording has no images, so that the time of sending is not known"

_log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]
OpenModel = Callable[[ModelOptions, TrackerConfig], Sam2Model]


@dataclass(frozen=True)
class RunOutput:
    """The output of a run.

    Attributes:
        recording, objects_topic: bag and topic of the results.
        index_by_stamp: stamp of a result (ns) -> index of its image in the bag.
        latency_ms: by image.
        fps: images processed per second; None = not known.
        skipped: images that could not be decoded; None = not known.
        model_info: model, device, precision, image_size, as far as the run reported them.
        extra: further entries of summary.json.
    """

    recording: Path
    objects_topic: str
    index_by_stamp: Mapping[int, int]
    latency_ms: Mapping[int, float]
    latency_meaning: str
    fps: float | None
    skipped: int | None
    model_info: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


def make_run(
    name: str,
    config: ReplayConfig,
    folder: ResultFolder,
    timeline: BagTimeline,
    on_progress: Progress,
    open_model: OpenModel,
) -> RunOutput:
    """Executes one of `config.runs`, recorded in staging. Raises what models, bags and the live graph raise."""
    if name == DIRECT:
        made = _direct(config, folder, timeline, on_progress, open_model)
    elif name == NODE:
        made = _node(config, folder, timeline, on_progress)
    else:
        made = _recorded(config, timeline, on_progress)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # returns the memory of the direct run's model, which a node may need
    return made


def _direct(
    config: ReplayConfig,
    folder: ResultFolder,
    timeline: BagTimeline,
    on_progress: Progress,
    open_model: OpenModel,
) -> RunOutput:
    total = len(timeline.images)
    on_progress("loading the model", 0, total)
    settings = TrackerConfig(max_objects=len(config.object_ids), policies=config.policies)
    model = open_model(config.model_options, settings)
    warm_up(model, settings)
    tracker = Tracker(model, settings)
    latency_ms: dict[int, float] = {}
    recording = folder.stage(f"{DIRECT}/tracked/")
    with (
        open_source(config.bag, timeline.topic, ImageReader(config.pixels, warn=_log.debug)) as source,
        BagWriter(recording) as writer,
    ):
        for tracked in track_frames(tracker, _stamped(source, timeline), config.prompts):
            frame, result = tracked.frame, tracked.result
            writer.write_objects(OBJECTS_TOPIC, frame.stamp_ns, frame.frame_id, result)
            writer.write_label_image(LABEL_TOPIC, frame.stamp_ns, frame.frame_id, result.label_image())
            latency_ms[frame.index] = tracked.step_ms
            on_progress("tracking directly", len(latency_ms), total)
        skipped = source.skipped
    return RunOutput(
        recording,
        OBJECTS_TOPIC,
        timeline.index_by_stamp,
        latency_ms,
        DIRECT_LATENCY,
        fps=1e3 * len(latency_ms) / sum(latency_ms.values()),
        skipped=skipped,
        model_info={
            "model": model.config.name,
            "device": str(model.device),
            "precision": model.precision_name,
            "image_size": model.config.image_size,
        },
    )


def _stamped(frames: Iterable[Frame], timeline: BagTimeline) -> Iterator[Frame]:
    """The frames with the stamps of the timeline."""
    for frame in frames:
        yield dataclasses.replace(frame, stamp_ns=timeline.images[frame.index].stamp_ns)


def _node(
    config: ReplayConfig, folder: ResultFolder, timeline: BagTimeline, on_progress: Progress
) -> RunOutput:
    assert config.node_command is not None
    total = len(timeline.images)
    recording = folder.stage(f"{NODE}/tracked/")
    log_path = folder.live(f"{NODE}/node.log")
    prompts: dict[int, Sequence[Prompt]] = {
        timeline.images[index].stamp_ns: given for index, given in config.prompts.items()
    }
    replay = replay_live(
        timeline,
        prompts,
        recording,
        log_path,
        LivePlayerConfig(
            node_command=config.node_command,
            parameters={
                **dataclasses.asdict(config.model_options),
                "max_objects": len(config.object_ids),
                "policies": json.dumps(config.policies),
                "mono16_range": config.pixels.value_range,
                "untyped_encoding": config.pixels.untyped,
            },
            profiles_file=config.profiles_file,
            start_timeout_s=config.model_options.patience_s,
        ),
        config.rate,
        lambda step, images: on_progress(f"node: {step}", images, total),
    )
    index_by_stamp = timeline.index_by_stamp
    sent_s = list(replay.sent_s.values())
    playing_s = max(*replay.objects_s.values(), *sent_s) - sent_s[0] if sent_s else 0.0
    values = replay.diagnostics
    return RunOutput(
        recording,
        OBJECTS_TOPIC,
        index_by_stamp,
        {index_by_stamp[stamp]: ms for stamp, ms in sorted(replay.latency_ms.items())},
        NODE_LATENCY,
        fps=len(replay.objects_s) / playing_s if playing_s > 0 else None,
        skipped=int(values["frames_skipped"]) + replay.broken if "frames_skipped" in values else None,
        model_info=_model_info(values),
        extra={"node_latency_ms": node_latency_ms(values), "node_exit_status": replay.node_exit_status},
    )


def _recorded(config: ReplayConfig, timeline: BagTimeline, on_progress: Progress) -> RunOutput:
    """Scores a recording: results belong to the image with the same header stamp.

    The latency is the difference of the times at which the recorder received both, if it recorded the images.
    """
    assert config.recorded is not None
    on_progress("reading the recording", 0, len(timeline.images))
    index_by_stamp = timeline.index_by_header(f"the recording '{config.recorded}'")
    diagnostics: list[Any] = []
    sent_ns: dict[int, int] = {}
    answered_ns: dict[int, int] = {}
    with BagReader(config.recorded) as reader:
        objects_topic = _objects_topic(reader, config)
        for raw in reader.raw_messages([objects_topic, timeline.topic, DIAGNOSTICS_TOPIC]):
            if raw.topic == DIAGNOSTICS_TOPIC:
                diagnostics.append(reader.decode(raw))
                continue
            index = index_by_stamp.get(header_stamp_ns(raw.cdr))
            if index is not None:
                received = answered_ns if raw.topic == objects_topic else sent_ns
                received.setdefault(index, raw.stamp_ns)
    if not answered_ns:
        raise SourceError(
            f"no message on {objects_topic} of '{config.recorded}' has the stamp of an image on {timeline.topic} of "
            f"'{config.bag}': expected a recording made while this bag was played"
        )
    latency_ms = {
        index: (at - sent_ns[index]) * 1e-6 for index, at in answered_ns.items() if index in sent_ns
    }
    spanned_s = timeline.duration_s
    values = node_values(diagnostics, objects_topic.rpartition("/")[0])
    return RunOutput(
        config.recorded,
        objects_topic,
        index_by_stamp,
        latency_ms,
        RECORDED_LATENCY if latency_ms else NO_LATENCY,
        fps=len(answered_ns) / spanned_s if spanned_s > 0 else None,
        skipped=int(values["frames_skipped"]) if "frames_skipped" in values else None,
        model_info=_model_info(values),
        extra={"node_latency_ms": node_latency_ms(values)},
    )


def _objects_topic(reader: BagReader, config: ReplayConfig) -> str:
    topics = [info for info in reader.topics() if info.type == OBJECTS_TYPE and info.count]
    listed = ", ".join(f"{info.name} ({info.count})" for info in topics) or "none"
    if config.recorded_topic is not None:
        if config.recorded_topic not in {info.name for info in topics}:
            raise SourceError(
                f"recording '{config.recorded}' has no tracked objects on '{config.recorded_topic}'; it has {listed}"
            )
        return config.recorded_topic
    if len(topics) != 1:
        raise SourceError(
            f"recording '{config.recorded}' has {len(topics)} topics of tracked objects ({listed}), one expected: "
            + ("choose it with --recorded-topic" if topics else "record ~/objects of the node")
        )
    return topics[0].name


def _model_info(values: Mapping[str, str]) -> dict[str, str]:
    """Model, device and precision from the node's diagnostics, as the options name them."""
    model_info = {key: values[key] for key in ("model", "device", "precision") if key in values}
    options = {str(dtype).removeprefix("torch."): option for option, dtype in PRECISIONS.items()}
    if "precision" in model_info:
        model_info["precision"] = options.get(model_info["precision"], model_info["precision"])
    return model_info
