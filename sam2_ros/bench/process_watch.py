# SPDX-License-Identifier: Apache-2.0
"""Reads the memory and the CPU time of a running process.

Does not know what the process does.
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from sam2_ros.errors import UserError


@dataclass(frozen=True)
class Footprint:
    """One reading. `resident_mb` is the sum of `anonymous_mb` and `shared_mb`; MB are 10^6 bytes.

    shared_mb: mapped files and shared memory (`SHR` of top), which Fast DDS uses to transport images.
    """

    resident_mb: float
    anonymous_mb: float
    shared_mb: float
    cpu_s: float


def read_footprint(pid: int) -> Footprint:
    """Memory, and CPU time so far in seconds (user and system, all threads), of process `pid`.

    Raises UserError if the system does not report shared memory, or if the process has ended.
    """
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            memory, times, status = process.memory_info(), process.cpu_times(), process.status()
    except psutil.ZombieProcess:
        status = psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess as error:
        raise UserError(f"process {pid} does not exist any more: {error}", status=1) from error
    if status == psutil.STATUS_ZOMBIE:
        raise UserError(f"process {pid} has ended and is a zombie: its memory cannot be read", status=1)
    if not hasattr(memory, "shared"):
        raise UserError(
            "this system does not report the shared memory of a process: run the test on Linux", status=1
        )
    resident_mb, shared_mb = memory.rss / 1e6, memory.shared / 1e6
    return Footprint(resident_mb, resident_mb - shared_mb, shared_mb, times.user + times.system)
