# SPDX-License-Identifier: Apache-2.0
"""The report of a replay: the live node compared with the tracker without real time, numbers as in the JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from report_pages import Page, check

from sam2_ros.eval.report.data import read_replay
from sam2_ros.eval.report.replay_page import write_replay_page
from sam2_ros.eval.report.worst_frames import FrameMasks

IMAGES = 20


def measures(jf: float | None, missed: float) -> dict:
    bins = [
        {"from": n / 10, "to": n / 10 + 0.1, "count": 2, "presence": n / 10, "visible": 0.5}
        for n in range(10)
    ]
    return {
        "J": jf,
        "F": jf,
        "JF": jf,
        "frames": 19,
        "missed": missed,
        "false_presence": None,
        "identity_switches": 1,
        "identity_wrong": 0.125,
        "calibration": {"ece": 0.1, "count": 20, "bins": bins},
    }


def a_run(jf: float | None, processed: int, bad: int, latency: dict) -> dict:
    j = [None] + [90.0] * (IMAGES - 1)
    j[bad] = 10.0
    spread = {"count": 1, "never": 0, "mean": 0.3, "max": 0.3}
    one = {
        **measures(jf, 0.25),
        "processed_only": measures(jf, 0.2),
        "curve": {
            "stamp_s": [0.1 * n for n in range(IMAGES)],
            "J": j if jf is not None else [None] * IMAGES,
            "F": j,
            "presence": [None, *[3.0] * (IMAGES - 1)],
            "state": [None, *["TRACKING"] * (IMAGES - 1)],
            "visible": [None, *[jf is not None or None] * (IMAGES - 1)],
            "processed": [n % 2 == 0 or processed == IMAGES for n in range(IMAGES)],
        },
    }
    return {
        **measures(jf, 0.25),
        "processed_only": measures(jf, 0.2),
        "images_in": IMAGES,
        "processed": processed,
        "skipped": 0,
        "dropped": IMAGES - processed,
        "longest_gap_s": 0.2,
        "fps": 9.46,
        "latency_ms": latency,
        "latencies_ms": [latency["p50"]] * 9 + [latency["p99"]] if latency else [],
        "latency_meaning": "what it is",
        "time_to_first_mask_s": spread,
        "time_to_lost_s": spread,
        "time_to_recover_s": spread,
        "objects": {"cup": one, "robot": one},
    }


def write(folder: Path, runs: dict) -> tuple[Page, list]:
    summary = {
        "kind": "replay",
        "bag": "bags/kitchen.mcap",
        "topic": "/camera/image_raw",
        "transport": "raw",
        "images": IMAGES,
        "duration_s": 1.9,
        "model": "nano",
        "device": "cpu",
        "prompts": {"file": "prompts.json", "objects": {key: {"frame": 0} for key in ("cup", "robot")}},
        "truth": {"source": "labels", "topic": None, "images": IMAGES},
        "rate": 1.0,
        "runs": runs,
        "notes": ["2 images have no stamp"],
        "command": "sam2-ros replay bags/kitchen.mcap",
        "created": "2026-11-21T18:10:00+00:00",
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    asked: list = []

    def scenes(places):
        asked.extend(places)
        mask = np.zeros((48, 64), bool)
        mask[10:30, 20:40] = True
        return {
            place: FrameMasks(np.full((48, 64, 3), 90, np.uint8), {"cup": mask, "robot": mask}, {"cup": mask})
            for place in places
        }

    write_replay_page(folder / "report.html", read_replay(folder), scenes)
    return check(folder / "report.html"), asked


@pytest.fixture
def both() -> dict:
    return {
        "direct": a_run(80.0, IMAGES, 5, {"p50": 60.0, "p95": 70.0, "p99": 80.0}),
        "node": a_run(71.5, 10, 7, {"p50": 90.0, "p95": 150.5, "p99": 180.0}),
    }


def test_the_cost_of_real_time(tmp_path, both):
    page, _ = write(tmp_path, both)
    assert page.headings[:2] == ["nano on kitchen.mcap: live node beside direct", "The cost of real time"]
    assert "71.5%" in page.text
    assert "-8.5points: the cost of real time" in page.text.replace("\n", "")
    assert "2 images have no stamp" in page.text
    header, *rows = page.rows["Measures of every run"]
    assert header == ["measure", "direct", "live node", "difference"]
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["J&F as a robot sees it, %"] == ["80.0", "71.5", "-8.5"]
    assert by_name["images dropped"] == ["0", "10", "+10"]
    assert by_name["latency p95, ms"] == ["70.0", "150.5", "+80.5"]
    assert by_name["visible but missed, %"] == ["25.0", "25.0", "+0.0"]
    assert "hidden but reported visible, %" not in by_name  # nothing was hidden
    assert page.rows["Scores of every object"][2] == [
        "cup, live node",
        "71.5",
        "71.5",
        "71.5",
        "19",
        "25.0",
        "",
    ]
    assert page.rows["Percentiles of the latency"][2] == ["live node", "90.0", "150.5", "180.0"]
    assert "Histogram of the latency, live node, 10 images" in page.pictures


def test_the_worst_images_of_the_node_are_shown_with_the_direct_answer(tmp_path, both):
    page, asked = write(tmp_path, both)
    assert asked[:2] == [("node", 7), ("direct", 7)]
    assert page.captions[0] == "live node, cup, image 7 at 0.70 s (dropped): J 10.0 %"
    assert page.captions[1] == "direct, cup, image 7 at 0.70 s: J 90.0 %"


def test_a_single_run_has_no_cost_of_real_time(tmp_path, both):
    page, asked = write(tmp_path, {"direct": both["direct"]})
    assert "Results" in page.headings
    assert "cost of real time" not in page.text
    assert page.rows["Measures of every run"][0] == ["measure", "direct"]
    assert {run for run, _ in asked} == {"direct"}


def test_without_truth_and_times_it_says_so(tmp_path):
    page, asked = write(tmp_path, {"recorded": a_run(None, 10, 7, {})})
    assert asked == []
    assert "No image with a ground-truth mask" in page.text
    assert "No image was timed." in page.text
    assert "10 / 20" in page.text
