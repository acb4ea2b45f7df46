"""Times the tracker on a rendered camera stream: frame time, stage times, frames per second, memory growth.

Does not know ROS: what a live node adds (transport, conversion, publishing) is in the demo's latency.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sam2_ros.engine import Prompt, Sam2Model, Tracker, TrackerConfig, config_for
from sam2_ros.eval.demo import mask_box
from sam2_ros.eval.metrics import growth_per_step, spread
from sam2_ros.eval.offline import precision_name
from sam2_ros.media.render import Clip, ClipConfig, render_clip
from sam2_ros.weights import list_models, load_model, random_model, save_model

CLIP_FRAMES = 12
"""Frames rendered; the stream runs through them to and fro, so that motion never jumps."""
FULL_BANK_FRAMES = 20
"""Frames before the clock counts: then 6 recent memories and 16 pointers are in use, as in the long run."""


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

    def __post_init__(self) -> None:
        if not self.objects or min(self.objects) < 1 or max(self.objects) > 64:
            raise ValueError(f"objects {self.objects} given, numbers from 1 to 64 expected, such as 1,4")
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
    steps_per_run = FULL_BANK_FRAMES + config.frames
    runs, growths = {}, []
    for number, count in enumerate(config.objects):
        done_before = number * steps_per_run
        total = len(config.objects) * steps_per_run
        run, growth = _time_stream(
            # Every frame is remembered, so that the bank is full whatever the model says of the rendered things.
            Tracker(model, TrackerConfig(max_objects=count, memory_policy="official")),
            clip,
            count,
            config.frames,
            str(model.device),
            lambda done, before=done_before, total=total: on_progress(before + done, total),  # type: ignore[misc]
        )
        runs[str(count)] = run
        growths.append(growth)
    return {
        "model": model.config.name,
        "device": str(model.device),
        "precision": precision_name(model),
        "image_size": model.config.image_size,
        "camera": f"{config.width_px}x{config.height_px}",
        "frames": config.frames,
        "threads": torch.get_num_threads(),
        "weights": weights,
        "objects": runs,
        "memory_growth_bytes_per_frame": round(max(growths)),
    }


def _load(config: BenchConfig) -> tuple[Sam2Model, str]:
    """The model and where its weights are from; one that is not on this machine gets random ones."""
    info = next((known for known in list_models() if known.name == config.model), None)
    if info is None or info.path is not None:
        model = load_model(
            config.model, device=config.device, precision=config.precision, image_size=config.image_size
        )
        return model, "nano" if model.config.name == "nano" else "official"
    # Through a file, so that device and precision are chosen as for any other weights.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.safetensors"
        save_model(random_model(config_for(info.name.split("-")[0], info.version)), path)
        return load_model(
            path, device=config.device, precision=config.precision, image_size=config.image_size
        ), "random"


def _time_stream(
    tracker: Tracker, clip: Clip, count: int, frames: int, device: str, on_progress: Callable[[int], None]
) -> tuple[dict, float]:
    """Frame and stage times of `frames` frames with a full bank, and memory growth in bytes per frame."""
    prompts = [Prompt(id=f"object_{n + 1}", box=mask_box(clip.masks[0, n])) for n in range(count)]
    frame_ms: list[float] = []
    stage_ms: dict[str, list[float]] = {}
    memory_bytes: list[float] = []
    for index in range(FULL_BANK_FRAMES + frames):
        image = clip.frames[to_and_fro(index, len(clip.frames))]
        start_s = time.perf_counter()
        # Masks come back as numpy arrays, so the device has finished when step returns.
        result = tracker.step(image, prompts if index == 0 else ())
        elapsed_ms = (time.perf_counter() - start_s) * 1e3
        on_progress(index + 1)
        if index < FULL_BANK_FRAMES:
            continue
        frame_ms.append(elapsed_ms)
        memory_bytes.append(memory_in_use_bytes(device))
        for stage, duration_ms in result.timings_ms.items():
            stage_ms.setdefault(stage, []).append(duration_ms)
    report = {
        "frame_ms": spread(frame_ms).as_dict(),
        "stages_ms": {stage: round(float(np.median(times)), 2) for stage, times in stage_ms.items()},
        "fps": round(1e3 / spread(frame_ms).mean, 2),
    }
    return report, growth_per_step(memory_bytes)


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
