# SPDX-License-Identifier: Apache-2.0
"""Names of the topics of single objects, one per object id: names that ROS allows and `ros2 topic list` shows.

Knows the rules of topic names; publishes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sam2_ros.errors import UserError

MAX_TOPICS = 256  # of one output: as many as there may be objects


def topic_names(object_ids: Iterable[str], output: str = "mask") -> dict[str, str]:
    """Object id -> topic `~/<output>/<id>`; empty ids are skipped.

    ROS allows ASCII letters, digits and single underscores: other characters of an id become an underscore. A name must
    not begin with a digit, and `ros2 topic list` hides a name that begins with an underscore: both get the prefix
    `id_`. An id without any allowed character is written in Unicode code points.

    Raises UserError if two ids have the same topic, or for more than MAX_TOPICS ids.
    """
    topics: dict[str, str] = {}
    for object_id in filter(None, object_ids):
        topic = f"~/{output}/{_name(object_id)}"
        for other, taken in topics.items():
            if taken == topic and other != object_id:
                raise UserError(
                    f"parameter {output}_topics: the {output}s of '{other}' and '{object_id}' would both be on "
                    f"{topic}; expected ids that differ in letters and digits (a-z, A-Z, 0-9): rename one of the "
                    "objects, or leave one out"
                )
        topics[object_id] = topic
    if len(topics) > MAX_TOPICS:
        raise UserError(
            f"parameter {output}_topics: got {len(topics):,} ids, expected at most {MAX_TOPICS}: leave out those whose "
            "topics nobody reads"
        )
    return topics


def _name(object_id: str) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "_", object_id)
    if name == "_":
        name = "_" + "_".join(f"u{ord(character):04x}" for character in object_id)
    return name if name[0].isalpha() else f"id_{name.removeprefix('_')}"
