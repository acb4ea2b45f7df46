# SPDX-License-Identifier: Apache-2.0
"""Killed and interrupted runs: the next one evaluates the rest, and the scores are the same."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from started_processes import WAIT_S, child_named, wait_for
from vos_layouts import labels_of, write_masks, write_sequence

from sam2_ros.cli.main import run
from sam2_ros.synthetic.clip import ClipConfig
from sam2_ros.synthetic.render import render_clip

pytestmark = pytest.mark.long

NAMES = ("a", "b", "c")
QUICK = ("--prompt", "mask", "--image-size", "256", "--json")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short clips with two objects each."""
    folder = tmp_path_factory.mktemp("clips")
    config = ClipConfig(
        height_px=120, width_px=160, frames=8, objects=2, distractors=0, occluders=0, hide_probability=0,
        size_range=(0.3, 0.4), degrade=0, motion_scale=0.5,
    )  # fmt: skip
    for seed, name in enumerate(NAMES):
        clip = render_clip(seed, config)
        labels = {index: first + second * 2 for index, (first, second) in enumerate(clip.masks)}
        write_sequence(folder / name, list(clip.frames), labels)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The summary of an uninterrupted run, with the GrabCut baseline, which depends strongly on random numbers."""
    out = tmp_path_factory.mktemp("whole")
    process = started(clips, out)
    _, error = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, error
    return json.loads((out / "summary.json").read_text())


def started(clips: Path, out: Path, *options: str) -> subprocess.Popen:
    """Starts the command in its own process. One thread, because several sum in another order, with other rounding."""
    command = [sys.executable, "-m", "sam2_ros.cli", "eval", str(clips), *QUICK, "--baseline", "grabcut"]
    return subprocess.Popen(
        [*command, "--out", str(out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def same_scores(out: Path, expected: dict) -> None:
    summary = json.loads((out / "summary.json").read_text())
    assert summary["failed"] == {}
    assert summary["objects"] == expected["objects"]
    for key in ("J", "F", "JF", "decay"):
        assert summary[key] == expected[key]
        assert summary["baselines"]["grabcut"][key] == expected["baselines"]["grabcut"][key]


@pytest.mark.parametrize(
    ("number", "workers"), [(signal.SIGKILL, "1"), (signal.SIGINT, "1"), (signal.SIGINT, "2")]
)
def test_a_killed_or_interrupted_run_resumes(
    clips: Path, uninterrupted: dict, tmp_path: Path, number: signal.Signals, workers: str
) -> None:
    process = started(clips, tmp_path, "--workers", workers)
    # the second clip has started
    wait_for(
        lambda: list(tmp_path.glob("*/result.json")) and list(tmp_path.glob(".partial/*/00001.png")), process
    )
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=WAIT_S)
    complete = list(tmp_path.glob("*/result.json"))
    assert 0 < len(complete) < len(NAMES)
    assert not (tmp_path / "summary.json").exists()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert error.strip().splitlines() == [
            f"sam2-ros: interrupted; {len(complete)} of 3 sequences are complete in '{tmp_path}': "
            "the same command resumes with the others"
        ]
    written = {file: file.stat().st_mtime_ns for file in complete}
    steps = {file: json.loads(file.read_text())["steps_ms"] for file in complete}
    process = started(clips, tmp_path)
    answer, error = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, error
    assert f"{len(complete)} of 3 sequences are complete" in error
    assert {file: file.stat().st_mtime_ns for file in complete} == written
    same_scores(tmp_path, uninterrupted)
    report = json.loads(answer.splitlines()[-1])
    for file, times in steps.items():
        assert report["sequences"][file.parent.name]["fps"] == round(1000 * len(times) / sum(times), 2)


def test_a_killed_worker_loses_no_result(clips: Path, uninterrupted: dict, tmp_path: Path) -> None:
    process = started(clips, tmp_path, "--workers", "2")
    wait_for(lambda: list(tmp_path.glob(".partial/*/00001.png")), process)
    os.kill(child_named(process.pid, "spawn_main"), signal.SIGKILL)
    _, error = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, error
    same_scores(tmp_path, uninterrupted)


@pytest.mark.slow
def test_on_a_ray_cluster_a_killed_process_loses_no_result(
    clips: Path, uninterrupted: dict, tmp_path: Path
) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install ray")
    process = started(clips, tmp_path, "--ray", "local", "--workers", "2")
    wait_for(lambda: list(tmp_path.glob(".partial/*/00001.png")), process)
    os.kill(child_named(process.pid, "ray::_task"), signal.SIGKILL)
    _, error = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, error
    same_scores(tmp_path, uninterrupted)


def test_a_changed_setting_or_input_runs_sequences_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = dict.fromkeys(range(4), labels_of((1, 5, 5)))
    noise = [render_clip(9, ClipConfig(height_px=40, width_px=60, frames=4)).frames[i] for i in range(4)]
    for name in ("a", "b"):
        write_sequence(tmp_path / "set" / name, noise, labels)
    out = tmp_path / "out"

    def notes(*options: str) -> list[str]:
        assert run(["eval", str(tmp_path / "set"), *QUICK, "--out", str(out), *options]) == 0
        return capsys.readouterr().err.splitlines()

    taken = f"2 of 2 sequences are complete in '{out}' and reused; --fresh runs them again"
    assert notes() == []
    assert notes() == [taken]
    assert notes("--workers", "2") == [taken]  # the number of workers does not change scores
    assert notes("--fresh") == []
    assert notes("--prompt", "box") == [f"2 sequences of '{out}' run again: prompt was mask, is box"]
    again = f"2 sequences of '{out}' run again: "
    changed = ("--prompt", "box", "--memory-frames", "4")
    (line,) = notes(*changed)
    assert line.startswith(f"{again}memory was memory_frames 7, ")
    assert notes(*changed, "--baseline", "flow") == [f"{again}baselines was none, is flow"]
    write_masks(tmp_path / "other", {2: labels_of((1, 6, 5))})
    (tmp_path / "other" / "00002.png").replace(tmp_path / "set" / "b" / "masks" / "00002.png")
    assert notes(*changed, "--baseline", "flow") == [
        f"1 of 2 sequences are complete in '{out}' and reused; --fresh runs them again",
        f"1 sequence of '{out}' run again: frames or masks have changed",
    ]
    (out / "a" / "result.json").write_text("{")
    assert notes(*changed, "--baseline", "flow")[1:] == [
        f"1 sequence of '{out}' run again: result.json cannot be decoded"
    ]
