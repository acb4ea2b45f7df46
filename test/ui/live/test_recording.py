# SPDX-License-Identifier: Apache-2.0
"""Recorded prompts: a file after every prompt, a new folder for every recording, nothing replaced."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy (extra ui)")
from sam2_ros.errors import UserError
from sam2_ros.ui.live.config import LiveConfig
from sam2_ros.ui.live.picture import Shown
from sam2_ros.ui.live.recording import LivePrompt, PromptRecorder

STAMP_NS = 1_700_000_000_123_456_789


def test_prompts_on_one_image_are_one_entry_and_the_newest_box_counts(tmp_path: Path):
    recorder = PromptRecorder(tmp_path, "/arm/sam2")
    recorder.add(LivePrompt("", STAMP_NS, "cam", point=(1, 2, True)), "cup", "/camera")
    assert not list(tmp_path.iterdir())  # it is off
    recorder.switch(True)
    recorder.add(LivePrompt("", STAMP_NS + 5, "cam", box=(1, 2, 30, 40)), "box", "/camera")
    recorder.add(LivePrompt("box", STAMP_NS + 5, "cam", box=(3, 4, 30, 40)), "box", "/camera")
    recorder.add(LivePrompt("", STAMP_NS, "cam", point=(1.234, 2, True)), "cup", "/camera")
    recorder.add(LivePrompt("cup", STAMP_NS, "cam", point=(5, 6, False)), "cup", "/camera")
    file = tmp_path / "live-arm-sam2-1" / "prompts.json"
    assert json.loads(file.read_text()) == [
        {"id": "cup", "stamp_ns": STAMP_NS, "points": [[1.23, 2, 1], [5, 6, 0]]},
        {"id": "box", "stamp_ns": STAMP_NS + 5, "box": [3, 4, 30, 40]},
    ]
    state = recorder.state()
    assert state == {
        "on": True,
        "prompts": 4,
        "file": str(file),
        "url": "/exports/live-arm-sam2-1/prompts.json",
    }
    assert "ros2 bag record /camera" in (file.parent / "README.txt").read_text()


def test_each_recording_has_a_folder_of_its_own(tmp_path: Path):
    (tmp_path / "live-sam2-1").mkdir()
    (tmp_path / "live-sam2-1" / "prompts.json").write_text("of somebody else")
    recorder = PromptRecorder(tmp_path, "/sam2")
    for expected in ("live-sam2-2", "live-sam2-3"):
        recorder.switch(True)
        recorder.add(LivePrompt("", STAMP_NS, "cam", point=(1, 2, True)), "cup", "")
        assert Path(recorder.state()["file"]).parent.name == expected
        recorder.switch(False)
    assert (tmp_path / "live-sam2-1" / "prompts.json").read_text() == "of somebody else"


def test_a_full_disk_is_one_line(small_disk: Path):
    (small_disk / "full").write_bytes(b"")
    recorder = PromptRecorder(small_disk, "/sam2")
    recorder.switch(True)
    recorder.add(LivePrompt("", STAMP_NS, "cam", point=(1, 2, True)), "cup", "")
    with contextlib.suppress(OSError), (small_disk / "full").open("wb", 0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(UserError, match="the prompt was sent, but"):
        add_many(recorder)


def add_many(recorder: PromptRecorder) -> None:
    for number in range(300):
        recorder.add(LivePrompt("", number, "cam", point=(1, 2, True)), "cup", "")


def test_pixels_of_a_reduced_picture_are_pixels_of_the_image():
    shown = Shown(STAMP_NS, "cam", width=1920, height=1080, picture_width=1280, picture_height=720)
    assert shown.pixel(0, 0) == (0.25, 0.25)  # the centre of the first pixel of the picture
    assert shown.pixel(1279, 719) == (1918.75, 1078.75)
    assert shown.pixel(-5, 5000) == (0, 1079)
    assert shown.edge(0, 720) == (0, 1080)
    assert shown.edge(640, 9999) == (960, 1080)


@pytest.mark.parametrize("name", ["sam2", "/", "/robot1/", "/a b", "/sam2;rm", "/1sam", ""])
def test_what_is_no_full_name_of_a_node_is_refused(name: str):
    with pytest.raises(UserError, match="fully qualified name"):
        LiveConfig(name)
    assert (LiveConfig("/robot1/sam2").namespace, LiveConfig("/robot1/sam2").name) == ("/robot1", "sam2")
    assert (LiveConfig().namespace, LiveConfig().name) == ("/", "sam2")
