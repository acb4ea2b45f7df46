# SPDX-License-Identifier: Apache-2.0
"""Several bags in one command: the numbers equal those of single replays, also after failures and kills."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from started_processes import WAIT_S, child_named, wait_for

from sam2_ros.cli.main import run
from sam2_ros.engine.postprocess import tight_box
from sam2_ros.eval.demo import IMAGE_TOPIC, LABELS_TOPIC, stamp_ns
from sam2_ros.eval.replay.many import COUNTS, SCORES
from sam2_ros.live.player import missing_ros
from sam2_ros.media.bag.storage import BagReader, BagWriter
from sam2_ros.media.ros_image import image_to_labels

from .conftest import DemoBag

pytestmark = pytest.mark.long

QUICK = ("--device", "cpu", "--image-size", "128", "--json")
IMAGES = 6
FIRST = {"a": 0, "b": 36, "c": 38}  # of the demo's images, both objects are in sight
needs_ros = pytest.mark.skipif(missing_ros() is not None, reason=str(missing_ros()))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread in all processes: several sum in another order, with other rounding."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def bags(demo_bag: DemoBag, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short bags that contain their truth, their prompts, a broken bag, and lists of bags."""
    folder = tmp_path_factory.mktemp("bags")
    for name, first in FIRST.items():
        with BagReader(demo_bag.path) as camera, BagWriter(folder / name) as writer:
            for raw in camera.raw_messages([IMAGE_TOPIC, LABELS_TOPIC]):
                if stamp_ns(first) <= raw.stamp_ns < stamp_ns(first + IMAGES):
                    writer.write_raw(raw.topic, raw.type, raw.stamp_ns, raw.cdr)
                if raw.topic == LABELS_TOPIC and raw.stamp_ns == stamp_ns(first):
                    labels = camera.decode(raw)
        values = image_to_labels(
            labels.height, labels.width, labels.encoding, labels.is_bigendian, labels.step, labels.data
        )
        prompts = [
            {"id": key, "frame": 0, "box": [float(side) for side in tight_box(np.asarray(values) == value)]}
            for value, key in enumerate(demo_bag.boxes, start=1)
        ]
        (folder / f"{name}.json").write_text(json.dumps(prompts))
    (folder / "broken.mcap").write_bytes(b"no bag at all")
    write_list(folder / "all.yaml", *FIRST)
    write_list(folder / "two.json", "a", "b")
    write_list(folder / "some.yaml", "a", "broken.mcap", "b")
    return folder


def write_list(path: Path, *names: str) -> None:
    """JSON, which is valid YAML."""
    entries = [
        {
            "bag": name,
            "prompts": "a.json" if name == "broken.mcap" else f"{name}.json",
            "topic": IMAGE_TOPIC,
            "truth": name,
            "truth_topic": LABELS_TOPIC,
        }
        for name in names
    ]
    path.write_text(json.dumps(entries))


def replay(listed: Path, out: Path, *options: str) -> int:
    return run(["replay", str(listed), "--out", str(out), *QUICK, *options])


