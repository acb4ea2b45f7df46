# SPDX-License-Identifier: Apache-2.0
"""Renders clips of 3D models that turn, as a dataset: `python scripts/render_objects.py MODELS... --out DIR`.

Knows the folder of a clip; does not know training. Needs pybullet, trimesh and pycollada, which the package does not.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from objects3d.clip import Clip, render_clip
from objects3d.models import ModelError
from objects3d.prepared import PreparedModel, prepare_models

from sam2_ros.media.results import write_label_png

NEEDED = {"pybullet": "pybullet", "trimesh": "trimesh", "collada": "pycollada"}
FPS = 12.0
JPEG_QUALITY = 90
STORE = ".models"  # in the dataset; readers of datasets skip hidden folders
PICTURES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Job:
    """What all clips of a run share."""

    out: Path
    models: tuple[PreparedModel, ...]
    photographs: tuple[Path, ...]
    frames: tuple[int, int]
    size: int
    seed: int


def clip_name(seed: int, number: int) -> str:
    return f"objects-{seed}-{number:05d}"


def make_clip(job: Job, number: int) -> str:
    """Renders a clip into a hidden folder, and renames that when it is complete. Returns the clip's name."""
    cv2.setNumThreads(1)
    name = clip_name(job.seed, number)
    staging = job.out / f".{name}.partial"
    shutil.rmtree(staging, ignore_errors=True)
    clip = render_clip((job.seed, number), job.models, job.photographs, job.frames, job.size)
    _write(clip, staging, {"seed": job.seed, "clip": number})
    os.replace(staging, job.out / name)
    return name


def _write(clip: Clip, folder: Path, source: dict[str, int]) -> None:
    for part in ("frames", "masks"):
        (folder / part).mkdir(parents=True)
    for index, (frame, labels) in enumerate(zip(clip.frames_thw3, clip.labels_thw, strict=True)):
        bgr = np.ascontiguousarray(frame[..., ::-1])
        _, packed = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        (folder / "frames" / f"{index:05d}.jpg").write_bytes(packed.tobytes())
        write_label_png(folder / "masks" / f"{index:05d}.png", labels)
    meta = {"fps": FPS, "source": "rendered 3D models", **source, "models": list(clip.models)}
    (folder / "meta.json").write_text(json.dumps(meta) + "\n", "utf-8")


def render(job: Job, clips: int, workers: int) -> None:
    """Renders clips 0 to `clips` - 1 of a job, without those that are complete."""
    todo = [k for k in range(clips) if not (job.out / clip_name(job.seed, k)).is_dir()]
    print(f"{clips - len(todo)} of {clips} clips are there, {len(todo)} to render", flush=True)
    start, done = time.monotonic(), 0
    if not todo:
        return
    with ProcessPoolExecutor(min(workers, len(todo)), mp_context=get_context("spawn")) as pool:
        pending = {pool.submit(make_clip, job, number) for number in todo}
        try:
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    done += 1
                    spent = time.monotonic() - start
                    print(f"{future.result()}  {done}/{len(todo)}  {spent / done:.1f} s a clip", flush=True)
        finally:
            for future in pending:
                future.cancel()


def main() -> None:
    options = _options()
    if missing := [pip for module, pip in NEEDED.items() if importlib.util.find_spec(module) is None]:
        sys.exit(f"render_objects needs {', '.join(missing)}: run `pip install {' '.join(missing)}`")
    out: Path = options.out
    photographs: tuple[Path, ...] = ()
    if options.backdrops is not None:
        if not options.backdrops.is_dir():
            sys.exit(f"backdrops '{options.backdrops}' do not exist: a folder of photographs expected")
        photographs = tuple(sorted(f for f in options.backdrops.iterdir() if f.suffix.lower() in PICTURES))
        if not photographs:
            sys.exit(f"backdrops '{options.backdrops}': no {', '.join(PICTURES)} file found")
    try:
        models, skipped = prepare_models(options.models, out / STORE)
    except ModelError as error:
        sys.exit(str(error))
    for file, reason in skipped.items() if options.verbose else ():
        print(f"skipped: {file} {reason}")
    print(f"{len(models)} models; {len(skipped)} skipped, mostly as files are missing (--verbose lists them)")
    job = Job(out, tuple(models), photographs, options.frames, options.size, options.seed)
    render(job, options.clips, options.workers)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path, help="folders of URDF, SDF, OBJ, DAE or STL models")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the dataset; an interrupted run resumes"
    )
    parser.add_argument("--clips", type=_positive, default=100, help="(100)")
    parser.add_argument(
        "--frames", type=_range, default=(16, 24), help="frames per clip, N or LEAST..MOST (16..24)"
    )
    parser.add_argument("--size", type=_positive, default=384, help="side of the frames in pixels (384)")
    parser.add_argument("--seed", type=int, default=0, help="clip k of a seed is always the same (0)")
    parser.add_argument("--workers", type=_positive, default=1, help="processes (1)")
    parser.add_argument(
        "--backdrops", type=Path, help="folder of photographs (none: rooms and textures only)"
    )
    parser.add_argument("--verbose", action="store_true", help="list the models that are skipped")
    return parser.parse_args()


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} given, 1 or more expected")
    return value


def _range(text: str) -> tuple[int, int]:
    least, _, most = text.partition("..")
    try:
        low, high = int(least), int(most or least)
    except ValueError:
        low, high = 0, 0
    if not 1 <= low <= high:
        raise argparse.ArgumentTypeError(
            f"{text!r} given, a number of frames or LEAST..MOST expected, such as 16..24"
        )
    return low, high


if __name__ == "__main__":
    main()
