# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros bench`: times the tracker on a rendered camera stream: frame and stage times, share of the peak, memory.

With a reference, times both frame by frame in turns, on the same weights and frames. Does not know ROS: the demo's
latency includes what a live node adds (transport, conversion, publishing).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from safetensors.torch import save_file

from sam2_ros.engine import Sam2Model, Tracker, TrackerConfig, config_for
from sam2_ros.engine.compiled import OFF, CompiledModel
from sam2_ros.engine.kernels.gpu_choice import kernels_chosen
from sam2_ros.engine.postprocess import tight_box
from sam2_ros.engine.warm_up import warm_up
from sam2_ros.errors import UserError
from sam2_ros.eval.memory_options import MemoryOptions
from sam2_ros.eval.metrics import spread
from sam2_ros.result_folder.scratch import scratch_folder
from sam2_ros.synthetic.clip import ClipConfig, to_and_fro
from sam2_ros.synthetic.render import render_clip
from sam2_ros.weights.catalogue import list_models
from sam2_ros.weights.open_model import ModelOptions, open_model

from .against.open_reference import check_reference, open_reference
from .against.reference import REFERENCES, logit_error, mask_agreement
from .against.seeded_weights import fill_by_key
from .flops import BankSize, official_flops, rewritten_flops
from .machine import product_peak_flops
from .timing import OwnTracker, Stream, StreamTimes, time_in_turns, time_stream

CLIP_FRAMES = 12
"""Number of rendered frames; the stream plays them forward and backward, so that motion has no jumps."""
FULL_BANK_FRAMES = 20
"""Frames before timing starts: then all recent memories and pointers are in use, as in a long stream."""
MOST_CONDITIONING = 4
PRESENT = 6.0
"""Added to the object score of random weights, so that objects are visible and their masks can be compared."""


@dataclass(frozen=True)
class BenchConfig:
    """Settings of a benchmark.

    Attributes:
        objects: numbers of objects; each is a separate run over the same stream, with each memory bank.
        frames: timed frames per run.
        conditioning: numbers of prompted frames in memory; each is timed, the first is reported first.
        against: a reference to run too, one of `REFERENCES`; empty = none.
    """

    model_options: ModelOptions = field(default_factory=ModelOptions)
    objects: tuple[int, ...] = (1, 4)
    frames: int = 50
    height_px: int = 480
    width_px: int = 640
    against: str = ""
    conditioning: tuple[int, ...] = (1,)
    memory: MemoryOptions = field(default_factory=MemoryOptions)

    def __post_init__(self) -> None:
        if not self.objects or min(self.objects) < 1 or max(self.objects) > 64:
            raise UserError(f"objects {self.objects} given, numbers from 1 to 64 expected, such as 1,4")
        if self.frames < 2:
            raise UserError(
                f"{self.frames} frames given, at least 2 expected: percentiles need more than one time"
            )
        if not self.conditioning or not all(1 <= count <= MOST_CONDITIONING for count in self.conditioning):
            raise UserError(
                f"conditioning {self.conditioning} given, numbers from 1 to {MOST_CONDITIONING} expected, such as 1,4"
            )
        if self.against and self.against not in REFERENCES:
            raise UserError(f"--against {self.against} given, one of {', '.join(REFERENCES)} expected")
        if self.against and self.model_options.backend != "torch":
            raise UserError(
                f"--against {self.against} with backend {self.model_options.backend}: the reference needs the weights; "
                "give backend torch"
            )
        if self.against and (self.conditioning != (1,) or self.memory != MemoryOptions()):
            raise UserError(
                f"--against {self.against} given with another memory bank than the reference's 1 + 6 frames: leave out "
                "--conditioning and the memory options"
            )


