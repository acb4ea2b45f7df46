# SPDX-License-Identifier: Apache-2.0
"""Chooses the runner for jobs that each need a model: this process, several processes, or Ray.

Decides by a fixed rule, without measuring. Does not know what the jobs do.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import torch

from .job import Runner, SerialRunner
from .process_pool import ProcessPool
from .ray_cluster import LOCAL, RayCluster

_CORES = 2  # cores per worker, if the number of workers is not given
_MOST_WORKERS = 8


class RunnerChoice(NamedTuple):
    """A runner, and the number of processes and threads it uses.

    `workers`: processes; 0 = as many as the cluster has room for. `threads`: per process; 0 = PyTorch's default.
    """

    runner: Runner
    workers: int
    threads: int


def choose_runner(jobs: int, device: str, workers: int = 0, ray: str = "") -> RunnerChoice:
    """Chooses the runner.

    Args:
        jobs: number of jobs.
        device: as `device_and_precision` names it.
        workers: most processes; 0 = chosen by rule.
        ray: address of a cluster, or `local`; empty = without Ray.
    """
    on_gpu, cores = device.startswith("cuda"), torch.get_num_threads()
    if ray not in ("", LOCAL):
        return RunnerChoice(RayCluster(ray, _CORES, int(on_gpu), workers), workers, _CORES)
    if not workers:
        # Two cores per process scale well; with fewer than four cores, one process with all of them is as fast.
        workers = 1 if on_gpu or cores < 2 * _CORES else min(cores // _CORES, _MOST_WORKERS)
    workers = max(1, min(workers, jobs))
    threads = max(1, cores // workers)
    if ray:
        return RunnerChoice(RayCluster(ray, threads, int(on_gpu), workers), workers, threads)
    if workers == 1:
        return RunnerChoice(SerialRunner(), 1, 0)
    return RunnerChoice(ProcessPool(workers), workers, threads)


def use_threads(threads: int) -> None:
    """Sets the number of threads of PyTorch and OpenCV in this process; 0 = unchanged."""
    if threads:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
