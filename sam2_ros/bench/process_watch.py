"""Reads the memory and the CPU time of a running process from /proc.

Knows Linux only; does not know what the process does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sam2_ros.errors import UserError


@dataclass(frozen=True)
class Footprint:
    """One reading. `resident_mb` is the sum of `anonymous_mb`, files that are mapped, and `shared_mb`.

    shared_mb: shared memory, which is where Fast DDS passes images on; MB are 10^6 bytes.
    """

    resident_mb: float
    anonymous_mb: float
    shared_mb: float
    cpu_s: float


def read_footprint(pid: int) -> Footprint:
    """Memory and CPU seconds (user and system, all threads) of process `pid` until now.

    Raises UserError where there is no /proc, and for a process that is gone.
    """
    if not Path("/proc/self/status").exists():
        raise UserError(
            "this system has no /proc, from which memory and CPU time are read: run it on Linux", status=1
        )
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        # The name, in brackets, may contain blanks: count fields from behind it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise UserError(f"process {pid} is gone: {error}", status=1) from error
    kilobytes = {
        name: int(value.split()[0])
        for name, _, value in (line.partition(":") for line in status.splitlines())
        if name in ("VmRSS", "RssAnon", "RssShmem")
    }
    if len(kilobytes) < 3:
        raise UserError(
            f"process {pid} has ended and waits to be reaped: it has no memory any more", status=1
        )
    megabytes = {name: count * 1024 / 1e6 for name, count in kilobytes.items()}
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return Footprint(megabytes["VmRSS"], megabytes["RssAnon"], megabytes["RssShmem"], cpu_s)
