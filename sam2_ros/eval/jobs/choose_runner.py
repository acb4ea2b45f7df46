# SPDX-License-Identifier: Apache-2.0
"""Chooses how jobs that each need a model are run: in this process, in how many others, or on Ray.

Does not know what the jobs do. A rule, nothing is measured.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import torch

from .job import Runner, SerialRunner
from .process_pool import ProcessPool
from .ray_cluster import LOCAL, RayCluster

_CORES = 2  # of a worker, where it is not said how many there are to be
_MOST_WORKERS = 8


class RunnerChoice(NamedTuple):
    """A runner, and how many processes and threads it uses.

    `workers`: processes; 0 = as a cluster has room. `threads`: of each; 0 = as PyTorch has it.
    """

    runner: Runner
    workers: int
    threads: int


def choose_runner(jobs: int, device: str, workers: int = 0, ray: str = "") -> RunnerChoice:
    """For so many jobs on a device as `device_and_precision` names it.

    Args:
        workers: as many processes, where they are needed; 0 = chosen.
        ray: address of a cluster, or `local`; empty = none.
    """
    on_gpu, cores = device.startswith("cuda"), torch.get_num_threads()
    if ray not in ("", LOCAL):
        return RunnerChoice(RayCluster(ray, _CORES, int(on_gpu), workers), workers, _CORES)
    if not workers:
        # Few cores to a process lose little to each other; below that, one that has them all is as good.
        workers = 1 if on_gpu or cores < 2 * _CORES else min(cores // _CORES, _MOST_WORKERS)
    workers = max(1, min(workers, jobs))
    threads = max(1, cores // workers)
    if ray:
        return RunnerChoice(RayCluster(ray, threads, int(on_gpu), workers), workers, threads)
    if workers == 1:
        return RunnerChoice(SerialRunner(), 1, 0)
    return RunnerChoice(ProcessPool(workers), workers, threads)


def use_threads(threads: int) -> None:
    """Sets the threads of PyTorch and OpenCV in the process that does the jobs; 0 = as they are."""
    if threads:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
