# SPDX-License-Identifier: Apache-2.0
"""The track history: where each object was at recent stamps, for a detector that is late.

Knows results of the tracker; nothing of messages or of a detector. Masks are kept as packed crops.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from sam2_ros.engine import FrameResult, ObjectState
from sam2_ros.engine.mask_values import PackedMask
from sam2_ros.node.frame_history import MAX_IMAGES
from sam2_ros.node.limits import Limits

from .detections import KnownObject


@dataclass(frozen=True)
class _ObjectSnapshot:
    """One object on one image."""

    class_id: str
    state: ObjectState
    visible: bool
    pixels: PackedMask


@dataclass(frozen=True)
class _TrackedImage:
    stamp_s: float
    objects: dict[str, _ObjectSnapshot]

    @property
    def bytes(self) -> int:
        return sum(seen.pixels.bits.nbytes for seen in self.objects.values())


class TrackHistory:
    """Thread-safe.

    Args:
        seconds: how far back a detector may be.
        max_bytes: of masks kept; stamps need not advance with time, so `seconds` alone is no bound.

    Attributes:
        cut: how many images were let go early, to stay within `max_bytes` or `MAX_IMAGES`.
    """

    def __init__(self, seconds: float, max_bytes: int = Limits.history_bytes) -> None:
        self.seconds = seconds
        self.max_bytes = max_bytes
        self.cut = 0
        self._lock = threading.Lock()
        self._images: deque[_TrackedImage] = deque()
        self._bytes = 0
        self._last_visible: dict[str, tuple[float, tuple[int, int, int, int]]] = {}

    def add(self, result: FrameResult) -> None:
        """Take in the result of one image. Time that runs backwards starts anew, the objects' ids stay."""
        snapshots = {
            obj.id: _ObjectSnapshot(obj.class_id, obj.state, obj.visible, PackedMask.of(obj.mask, obj.box))
            for obj in result.objects
        }
        image = _TrackedImage(result.stamp_s, snapshots)
        with self._lock:
            if self._images and result.stamp_s < self._images[-1].stamp_s:
                self._images.clear()
                self._bytes = 0
                self._last_visible.clear()
            self._images.append(image)
            self._bytes += image.bytes
            self._let_go(result.stamp_s - self.seconds)
            for object_id, seen in image.objects.items():
                if seen.visible:
                    self._last_visible[object_id] = (result.stamp_s, seen.pixels.box)
            for gone in self._last_visible.keys() - image.objects.keys():
                del self._last_visible[gone]

    @property
    def bytes(self) -> int:
        """What the masks kept here hold."""
        return self._bytes

    def _let_go(self, oldest_s: float) -> None:
        """Whatever is older, and as much more as the bounds ask for; the newest image stays."""
        while len(self._images) > 1:
            early = self._images[0].stamp_s >= oldest_s
            if early and self._bytes <= self.max_bytes and len(self._images) <= MAX_IMAGES:
                return
            self._bytes -= self._images.popleft().bytes
            self.cut += early

    def known(self, stamp_s: float, asked: dict[str, tuple[float, float, float, float]]) -> list[KnownObject]:
        """The objects of now as they were at `stamp_s`, or when that was nearest.

        Args:
            stamp_s: 0 = now.
            asked: boxes that objects were asked for with, for those that have not been seen.
        """
        with self._lock:
            if not self._images:
                return []
            now = self._images[-1]
            then = now if not stamp_s else min(self._images, key=lambda image: abs(image.stamp_s - stamp_s))
            return [self._as_it_was(object_id, then, now, asked) for object_id in now.objects]

    def _as_it_was(
        self,
        object_id: str,
        then: _TrackedImage,
        now: _TrackedImage,
        asked: dict[str, tuple[float, float, float, float]],
    ) -> KnownObject:
        seen = now.objects[object_id]
        before = then.objects.get(object_id)
        if before is not None and before.visible:
            # Visible then: whatever it is now, a detection at its place shows it.
            place, mask = before.pixels.box, before.pixels.unpacked()
            return KnownObject(object_id, before.class_id, ObjectState.TRACKING, place, mask, then.stamp_s)
        last = self._last_visible.get(object_id)
        if last is None:
            return KnownObject(object_id, seen.class_id, seen.state, asked.get(object_id))
        return KnownObject(object_id, seen.class_id, seen.state, last[1], None, last[0])