def run_bench(
    config: BenchConfig, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Times every object count; returns what `sam2-ros bench --json` prints.

    Raises UserError.
    """
    if config.against and config.model_options.compile != OFF:  # check before minutes of compiling
        uncompiled = replace(config, model_options=replace(config.model_options, compile=OFF))
        check_reference(config.against, open_bench_model(uncompiled)[0].config)
    model, weights = open_bench_model(config)
    if config.against:
        check_reference(config.against, model.config)
    stream = render_stream(config)
    passes = len(config.conditioning) + bool(config.against)  # the reference and the tracker share one pass
    total = passes * len(config.objects) * len(stream)
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        on_progress(done, total)

    warm_up(model, bench_tracker_config(config, max(config.conditioning), 1))
    # Measured before and after: if the machine is busy during one of them, a share above 1 could result.
    peak_flops = product_peak_flops(model.device, model.compute_dtype)
    timed = {
        (conditioning, count): _time(model, config, stream, conditioning, count, one_more)
        for conditioning in config.conditioning
        for count in config.objects
    }
    peak_flops = max(peak_flops, product_peak_flops(model.device, model.compute_dtype))
    runs = {
        conditioning: {
            str(count): timed[conditioning, count].report
            | _share(model, config, conditioning, count, timed[conditioning, count], peak_flops)
            for count in config.objects
        }
        for conditioning in config.conditioning
    }
    first, *others = config.conditioning
    report = {
        "model": model.config.name,
        "device": str(model.device),
        "precision": model.precision_name,
        "backend": config.model_options.backend,
        "image_size": model.config.image_size,
        "camera": f"{config.width_px}x{config.height_px}",
        "frames": config.frames,
        "threads": torch.get_num_threads(),
        "weights": weights,
        "compile": config.model_options.compile,
        "memory": config.memory.as_dict() | {"conditioning": first},
        "peak_gflops": round(peak_flops / 1e9, 1),
        "objects": runs[first],
        "memory_bytes": max(one.memory_bytes for one in timed.values()),
        "memory_growth_bytes_per_frame": round(max(one.growth_bytes for one in timed.values())),
    }
    if kernels := kernels_chosen(model.device, model.compute_dtype):
        report["attention_kernels"] = kernels
    if isinstance(model, CompiledModel):
        report["compile_s"] = round(model.compile_s, 1)
    if others:
        report["objects_by_conditioning"] = {str(conditioning): runs[conditioning] for conditioning in others}
    if config.against:
        report |= _time_reference(model, config, stream, runs[first], one_more)
    return report


def render_stream(config: BenchConfig) -> Stream:
    """Renders a camera stream of ``[H, W, 3]`` uint8 RGB images, with a box around each object to track."""
    size = ClipConfig(
        height_px=config.height_px, width_px=config.width_px, frames=CLIP_FRAMES, objects=max(config.objects)
    )
    clip = render_clip(seed=0, config=size)
    images = [
        clip.frames[to_and_fro(index, CLIP_FRAMES)] for index in range(FULL_BANK_FRAMES + config.frames)
    ]
    boxes = [tight_box(clip.masks[0, n]) for n in range(max(config.objects))]
    return Stream(images, boxes, FULL_BANK_FRAMES)


def _time(
    model: Sam2Model,
    config: BenchConfig,
    stream: Stream,
    conditioning: int,
    count: int,
    on_frame: Callable[[], None],
) -> StreamTimes:
    tracker = Tracker(model, bench_tracker_config(config, conditioning, count))
    options = config.model_options
    # The operations of onnxruntime and of generated CPU kernels do not pass PyTorch's dispatcher: not counted.
    return time_stream(
        tracker,
        stream.of(count),
        conditioning,
        on_frame,
        launches=options.backend == "torch" and (options.compile == "off" or model.device.type == "cuda"),
    )


def bench_tracker_config(config: BenchConfig, conditioning: int, count: int) -> TrackerConfig:
    """Tracker configuration for `count` objects with `conditioning` prompted frames in memory.

    Memory policy "official": every frame enters the memory, so that the bank is full whatever the model predicts.
    Numerics: transformers' port chooses masks like the official predictor in an interactive session, without filling
    holes.
    """
    settings = TrackerConfig(
        max_objects=count,
        max_conditioning_frames=conditioning,
        memory_policy="official",
        numerics="official_video" if config.against == "transformers" else "official_vos",
        fill_hole_area=0,
        forget_after_s=0.0,
    )
    return config.memory.within(settings)


def _share(
    model: Sam2Model,
    config: BenchConfig,
    conditioning: int,
    count: int,
    timed: StreamTimes,
    peak_flops: float,
) -> dict[str, Any]:
    """Operations of a frame, its share of the machine's peak, and its least time at that peak."""
    memory = config.memory
    bank = BankSize(
        conditioning,
        min(memory.memory_frames - 1, model.config.recent_memories),
        conditioning + model.config.recent_pointers,
        memory.memory_pooling,
        memory.memory_every,
    )
    official = official_flops(model.config, bank).of(count)
    least = rewritten_flops(model.config, bank).of(count)
    return {
        "gflop": {"official": round(official / 1e9, 2), "rewritten": round(least / 1e9, 2)},
        "peak_share": round(official / (timed.p50_ms * 1e-3 * peak_flops), 4),
        "floor_ms": round(least / peak_flops * 1e3, 3),
    }


def _time_reference(
    model: Sam2Model,
    config: BenchConfig,
    stream: Stream,
    runs: dict[str, dict[str, Any]],
    on_frame: Callable[[], None],
) -> dict[str, Any]:
    """Times the reference and our tracker in turns. Adds the times to `runs`; returns ratio and agreement."""
    ratios, agreements = {}, {}
    reference = open_reference(config.against, model)
    for count in config.objects:
        part = stream.of(count)
        tracker = Tracker(model, bench_tracker_config(config, config.conditioning[0], count))
        trackers = OwnTracker(tracker, part), reference.start(part.images, part.boxes)
        ours, theirs = time_in_turns(trackers, len(part), on_frame)
        own_ms, times = (spread(one.frame_ms[stream.warm_up :]) for one in (ours, theirs))
        runs[str(count)][config.against] = {
            "frame_ms": times.as_dict(),
            "own_frame_ms": own_ms.as_dict(),
            "logit_error": logit_error(theirs, ours),
        }
        ratios[str(count)] = round(times.p50 / own_ms.p50, 3)
        agreements[str(count)] = mask_agreement(theirs, ours)
    return {"against": config.against, "ratio": ratios, "agreement": agreements}


def open_bench_model(config: BenchConfig) -> tuple[Sam2Model, str]:
    """Opens the model; returns it and the source of its weights, "random" if they are not on this machine."""
    options = config.model_options
    most = bench_tracker_config(config, max(config.conditioning), max(config.objects))
    info = next((known for known in list_models() if known.name == options.model), None)
    if info is None or info.path is not None or options.backend != "torch":
        model = open_model(options, most)
        if options.backend != "torch":
            return model, "exported"
        return model, "nano" if model.config.name == "nano" else "official"
    with scratch_folder() as folder:  # written to a file, so that the model is opened like any other
        path = folder / "random.safetensors"
        with torch.device("meta"):
            shapes = Sam2Model(config_for(info.name.split("-")[0], info.version)).state_dict()
        save_file(fill_by_key(shapes, presence_bias=PRESENT), path)
        return open_model(replace(options, model=str(path)), most), "random"
