# SPDX-License-Identifier: Apache-2.0
"""Runs jobs in several processes on this machine; a process that dies is replaced and its job tried once more.

Does not know what a job does, nor how many processes are best.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from sam2_ros.host_memory import keep_freed_pages

from .job import ATTEMPTS, Event, Failed, Job, JobProgress, Work, attempt


class ProcessPool:
    """`count` processes, started by `spawn`: each imports what it needs, and shares nothing with the others."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"{count} processes, at least 1 expected")
        self._count = count

    def run(
        self, make_work: Callable[[], Work], jobs: Sequence[Job], on_event: Callable[[Event], None]
    ) -> None:
        waiting, deaths = deque(jobs), Counter[str]()
        workers: list[_Worker] = []
        try:
            while waiting or any(worker.job for worker in workers):
                for worker in workers:
                    if waiting and worker.job is None:
                        worker.give(waiting.popleft())
                while waiting and len(workers) < self._count:
                    workers.append(_Worker(make_work))
                    workers[-1].give(waiting.popleft())
                for worker in _ready(workers):
                    event = worker.receive()
                    if event is None:
                        workers.remove(worker)
                        self._died(worker, waiting, deaths, on_event)
                        continue
                    on_event(event)
                    if isinstance(event, Failed) and event.ends_all:
                        waiting.clear()
        finally:
            for worker in workers:
                worker.end()

    def _died(
        self, worker: _Worker, waiting: deque[Job], deaths: Counter[str], on_event: Callable[[Event], None]
    ) -> None:
        """Puts the job of a dead worker back at the front of the queue, or fails it after the last attempt."""
        how, job = worker.how_it_ended(), worker.job
        assert job is not None
        deaths[job.name] += 1
        if deaths[job.name] < ATTEMPTS:
            waiting.appendleft(job)
            return
        on_event(
            Failed(
                job.name,
                f"its process died {ATTEMPTS} times while it ran ({how}): if memory is short, use fewer workers "
                "or a smaller image size",
            )
        )


class _Worker:
    """One process and the pipe to it. `job`: the job it is running, or None."""

    def __init__(self, make_work: Callable[[], Work]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.job: Job | None = None
        self._process = context.Process(target=_serve, args=(theirs, make_work), daemon=True)
        self._process.start()
        theirs.close()  # so that the pipe closes when the process ends

    def give(self, job: Job) -> None:
        self.job = job
        with suppress(OSError):  # the process has died: `receive` returns None
            self.pipe.send(job)

    def receive(self) -> Event | None:
        """The next event of the process; None if it has died. Raises the exception that prevented its start."""
        try:
            said = self.pipe.recv()
        except (EOFError, OSError):
            return None
        if isinstance(said, BaseException):
            raise said
        if not isinstance(said, JobProgress):
            self.job = None
        return said

    def end(self) -> None:
        """Kills the process."""
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def how_it_ended(self) -> str:
        """How a dead process ended: `signal SIGKILL` or `exit status 1`."""
        self._process.join(5.0)
        code = self._process.exitcode
        self.end()
        return (
            f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
        )


def _ready(workers: Sequence[_Worker]) -> list[_Worker]:
    busy: dict[Any, _Worker] = {worker.pipe: worker for worker in workers if worker.job is not None}
    return [busy[pipe] for pipe in wait(list(busy))]


def _serve(pipe: Connection, make_work: Callable[[], Work]) -> None:
    """Main loop of a worker process: jobs in, events out, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    keep_freed_pages()
    try:
        work = make_work()
    except Exception as error:
        pipe.send(error)
        return
    while True:
        try:
            job: Job = pipe.recv()
            name = job.name
            pipe.send(attempt(work, job, lambda done, name=name: pipe.send(JobProgress(name, done))))  # type: ignore[misc]
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the parent has closed the pipe
