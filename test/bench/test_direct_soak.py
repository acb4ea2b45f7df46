# SPDX-License-Identifier: Apache-2.0
"""The endurance test of the tracker: a short run, random changes, and how memory is judged."""

from __future__ import annotations

import dataclasses
import json
import mmap
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_ros.bench import direct_soak
from sam2_ros.bench.churn import ACTIONS, ADD, KINDS, REFINE, REMOVE, Churn
from sam2_ros.bench.direct_soak import (
    DirectSoakConfig,
    MemoryReading,
    judge_memory,
    memory_failures,
    run_direct_soak,
)
from sam2_ros.cli.main import run
from sam2_ros.engine import Tracker
from sam2_ros.weights.open_model import ModelOptions

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc to look at memory"),
]
SMALL = {"width_px": 96, "height_px": 72, "model_options": ModelOptions(device="cpu", image_size=64)}


def readings(frames: int = 10_000, growth_mb: float = 0.0) -> list[MemoryReading]:
    """Memory that grows linearly from the middle to the end, after a start in which libraries load."""
    made = []
    for at in range(20, frames + 1, 20):
        anonymous_mb = 200 + min(at, 1000) / 10 + max(0, 2 * at / frames - 1) * growth_mb
        made.append(MemoryReading(at, anonymous_mb + 100, anonymous_mb, 2, 5.0))
    return made


def test_hundreds_of_frames_with_objects_added_and_removed_pass(tmp_path: Path) -> None:
    report = run_direct_soak(DirectSoakConfig(out=tmp_path, frames=300, seed=3, **SMALL))
    assert report == json.loads((tmp_path / "soak.json").read_text())
    assert report["failures"] == []
    assert report["memory_judged"] is False  # libraries still allocate memory that they keep
    assert set(report["prompts"]) == set(KINDS)
    for action in (ADD, REFINE, REMOVE, "of them after the frame", "of them replacing", "forgotten"):
        assert report["changes"][action] > 0, action
    lines = [json.loads(line) for line in (tmp_path / "soak.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(20, 301, 20))
    assert all(line["resident_mb"] > 100 for line in lines)  # PyTorch alone takes more
    assert len({line["objects"] for line in lines}) > 1
    assert max(line["objects"] for line in lines) <= 4
    graph = cv2.imread(str(tmp_path / "soak.png"))
    assert graph is not None
    assert graph.std() > 5


def test_equal_seeds_give_equal_changes_and_others_differ() -> None:
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 5:20, 5:20] = True

    def asked(seed: int) -> list[str]:
        user, said = Churn(seed, capacity=3), []
        for _ in range(200):
            change = user.next(["thing_1", "thing_2"], masks)
            said.append("" if change is None else f"{change.action} {change.ids} {change.prompts}")
        return said

    assert asked(1) == asked(1) != asked(2)


def test_every_action_and_every_kind_of_prompt_comes_and_no_name_twice() -> None:
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 5:20, 5:20] = True
    user, live, actions, names = Churn(0, capacity=2), list[str](), set(), list[str]()
    for index in range(3000):
        change = user.next(live, masks if index % 3 else np.zeros_like(masks))
        if change is None:
            continue
        actions.add(change.action)
        for prompt in change.prompts:
            prompt.validated(40, 60)  # valid for a tracker
        if change.action == ADD:
            names += change.ids
            if len(live) < 2:
                live += change.ids
        elif change.action == REMOVE:
            live.remove(change.ids[0])
    assert actions == set(ACTIONS)
    assert set(user.kinds) == set(KINDS)
    assert len(names) == len(set(names)) > 50


def test_memory_that_stays_passes_and_growth_of_more_than_two_percent_fails_with_the_numbers() -> None:
    steady = judge_memory(readings())
    assert steady["judged"]
    assert steady["from_frame"] == 5000
    assert steady["resident_mb"] == {"before": 400.0, "highest": 400.0, "end": 400.0, "ratio": 1.0}
    assert steady["anonymous_mb"] == {"before": 300.0, "highest": 300.0, "end": 300.0, "ratio": 1.0}
    assert memory_failures(steady) == []
    assert memory_failures(judge_memory(readings(growth_mb=5.9))) == []
    (line,) = memory_failures(judge_memory(readings(growth_mb=6.5)))
    assert line.startswith("anonymous memory grew from 300.0 MB until frame 5000 to 306.5 MB, at most 2 %")
    both = memory_failures(judge_memory(readings(growth_mb=8.5)))
    assert both[0].startswith("resident memory grew from 400.0 MB until frame 5000 to 408.5 MB, at most 2 %")
    assert len(both) == 2


def test_a_peak_that_is_given_back_counts_as_growth() -> None:
    peak = readings()
    peak[-50] = dataclasses.replace(peak[-50], resident_mb=420.0)
    assert len(memory_failures(judge_memory(peak))) == 1


def test_file_pages_that_the_kernel_evicts_and_reloads_are_not_growth() -> None:
    pressed = [
        dataclasses.replace(r, resident_mb=r.resident_mb - 90 if 2000 < r.frame < 6000 else r.resident_mb)
        for r in readings()
    ]
    judged = judge_memory(pressed)
    assert judged["resident_mb"]["ratio"] == 1.0
    assert memory_failures(judged) == []


def test_a_short_run_is_not_judged() -> None:
    assert not judge_memory(readings(1980, growth_mb=500))["judged"]
    assert judge_memory(readings(2000))["judged"]
    assert not judge_memory([])["judged"]


def test_memory_that_really_leaks_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_soak, "JUDGED_FROM_FRAMES", 50)
    kept: list[mmap.mmap] = []

    def leak(*_: object) -> None:
        # Separate pages: the heap may have free space from other tests.
        kept.append(mmap.mmap(-1, 60_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        kept[-1].write(b"x" * 60_000_000)

    report = run_direct_soak(DirectSoakConfig(out=tmp_path, frames=100, **SMALL), leak)
    for pages in kept:
        pages.close()
    assert [line.split(" grew ")[0] for line in report["failures"]] == ["resident memory", "anonymous memory"]


def test_a_label_that_is_given_twice_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = Tracker.remove

    def gives_its_label_back(tracker: Tracker, id: str) -> bool:
        gone = remove(tracker, id)
        tracker.tracks.next_label -= gone
        return gone

    monkeypatch.setattr(Tracker, "remove", gives_its_label_back)
    report = run_direct_soak(DirectSoakConfig(out=tmp_path, frames=120, **SMALL))
    assert any("which was used before" in line for line in report["failures"])
    assert len(report["failures"]) <= 4  # the list is shortened


def test_growth_gives_exit_status_1_with_one_line_after_the_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(direct_soak, "JUDGED_FROM_FRAMES", 40)
    monkeypatch.setattr(direct_soak, "GROWTH_LIMIT", 0.5)  # so that any memory is too much
    small = ["--size", "96x72", "--image-size", "64", "--device", "cpu"]
    assert run(["soak", "--direct", "--frames", "60", *small, "--out", str(tmp_path), "--json"]) == 1
    said = capsys.readouterr()
    report = json.loads(said.out.splitlines()[-1])
    assert said.err == f"sam2-ros: {'; '.join(report['failures'])}\n"
    assert "resident memory grew" in said.err


@pytest.mark.slow
def test_ten_thousand_frames_stay_within_two_percent(tmp_path: Path) -> None:
    report = run_direct_soak(
        DirectSoakConfig(
            out=tmp_path, frames=10_000, model_options=ModelOptions(device="cpu", image_size=128)
        )
    )
    assert report["memory_judged"]
    assert report["failures"] == []
