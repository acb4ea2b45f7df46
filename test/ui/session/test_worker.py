# SPDX-License-Identifier: Apache-2.0
"""The worker: tasks go before the next step of a run, a failed run or task does not end it, a closed one takes none."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("sqlalchemy")

from sam2_ros.errors import CheckpointError, UserError
from sam2_ros.ui.session.worker import Step, Worker


class Counting:
    """A run of `steps` steps, the first of which waits until it is let go."""

    def __init__(self, steps: int, failing: Exception | None = None) -> None:
        self.left, self.failing = steps, failing
        self.go, self.ended = threading.Event(), threading.Event()
        self.log: list[str] = []

    def step(self) -> Step:
        if not self.log:
            self.log.append("first")
            self.go.wait(10)
        if self.failing:
            raise self.failing
        self.left -= 1
        self.log.append("step")
        return Step.WENT_ON if self.left else Step.ENDED

    def finish(self, cancelled: bool, error: str = "") -> None:
        self.log.append(error or ("cancelled" if cancelled else "done"))
        self.ended.set()


@pytest.fixture
def worker():
    started = Worker(object)  # type: ignore[arg-type]  # tasks here do not use the model
    started.start()
    yield started
    started.close()


def test_a_task_is_done_between_two_steps(worker):
    run = Counting(5)
    worker.begin(lambda model: run)
    threading.Timer(0.05, run.go.set).start()
    worker.call(lambda model: run.log.append("task"))
    assert run.ended.wait(10)
    assert run.log == ["first", "step", "task", *["step"] * 4, "done"]


def test_a_new_run_cancels_the_one_that_is_going_on(worker):
    first, second = Counting(10**9), Counting(1)
    worker.begin(lambda model: first)
    first.go.set()
    second.go.set()
    worker.begin(lambda model: second)
    assert first.log[-1] == "cancelled"
    assert second.ended.wait(10)
    assert second.log[-1] == "done"
    assert not worker.cancel(first)


@pytest.mark.parametrize("error", [UserError("the source has changed"), ZeroDivisionError("oh")])
def test_a_run_that_fails_is_ended_with_one_line_and_the_worker_lives(worker, error):
    run = Counting(3, error)
    run.go.set()
    worker.begin(lambda model: run)
    assert run.ended.wait(10)
    assert run.log[-1] in ("the source has changed", "ZeroDivisionError: oh")
    with pytest.raises(KeyError):
        worker.call(lambda model: {}["none"])
    assert worker.call(lambda model: 7) == 7


def test_a_model_that_does_not_open_is_told_to_every_task():
    def fails():
        raise CheckpointError("weights are damaged")

    worker = Worker(fails)
    worker.start()
    for _ in range(2):
        with pytest.raises(UserError, match="weights are damaged"):
            worker.call(lambda model: 1)
    worker.close()


def test_a_closed_worker_cancels_its_run_and_takes_no_task(worker):
    run = Counting(10**9)
    worker.begin(lambda model: run)
    run.go.set()
    worker.close()
    assert run.log[-1] == "cancelled"
    with pytest.raises(UserError, match="the server is ending"):
        worker.call(lambda model: 1)
