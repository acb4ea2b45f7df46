# SPDX-License-Identifier: Apache-2.0
"""The memory bank: spatial memories and object pointers of past frames, per object, in tensors of fixed shape.

Knows slots, frame numbers and validity. Does not know what a memory means or how it is made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .config import ModelConfig
from .device.transfer import upload
from .model.sam2 import MemoryView

EMPTY = -(1 << 40)  # below any frame number; frames copied from another tracker may have negative ones


class MemoryBank:
    """Conditioning memories, recent memories and object pointers of up to `objects` objects, one row each.

    Everything is allocated once. After the conditioning slots, a recent frame f has slot ``f % recents`` and its
    pointer slot ``f % (max_pointers - 1)``, so writing frame f overwrites exactly the frame that has become too old.
    Validity follows from the frame numbers alone, which stay on the host.

    Attributes:
        spatial: ``[objects, conditioning + recents, cells, mem_dim]``, bfloat16 by default, as in the official video
            predictor. cells = (grid / pooling)^2; with `pooling` > 1 each is the mean of pooling x pooling cells.
        pointers: ``[objects, conditioning + max_pointers - 1, d_model]`` float32.
        spatial_frame: ``[objects, conditioning + recents]`` int64, frame number of each slot; `EMPTY` = none.
        pointer_frame: ``[objects, conditioning + max_pointers - 1]`` int64, likewise.
        first_frame: ``[objects]`` int64, the first conditioning frame of each object, which is kept longest.
    """

    def __init__(
        self,
        config: ModelConfig,
        objects: int,
        conditioning: int,
        recents: int,
        device: torch.device,
        dtype: torch.dtype = torch.bfloat16,
        pointer_span: int | None = None,
        pooling: int = 1,
        padded: bool = False,
    ) -> None:
        """Allocate the bank.

        Args:
            config: of the model.
            objects: rows.
            conditioning: prompted frames kept per object.
            recents: recent frames kept per object; 0 = none.
            device: where the tensors are.
            dtype: of `spatial`.
            pointer_span: passed on to each `MemoryView`.
            pooling: 1 or 2, see `TrackerConfig.memory_pooling`.
            padded: views hold every slot and its validity, so that objects with any number of memories share a batch.
        """
        self.config = config
        self.padded = padded
        self.pointer_span = pointer_span
        self.pooling = pooling
        self.conditioning = conditioning
        self.recents = recents
        self.recent_pointers = config.max_pointers - 1
        cells = (config.grid // pooling) ** 2
        self.spatial = torch.zeros(
            objects, conditioning + recents, cells, config.mem_dim, device=device, dtype=dtype
        )
        self.pointers = torch.zeros(
            objects, conditioning + self.recent_pointers, config.d_model, device=device
        )
        self.spatial_frame = np.full((objects, conditioning + recents), EMPTY, np.int64)
        self.pointer_frame = np.full((objects, conditioning + self.recent_pointers), EMPTY, np.int64)
        self.first_frame = np.full(objects, EMPTY, np.int64)

    @property
    def bytes(self) -> int:
        """Size in bytes; constant."""
        tensors = (self.spatial, self.pointers)
        arrays = (self.spatial_frame, self.pointer_frame, self.first_frame)
        return sum(t.numel() * t.element_size() for t in tensors) + sum(a.nbytes for a in arrays)

    def has_memory(self, row: int) -> bool:
        """True if any frame of the object is kept."""
        return bool((self.spatial_frame[row] != EMPTY).any())

    def clear(self, row: int) -> None:
        """Forget all memories of one object."""
        self.spatial_frame[row] = EMPTY
        self.pointer_frame[row] = EMPTY
        self.first_frame[row] = EMPTY

    def copy_row(self, row: int, source: MemoryBank, source_row: int, now: int, source_now: int) -> None:
        """Replace the memories of one object by those that another bank of the same model and shape holds of it.

        Frame `source_now` of the source becomes frame `now` here. Recent frames from `source_now` on are left out.
        Prompted frames are all kept; those from `source_now` on get the frame number before it.
        """
        self.clear(row)
        shift = now - source_now
        if source.first_frame[source_row] != EMPTY:
            self.first_frame[row] = min(source.first_frame[source_row], source_now - 1) + shift
        for frames, tensor, old_frames, old_tensor, ring in (
            (self.spatial_frame, self.spatial, source.spatial_frame, source.spatial, self.recents),
            (self.pointer_frame, self.pointers, source.pointer_frame, source.pointers, self.recent_pointers),
        ):
            for old in np.flatnonzero(old_frames[source_row] != EMPTY):
                frame, slot = int(old_frames[source_row, old]), int(old)
                if old < self.conditioning:
                    frame = min(frame, source_now - 1) + shift
                elif frame < source_now:
                    frame += shift
                    slot = self.conditioning + frame % ring
                else:
                    continue
                tensor[row, slot] = old_tensor[source_row, old]
                frames[row, slot] = frame

    def clear_recents(self) -> None:
        """Forget the recent frames of every object; prompted frames stay."""
        self.spatial_frame[:, self.conditioning :] = EMPTY
        self.pointer_frame[:, self.conditioning :] = EMPTY

    def write_recents(
        self, rows: Sequence[int], frame: int, spatial_bnc: torch.Tensor, pointers_bd: torch.Tensor
    ) -> None:
        """Keep a tracked frame of several objects: ``[b, side * side, mem_dim]`` and ``[b, d_model]``."""
        self.write_pointers(rows, frame, pointers_bd)
        if self.recents:
            slot = self.conditioning + frame % self.recents
            index = upload(list(rows), self.spatial.device)
            self.spatial[index, slot] = self._pooled(spatial_bnc).to(self.spatial.dtype)
            self.spatial_frame[list(rows), slot] = frame

    def write_pointers(self, rows: Sequence[int], frame: int, pointers_bd: torch.Tensor) -> None:
        """Write only the object pointers of a tracked frame, of several objects: ``[b, d_model]``."""
        slot = self.conditioning + frame % self.recent_pointers
        index = upload(list(rows), self.spatial.device)
        self.pointers[index, slot] = pointers_bd.to(self.pointers.dtype)
        self.pointer_frame[list(rows), slot] = frame

    def write_conditioning(
        self, row: int, frame: int, spatial_nc: torch.Tensor, pointer_d: torch.Tensor
    ) -> None:
        """Write a prompted frame of one object: ``[grid * grid, mem_dim]`` and ``[d_model]``.

        Replaces what was kept of that frame before. When all conditioning slots are in use, the oldest frame except the
        object's first is overwritten; with a single slot, the first one.
        """
        if self.first_frame[row] == EMPTY:
            self.first_frame[row] = frame
        slot = self._conditioning_slot(row, frame)
        for frames in (self.spatial_frame[row], self.pointer_frame[row]):
            recents = frames[self.conditioning :]
            recents[recents == frame] = EMPTY
        self.spatial[row, slot] = self._pooled(spatial_nc[None])[0].to(self.spatial.dtype)
        self.pointers[row, slot] = pointer_d.to(self.pointers.dtype)
        self.spatial_frame[row, slot] = frame
        self.pointer_frame[row, slot] = frame

    def _pooled(self, spatial_bnc: torch.Tensor) -> torch.Tensor:
        """Means over squares of pooling x pooling cells: ``[b, grid * grid, mem_dim] -> [b, cells, mem_dim]``."""
        if self.pooling == 1:
            return spatial_bnc
        b, _, c = spatial_bnc.shape
        side, k = self.config.grid // self.pooling, self.pooling
        return spatial_bnc.view(b, side, k, side, k, c).mean(dim=(2, 4)).view(b, side * side, c)

    def downgrade(self, row: int, frame: int) -> bool:
        """Turn a conditioning frame into a recent one, which is dropped at the usual age.

        Returns:
            False if the frame is not among the object's conditioning frames.
        """
        found = np.flatnonzero(self.spatial_frame[row, : self.conditioning] == frame)
        if not len(found):
            return False
        old = int(found[0])
        for frames, tensor, ring in (
            (self.spatial_frame, self.spatial, self.recents),
            (self.pointer_frame, self.pointers, self.recent_pointers),
        ):
            frames[row, old] = EMPTY
            slot = self.conditioning + frame % ring if ring else EMPTY
            if ring and frames[row, slot] < frame:  # else a newer frame is there: this one is too old
                tensor[row, slot] = tensor[row, old]
                frames[row, slot] = frame
        left = self.spatial_frame[row, : self.conditioning]
        left = left[left != EMPTY]
        self.first_frame[row] = left.min() if len(left) else EMPTY
        return True

    def has_conditioning(self, row: int) -> bool:
        """True if any prompted frame of the object is kept."""
        return bool((self.spatial_frame[row, : self.conditioning] != EMPTY).any())

    def _conditioning_slot(self, row: int, frame: int) -> int:
        frames = self.spatial_frame[row, : self.conditioning]
        free = np.flatnonzero(frames == frame)
        if not len(free):
            free = np.flatnonzero(frames == EMPTY)
        if len(free):
            return int(free[0])
        replaceable = np.flatnonzero(frames != self.first_frame[row])
        return int(replaceable[frames[replaceable].argmin()]) if len(replaceable) else 0

    def groups(self, rows: Sequence[int], now: int) -> list[list[int]]:
        """Batches of rows for memory attention: rows with equal numbers of memories and pointers share one."""
        if self.padded:
            return [list(rows)] if rows else []
        by_count: dict[tuple[int, int], list[int]] = {}
        for row in rows:
            spatial, pointers = self._valid(row, now)
            by_count.setdefault((len(spatial), len(pointers)), []).append(row)
        return list(by_count.values())

    def view(self, rows: Sequence[int], now: int) -> MemoryView:
        """The memories that one group of rows attends to on frame `now`.

        Empty slots are left out, not masked, unless the bank is `padded`.
        """
        device = self.spatial.device
        valid = [self._valid(row, now) for row in rows]
        spatial_valid = pointer_valid = None
        if self.padded:
            slots, spatial_valid = _padded([spatial for spatial, _ in valid], self.spatial.shape[1])
            pointer_slots, pointer_valid = _padded(
                [pointers for _, pointers in valid], self.pointers.shape[1]
            )
        else:
            slots = np.stack([spatial for spatial, _ in valid])
            pointer_slots = np.stack([pointers for _, pointers in valid])
        row_index = np.asarray(list(rows))[:, None]
        age = now - self.spatial_frame[row_index, slots]
        table_row = time_slots(self.config, age, slots < self.conditioning)
        distance = (now - self.pointer_frame[row_index, pointer_slots]).astype(np.float32)
        index = upload(row_index, device)
        return MemoryView(
            self.spatial[index, upload(slots, device)].to(self.pointers.dtype),
            upload(table_row, device),
            self.pointers[index, upload(pointer_slots, device)],
            upload(distance, device),
            self.pointer_span,
            None if spatial_valid is None else upload(spatial_valid, device),
            None if pointer_valid is None else upload(pointer_valid, device),
        )

    def _valid(self, row: int, now: int) -> tuple[np.ndarray, np.ndarray]:
        """Slots in use on frame `now`: conditioning first, then recents from old to new."""
        spatial = _slots(self.spatial_frame[row], self.conditioning, now, self.recents)
        return spatial, _slots(self.pointer_frame[row], self.conditioning, now, self.recent_pointers)


def time_slots(config: ModelConfig, age: np.ndarray, prompted: np.ndarray) -> np.ndarray:
    """`MemoryView.slots_bf`: row of the temporal table for frames of this `age`; prompted ones have the last row."""
    return np.where(prompted, config.num_maskmem - 1, age - 1)


def _padded(valid: Sequence[np.ndarray], capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """Slots of each row padded to ``[b, capacity]``, and which of them are valid: ``[b, capacity]`` bool."""
    counts = np.array([len(slots) for slots in valid])
    filled = np.stack([np.pad(slots, (0, capacity - len(slots)), mode="edge") for slots in valid])
    return filled, np.arange(capacity) < counts[:, None]


def _slots(frames: np.ndarray, conditioning: int, now: int, reach: int) -> np.ndarray:
    """Indices of filled conditioning slots, then of recent slots at most `reach` frames old, oldest first."""
    fixed = np.flatnonzero(frames[:conditioning] != EMPTY)
    age = now - frames[conditioning:]
    recent = np.flatnonzero((frames[conditioning:] != EMPTY) & (age >= 1) & (age <= reach))
    return np.concatenate([fixed, conditioning + recent[np.argsort(-age[recent], kind="stable")]])
