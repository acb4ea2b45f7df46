# SPDX-License-Identifier: Apache-2.0
"""Runs jobs as tasks of a Ray cluster, or of one started on this machine; the only module that imports Ray.

Does not know what a job does. Ray is installed by the extra `ray`.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from sam2_ros.errors import UserError

from .job import ATTEMPTS, Event, Failed, Finished, Job, Work, attempt

LOCAL = "local"
_ANSWERS_WITHIN_S = 10.0


class RayCluster:
    """The cluster at an address, or `local`: one on this machine, which ends with the run.

    Every machine of the cluster must have this package, and the jobs' files under the same paths.

    Args:
        cpus, gpus: resources of one job.
        at_once: most jobs at one time; 0 = as many as the cluster has room for.
    """

    def __init__(self, address: str, cpus: int = 1, gpus: int = 0, at_once: int = 0) -> None:
        self._address, self._cpus, self._gpus, self._at_once = address, cpus, gpus, at_once

    def run(
        self, make_work: Callable[[], Work], jobs: Sequence[Job], on_event: Callable[[Event], None]
    ) -> None:
        """See `Runner`. `make_work` must be hashable; it is called once in each Ray process. Raises UserError."""
        ray = _connected(self._address, self._at_once * self._cpus)
        try:
            task = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_retries=ATTEMPTS - 1)(_task)
            waiting = deque(jobs)
            names: dict[Any, str] = {}  # Ray's reference to the outcome -> name of the job
            while waiting or names:
                while waiting and len(names) < (self._at_once or len(jobs)):
                    job = waiting.popleft()
                    names[task.remote(make_work, job)] = job.name
                (done, *_), _ = ray.wait(list(names), num_returns=1)
                event = _outcome(ray, done, names.pop(done))
                on_event(event)
                if isinstance(event, Failed) and event.ends_all:
                    return  # `shutdown` ends the running jobs
        finally:
            ray.shutdown()


def _connected(address: str, cpus: int) -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"--ray {address} needs Ray, which is not installed ({error}): pip install 'sam2_ros[ray]'"
        ) from None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        # Usage statistics are off unless the user has turned them on.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options |= {"address": "local", "include_dashboard": False, "num_cpus": cpus or None}
    else:
        options["address"] = address
    try:
        _answers(address)
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"--ray {address}: no cluster answers there ({type(error).__name__}: {first}); expected local, or "
            "the address that `ray start --head` prints"
        ) from None
    return ray


def _answers(address: str) -> None:
    """Raises OSError if no server listens at the address: Ray itself would retry for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_ANSWERS_WITHIN_S).close()


def _outcome(ray: Any, done: Any, name: str) -> Finished | Failed:
    try:
        said = ray.get(done)
    except ray.exceptions.RayError as error:
        first = (str(error).splitlines() or [""])[0]
        return Failed(
            name,
            f"its process died {ATTEMPTS} times while it ran ({type(error).__name__}: {first}): see `ray logs`",
        )
    if isinstance(said, Exception):
        raise said
    return said


def _task(make_work: Callable[[], Work], job: Job) -> Finished | Failed | Exception:
    """Runs a job in a Ray process, which is used for many jobs."""
    try:
        work = _made(make_work)
    except Exception as error:
        return error
    return attempt(work, job, lambda done: None)


@functools.lru_cache(maxsize=1)
def _made(make_work: Callable[[], Work]) -> Work:
    return make_work()
