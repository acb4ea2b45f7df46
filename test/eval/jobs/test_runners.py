# SPDX-License-Identifier: Apache-2.0
"""Jobs in this process and in several: all outcomes arrive, and a job that fails or dies does not affect the others."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from small_jobs import Squares

from sam2_ros.eval.jobs.job import Event, Failed, Finished, Job, JobProgress, Runner, SerialRunner
from sam2_ros.eval.jobs.process_pool import ProcessPool

pytestmark = pytest.mark.long

RUNNERS = [pytest.param(SerialRunner(), id="here"), pytest.param(ProcessPool(2), id="processes")]


def outcomes(runner: Runner, log: Path, *kinds: str) -> dict[str, Finished | Failed]:
    """Number of a job -> its outcome."""
    events: list[Event] = []
    runner.run(Squares(log), [Job(str(n), (kind, n)) for n, kind in enumerate(kinds)], events.append)
    ended = [one for one in events if not isinstance(one, JobProgress)]
    assert len({one.name for one in ended}) == len(ended)
    assert not multiprocessing.active_children()
    return {one.name: one for one in ended}


@pytest.mark.parametrize("runner", RUNNERS)
def test_every_job_has_an_outcome_even_if_others_fail(runner: Runner, tmp_path: Path) -> None:
    ended = outcomes(runner, tmp_path / "log", "plain", "error", "plain", "defect", "plain")
    assert [ended[n] for n in "024"] == [Finished("0", 0), Finished("2", 4), Finished("4", 16)]
    assert ended["1"] == Failed("1", "1 is not for this")
    defect = ended["3"]
    assert isinstance(defect, Failed)
    assert defect.line.startswith("ZeroDivisionError: ")
    assert "small_jobs.py" in defect.trace


@pytest.mark.parametrize("runner", RUNNERS)
def test_an_error_at_the_start_is_raised(runner: Runner, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model here"):
        runner.run(Squares(tmp_path / "log", broken=True), [Job("0", ("plain", 0))], lambda event: None)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("runner", RUNNERS)
def test_after_a_full_disk_no_other_job_is_started(runner: Runner, tmp_path: Path) -> None:
    ended = outcomes(runner, tmp_path / "log", "full", *["wait"] * 6)
    assert ended["0"].ends_all  # type: ignore[union-attr]
    assert len(ended) <= 2  # a job that was running in the other process is completed


def test_processes_share_the_jobs(tmp_path: Path) -> None:
    events: list[Event] = []
    ProcessPool(2).run(Squares(tmp_path / "log"), [Job(str(n), ("wait", n)) for n in range(4)], events.append)
    pids = [int(line.split()[0]) for line in (tmp_path / "log").read_text().splitlines()]
    assert len(set(pids)) == 2
    assert Counter(type(one) for one in events) == {JobProgress: 4, Finished: 4}


def test_two_processes_that_become_free_at_once_share_one_job(tmp_path: Path) -> None:
    events: list[Event] = []

    def on_event(event: Event) -> None:
        events.append(event)
        if len(events) == 2 and all(isinstance(one, JobProgress) for one in events):
            time.sleep(1.5)  # both are running: after this time both have finished

    ProcessPool(2).run(Squares(tmp_path / "log"), [Job(str(n), ("wait", n)) for n in range(3)], on_event)
    assert {one.name for one in events if isinstance(one, Finished)} == {"0", "1", "2"}


def test_a_job_whose_process_is_killed_is_tried_once_more(tmp_path: Path) -> None:
    ended = outcomes(ProcessPool(2), tmp_path / "log", "plain", "die once", "die", "plain", "plain")
    assert [ended[n] for n in "0134"] == [Finished(n, int(n) ** 2) for n in "0134"]
    died = ended["2"]
    assert isinstance(died, Failed)
    assert "died 2 times while it ran (signal SIGKILL)" in died.line
    tries = Counter(line.split(" ", 1)[1] for line in (tmp_path / "log").read_text().splitlines())
    assert tries == {"plain 0": 1, "die once 1": 2, "die 2": 2, "plain 3": 1, "plain 4": 1}


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    log = tmp_path / "log"
    root, shared = Path(__file__).parents[3], Path(__file__).parents[2] / "support"
    parent = subprocess.Popen(
        [sys.executable, "-m", "small_jobs", str(log)],
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{shared}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: log.exists() and log.read_text().count("\n") == 2)
    parent.kill()
    parent.wait()
    pids = [int(line.split()[0]) for line in log.read_text().splitlines()]
    wait_until(lambda: not any(map(psutil.pid_exists, pids)))
    _, error = parent.communicate()
    assert "Traceback" not in error


def wait_until(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)
