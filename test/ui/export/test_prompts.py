# SPDX-License-Identifier: Apache-2.0
"""The export of prompts: `sam2-ros track` gives the masks of a tracker that was given the same keyframes.

Tracks with nano at a small image size.
"""

from __future__ import annotations

import json
import shlex
import zipfile

import numpy as np
import pytest
from exported_clips import FRAMES, OBJECTS, frames, masks_at, request, write_video
from PIL import Image

from sam2_ros.cli.prompts import PromptBook
from sam2_ros.engine import Prompt, Tracker, TrackerConfig
from sam2_ros.errors import UserError
from sam2_ros.media.frames import open_source
from sam2_ros.offline.track import TrackConfig, run_track
from sam2_ros.ui.cancelled import Cancelled
from sam2_ros.ui.export.exported import ExportedKeyframe, ExportedObject
from sam2_ros.ui.export.prompts import export_prompts, track_command
from sam2_ros.weights.open_model import ModelOptions, open_model

MODEL = ModelOptions(device="cpu", image_size=256)
OPTIONS = ("--model", "nano", "--image-size", "256", "--device", "cpu")
KEYFRAMES = [
    ExportedKeyframe(5, 3, masks_at(3)[5]),
    ExportedKeyframe(2, 0, masks_at(0)[2]),
    ExportedKeyframe(2, 4, masks_at(4)[2], replace=True),
    ExportedKeyframe(5, 6, masks_at(6)[5]),  # not visible there
]


def test_track_gives_the_masks_of_a_tracker_with_the_same_keyframes(tmp_path):
    clip = write_video(tmp_path / "clip.avi")
    export = export_prompts(request(tmp_path, clip, track_options=OPTIONS), KEYFRAMES)
    unpacked = tmp_path / "elsewhere"
    with zipfile.ZipFile(export.file) as archive:
        archive.extractall(unpacked)
    book = PromptBook()
    book.add_file(unpacked / export.file.stem / "prompts.json")
    run_track(TrackConfig(clip, tmp_path / "out", book.prompts(), MODEL, save=("masks", "json")))

    settings = TrackerConfig(max_objects=2)
    tracker = Tracker(open_model(MODEL, settings), settings)
    given = {
        0: [Prompt("cup", mask=masks_at(0)[2], class_id="tableware")],
        3: [Prompt("../ball", mask=masks_at(3)[5])],
        4: [Prompt("cup", mask=masks_at(4)[2], class_id="tableware", replace=True)],
    }
    seen = 0
    with open_source(clip) as source:
        for frame in source:
            result = tracker.step(frame.image, given.get(frame.index, ()), stamp_s=frame.stamp_s)
            written = np.asarray(Image.open(tmp_path / "out/masks" / f"{frame.index:05d}.png"))
            np.testing.assert_array_equal(written, result.label_image())
            seen += int((written > 0).any())
    assert seen == FRAMES  # there was something to compare in every frame
    records = json.loads((tmp_path / "out/objects.json").read_text())
    assert records[7]["objects"][0]["class_id"] == "tableware"


def test_the_command_in_the_readme_is_one_that_the_command_line_accepts(tmp_path):
    from typer.testing import CliRunner

    from sam2_ros.cli.main import app

    clip = write_video(tmp_path / "it's a clip.avi")
    export = export_prompts(request(tmp_path, clip, track_options=OPTIONS), KEYFRAMES)
    readme = (export.folder / "README.txt").read_text()
    (line,) = [line for line in readme.splitlines() if line.startswith("    sam2-ros")]
    assert line.strip() == track_command(request(tmp_path, clip, track_options=OPTIONS), KEYFRAMES)
    words = shlex.split(line)
    assert words[:3] == ["sam2-ros", "track", str(clip)]
    assert "--backward" in words  # the ball's first keyframe is frame 3
    for option in ("--prompts", "--out"):
        at = words.index(option) + 1
        words[at] = str(export.folder / words[at])
    result = CliRunner().invoke(app, [*words[1:], "--save", "masks"])
    assert result.exit_code == 0, result.output
    masks = [np.asarray(Image.open(path)) for path in sorted((export.folder / "tracked/masks").iterdir())]
    assert len(masks) == FRAMES
    assert (masks[1] == 2).sum() > 20  # tracked backward