@pytest.fixture(scope="module")
def uninterrupted(bags: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The summary of the list from an uninterrupted run."""
    out = tmp_path_factory.mktemp("whole")
    assert replay(bags / "all.yaml", out, "--direct", "--workers", "1") == 0
    return json.loads((out / "summary.json").read_text())


def same_numbers(out: Path, expected: dict[str, Any]) -> None:
    """Compares everything except times."""
    summary = json.loads((out / "summary.json").read_text())
    assert summary["failed"] == {}
    assert summary["means"] == expected["means"]
    assert list(summary["bags"]) == list(expected["bags"])
    for name, runs in expected["bags"].items():
        for key in (*SCORES, *COUNTS, "objects"):
            assert summary["bags"][name]["direct"][key] == runs["direct"][key]


def test_a_broken_bag_is_skipped_and_the_others_equal_single_replays(
    bags: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert replay(bags / "some.yaml", out, "--direct", "--workers", "2") == 1
    said = capsys.readouterr()
    summary = json.loads(said.out.splitlines()[-1])
    assert summary == json.loads((out / "summary.json").read_text())
    assert list(summary["bags"]) == ["a", "b"]
    (line,) = said.err.splitlines()
    assert line == f"broken failed: {summary['failed']['broken']}"
    assert "broken.mcap" in line
    assert "mean over 4 objects" in said.out
    for name in ("a", "b"):
        alone = tmp_path / f"alone {name}"
        bag = str(bags / name)
        given = ["--prompts", str(bags / f"{name}.json"), "--truth", bag, "--truth-topic", LABELS_TOPIC]
        options = ["--topic", IMAGE_TOPIC, "--direct", "--out", str(alone)]
        assert run(["replay", bag, *given, *options, *QUICK]) == 0
        assert files_of(alone) == files_of(out / name)
        of_list, single = (
            json.loads((folder / "summary.json").read_text()) for folder in (out / name, alone)
        )
        assert of_list["fingerprint"] == single["fingerprint"]
        one, other = of_list["runs"]["direct"], single["runs"]["direct"]
        assert one["images_in"] == one["processed"] == IMAGES
        assert one["objects"]["cup"]["JF"] > 70  # the robot is too small at this size
        for key, scores in one["objects"].items():
            assert scores["curve"] == other["objects"][key]["curve"]
        headline = summary["bags"][name]["direct"]
        for key in (*SCORES, *COUNTS):
            assert headline[key] == one[key] == other[key], key
        assert headline["latency_ms"] == one["latency_ms"]
    objects = [one for bag in summary["bags"].values() for one in bag["direct"]["objects"].values()]
    means = summary["means"]["direct"]
    assert means["JF"] == pytest.approx(np.mean([one["JF"] for one in objects]), abs=0.006)
    assert (means["objects"], means["bags"], means["images_in"]) == (4, 2, 2 * IMAGES)
    assert means["false_presence"] is None  # nothing is hidden in these


def files_of(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_an_entry_with_a_recording_needs_no_model(
    bags: Path, uninterrupted: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_list(bags / "one.yaml", "a")
    assert replay(bags / "one.yaml", tmp_path / "made", "--direct") == 0
    (entry,) = json.loads((bags / "one.yaml").read_text())
    entry |= {"name": "elsewhere", "recorded": str(tmp_path / "made" / "a" / "direct" / "tracked")}
    (bags / "recorded.yaml").write_text(json.dumps([entry]))
    capsys.readouterr()
    assert replay(bags / "recorded.yaml", tmp_path / "scored", "--model", "no-such-model") == 0
    said = capsys.readouterr()
    assert said.err == ""
    runs = json.loads(said.out.splitlines()[-1])["bags"]["elsewhere"]
    assert list(runs) == ["recorded"]
    assert runs["recorded"]["objects"] == uninterrupted["bags"]["a"]["direct"]["objects"]


def test_nothing_but_broken_bags_is_status_2(bags: Path, tmp_path: Path) -> None:
    write_list(bags / "none.yaml", "broken.mcap")
    assert replay(bags / "none.yaml", tmp_path, "--direct") == 2
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["bags"], list(summary["failed"]), summary["means"]) == ({}, ["broken"], {})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--prompts", "p.json"), "--prompts applies to a single bag"),
        (("--topic", "/front"), "--topic applies to a single bag"),
        (("--direct", "--model", "no-such-model"), "no-such-model"),
        (("--direct", "--workers", "-1"), "--workers -1 given, 1 or more expected"),
    ],
)
def test_what_is_wrong_for_all_is_one_line_and_status_2(
    bags: Path, tmp_path: Path, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(bags / "two.json", tmp_path / "out", *options) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error


def test_options_of_a_list_are_refused_for_a_bag(
    bags: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(bags / "a", tmp_path, "--prompts", str(bags / "a.json"), "--fresh") == 2
    assert "--fresh applies to a list of bags" in capsys.readouterr().err
    assert replay(bags / "a", tmp_path, "--direct") == 2
    assert "--prompts is missing" in capsys.readouterr().err


def started(bags: Path, out: Path, *options: str) -> subprocess.Popen:
    """Starts the command in its own process."""
    command = [sys.executable, "-m", "sam2_ros.cli", "replay", str(bags / "all.yaml"), "--out", str(out)]
    return subprocess.Popen(
        [*command, *QUICK, "--direct", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def complete(out: Path) -> list[str]:
    return [name for name in FIRST if "fingerprint" in read(out / name / "summary.json")]


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_or_interrupted_run_resumes(
    bags: Path,
    uninterrupted: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    process = started(bags, tmp_path, "--workers", "1")
    wait_for(lambda: (tmp_path / "b" / ".partial" / "direct").exists(), process)
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=WAIT_S)
    done = complete(tmp_path)
    assert "a" in done
    assert "c" not in done
    assert not (tmp_path / "summary.json").exists()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert f"interrupted; {len(done)} of 3 bags are complete in '{tmp_path}'" in error
    written = {name: (tmp_path / name / "summary.json").stat().st_mtime_ns for name in done}
    assert replay(bags / "all.yaml", tmp_path, "--direct", "--workers", "1") == 0
    assert f"{len(done)} of 3 bags are complete in '{tmp_path}' and reused" in capsys.readouterr().err
    assert {name: (tmp_path / name / "summary.json").stat().st_mtime_ns for name in done} == written
    same_numbers(tmp_path, uninterrupted)


def test_a_full_disk_is_reported_and_the_next_run_resumes(
    bags: Path, uninterrupted: dict[str, Any], small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replay(bags / "all.yaml", small_disk, "--direct", "--workers", "1")
    said = capsys.readouterr()
    assert "No space left on device" in said.err
    assert "Traceback" not in said.err
    assert json.loads(said.out.splitlines()[-1])["bags"]["a"]["direct"] is not None  # it is still printed
    assert complete(small_disk) == []  # not even the first report fits
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert replay(bags / "all.yaml", small_disk, "--direct", "--workers", "1") == 0
    assert complete(small_disk) == list(FIRST)
    same_numbers(small_disk, uninterrupted)


def test_a_changed_setting_or_input_replays_a_bag_again(
    bags: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "bags"
    shutil.copytree(bags, here)
    out = tmp_path / "out"

    def notes(*options: str) -> list[str]:
        assert replay(here / "two.json", out, "--direct", *options) == 0
        return capsys.readouterr().err.splitlines()

    taken = f"of 2 bags are complete in '{out}' and reused; --fresh runs them again"
    assert notes() == []
    assert notes() == [f"2 {taken}"]
    assert notes("--workers", "2") == [f"2 {taken}"]  # the number of workers does not change scores
    assert notes("--fresh") == []
    prompts = json.loads((here / "a.json").read_text())
    prompts[0]["box"][0] += 1
    (here / "a.json").write_text(json.dumps(prompts))
    assert notes() == ["a runs again: the prompts have changed", f"1 {taken}"]
    os.utime(next((here / "b").glob("*.mcap")), (0, 0))
    assert notes() == ["b runs again: the bag has changed; the truth has changed", f"1 {taken}"]
    changed = ("--image-size", "160")
    assert notes(*changed) == [f"{name} runs again: image size was 128, is 160" for name in "ab"]
    (out / "a" / "summary.json").write_text("{")
    assert notes(*changed) == ["a runs again: summary.json cannot be decoded", f"1 {taken}"]
    summary = read(out / "b" / "summary.json")
    del summary["fingerprint"]
    (out / "b" / "summary.json").write_text(json.dumps(summary))
    assert notes(*changed) == ["b runs again: summary.json is not from a complete run", f"1 {taken}"]


@pytest.mark.alone
@needs_ros
def test_live_nodes_run_one_after_the_other(
    bags: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(bags / "two.json", tmp_path, "--node") == 0
    said = capsys.readouterr()
    summary = json.loads(said.out.splitlines()[-1])
    assert [list(runs) for runs in summary["bags"].values()] == [["node"], ["node"]]
    assert "shared" not in said.err
    assert all(runs["node"]["latency_ms"]["p50"] > 0 for runs in summary["bags"].values())
    assert replay(bags / "two.json", tmp_path / "ray", "--node", "--ray", "local") == 2
    assert "--ray local with --node" in capsys.readouterr().err


@pytest.mark.slow
def test_on_a_ray_cluster_a_killed_process_loses_no_result(
    bags: Path, uninterrupted: dict[str, Any], tmp_path: Path
) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install ray")
    process = started(bags, tmp_path, "--ray", "local", "--workers", "2")
    wait_for(lambda: list(tmp_path.glob("*/direct/partial")), process)
    os.kill(child_named(process.pid, "ray::_task"), signal.SIGKILL)
    _, error = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, error
    same_numbers(tmp_path, uninterrupted)
