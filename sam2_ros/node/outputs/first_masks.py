# SPDX-License-Identifier: Apache-2.0
"""Decides which mask of an object is its first: the one that starts an estimator such as FoundationPose.

Knows results only; publishes nothing.
"""

from __future__ import annotations

from sam2_ros.engine import ObjectState, TrackedObject


class FirstMasks:
    """The objects whose first mask is out, by id. Called by one thread.

    First is the first image that shows an object after it was created (a new label), after it came back from LOST, and
    after its topic was made.
    """

    def __init__(self) -> None:
        self._sent: dict[str, tuple[int, object]] = {}

    def is_first(self, obj: TrackedObject, topic: object) -> bool:
        """True once per start of the object, for the image to publish. `topic`: the object's publisher."""
        if obj.state == ObjectState.LOST:
            self._sent.pop(obj.id, None)
        if not obj.visible or self._sent.get(obj.id) == (obj.label, topic):
            return False
        self._sent[obj.id] = (obj.label, topic)
        return True
