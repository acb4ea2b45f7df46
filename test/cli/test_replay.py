# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros replay` end to end: a table, a JSON line, and one line with status 2 for unusable input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from sam2_ros.cli import main as cli
from sam2_ros.media.bag.storage import BagWriter

HW = (64, 96)


def image(x: int) -> np.ndarray:
    picture = np.full((*HW, 3), 90, np.uint8)
    picture[20:44, x : x + 24] = (200, 30, 20)
    return picture


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Three images of a moving red square, and label images in which its value is 7."""
    with BagWriter(tmp_path / "camera") as writer:
        for number in range(3):
            stamp = 1_700_000_000_000_000_000 + 100_000_000 * number
            picture = image(20 + 2 * number)
            writer.write_image("/camera/image_raw", stamp, "camera", picture)
            writer.write_label_image(
                "/labels", stamp, "camera", np.where(picture[..., 0] > 150, 7, 0).astype(np.uint16)
            )
    return tmp_path / "camera"


def prompts(folder: Path, **fields: object) -> Path:
    path = folder / "prompts.json"
    path.write_text(json.dumps([{"id": "square", "frame": 0, "box": [20, 20, 44, 44], **fields}]))
    return path


def replay(bag: Path, *options: str, **fields: object) -> int:
    given = [str(bag), "--prompts", str(prompts(bag.parent, **fields)), "--out", str(bag.parent / "out")]
    topics = ["--topic", "/camera/image_raw", "--device", "cpu", "--image-size", "256"]
    return cli.run(["replay", *given, *topics, *options])


def test_a_direct_replay_prints_a_table_and_a_json_line(
    bag: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = replay(bag, "--direct", "--truth", str(bag), "--truth-topic", "/labels", "--json", truth=7)
    assert status == 0
    printed = capsys.readouterr().out
    summary = json.loads(printed.splitlines()[-1])
    assert summary == json.loads((bag.parent / "out" / "summary.json").read_text())
    assert list(summary["runs"]) == ["direct"]
    assert summary["prompts"]["objects"]["square"]["truth"] == 7
    assert summary["runs"]["direct"]["J"] > 50
    assert f"{summary['runs']['direct']['JF']:.4g}" in printed
    assert "J&F, as a robot sees it" in printed


def test_a_recording_without_the_name_of_its_model_is_scored_too(
    bag: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(bag, "--direct") == 0
    recording = (bag.parent / "out" / "direct" / "tracked").rename(
        bag.parent / "recorded"
    )  # without diagnostics
    capsys.readouterr()
    out = str(bag.parent / "scored")
    assert replay(bag, "--recorded", str(recording), "--out", out, "--json") == 0
    printed = capsys.readouterr().out
    assert json.loads(printed.splitlines()[-1])["model"] is None
    assert "3 images in 0.2 s\n" in printed


def test_truth_ids_of_the_option_override_those_of_the_prompts_file(bag: Path) -> None:
    options = ("--direct", "--truth", str(bag), "--truth-topic", "/labels", "--truth-ids", "7=square")
    assert replay(bag, *options, truth=3) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--direct", "--truth-ids", "square=7"), "--truth-ids 'square=7' cannot be read"),
        (("--direct", "--truth", "/nowhere"), "--truth /nowhere does not exist"),
        (("--direct", "--rate", "0"), "--rate 0 given"),
        (("--direct", "--model", "no-such-model"), "no-such-model"),
        (("--recorded-topic", "/objects", "--direct"), "needs --recorded BAG"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_status_2(
    bag: Path, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(bag, *options) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("sam2-ros: ")
    assert said in error
    assert "\n" not in error


def test_a_truth_value_that_is_no_number_is_refused_with_the_form(
    bag: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(bag, "--direct", truth="red") == 2
    assert "truth 'red' of 'square', one whole number" in capsys.readouterr().err


def test_without_ros_only_the_tracker_runs_and_the_node_is_refused(
    bag: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)  # import then fails, as without ROS
    assert replay(bag) == 0
    assert "the tracker directly, as rclpy cannot be imported" in capsys.readouterr().err
    assert replay(bag, "--node") == 1
    assert "--node needs a live ROS 2 graph" in capsys.readouterr().err
