"""Keeps freed host memory in the process, so that the next step's tensors find their pages in place.

Knows glibc's allocator; does not know tensors. Changes the whole process: for entry points to call, never on import.
"""

from __future__ import annotations

import ctypes
import sys

# <malloc.h>
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEEP_BYTES = 1 << 30


def keep_freed_pages() -> bool:
    """Stop glibc from returning large freed blocks to the kernel; False where there is no glibc.

    By default every tensor above a few hundred kilobytes is mapped anew and its pages are cleared by the kernel on
    first touch, step after step; a training step of nano took 7 times as long that way on a virtual machine.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(option, KEEP_BYTES) == 1 for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD))
