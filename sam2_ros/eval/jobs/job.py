# SPDX-License-Identifier: Apache-2.0
"""Jobs, their events, and the simplest runner: one job after the other, in this process.

Does not know what a job does; the other runners are in the other modules of this package.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

ATTEMPTS = 2
"""A job whose process dies is tried again once, in another process."""
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Job:
    """A job with a unique name and a payload that can be pickled."""

    name: str
    payload: Any


@dataclass(frozen=True)
class JobProgress:
    """Event: progress of a job, in steps that the job defines."""

    name: str
    done: int


@dataclass(frozen=True)
class Finished:
    """Event: a job is complete, with its result."""

    name: str
    value: Any


@dataclass(frozen=True)
class Failed:
    """Event: a job has failed.

    Attributes:
        line: the reason, one line.
        ends_all: no other job can succeed either: waiting jobs are not started.
        trace: traceback of a defect; empty for a known error.
    """

    name: str
    line: str
    ends_all: bool = False
    trace: str = ""


Outcome = Finished | Failed
Event = JobProgress | Finished | Failed
OnProgress = Callable[[str, int, int | None], None]
"""Called with the name of a step, the amount done and the total (None = unknown)."""
OnNote = Callable[[str], None]
"""Called with one line for the user."""
NOT_RUN = "not run, because an earlier failure ended the run: give the same command again"
Work = Callable[[Any, Callable[[int], None]], Any]
"""Executes a job: payload and `on_progress(done)` in, value out. Raises JobError, or anything else for a defect."""


class JobError(Exception):
    """A job cannot be done; the message is the reason, one line. `ends_all`: see `Failed`."""

    def __init__(self, line: str, ends_all: bool = False) -> None:
        super().__init__(line)
        self.ends_all = ends_all


@dataclass(kw_only=True)
class JobStatus:
    """Status of all jobs: values of complete jobs, reasons of failed ones, progress of running ones.

    `on_failed` is called with one line for each failed job.
    """

    on_note: OnNote
    on_failed: OnNote
    done: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    at: dict[str, int] = field(default_factory=dict)

    def on_event(self, event: Event) -> None:
        if isinstance(event, JobProgress):
            self.at[event.name] = event.done
            return
        self.at.pop(event.name, None)
        if isinstance(event, Finished):
            self.done[event.name] = event.value
            return
        self.failed[event.name] = event.line
        self.on_failed(f"{event.name} failed: {event.line}")
        if event.trace:
            self.on_note(event.trace)

    def fail_others(self, names: Iterable[str]) -> None:
        """Marks the given jobs as failed that were never started. To be called when no job is running."""
        self.failed |= {name: NOT_RUN for name in names if name not in self.done and name not in self.failed}


class Runner(Protocol):
    """Runs jobs."""

    def run(
        self, make_work: Callable[[], Work], jobs: Sequence[Job], on_event: Callable[[Event], None]
    ) -> None:
        """Runs every job once, in any order; each may report progress and ends with one outcome.

        Args:
            make_work: creates the `Work`, once in every process; picklable. Its exceptions are raised here.
        """


def disk_error(error: OSError, folder: Path) -> JobError:
    """The error of a job that could not write below `folder`; a full disk ends all jobs."""
    full = error.errno in _DISK_FULL
    remedy = "free some space and give the same command again" if full else "make it writable"
    return JobError(f"'{error.filename or folder}': {error.strerror or error}; {remedy}", full)


def not_written(error: OSError, file: Path) -> str:
    """The message of a run whose jobs are complete and whose summary cannot be written."""
    return (
        f"'{file}' cannot be written ({error.strerror}); complete results are kept: free some space and give the same "
        "command again"
    )


def memory_error(device: object) -> JobError:
    """The error of a job that needs more memory than the device has."""
    return JobError(f"{device} has too little memory: use a smaller --image-size, or fewer --workers")


def attempt(work: Work, job: Job, on_progress: Callable[[int], None]) -> Outcome:
    """Runs one job in this process."""
    try:
        return Finished(job.name, work(job.payload, on_progress))
    except JobError as error:
        return Failed(job.name, str(error), error.ends_all)
    except Exception as error:
        return Failed(job.name, f"{type(error).__name__}: {error}", trace=traceback.format_exc())


class SerialRunner:
    """Runs one job after the other, in this process."""

    def run(
        self, make_work: Callable[[], Work], jobs: Sequence[Job], on_event: Callable[[Event], None]
    ) -> None:
        work = make_work()
        for job in jobs:
            outcome = attempt(work, job, lambda done, name=job.name: on_event(JobProgress(name, done)))  # type: ignore[misc]
            on_event(outcome)
            if isinstance(outcome, Failed) and outcome.ends_all:
                return
