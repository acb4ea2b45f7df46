# SPDX-License-Identifier: Apache-2.0
"""Measures the time to make a training clip, drawn by a worker or on a device: `python scripts/clip_cost.py`.

Uses one thread of one process. Knows nothing of training on the clips.
"""

from __future__ import annotations

import argparse
import json
import pickle
import resource
import time

import cv2
import torch

from sam2_ros.train.nano.clips import IN_WORKERS, in_workers
from sam2_ros.train.nano.device_clips import on_device


def clip_cost(clips: int, size: int, frames: int, objects: int, device: torch.device) -> dict[str, float]:
    """Mean milliseconds per clip, with textures made before, and MB sent from worker to learner per clip."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    there = on_device(device)
    shape = (size, frames, objects)
    for seed in range(clips, 11 * clips):  # other clips, to make the textures that all clips share
        description = there.work(seed, *shape)
    there.draw(description)
    _wait(device)
    start = time.perf_counter()
    for seed in range(clips):
        IN_WORKERS.work(seed, *shape)
    rendered = time.perf_counter()
    descriptions = [there.work(seed, *shape) for seed in range(clips)]
    written = time.perf_counter()
    for description in descriptions:
        there.draw(description)
    _wait(device)
    drawn = time.perf_counter()
    sent = sum(len(pickle.dumps(description, protocol=5)) for description in descriptions)
    return {
        "worker_draws_ms": round((rendered - start) / clips * 1e3, 1),
        "worker_leaves_drawing_ms": round((written - rendered) / clips * 1e3, 1),
        "device_draws_ms": round((drawn - written) / clips * 1e3, 1),
        "sent_mb": round(sent / clips / 1e6, 2),
    }


def photograph_clip_cost(
    photographs: str, clips: int, size: int, frames: int, objects: int
) -> dict[str, float]:
    """Milliseconds per clip of training with photographs, which only workers draw; some are procedural."""
    cv2.setNumThreads(1)
    worker, shape, times = in_workers(photographs), (size, frames, objects), []
    start = time.perf_counter()
    worker.work(0, *shape)
    first = time.perf_counter() - start
    for seed in range(clips, 11 * clips):  # other clips, to make the textures and decode the photographs
        worker.work(seed, *shape)
    for seed in range(clips):
        start = time.perf_counter()
        worker.work(seed, *shape)
        times.append(time.perf_counter() - start)
    return {
        "worker_draws_ms": round(sum(times) / clips * 1e3, 1),
        "slowest_ms": round(max(times) * 1e3, 1),
        "first_ms": round(first * 1e3, 1),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=20, help="(20)")
    parser.add_argument("--size", type=int, default=384, help="side of the frames in pixels (384)")
    parser.add_argument("--frames", type=int, default=8, help="frames drawn of each clip (8)")
    parser.add_argument("--objects", type=int, default=3, help="(3)")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="(cpu)")
    parser.add_argument("--photographs", help="folder of photographs in COCO's layout (none)")
    options = vars(parser.parse_args())
    photographs = options.pop("photographs")
    if photographs:
        del options["device"]
        print(json.dumps(photograph_clip_cost(photographs, **options)))
    else:
        print(json.dumps(clip_cost(**options)))


if __name__ == "__main__":
    main()
