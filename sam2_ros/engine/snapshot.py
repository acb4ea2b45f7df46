# SPDX-License-Identifier: Apache-2.0
"""A snapshot of a tracker: a copy of its memory bank and tracks, from which the same or another tracker goes on.

Made by `Tracker.snapshot`, applied by `Tracker.restore`. Does not know frames, files or who keeps it.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch

from .memory_bank import MemoryBank
from .memory_slots import MemorySlots
from .track_state import Tracks


@dataclass(frozen=True)
class StoredSlots:
    """A copy of one `MemorySlots`."""

    tensors: tuple[torch.Tensor, ...]
    frames: np.ndarray
    ids: np.ndarray

    @staticmethod
    def of(slots: MemorySlots) -> StoredSlots:
        """Copy the slots of every object."""
        return StoredSlots(
            tuple(tensor.clone() for tensor in slots.tensors), slots.frames.copy(), slots.ids.copy()
        )

    def write_to(self, slots: MemorySlots) -> None:
        """Overwrite slots of the same shape in place: compiled models hold their addresses."""
        for tensor, stored in zip(slots.tensors, self.tensors, strict=True):
            tensor.copy_(stored)
        slots.frames[:], slots.ids[:] = self.frames, self.ids

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the tensors."""
        return [tuple(tensor.shape) for tensor in self.tensors]

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return sum(t.numel() * t.element_size() for t in self.tensors) + self.frames.nbytes + self.ids.nbytes


@dataclass(frozen=True)
class TrackerSnapshot:
    """Everything that the next `Tracker.step` depends on, copied.

    Attributes:
        frame_index: index of the next frame.
        tracks: the objects and their states.
        first_frame: see `MemoryBank.first_frame`.
        stores: the slots of the memory bank, on the model's device.
    """

    frame_index: int
    tracks: Tracks
    first_frame: np.ndarray
    stores: tuple[StoredSlots, ...]

    @staticmethod
    @torch.inference_mode()
    def of(frame_index: int, tracks: Tracks, bank: MemoryBank) -> TrackerSnapshot:
        """Copy the state of a tracker."""
        stores = tuple(StoredSlots.of(store) for store in bank.stores)
        return TrackerSnapshot(frame_index, deepcopy(tracks), bank.first_frame.copy(), stores)

    @torch.inference_mode()
    def write_to(self, bank: MemoryBank) -> Tracks:
        """Overwrite a tracker's bank; return a copy of the tracks. `Tracker.restore` is the public call.

        Raises:
            ValueError: the bank has another shape; it is unchanged.
        """
        theirs = [[tuple(t.shape) for t in store.tensors] for store in bank.stores]
        if [store.shapes for store in self.stores] != theirs:
            raise ValueError(
                f"a snapshot of a memory bank of shapes {[s.shapes for s in self.stores]} for one of {theirs}: "
                "expected a tracker of the same model and settings"
            )
        for store, target in zip(self.stores, bank.stores, strict=True):
            store.write_to(target)
        bank.first_frame[:] = self.first_frame
        return deepcopy(self.tracks)

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return sum(store.bytes for store in self.stores) + self.first_frame.nbytes
