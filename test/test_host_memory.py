# SPDX-License-Identifier: Apache-2.0
"""Freed memory stays in the process: the next block reuses its pages, in every thread."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BLOCKS, BLOCK_MB = 20, 100
PAGES = BLOCKS * BLOCK_MB * 1024 // 4
SCRIPT = f"""
import ctypes, resource, threading
from sam2_ros.host_memory import keep_freed_pages

def blocks():
    for block in range({BLOCKS}):
        bytearray({BLOCK_MB} << 20)[:] = b""

print(keep_freed_pages())
for place in (lambda work: work(), lambda work: [t := threading.Thread(target=work), t.start(), t.join()]):
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    place(blocks)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun)
"""


def pages_mapped(**environment: str) -> tuple[bool, list[int]]:
    """Return the result of `keep_freed_pages`, and the page faults for blocks of the main and of another thread."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))
    }
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return said[0] == "True", [int(count) for count in said[1:]]


def test_the_pages_of_a_freed_block_serve_the_next_one_in_any_thread() -> None:
    kept, mapped = pages_mapped()
    if not kept:
        pytest.skip("no glibc here")
    assert max(mapped) < 2 * PAGES / BLOCKS  # the pages of one block, once


def test_a_user_who_has_set_the_allocator_is_left_alone() -> None:
    kept, mapped = pages_mapped(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")
    assert not kept
    assert min(mapped) > 0.9 * PAGES
