# SPDX-License-Identifier: Apache-2.0
"""Keyframes written as prompts.json with mask files give the same masks in `sam2-ros track`."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sqlalchemy")
pytest.importorskip("alembic")
from session_clips import MODEL, box_around, clip_folder, inside, iou, mask_of, masks_of, tracked, workspace

from sam2_ros.cli.prompts import PromptBook
from sam2_ros.offline.track import TrackConfig, run_track

pytestmark = pytest.mark.long


def written(session, folder: Path) -> Path:
    """The keyframes of a session as prompts.json."""
    entries = []
    for thing in session.state()["objects"]:
        for key in thing["keyframes"]:
            name = f"{thing['object']}-{key['frame']}.png"
            mask = mask_of(session, key["frame"], thing["object"])
            cv2.imwrite(str(folder / name), np.where(mask, 255, 0).astype(np.uint8))
            entries.append({"id": thing["name"], "frame": key["frame"], "mask": name})
    path = folder / "prompts.json"
    path.write_text(json.dumps(sorted(entries, key=lambda entry: entry["frame"])))
    return path


def tracked_by_command(source: Path, prompts: Path, out: Path, **options: object) -> list[np.ndarray]:
    """Label images of `sam2-ros track`, by frame."""
    book = PromptBook()
    book.add_file(prompts)
    run_track(TrackConfig(source, out, book.prompts(), MODEL, save=("masks",), **options))
    return [np.asarray(Image.open(path)) for path in sorted((out / "masks").iterdir())]


def video_of(folder: Path, path: Path) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (192, 144))
    for file in sorted(folder.iterdir()):
        image = cv2.imread(str(file))
        assert image is not None
        writer.write(image)
    writer.release()
    return path


@pytest.mark.parametrize("kind", ["folder", "video"])
def test_a_tracked_and_corrected_clip_gives_equal_masks(tmp_path, kind):
    source = clip_folder(tmp_path / "frames")
    if kind == "video":
        source = video_of(source, tmp_path / "clip.mp4")
    with workspace(tmp_path / "project", source) as (_, session, events):
        for number in (1, 2):
            session.add_object(f"thing {number}")
            session.box(0, number, *box_around(number, 0))
        tracked(session, events, 0, "forward")
        before = mask_of(session, 11, 1)
        session.click(11, 1, *inside(1, 11), 1)  # goes on from a snapshot, not from the start
        session.stroke(11, 1, [[20, 100], [60, 104]], 7, False)
        tracked(session, events, 11, "forward")
        assert not np.array_equal(mask_of(session, 11, 1), before)
        prompts = written(session, tmp_path)
        ours = {number: masks_of(session, number) for number in (1, 2)}
    labels = tracked_by_command(source, prompts, tmp_path / "out")
    keyframes = {1: (0, 11), 2: (0,)}
    for frame, image in enumerate(labels):
        # Where masks overlap, a label image shows the smaller one.
        ordered = sorted(ours, key=lambda number: -ours[number][frame].sum())
        expected = np.zeros_like(image)
        for number in ordered:
            expected[ours[number][frame]] = number
        if any(frame in keyframes[number] for number in ours):
            # `track` shows a mask prompt at the model's resolution, the page as it was drawn or zoomed in on.
            scores = [iou(image == n, expected == n) for n in ours]
            assert min(scores) > 0.85, (frame, scores)
        else:
            assert np.array_equal(image, expected), frame
    assert len(labels) == 24


def test_masks_before_the_first_keyframe_are_those_of_track_backward(tmp_path):
    source = clip_folder(tmp_path / "frames")
    with workspace(tmp_path / "project", source) as (_, session, events):
        session.add_object("thing")
        session.box(14, 1, *box_around(1, 14))
        tracked(session, events, 14, "both")
        prompts = written(session, tmp_path)
        ours = masks_of(session, 1)
    labels = tracked_by_command(source, prompts, tmp_path / "out", backward=True)
    for frame in set(range(24)) - {14}:
        assert np.array_equal(labels[frame] > 0, ours[frame]), frame