def test_a_keyframe_without_a_visible_object_is_left_out_and_announced(tmp_path):
    export = export_prompts(request(tmp_path, tmp_path / "clip.mp4"), KEYFRAMES)
    assert export.notes == ("1 keyframe without a visible object left out: a prompt needs a mask",)
    entries = json.loads((export.folder / "prompts.json").read_text())
    assert [(entry["id"], entry["frame"]) for entry in entries] == [("cup", 0), ("../ball", 3), ("cup", 4)]
    assert export.notes[0] in (export.folder / "README.txt").read_text()


@pytest.mark.parametrize("name", ["../../../up", "con", "", "a/b#2", "\N{CAT FACE}", "x" * 500, "a\0b"])
def test_a_mask_file_of_any_name_is_in_its_folder_and_read_back(tmp_path, name):
    objects = [ExportedObject(2, name), ExportedObject(5, name)]
    keyframes = [ExportedKeyframe(2, 0, masks_at(0)[2]), ExportedKeyframe(5, 0, masks_at(0)[5])]
    export = export_prompts(request(tmp_path, tmp_path / "clip.mp4", objects=objects), keyframes)
    assert len(list((export.folder / "masks").iterdir())) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"exports"}
    book = PromptBook()
    book.add_file(export.folder / "prompts.json")
    first, second = book.prompts()[0]
    assert first.id != second.id
    np.testing.assert_array_equal(first.mask, masks_at(0)[2])
    np.testing.assert_array_equal(second.mask, masks_at(0)[5])


def test_a_mask_of_the_whole_image_and_of_one_pixel_are_read_back(tmp_path):
    whole, pixel = np.ones((64, 96), bool), np.zeros((64, 96), bool)
    pixel[63, 95] = True
    keyframes = [ExportedKeyframe(2, 0, whole), ExportedKeyframe(5, 0, pixel)]
    export = export_prompts(request(tmp_path, tmp_path / "clip.mp4"), keyframes)
    book = PromptBook()
    book.add_file(export.folder / "prompts.json")
    first, second = book.prompts()[0]
    np.testing.assert_array_equal(first.mask, whole)
    np.testing.assert_array_equal(second.mask, pixel)


def test_prompts_of_a_bag_name_its_topic(tmp_path):
    command = track_command(
        request(tmp_path, tmp_path / "bag", topic="/camera/image", is_bag=True), KEYFRAMES[1:2]
    )
    assert "--topic /camera/image" in command
    assert "--backward" not in command


def test_no_keyframe_or_one_of_another_size_is_refused(tmp_path):
    for keyframes in ([], KEYFRAMES[3:]):
        with pytest.raises(UserError, match="click on an object first"):
            export_prompts(request(tmp_path, tmp_path / "clip.mp4"), keyframes)
    with pytest.raises(UserError, match="keyframe 1 of object 2"):
        export_prompts(request(tmp_path, tmp_path / "c"), [ExportedKeyframe(2, 1, np.ones((3, 3), bool))])
    with pytest.raises(UserError, match="object 9"):
        export_prompts(request(tmp_path, tmp_path / "c"), [ExportedKeyframe(9, 1, masks_at(0)[2])])
    assert not (tmp_path / "exports").exists()


def test_cancelling_leaves_nothing(tmp_path):
    with pytest.raises(Cancelled):
        export_prompts(request(tmp_path, tmp_path / "clip.mp4", is_cancelled=lambda: True), KEYFRAMES)
    assert list((tmp_path / "exports").iterdir()) == []


def test_the_clip_of_these_tests_has_two_objects():
    assert len(frames()) == FRAMES
    assert [one.number for one in OBJECTS] == [2, 5]
