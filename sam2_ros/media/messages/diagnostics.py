# SPDX-License-Identifier: Apache-2.0
"""Finds the statuses of one node on /diagnostics, live or recorded, and reads their values.

Knows how the node names its statuses; does not know what the values mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SEPARATOR = ": "
TRACKING = "tracking"  # the status that every tracker has


def node_values(messages: Iterable[Any], node: str) -> dict[str, str]:
    """Key -> newest value over the statuses of one node, from DiagnosticArrays (rclpy or rosbags) in order.

    Args:
        node: fully qualified name, such as "/robot1/sam2". When no status is of that name (its topics may have been
            remapped, or an older release recorded the bare name), the only tracker's are taken; of several, none.
    """
    told: dict[str, dict[str, str]] = {}
    trackers = set()
    for message in messages:
        for status in message.status:
            owner, separator, name = status.name.rpartition(SEPARATOR)
            if separator:
                told.setdefault(owner, {}).update({entry.key: entry.value for entry in status.values})
                if name == TRACKING:
                    trackers.add(owner)
    if node not in told and len(trackers) == 1:
        node = next(iter(trackers))
    return told.get(node, {})
