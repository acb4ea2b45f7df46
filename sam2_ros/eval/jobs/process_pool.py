# SPDX-License-Identifier: Apache-2.0
"""Runs jobs in several processes of this machine; one that dies is replaced and its job tried once more.

Does not know what a job does, nor how many processes are wise.
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
    """`count` processes, each started afresh: it imports what it needs, and shares nothing with the others."""

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
        """Its job is the next one to be given out, or has failed."""
        how, job = worker.how_it_ended(), worker.job
        assert job is not None
        deaths[job.name] += 1
        if deaths[job.name] < ATTEMPTS:
            waiting.appendleft(job)
            return
        on_event(
            Failed(
                job.name,
                f"its process ended {ATTEMPTS} times while it ran ({how}): if memory is short, use fewer workers "
                "or a smaller image size",
            )
        )


class _Worker:
    """One process and its end of a pipe. `job`: what it is at."""

    def __init__(self, make_work: Callable[[], Work]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.job: Job | None = None
        self._process = context.Process(target=_serve, args=(theirs, make_work), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def give(self, job: Job) -> None:
        self.job = job
        with suppress(OSError):  # it has died: `receive` says so
            self.pipe.send(job)

    def receive(self) -> Event | None:
        """What it says; None when it has died. Raises what kept it from starting."""
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
        """Stops it, whatever it is at."""
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def how_it_ended(self) -> str:
        """In words, of one whose pipe has ended."""
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal's Ctrl-C the parent hears, too, and ends it
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
            return  # nobody listens any more
