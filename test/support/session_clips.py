# SPDX-License-Identifier: Apache-2.0
"""Small rendered clips as sources, and workspaces on them, for the tests of sessions. The model is nano at 256 pixels.

Does not know what is tested.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sam2_ros.media.overlay import write_png
from sam2_ros.synthetic.render import Clip, ClipConfig, render_clip
from sam2_ros.ui.frames import SourceSpec
from sam2_ros.ui.session import Session, Workspace, WorkspaceConfig
from sam2_ros.weights.open_model import ModelOptions

MODEL = ModelOptions(device="cpu", image_size=256)
HEIGHT, WIDTH = 144, 192


@functools.cache
def clip(frames: int = 24, seed: int = 9) -> Clip:
    """Two objects that stay in view, [24, 144, 192, 3]."""
    config = ClipConfig(
        HEIGHT, WIDTH, frames, objects=2, distractors=0, occluders=0, size_range=(0.25, 0.45),
        hide_probability=0.0, motion_scale=0.6, camera_motion=0.0, degrade=0.0,
    )  # fmt: skip
    return render_clip(seed, config)


def clip_folder(folder: Path, frames: int = 24) -> Path:
    """The clip as a folder of PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(clip(frames).frames):
        write_png(folder / f"{index:04d}.png", image)
    return folder


class Events:
    """Collects events in the order in which they come."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._grown = threading.Condition()
        self.on_event: Callable[[Any], None] = lambda event: None

    def __call__(self, event: Any) -> None:
        with self._grown:
            self.all.append(event)
            self._grown.notify_all()
        self.on_event(event)

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.all if isinstance(event, dict) and event["event"] == name]

    def wait(self, condition: Callable[[], bool], timeout_s: float = 60) -> None:
        with self._grown:
            assert self._grown.wait_for(condition, timeout_s), [str(event)[:80] for event in self.all[-5:]]


@contextmanager
def workspace(project: Path, source: Path, **options: Any) -> Iterator[tuple[Workspace, Session, Events]]:
    """A project with one source, opened, with all frames decoded."""
    events = Events()
    sources = (SourceSpec(source),)
    config = WorkspaceConfig(project, sources, model_options=MODEL, demo_frames=0, **options)
    opened = Workspace.open(config, events)
    try:
        session = opened.open_source(1)
        end = time.monotonic() + 60
        while session.state()["source"]["decoded"] < session.state()["source"]["frames"]:
            assert time.monotonic() < end
            time.sleep(0.01)
        yield opened, session, events
    finally:
        opened.close()


def tracked(session: Session, events: Events, frame: int, direction: str, **options: Any) -> None:
    """Track, and wait for the end."""
    before = len(events.named("tracked"))
    session.track(frame, direction, **options)
    events.wait(lambda: len(events.named("tracked")) > before)


def mask_of(session: Session, frame: int, number: int) -> np.ndarray | None:
    """The mask of an object on a frame, [H, W] bool; None if there is none."""
    return next((m.mask_hw for m in session.masks(frame) if m.object == number), None)


def masks_of(session: Session, number: int, frames: int = 24) -> list[np.ndarray | None]:
    return [mask_of(session, frame, number) for frame in range(frames)]


def inside(number: int, frame: int) -> tuple[float, float]:
    """A pixel (x, y) well inside the true object."""
    import cv2

    distance = cv2.distanceTransform(clip().masks[frame, number - 1].astype(np.uint8), cv2.DIST_L2, 5)
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return float(x), float(y)


def box_around(number: int, frame: int) -> tuple[float, float, float, float]:
    """The tight box of the true object, max exclusive."""
    ys, xs = np.nonzero(clip().masks[frame, number - 1])
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 1.0
