# SPDX-License-Identifier: Apache-2.0
"""Simulates things, a detector's boxes around them, and a node that executes the prompts of the association.

Knows the association's inputs and outputs. Starts no node and asserts nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from sam2_ros.engine import ObjectState
from sam2_ros.node.detector.association import Associator
from sam2_ros.node.detector.detections import BoxPrompt, Detection, KnownObject
from sam2_ros.node.detector.overlap import Box

PENDING, TRACKING, OCCLUDED, LOST = ObjectState
PERIOD_S = 0.1
SIZE_HW = (240, 320)
CUP = (100.0, 100.0, 140.0, 150.0)


def at(x: float, y: float = 100.0, width: float = 40.0, height: float = 50.0) -> Box:
    return (x, y, x + width, y + height)


def ellipse(box: Box) -> np.ndarray:
    """[H, W] bool: the ellipse in `box`."""
    x0, y0, x1, y1 = box
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]] + 0.5
    return ((columns - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((rows - (y0 + y1) / 2) / (y1 - y0)) ** 2 < 0.25


def tracked(object_id: str, box: Box, class_id: str = "cup", stamp_s: float = 0.0, mask=None) -> KnownObject:
    mask = ellipse(box) if mask is None else mask
    return KnownObject(object_id, class_id, TRACKING, box, mask, stamp_s)


def hidden(
    object_id: str, box: Box | None, class_id: str = "cup", last_s: float | None = 0.0, state=LOST
) -> KnownObject:
    return KnownObject(object_id, class_id, state, box, None, last_s)


def cup(box: Box, score: float = 0.9, class_id: str = "cup") -> Detection:
    return Detection(box, score, class_id)


def iou(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def shaken(box: Box, share: float, chance: random.Random) -> Box:
    """`box` with every edge moved by up to `share` of a side."""
    width, height = box[2] - box[0], box[3] - box[1]
    return tuple(
        edge + chance.uniform(-share, share) * side
        for edge, side in zip(box, (width, height, width, height), strict=True)
    )


def run(associator: Associator, messages, known, start_s: float = 1.0) -> list[list[BoxPrompt]]:
    """Passes messages to the associator, PERIOD_S apart; the objects stay the same."""
    return [
        associator.take(message, known, start_s + number * PERIOD_S)
        for number, message in enumerate(messages)
    ]


@dataclass
class Obj:
    thing: str  # the thing under its mask
    class_id: str
    asked: Box
    due_s: float
    box: Box | None = None
    last_visible_s: float | None = None
    gone: bool = False  # hidden once; this tracker never finds anything again by itself


class Robot:
    """A node that executes prompts: after `latency` messages, the object is on the thing in its box."""

    def __init__(
        self, mode: str = "track_all", latency: int = 1, max_objects: int = 8, period_s: float = PERIOD_S
    ) -> None:
        self.associator = Associator(mode, 0.5, max_objects)
        self.objects: dict[str, Obj] = {}
        self.now_s = 100.0
        self.prompts: list[BoxPrompt] = []
        self._latency, self._period_s = latency, period_s

    def track(self, object_id: str, thing: str, box: Box, class_id: str = "cup") -> None:
        self.objects[object_id] = Obj(thing, class_id, box, self.now_s, box, self.now_s)

    def see(self, things: dict[str, Box], detections: list[Detection]) -> list[BoxPrompt]:
        """Processes one image with the visible `things`, and the detector's message about it."""
        self.now_s += self._period_s
        prompts = self.associator.take(detections, self.known(things), self.now_s)
        for prompt in prompts:
            thing = max(things, key=lambda name: iou(things[name], prompt.box))
            object_id = prompt.id or f"object_{len(self.objects) + 1}"
            old = self.objects.get(object_id)
            self.objects[object_id] = Obj(
                thing,
                prompt.class_id,
                prompt.box,
                self.now_s + (self._latency + 0.5) * self._period_s,
                old.box if old else None,
                old.last_visible_s if old else None,
            )
        self.prompts += prompts
        return prompts

    def known(self, things: dict[str, Box]) -> list[KnownObject]:
        return [self._known(object_id, obj, things) for object_id, obj in self.objects.items()]

    def _known(self, object_id: str, obj: Obj, things: dict[str, Box]) -> KnownObject:
        waiting = self.now_s < obj.due_s
        if waiting and obj.last_visible_s is None:
            return KnownObject(object_id, obj.class_id, PENDING, obj.asked)
        obj.gone |= not waiting and obj.thing not in things
        if not waiting and not obj.gone:
            obj.box, obj.last_visible_s = things[obj.thing], self.now_s
            return KnownObject(object_id, obj.class_id, TRACKING, obj.box, ellipse(obj.box), self.now_s)
        last_s = self.now_s - 9.0 if obj.last_visible_s is None else obj.last_visible_s
        state = OCCLUDED if self.now_s - last_s < 1.0 else LOST
        return KnownObject(object_id, obj.class_id, state, obj.box, None, obj.last_visible_s)

    @property
    def on(self) -> dict[str, str]:
        return {object_id: obj.thing for object_id, obj in self.objects.items()}
