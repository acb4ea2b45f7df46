# SPDX-License-Identifier: Apache-2.0
"""Makes the C allocator keep freed memory in the process, so that the next frame or training step reuses its pages.

Knows glibc's allocator; does not know tensors. Changes the whole process: only entry points call it, never an import.
"""

from __future__ import annotations

import ctypes
import os
import sys

# <malloc.h>
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
KEEP_BYTES = (1 << 31) - 1  # an int
USERS_OWN = ("MALLOC_", "GLIBC_TUNABLES")  # prefixes of environment variables
RETURNED = "freed memory goes back to the system (no glibc here, or MALLOC_... or GLIBC_TUNABLES is set)"


def keep_freed_pages() -> bool:
    """Stop glibc from returning large freed blocks to the kernel.

    By default glibc maps every tensor above a few megabytes anew, and the kernel clears its pages on first touch, frame
    after frame; on a virtual machine a training step of nano took 7 times as long that way. From this call on, all
    threads share one arena: other arenas consist of heaps of 64 MB that are returned when they are empty. The resident
    memory stays at its peak until `malloc_trim`.

    Returns False, and changes nothing, without glibc or if the user has set a variable of its allocator (`USERS_OWN`).
    """
    if not sys.platform.startswith("linux") or any(name.startswith(USERS_OWN) for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    options = {M_ARENA_MAX: 1, M_TRIM_THRESHOLD: KEEP_BYTES, M_MMAP_MAX: 0}
    return all(mallopt(option, value) == 1 for option, value in options.items())
