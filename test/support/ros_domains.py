# SPDX-License-Identifier: Apache-2.0
"""Chooses ROS domains for the graphs that tests start, so that parallel tests never share one.

Knows the worker of pytest-xdist that it runs in, and nothing of the graphs.
"""

from __future__ import annotations

import itertools
import os

# Above 101 the ports of a domain overlap the ephemeral ports of the system; from 50 on, `sam2-ros` chooses its own.
FIRST, LAST = 1, 49


def domains_of_this_process() -> range:
    """An equal share of the ids for each worker; all of them without workers."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = (LAST - FIRST + 1) // workers
    first = FIRST + worker % workers * share
    return range(first, first + share)


_domains = domains_of_this_process()
# Another run of the tests on this machine has another process id, and so most likely another start.
_next = itertools.cycle([*_domains[os.getpid() % len(_domains) :], *_domains[: os.getpid() % len(_domains)]])


def next_domain() -> int:
    """A ROS_DOMAIN_ID that no other graph of this test run uses at this time."""
    return next(_next)
