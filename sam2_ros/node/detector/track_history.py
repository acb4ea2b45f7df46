# SPDX-License-Identifier: Apache-2.0
"""The track history: where each object was at recent stamps, for detections that come late.

Knows tracker results; does not know messages or the detector. Masks are kept as packed crops.
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
        seconds: how far back the history reaches.
        max_bytes: limit of the kept masks; needed because stamps need not advance with time.

    Attributes:
        cut: number of images dropped early, to stay within `max_bytes` or `MAX_IMAGES`.
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
        """Add the result of one image. A jump back in time clears the history."""
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
        """Size of all kept masks."""
        return self._bytes

    def _let_go(self, oldest_s: float) -> None:
        """Drop images older than `oldest_s`, and more if a limit is exceeded; the newest image stays."""
        while len(self._images) > 1:
            early = self._images[0].stamp_s >= oldest_s
            if early and self._bytes <= self.max_bytes and len(self._images) <= MAX_IMAGES:
                return
            self._bytes -= self._images.popleft().bytes
            self.cut += early

    def known(self, stamp_s: float, asked: dict[str, tuple[float, float, float, float]]) -> list[KnownObject]:
        """The objects of the newest image, as they were on the image nearest to `stamp_s`.

        Args:
            stamp_s: 0 = the newest image.
            asked: object id -> box it was prompted with, used for objects that were never visible.
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
            # It was visible then, so a detection there shows it, whatever its state is now.
            place, mask = before.pixels.box, before.pixels.unpacked()
            return KnownObject(object_id, before.class_id, ObjectState.TRACKING, place, mask, then.stamp_s)
        last = self._last_visible.get(object_id)
        if last is None:
            return KnownObject(object_id, seen.class_id, seen.state, asked.get(object_id))
        return KnownObject(object_id, seen.class_id, seen.state, last[1], None, last[0])
