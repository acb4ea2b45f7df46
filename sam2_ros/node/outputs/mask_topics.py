# SPDX-License-Identifier: Apache-2.0
"""Topic names of full-size masks, one per object id: names that ROS allows and `ros2 topic list` shows.

Knows the rules of topic names; publishes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sam2_ros.errors import UserError


def mask_topics(object_ids: Iterable[str]) -> dict[str, str]:
    """Object id -> topic name; empty ids are skipped. UserError if two ids have the same topic.

    ROS allows ASCII letters, digits and single underscores: other characters of an id become an underscore. A name must
    not begin with a digit, and `ros2 topic list` hides a name that begins with an underscore: both get the prefix
    `id_`. An id without any allowed character is written in Unicode code points.
    """
    topics: dict[str, str] = {}
    for object_id in filter(None, object_ids):
        topic = f"~/mask/{_name(object_id)}"
        for other, taken in topics.items():
            if taken == topic and other != object_id:
                raise UserError(
                    f"parameter mask_topics: the masks of '{other}' and '{object_id}' would both be on {topic}; "
                    "expected ids that differ in letters and digits (a-z, A-Z, 0-9): rename one of the objects, or "
                    "leave one out"
                )
        topics[object_id] = topic
    return topics


def _name(object_id: str) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "_", object_id)
    if name == "_":
        name = "_" + "_".join(f"u{ord(character):04x}" for character in object_id)
    return name if name[0].isalpha() else f"id_{name.removeprefix('_')}"
