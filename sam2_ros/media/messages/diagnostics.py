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
    """Collect key -> newest value over the statuses of one node.

    Args:
        messages: DiagnosticArrays (rclpy or rosbags), in order.
        node: fully qualified name, such as "/robot1/sam2". If no status has that name (its topics may be remapped, or
            an older release recorded the bare name), the statuses of the only tracker are used; of several, none.
    """
    by_owner: dict[str, dict[str, str]] = {}
    trackers = set()
    for message in messages:
        for status in message.status:
            owner, separator, name = status.name.rpartition(SEPARATOR)
            if separator:
                by_owner.setdefault(owner, {}).update({entry.key: entry.value for entry in status.values})
                if name == TRACKING:
                    trackers.add(owner)
    if node not in by_owner and len(trackers) == 1:
        node = next(iter(trackers))
    return by_owner.get(node, {})
