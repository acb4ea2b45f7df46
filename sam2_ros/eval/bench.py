"""Times the tracker on a rendered camera stream: frame time, stage times, frames per second, memory growth.

With a reference, that too, on the same weights and frames. Does not know ROS: what a live node adds (transport,
conversion, publishing) is in the demo's latency.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from sam2_ros.backends.layout import BackendError
from sam2_ros.backends.open_model import open_model
from sam2_ros.engine import Prompt, Sam2Model, Tracker, TrackerConfig, config_for
from sam2_ros.engine.compiled import CompiledModel, compile_model
from sam2_ros.eval.metrics import growth_per_step, mask_iou, spread
from sam2_ros.eval.offline import precision_name
from sam2_ros.eval.reference import REFERENCES, Box, Followed, run_official
from sam2_ros.eval.seeded_weights import fill_by_key
from sam2_ros.eval.vos.prompting import tight_box
from sam2_ros.media.render import ClipConfig, render_clip
from sam2_ros.weights import compile_cache_dir, list_models, load_model

CLIP_FRAMES = 12
"""Frames rendered; the stream runs through them to and fro, so that motion never jumps."""
FULL_BANK_FRAMES = 20
"""Frames before the clock counts: then 6 recent memories and 16 pointers are in use, as in the long run."""
PRESENT = 6.0
"""Added to the object score of random weights: they see the objects, and masks are compared, not their absence."""


@dataclass(frozen=True)
class BenchConfig:
    """What to time. Each entry of `objects` is a run of its own over the same stream."""

    model: str = "nano"
    objects: tuple[int, ...] = (1, 4)
    frames: int = 50
    height_px: int = 480
    width_px: int = 640
    device: str = "auto"
    precision: str = "auto"
    image_size: int = 0
    compile: str = "off"
    against: str = ""  # a reference to run beside it, one of `REFERENCES`
    backend: str = "torch"  # see `backends.open_model`

    def __post_init__(self) -> None:
        if not self.objects or min(self.objects) < 1 or max(self.objects) > 64:
            raise ValueError(f"objects {self.objects} given, numbers from 1 to 64 expected, such as 1,4")
        if self.against and self.against not in REFERENCES:
            raise ValueError(f"--against {self.against} given, one of {', '.join(REFERENCES)} expected")
        if self.frames < 2:
            raise ValueError(
                f"{self.frames} frames given, at least 2 expected: percentiles need more than one time"
            )


def run_bench(
    config: BenchConfig, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> dict:
    """Time every object count; returns what `sam2-ros bench --json` prints. Raises CheckpointError."""
    model, weights = _load(config)
    clip = render_clip(
        seed=0,
        config=ClipConfig(
            height_px=config.height_px,
            width_px=config.width_px,
            frames=CLIP_FRAMES,
            objects=max(config.objects),
        ),
    )
    passes = 2 if config.against else 1
    total = passes * len(config.objects) * (FULL_BANK_FRAMES + config.frames)
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        on_progress(done, total)

    runs, growths, ratios, agreements = {}, [], {}, {}
    compiled = compile_model(model, config.compile, _settings(max(config.objects)), compile_cache_dir())
    stream = [
        clip.frames[to_and_fro(index, len(clip.frames))] for index in range(FULL_BANK_FRAMES + config.frames)
    ]
    for count in config.objects:
        boxes = [tight_box(clip.masks[0, n]) for n in range(count)]
        timed = _time_stream(
            Tracker(compiled, _settings(count)), stream, boxes, one_more, keep=bool(config.against)
        )
        run = timed.report
        if config.against:
            theirs = run_official(model, stream, boxes, one_more)
            times = spread(theirs.frame_ms[FULL_BANK_FRAMES:])
            run[config.against] = {
                "frame_ms": times.as_dict(),
                "logit_error": logit_error(theirs, timed.answers),
            }
            ratios[str(count)] = round(times.p50 / spread(timed.answers.frame_ms[FULL_BANK_FRAMES:]).p50, 3)
            agreements[str(count)] = mask_agreement(theirs, timed.answers)
        runs[str(count)] = run
        growths.append(timed.growth_bytes)
    report = {
        "model": model.config.name,
        "device": str(model.device),
        "precision": precision_name(model),
        "backend": config.backend,
        "image_size": model.config.image_size,
        "camera": f"{config.width_px}x{config.height_px}",
        "frames": config.frames,
        "threads": torch.get_num_threads(),
        "weights": weights,
        "compile": config.compile,
        "objects": runs,
        "memory_growth_bytes_per_frame": round(max(growths)),
    }
    if isinstance(compiled, CompiledModel):
        report["compile_s"] = round(compiled.warm_up_s, 1)
    if config.against:
        report |= {"against": config.against, "ratio": ratios, "agreement": agreements}
    return report


def _settings(objects: int) -> TrackerConfig:
    """Every frame is remembered, so that the bank is full whatever the model says of the rendered things."""
    return TrackerConfig(max_objects=objects, memory_policy="official", numerics="official_vos")


def _load(config: BenchConfig) -> tuple[Sam2Model, str]:
    """The model and where its weights are from; one that is not on this machine gets random ones."""
    if config.against and config.backend != "torch":
        raise BackendError(
            f"--against {config.against} with backend {config.backend}: the reference needs the weights; "
            "give backend torch"
        )
    info = next((known for known in list_models() if known.name == config.model), None)
    if info is None or info.path is not None or config.backend != "torch":
        model = open_model(
            config.model,
            config.backend,
            config.device,
            config.precision,
            config.image_size,
            _settings(max(config.objects)),
        )
        if config.backend != "torch":
            return model, "exported"
        return model, "nano" if model.config.name == "nano" else "official"
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # through a file: device and precision are chosen as for any other
        path = Path(folder) / "random.safetensors"
        with torch.device("meta"):
            shapes = Sam2Model(config_for(info.name.split("-")[0], info.version)).state_dict()
        save_file(fill_by_key(shapes, presence_bias=PRESENT), path)
        return (
            load_model(path, device=config.device, precision=config.precision, image_size=config.image_size),
            "random",
        )


@dataclass(frozen=True)
class _Timed:
    report: dict[str, Any]
    growth_bytes: float  # per frame
    answers: Followed


def _time_stream(
    tracker: Tracker,
    stream: Sequence[np.ndarray],
    boxes: Sequence[Box],
    on_frame: Callable[[], None],
    keep: bool,
) -> _Timed:
    """Frame and stage times of the frames with a full bank, and memory growth; answers where they are to `keep`."""
    prompts = [Prompt(id=f"object_{n + 1}", box=box) for n, box in enumerate(boxes)]
    answers = Followed()
    stage_ms: dict[str, list[float]] = {}
    memory_bytes: list[float] = []
    for index, image in enumerate(stream):
        start_s = time.perf_counter()
        # Masks come back as numpy arrays, so the device has finished when step returns.
        result = tracker.step(image, prompts if index == 0 else ())
        answers.frame_ms.append((time.perf_counter() - start_s) * 1e3)
        if keep:
            answers.logits.append(np.stack([obj.logits for obj in result.objects]))
        on_frame()
        if index < FULL_BANK_FRAMES:
            continue
        memory_bytes.append(memory_in_use_bytes(str(tracker.model.device)))
        for stage, duration_ms in result.timings_ms.items():
            stage_ms.setdefault(stage, []).append(duration_ms)
    times = spread(answers.frame_ms[FULL_BANK_FRAMES:])
    report = {
        "frame_ms": times.as_dict(),
        "stages_ms": {stage: round(float(np.median(times)), 2) for stage, times in stage_ms.items()},
        "fps": round(1e3 / times.mean, 2),
    }
    return _Timed(report, growth_per_step(memory_bytes), answers)


def mask_agreement(theirs: Followed, ours: Followed) -> float:
    """Mean IoU of the masks of all objects on all frames, at the resolution of the logits; 1 where both are empty."""
    ious = [
        mask_iou(a > 0, b > 0)
        for one, other in zip(theirs.logits, ours.logits, strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    return round(float(np.mean(ious)), 5)


def logit_error(theirs: Followed, ours: Followed) -> float:
    """Root mean square of the difference over that of the reference, over all frames."""
    a, b = np.stack(theirs.logits), np.stack(ours.logits)
    return float(np.sqrt(((a - b) ** 2).mean() / (a**2).mean()))


def to_and_fro(index: int, length: int) -> int:
    """0 1 2 .. length-1 length-2 .. 1 0 1 ..: an endless stream out of a short clip."""
    if length == 1:
        return 0
    position = index % (2 * (length - 1))
    return position if position < length else 2 * (length - 1) - position


def memory_in_use_bytes(device: str) -> int:
    """Device memory in use on CUDA, else this process's resident memory (0 where /proc does not exist)."""
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated(device)
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0
