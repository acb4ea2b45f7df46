# SPDX-License-Identifier: Apache-2.0
"""The endurance test of the node: a short run, and how readings are judged."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from sam2_ros.bench.process_watch import read_footprint
from sam2_ros.bench.soak import SoakConfig, run_soak
from sam2_ros.bench.soak_report import Reading, check_stamps, compare_minutes, failures
from sam2_ros.cli.main import run
from sam2_ros.errors import UserError
from sam2_ros.live.player import fastdds_profile, missing_ros
from sam2_ros.weights.open_model import ModelOptions

pytestmark = pytest.mark.long

needs_ros = pytest.mark.skipif(missing_ros() is not None, reason=str(missing_ros()))
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc to look at processes")
STEADY = Reading(0.0, 480.0, 270.0, 70.0, 1.0, 0, 0, 90.0, 120.0, 2, 0.9)


def readings(seconds: int = 600, growth_mb_per_s: float = 0.0, last_rate_hz: float = 10.0) -> list[Reading]:
    """One reading per second with a camera of 15 Hz; memory grows linearly, the rate changes in the last minute."""
    made, processed = [], 0.0
    for second in range(seconds + 1):
        made.append(
            dataclasses.replace(
                STEADY,
                t_s=float(second),
                resident_mb=480 + growth_mb_per_s * second,
                sent=15 * second,
                processed=round(processed),
            )
        )
        processed += last_rate_hz if second >= seconds - 60 else 10.0
    return made


@pytest.mark.alone
@needs_ros
@needs_proc
def test_a_short_run_of_the_live_node_is_measured_and_not_judged_by_its_memory(tmp_path: Path) -> None:
    config = SoakConfig(
        out=tmp_path,
        node_command=(sys.executable, "-m", "sam2_ros.node.node"),
        minutes=0.1,
        rate_hz=10.0,
        width_px=160,
        height_px=120,
        model_options=ModelOptions(device="cpu"),
        guests=2,
        profiles_file=fastdds_profile(),
    )
    report = run_soak(config)
    assert report == json.loads((tmp_path / "soak.json").read_text())
    assert report["failures"] == []
    assert report["memory_judged"] is False
    assert report["images_sent"] + report["images_not_sent"] == 60
    assert 10 <= report["processed"] <= report["images_sent"]
    assert report["processed"] + report["dropped"] == report["images_sent"]
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p95"] <= report["latency_ms"]["p99"]
    # The outer latency includes the transport to the node and back.
    assert report["latency_ms"]["p50"] > report["node_latency_ms"]["p50"] * 0.9
    assert report["bank_mb"]["begin"] == report["bank_mb"]["end"] > 0
    assert report["cpu_s"] > 0
    assert report["mean_iou"] > 0.3
    assert sum(report["changes"].values()) >= 5  # one a second
    assert report["changes"]["add"] > 0
    assert report["node_exit_status"] == 0
    lines = [json.loads(line) for line in (tmp_path / "soak.jsonl").read_text().splitlines()]
    assert len(lines) >= 6
    assert all(line["resident_mb"] > 100 for line in lines)  # PyTorch alone takes more
    assert [line["processed"] for line in lines] == sorted(line["processed"] for line in lines)
    graph = cv2.imread(str(tmp_path / "soak.png"))
    assert graph is not None
    assert graph.std() > 5


@needs_ros
def test_a_node_that_cannot_start_is_one_error_with_its_log(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import sys; print('no such camera'); sys.exit(3)")
    config = SoakConfig(tmp_path, command, width_px=64, height_px=64)
    with pytest.raises(UserError, match=r"(?s)exit status 3.*no such camera"):
        run_soak(config)


def test_a_steady_run_passes() -> None:
    compared = compare_minutes(readings())
    assert compared["judged"]
    assert compared["memory_mb"] == {"minute_2": 480.0, "last_minute": 480.0, "ratio": 1.0}
    assert compared["rate_hz"] == {"minute_2": 10.0, "last_minute": 10.0, "ratio": 1.0}
    assert failures(compared, {}, processed=6000) == []


def test_memory_that_grows_by_more_than_two_percent_fails() -> None:
    # 480 s from the middle of the second minute to that of the last: 1.95 and 2.1 % of 480 MB.
    good, bad = (compare_minutes(readings(growth_mb_per_s=growth)) for growth in (0.0195, 0.021))
    assert failures(good, {}, processed=6000) == []
    (line,) = failures(bad, {}, processed=6000)
    assert line.startswith("resident memory grew from 481.88 MB in the second minute to 491.97 MB")


def test_a_rate_that_falls_by_more_than_five_percent_fails() -> None:
    good, bad = (compare_minutes(readings(last_rate_hz=rate)) for rate in (9.6, 9.4))
    assert failures(good, {}, processed=6000) == []
    (line,) = failures(bad, {}, processed=6000)
    assert line.startswith("the rate fell from 10.0 Hz in the second minute to 9.4 Hz in the last")


def test_the_rate_of_a_run_whose_objects_come_and_go_is_not_judged() -> None:
    slower = compare_minutes(readings(last_rate_hz=8.0, growth_mb_per_s=0.021))
    (line,) = failures(slower, {}, processed=6000, even_work=False)
    assert line.startswith("resident memory grew")


def test_less_than_three_minutes_cannot_be_judged_and_three_can() -> None:
    short = compare_minutes(readings(170, growth_mb_per_s=5.0))
    assert not short["judged"]
    assert failures(short, {}, processed=1700) == []
    assert compare_minutes(readings(180))["judged"]
    assert not compare_minutes([])["judged"]


def test_repeated_foreign_and_late_stamps_are_counted_separately() -> None:
    sent = [10, 20, 30, 40]
    assert failures(compare_minutes([]), {"~/objects": check_stamps(sent, [10, 30, 40])}, 3) == []
    check = check_stamps(sent, [10, 20, 20, 25, 40, 30])
    assert (check.duplicates, check.foreign, check.out_of_order) == (1, 1, 1)
    lines = failures(compare_minutes([]), {"~/objects": check}, 6)
    assert len(lines) == 3
    assert lines[0] == "1 messages on ~/objects repeat the stamp of an earlier one"


def test_a_run_in_which_nothing_was_processed_fails() -> None:
    assert failures(compare_minutes([]), {}, 0) == ["no image was processed; see node.log"]


@needs_proc
def test_the_footprint_shows_what_a_process_takes_and_does() -> None:
    # A separate process: the memory of the test process varies by itself, because its libraries are large.
    code = (
        "print(flush=True); input(); block = bytearray(b'x') * 50_000_000\n"
        "for _ in range(3_000_000): pass\n"
        "print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        before = read_footprint(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        after = read_footprint(process.pid)
        process.stdin.write(b"\n")
    assert after.anonymous_mb - before.anonymous_mb == pytest.approx(50, abs=5)
    assert after.resident_mb - before.resident_mb == pytest.approx(50, abs=5)
    assert after.resident_mb > after.anonymous_mb
    assert after.cpu_s > before.cpu_s


@needs_proc
def test_a_process_that_has_ended_is_reported() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()  # until it ends
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(UserError, match="has ended"):
        read_footprint(process.pid)
    process.wait()
    with pytest.raises(UserError, match="does not exist any more"):
        read_footprint(process.pid)


@pytest.mark.parametrize("size", ["640", "640x480x3", "ax5", "16x16"])
def test_a_size_that_cannot_be_read_is_wrong_usage(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["soak", "--size", size]) == 2
    assert f"--size '{size}' cannot be read: expected WIDTHxHEIGHT" in capsys.readouterr().err


def test_a_failed_run_gives_exit_status_1_with_one_line_after_the_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = {"memory_judged": True, "failures": ["the rate fell", "memory grew"]}
    monkeypatch.setattr("sam2_ros.bench.soak.run_soak", lambda config, on_progress: report)
    monkeypatch.setattr("sam2_ros.live.player.missing_ros", lambda: None)
    assert run(["soak", "--out", str(tmp_path), "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1]) == report
    assert said.err == "sam2-ros: the rate fell; memory grew\n"
