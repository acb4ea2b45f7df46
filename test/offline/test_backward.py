# SPDX-License-Identifier: Apache-2.0
"""Backward tracking: objects before their prompts are found, and match the forward pass."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sam2_ros.engine import Prompt, Tracker, TrackerConfig
from sam2_ros.media.frames import open_source
from sam2_ros.offline.backward import track_backward
from sam2_ros.offline.track import TrackConfig, run_track
from sam2_ros.weights.load import load_model
from sam2_ros.weights.open_model import ModelOptions

FRAMES, SIZE = 8, 128
CENTRES = {"red": (30, 40), "green": (90, 90)}  # at frame 0; they move to the right by 2 px a frame


def disc(name: str, frame: int) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    centre_x, centre_y = CENTRES[name]
    return np.asarray((x - centre_x - 2 * frame) ** 2 + (y - centre_y) ** 2 < 18**2)


def box(name: str, frame: int) -> tuple[float, float, float, float]:
    y, x = np.nonzero(disc(name, frame))
    return float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    folder = tmp_path / "clip"
    folder.mkdir()
    background = np.random.default_rng(0).integers(100, 120, (SIZE, SIZE, 3), dtype=np.uint8)
    for frame in range(FRAMES):
        image = background.copy()
        image[disc("red", frame)] = (40, 60, 220)  # BGR
        image[disc("green", frame)] = (60, 200, 60)
        cv2.imwrite(str(folder / f"{frame}.png"), image)
    return folder


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_every_frame_has_the_objects_prompted_on_any_frame(clip: Path, tmp_path: Path) -> None:
    prompts = {3: [Prompt("red", box=box("red", 3))], 6: [Prompt("green", box=box("green", 6))]}
    for backward in (False, True):
        out = tmp_path / f"backward {backward}"
        run_track(
            TrackConfig(
                clip,
                out,
                prompts,
                model_options=ModelOptions(device="cpu", image_size=256),
                backward=backward,
            )
        )
        records = json.loads((out / "objects.json").read_text())
        for frame, record in enumerate(records):
            here = {obj["id"]: obj for obj in record["objects"]}
            expected = {name for name, first in (("red", 3), ("green", 6)) if backward or frame >= first}
            assert set(here) == expected
            assert [obj["label"] for obj in record["objects"]] == sorted(o["label"] for o in here.values())
            labels = np.array(Image.open(out / "masks" / f"{frame}.png"))
            for name, obj in here.items():
                assert obj["label"] == {"red": 1, "green": 2}[name]
                assert overlap(labels == obj["label"], disc(name, frame)) > 0.6


def test_backward_tracking_is_tracking_in_reverse_order(clip: Path, tmp_path: Path) -> None:
    model = load_model("nano", device="cpu", image_size=256)
    prompt = Prompt("red", box=box("red", 5))
    with open_source(clip) as source:
        frames = list(source)
        found = track_backward(Tracker(model, TrackerConfig(max_objects=1)), frames, {5: [prompt]}, tmp_path)
    again = Tracker(model, TrackerConfig(max_objects=1))
    for frame in reversed(frames[:6]):
        (obj,) = again.step(frame.image, [prompt] if frame.index == 5 else []).objects
        earlier = found.at(frame.index)
        if frame.index == 5:
            assert earlier == []
        else:
            np.testing.assert_array_equal(earlier[0].mask, obj.mask)
            assert earlier[0].presence == obj.presence
    assert found.at(6) == []
    assert not list(tmp_path.glob("*.png"))  # temporary frames are removed


def test_no_frames_are_stored_if_the_prompts_are_on_the_first(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    tracker = Tracker(load_model("nano", device="cpu"), TrackerConfig(max_objects=1))
    with open_source(clip) as source:
        track_backward(tracker, source, {0: [Prompt("red", box=box("red", 0))]}, folder)
    assert list(folder.iterdir()) == []
