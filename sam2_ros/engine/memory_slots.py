# SPDX-License-Identifier: Apache-2.0
"""Slots of one kind of memory: tensors of fixed shape for prompted and recent frames of every object.

Knows frame numbers and rows. Does not know what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from .device.transfer import upload

KEYS = "keys"  # the tensor that slots of equal ids have in common
EMPTY = -(1 << 40)  # below any frame number; frames copied from another tracker may have negative ones


class MemorySlots:
    """Conditioning slots, then a ring of recent ones: a recent frame f has slot ``conditioning + f % ring``.

    Writing frame f overwrites exactly the frame that has become too old. Validity follows from the frame numbers alone,
    which stay on the host.

    Attributes:
        names: of the tensors.
        tensors: ``[objects, conditioning + ring, ...]`` each, allocated once.
        frames: ``[objects, conditioning + ring]`` int64, frame number of each slot; `EMPTY` = none.
        ids: likewise, a number that its writer gave to the frame; 0 by default.
        conditioning: number of slots for prompted frames.
        ring: number of slots for recent frames; 0 = none.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], conditioning: int) -> None:
        self.names, self.tensors = tuple(tensors), tuple(tensors.values())
        objects, slots = self.tensors[0].shape[:2]
        self.frames = np.full((objects, slots), EMPTY, np.int64)
        self.ids = np.zeros((objects, slots), np.int64)
        self.conditioning, self.ring = conditioning, slots - conditioning

    @property
    def bytes(self) -> int:
        """Size in bytes; constant."""
        return sum(t.numel() * t.element_size() for t in self.tensors) + self.frames.nbytes + self.ids.nbytes

    def clear(self, row: int) -> None:
        """Forget every frame of one object."""
        self.frames[row] = EMPTY

    def clear_recents(self, row: int | None = None) -> None:
        """Forget the recent frames of one object, or of every object."""
        self.frames[slice(None) if row is None else row, ..., self.conditioning :] = EMPTY

    def forget_recent(self, row: int, frame: int) -> None:
        """Forget one recent frame of an object, if it is there."""
        recents = self.frames[row, self.conditioning :]
        recents[recents == frame] = EMPTY

    def write_recent(
        self,
        rows: Sequence[int],
        frame: int,
        *values_b: torch.Tensor,
        id: int = 0,
        slots: Sequence[int] | None = None,
    ) -> None:
        """Keep a tracked frame of several objects; each value is ``[b, ...]``, or ``[1, ...]`` for all of them.

        `slots`: where, one for each object, of the ring; None = the slot of the frame, see the class.
        """
        if not self.ring:
            return
        own: int | np.ndarray = self.conditioning + frame % self.ring
        slot: int | torch.Tensor = own  # type: ignore[assignment]
        device = self.tensors[0].device
        if slots is not None:
            own = self.conditioning + np.asarray(slots)
            slot = upload(own, device)
        index = upload(list(rows), device)
        for tensor, value in zip(self.tensors, values_b, strict=True):
            tensor[index, slot] = value.to(tensor.dtype)
        self.frames[list(rows), own], self.ids[list(rows), own] = frame, id

    def slot_after(self, row: int, frame: int, replaced: int) -> int:
        """The slot of the ring for frame `frame` of an object: that of the frame `replaced`, if it is kept, else a free
        one, else that of the oldest frame."""
        recents = self.frames[row, self.conditioning :]
        for found in (recents == frame, recents == replaced, recents == EMPTY):
            if found.any():
                return int(found.argmax())
        return int(recents.argmin())

    def write_prompted(self, row: int, slot: int, frame: int, *values: torch.Tensor, id: int = 0) -> None:
        """Write a prompted frame of one object to a conditioning slot."""
        self.forget_recent(row, frame)
        for tensor, value in zip(self.tensors, values, strict=True):
            tensor[row, slot] = value.to(tensor.dtype)
        self.frames[row, slot], self.ids[row, slot] = frame, id

    def copy_row(self, row: int, source: MemorySlots, source_row: int, now: int, source_now: int) -> None:
        """Replace the memories of one object by those of another store, see `MemoryBank.copy_row`."""
        self.clear(row)
        for old in np.flatnonzero(source.frames[source_row] != EMPTY):
            frame, slot = int(source.frames[source_row, old]), int(old)
            if old < self.conditioning:
                frame = min(frame, source_now - 1) + now - source_now
            elif frame < source_now:
                frame += now - source_now
                slot = self.conditioning + frame % self.ring
                if self.frames[row, slot] != EMPTY:  # only if a policy chose the slots
                    slot = self.conditioning + self.slot_after(row, frame, EMPTY)
            else:
                continue
            for tensor, other in zip(self.tensors, source.tensors, strict=True):
                tensor[row, slot] = other[source_row, old]
            self.frames[row, slot], self.ids[row, slot] = frame, source.ids[source_row, old]

    def downgrade(self, row: int, frame: int) -> None:
        """Turn a conditioning frame of an object into a recent one, unless a newer frame has its slot."""
        for old in np.flatnonzero(self.frames[row, : self.conditioning] == frame):
            self.frames[row, old] = EMPTY
            slot = self.conditioning + frame % self.ring if self.ring else 0
            if self.ring and self.frames[row, slot] < frame:
                for tensor in self.tensors:
                    tensor[row, slot] = tensor[row, int(old)]
                self.frames[row, slot], self.ids[row, slot] = frame, self.ids[row, old]

    def in_use(self, row: int, now: int, reach: int = 0) -> np.ndarray:
        """Filled conditioning slots, then slots of recent frames at most `ring` frames old on frame `now`, or `reach`
        if that is more, oldest first."""
        frames, conditioning = self.frames[row], self.conditioning
        fixed = np.flatnonzero(frames[:conditioning] != EMPTY)
        age = now - frames[conditioning:]
        recent = np.flatnonzero(
            (frames[conditioning:] != EMPTY) & (age >= 1) & (age <= max(self.ring, reach))
        )
        return np.concatenate([fixed, conditioning + recent[np.argsort(-age[recent], kind="stable")]])
