# SPDX-License-Identifier: Apache-2.0
"""The report of an evaluation: self-contained, with the numbers of the JSON and the worst frames."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from report_pages import Page, check

from sam2_ros.eval.report import eval_page
from sam2_ros.eval.report.data import read_eval
from sam2_ros.eval.report.worst_frames import FrameMasks

J = {
    "dog": {"1": [80.0] * 10 + [12.0] + [80.0] * 19},
    "fish/<&": {"1": [60.0] * 30, "2": [None] * 5 + [40.0] * 10 + [7.0] * 15},
}


def an_object(j: list[float | None], jf: float) -> dict:
    hidden = range(20, 25)
    return {
        "J": 61.24,
        "F": 50.0,
        "JF": jf,
        "decay": -3.26,
        "absent": 80.0,
        "false_presence": 20.0,
        "frames": 29,
        "curve": {
            "frame": list(range(1, 31)),
            "J": j,
            "F": j,
            "presence": [4.0 - 0.3 * n for n in range(30)],
            "state": ["TRACKING"] * 20 + ["OCCLUDED"] * 5 + ["LOST"] * 5,
            "visible": [n not in hidden for n in range(30)],
        },
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """summary.json and the results of two sequences, as `eval --out` writes them."""
    objects: dict = {}
    for number, (name, curves) in enumerate(J.items()):
        place = tmp_path / str(number)
        place.mkdir()
        objects[name] = {key: an_object(j, 55.0 + int(key)) for key, j in curves.items()}
        record = {
            "name": name,
            "group": "",
            "objects": objects[name],
            "steps_ms": [20.0 + n for n in range(30)],
        }
        (place / "result.json").write_text(json.dumps(record))
    whole = {
        "J": 60.04,
        "F": 52.5,
        "JF": 56.27,
        "decay": None,
        "absent": 80.0,
        "false_presence": 20.0,
        "fps": 31.06,
    }
    bins = [
        {
            "from": n / 10,
            "to": (n + 1) / 10,
            "frames": n,
            "presence": n / 10 + 0.05,
            "visible": n / 10 if n else None,
        }
        for n in range(10)
    ]
    summary = {
        "model": "nano",
        "prompt": "box",
        "sequences": dict.fromkeys(J, whole),
        **whole,
        "latency_ms": {"p50": 34.5, "p95": 48.0},
        "failed": {"cat": "frame 3 of <cat> does not decode"},
        "baselines": {"flow": {"sequences": {name: {"JF": 33.3} for name in J}, "JF": 32.1}},
        "dataset": "/data/vos",
        "split": "",
        "device": "cpu",
        "memory": {"memory_frames": 7},
        "objects": {
            "flow": {name: {key: {"JF": 30.0 + int(key)} for key in curves} for name, curves in J.items()}
        },
        "results": {name: f"{number}/result.json" for number, name in enumerate(J)},
        "calibration": {"ece": 0.0431, "frames": 45, "bins": bins},
        "command": ["sam2-ros", "eval", "https://example.org/x", "--prompt", "box"],
        "versions": {"sam2_ros": "0.1.0", "torch": "2.13"},
        "created": "2026-11-21T18:10:00+00:00",
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    return tmp_path


class Scenes:
    """Returns frames of noise, and records the requested ones."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def __call__(self, places):
        self.asked += places
        image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
        mask = np.zeros((90, 160), bool)
        mask[20:60, 40:90] = True
        return {place: FrameMasks(image, {"1": mask}, {"1": mask, "2": mask}) for place in places}


def write(folder: Path) -> tuple[Page, Scenes]:
    scenes = Scenes()
    eval_page.write_eval_page(folder / "report.html", read_eval(folder), scenes)
    return check(folder / "report.html"), scenes


def test_the_page_is_self_contained_and_has_every_part(folder):
    page, _ = write(folder)
    assert page.headings == [
        "nano on vos",
        "Sequences and objects",
        "Worst frames",
        "Scores over time",
        "Speed",
        "Calibration of the presence score",
        "Failed sequences",
        "Settings and versions",
    ]
    assert "56.3%" in page.text
    assert "2026-11-21 18:10:00+00:00" in page.text
    assert "sam2-ros eval https://example.org/x --prompt box" in page.text
    assert "1 sequence failed" in page.text


def test_the_numbers_are_those_of_the_json(folder):
    page, _ = write(folder)
    header, *rows = page.rows["Scores of every sequence and object"]
    assert header == [
        "sequence",
        "J&F",
        "J",
        "F",
        "decay",
        "absent",
        "false presence",
        "frames",
        "fps",
        "flow J&F",
    ]
    assert rows == [
        ["dog", "56.3", "60.0", "52.5", "", "80", "20", "29", "31.1", "33.3"],
        ["fish/<&", "56.3", "60.0", "52.5", "", "80", "20", "29", "31.1", "33.3"],
        ["object 1", "56.0", "61.2", "50.0", "-3.3", "80", "20", "29", "", "31.0"],
        ["object 2", "57.0", "61.2", "50.0", "-3.3", "80", "20", "29", "", "32.0"],
        ["mean over 3 objects", "56.3", "60.0", "52.5", "", "80", "20", "", "31.1", "32.1"],
    ]
    assert page.rows["Percentiles of the latency"][1:] == [["p50", "34.5"], ["p95", "48.0"], ["p99", "49.0"]]
    assert page.rows["Expected calibration error"][1:] == [["nano", "0.043", "45"]]
    assert page.rows["Sequences without scores"][1:] == [["cat", "frame 3 of <cat> does not decode"]]


def test_the_worst_frames_have_the_lowest_j(folder):
    page, scenes = write(folder)
    # The fish is lost from its 16th entry on, hidden from the 21st; the dog is bad once.
    assert scenes.asked[:2] == [("fish/<&", 16), ("fish/<&", 26)]
    assert ("dog", 11) in scenes.asked
    assert page.captions[0] == "fish/<&, object 2, frame 16: J 7.0 %, no answer"
    told = [float(caption.partition("J ")[2].partition(" %")[0]) for caption in page.captions]
    assert told == sorted(told)
    assert told[0] == min(
        value for curves in J.values() for j in curves.values() for value in j if value is not None
    )
    pictures = [kind for kind, _ in page.pictures.values()]
    assert pictures.count("image/jpeg") == len(scenes.asked) == len(page.captions)
    assert pictures.count("image/svg+xml") == 3 + 2  # curves, histogram, reliability


def test_a_frame_that_cannot_be_read_is_noted(folder):
    eval_page.write_eval_page(folder / "report.html", read_eval(folder), lambda places: {})
    page = check(folder / "report.html")
    assert page.captions == []
    assert "The frame cannot be decoded." in page.text


def test_of_many_objects_the_worst_curves_are_shown_and_it_is_noted(folder, monkeypatch):
    monkeypatch.setattr(eval_page, "CURVES_AT_MOST", 2)
    page, _ = write(folder)
    assert "of 3 objects the 2 with the lowest J&F." in page.text
    curves = [alt for alt in page.pictures if alt.startswith("J, presence")]
    assert len(curves) == 2
    assert not any("object 2" in alt for alt in curves)


def test_the_same_run_gives_the_same_file(folder):
    write(folder)
    first = (folder / "report.html").read_bytes()
    write(folder)
    assert (folder / "report.html").read_bytes() == first


def test_a_picture_is_the_frame(folder):
    page, _ = write(folder)
    content = next(content for kind, content in page.pictures.values() if kind == "image/jpeg")
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (90, 160, 3)
    assert image.std() > 30
