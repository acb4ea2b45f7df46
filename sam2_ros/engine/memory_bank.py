# SPDX-License-Identifier: Apache-2.0
"""The memory bank: spatial memories, object pointers and matched masks of past frames, per object, in fixed slots.

Knows slots, frame numbers and validity. Does not know what a memory means or how it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from .config import ModelConfig
from .device.transfer import upload
from .memory_slots import EMPTY, KEYS, MemorySlots
from .model.matching import MatchFrames, MatchView
from .model.sam2 import MemoryView

ANCHOR = 1  # id of a spatial memory in a conditioning slot that a policy has promoted
Evict = Callable[[int, Sequence[int]], int | None]
"""Row, and the recent frames kept of it -> the frame to replace, see `policies.policy.Policy.evict`."""


class MemoryBank:
    """Conditioning memories, recent memories and object pointers of up to `objects` objects, one row each.

    Everything is allocated once. All kinds of memory use the same conditioning slots; recent frames are in rings.

    Attributes:
        spatial: ``[objects, conditioning + recents, cells, mem_dim]``, bfloat16 by default, as in the official video
            predictor. cells = (grid / pooling)^2; with `pooling` > 1 each is the mean of pooling x pooling cells.
        pointers: ``[objects, conditioning + recent_pointers, d_model]`` float32.
        spatial_frame: ``[objects, conditioning + recents]`` int64, frame number of each slot; `EMPTY` = none.
        pointer_frame: ``[objects, conditioning + recent_pointers]`` int64, likewise.
        first_frame: ``[objects]`` int64, the first conditioning frame of each object, which is kept longest.
        reach: ``[objects]`` int64, age in frames up to which recent spatial and matching memories count; 0 = by the
            number of slots. Above 0 the temporal table is read by order, not by age. Set before each frame, not kept.
        stores: the slots of every kind of memory.
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
        self.recent_pointers = config.recent_pointers
        cells = (config.grid // pooling) ** 2
        self.spatial = torch.zeros(
            objects, conditioning + recents, cells, config.mem_dim, device=device, dtype=dtype
        )
        self.pointers = torch.zeros(
            objects, conditioning + self.recent_pointers, config.d_model, device=device
        )
        self._spatial = MemorySlots({"spatial": self.spatial}, conditioning)
        self._pointers = MemorySlots({"pointers": self.pointers}, conditioning)
        self.spatial_frame, self.pointer_frame = self._spatial.frames, self._pointers.frames
        self.first_frame = np.full(objects, EMPTY, np.int64)
        self.reach = np.zeros(objects, np.int64)
        self.stores: list[MemorySlots] = [self._spatial, self._pointers]
        self._matched: MemorySlots | None = None
        if config.matching is not None:
            cells, slots = 4 * config.grid**2, conditioning + config.matching.recents
            keys = torch.zeros(objects, slots, cells, config.matching.channels, device=device, dtype=dtype)
            values = torch.zeros(objects, slots, cells, device=device, dtype=dtype)
            valid = torch.zeros(objects, slots, device=device)
            self._matched = MemorySlots({KEYS: keys, "values": values, "valid": valid}, conditioning)
            self.stores.append(self._matched)

    @property
    def bytes(self) -> int:
        """Size in bytes; constant."""
        return sum(store.bytes for store in self.stores) + self.first_frame.nbytes

    def has_memory(self, row: int) -> bool:
        """True if any frame of the object is kept."""
        return bool((self.spatial_frame[row] != EMPTY).any())

    def clear(self, row: int) -> None:
        """Forget all memories of one object."""
        for store in self.stores:
            store.clear(row)
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
        for store, other in zip(self.stores, source.stores, strict=True):
            store.copy_row(row, other, source_row, now, source_now)

    def clear_recents(self, row: int | None = None) -> None:
        """Forget the recent frames of one object, or of every object; prompted frames stay."""
        for store in self.stores:
            store.clear_recents(row)

    def write_recents(
        self,
        rows: Sequence[int],
        frame: int,
        spatial_bnc: torch.Tensor,
        pointers_bd: torch.Tensor,
        evict: Evict | None = None,
    ) -> None:
        """Keep a tracked frame of several objects: ``[b, side * side, mem_dim]`` and ``[b, d_model]``."""
        self.write_pointers(rows, frame, pointers_bd)
        slots = _slots(self._spatial, rows, frame, evict)
        self._spatial.write_recent(rows, frame, self._pooled(spatial_bnc), slots=slots)

    def write_pointers(self, rows: Sequence[int], frame: int, pointers_bd: torch.Tensor) -> None:
        """Write only the object pointers of a tracked frame, of several objects: ``[b, d_model]``."""
        self._pointers.write_recent(rows, frame, pointers_bd)

    def write_matched(
        self,
        rows: Sequence[int],
        frame: int,
        keys_nc: torch.Tensor,
        values_bn: torch.Tensor,
        valid_b: torch.Tensor,
        keys_id: int,
        evict: Evict | None = None,
    ) -> None:
        """Keep the keys of a frame and the masks of several objects for the matching memory, see `MatchFrames`.

        An object's mask goes to a conditioning slot if `write_conditioning` has made this frame one of its prompted
        frames, else to the ring of recent frames.

        Args:
            rows: b objects.
            frame: its number.
            keys_nc: of the frame.
            values_bn: mask of each object.
            valid_b: 1 = the object is visible, else 0.
            keys_id: `LastFrame.keys_id`: frames of equal ids have equal keys, in the slots of several objects, too.
            evict: see `write_recents`. An anchor is kept as a recent frame, too.
        """
        assert self._matched is not None, "the model has no matching memory"
        recent = []
        for index, row in enumerate(rows):
            slots = np.flatnonzero(self.spatial_frame[row, : self.conditioning] == frame)
            if len(slots):
                self._matched.write_prompted(
                    row, int(slots[0]), frame, keys_nc, values_bn[index], valid_b[index], id=keys_id
                )
            if not len(slots) or self._spatial.ids[row, slots[0]] == ANCHOR:
                recent.append(index)
        if recent:
            chosen = upload(recent, values_bn.device)
            values, valid = values_bn[chosen], valid_b[chosen]
            kept = [rows[i] for i in recent]
            places = _slots(self._matched, kept, frame, evict)
            self._matched.write_recent(kept, frame, keys_nc[None], values, valid, id=keys_id, slots=places)

    def write_conditioning(
        self, row: int, frame: int, spatial_nc: torch.Tensor, pointer_d: torch.Tensor
    ) -> None:
        """Write a prompted frame of one object: ``[grid * grid, mem_dim]`` and ``[d_model]``.

        Replaces what was kept of that frame before. When all conditioning slots are in use, the oldest anchor is
        overwritten, or else the oldest frame except the object's first; with a single slot, the first one.
        """
        if self.first_frame[row] == EMPTY:
            self.first_frame[row] = frame
        self._write_fixed(row, self._conditioning_slot(row, frame), frame, spatial_nc, pointer_d, 0)

    def write_anchor(self, row: int, frame: int, spatial_nc: torch.Tensor, pointer_d: torch.Tensor) -> None:
        """Write a tracked frame that a policy promotes, to a free conditioning slot or in place of the oldest anchor.

        Prompted frames stay: with all slots in use by them, nothing is written.
        """
        frames = self.spatial_frame[row, : self.conditioning]
        free = np.flatnonzero((frames == EMPTY) | (frames == frame))
        slots = free if len(free) else np.flatnonzero(self._anchor_slots(row))
        if len(slots):
            slot = int(slots[frames[slots].argmin()])
            self._write_fixed(row, slot, frame, spatial_nc, pointer_d, ANCHOR)

    def anchors(self, row: int) -> tuple[int, ...]:
        """The frames that policies have promoted and that are kept, from old to new."""
        return tuple(sorted(self.spatial_frame[row, : self.conditioning][self._anchor_slots(row)].tolist()))

    def _anchor_slots(self, row: int) -> np.ndarray:
        part = slice(0, self.conditioning)
        return (self.spatial_frame[row, part] != EMPTY) & (self._spatial.ids[row, part] == ANCHOR)

    def _write_fixed(
        self, row: int, slot: int, frame: int, spatial_nc: torch.Tensor, pointer_d: torch.Tensor, id: int
    ) -> None:
        self._spatial.write_prompted(row, slot, frame, self._pooled(spatial_nc[None])[0], id=id)
        self._pointers.write_prompted(row, slot, frame, pointer_d)

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
        if frame not in self._prompted_frames(row):
            return False
        for store in self.stores:
            store.downgrade(row, frame)
        left = self._prompted_frames(row)
        self.first_frame[row] = left.min() if len(left) else EMPTY
        return True

    def has_conditioning(self, row: int) -> bool:
        """True if any prompted frame of the object is kept."""
        return len(self._prompted_frames(row)) > 0

    def _prompted_frames(self, row: int) -> np.ndarray:
        frames = self.spatial_frame[row, : self.conditioning]
        return frames[(frames != EMPTY) & ~self._anchor_slots(row)]

    def _conditioning_slot(self, row: int, frame: int) -> int:
        frames = self.spatial_frame[row, : self.conditioning]
        free = np.flatnonzero(frames == frame)
        if not len(free):
            free = np.flatnonzero(frames == EMPTY)
        if len(free):
            return int(free[0])
        anchors = np.flatnonzero(self._anchor_slots(row))
        replaceable = anchors if len(anchors) else np.flatnonzero(frames != self.first_frame[row])
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
        fixed = slots < self.conditioning
        newest_first = np.cumsum(~fixed[:, ::-1], axis=1)[:, ::-1]
        age = np.where(self.reach[row_index] > 0, newest_first, age)
        table_row = time_slots(self.config, age, fixed)
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

    def match_view(self, rows: Sequence[int], now: int) -> MatchView:
        """The frames to which the matching memory compares frame `now`, with the masks of these rows.

        A frame that several objects have in common is there once.
        """
        assert self._matched is not None, "the model has no matching memory"
        used = [(row, int(slot)) for row in rows for slot in self._matched.in_use(row, now, self.reach[row])]
        prompted = [place for place in used if place[1] < self.conditioning]
        recent = [place for place in used if place[1] >= self.conditioning]
        return MatchView(self._match_frames(rows, prompted), self._match_frames(rows, recent))

    def prompted_looks(self, row: int) -> list[torch.Tensor]:
        """Keys of the cells that the object covers, ``[cells, c]`` on each of its prompted frames that show it."""
        assert self._matched is not None, "the model has no matching memory"
        keys, values, valid = (tensor[row] for tensor in self._matched.tensors)
        slots = np.flatnonzero(self._matched.frames[row, : self.conditioning] != EMPTY)
        return [inside(keys[slot], values[slot]) for slot in slots.tolist() if bool(valid[slot] > 0)]

    def _match_frames(self, rows: Sequence[int], places: Sequence[tuple[int, int]]) -> MatchFrames:
        """The frames of some rows and slots, each distinct one once."""
        assert self._matched is not None
        keys, values, valid = self._matched.tensors
        holders: dict[int, list[tuple[int, int]]] = {}
        for row, slot in places:
            holders.setdefault(int(self._matched.ids[row, slot]), []).append((row, slot))
        order = {row: index for index, row in enumerate(rows)}
        held = np.zeros((len(rows), len(holders)), np.float32)
        source = np.zeros((len(rows), len(holders), 2), np.int64)
        for f, found in enumerate(holders.values()):
            source[:, f] = found[0]  # of objects that do not have it: never used
            for row, slot in found:
                held[order[row], f], source[order[row], f] = 1.0, (row, slot)
        row_bf, slot_bf = (upload(source[..., axis], keys.device) for axis in range(2))
        frames = [keys[found[0]] for found in holders.values()]
        with torch.autocast(keys.device.type, enabled=False):  # it refuses keys that are not of its own type
            keys_fnc = torch.stack(frames) if frames else keys.new_zeros(0, *keys.shape[2:])
        valid_bf = valid[row_bf, slot_bf] * upload(held, keys.device)
        return MatchFrames(keys_fnc, values[row_bf, slot_bf], valid_bf)

    def look_back_view(
        self, row: int, keys_nc: torch.Tensor, values_n: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, MatchView] | None:
        """What it takes to match an object's first frame to a new one: keys and mask of the first frame, and the view
        that has the new frame alone, of these keys and this mask; None if the first frame is not kept."""
        if self._matched is None:
            return None
        slots = np.flatnonzero(self._matched.frames[row, : self.conditioning] == self.first_frame[row])
        if not len(slots):
            return None
        keys, values, valid = self._matched.tensors
        new = MatchFrames(keys_nc[None].to(keys.dtype), values_n[None, None], valid.new_ones(1, 1))
        none = MatchFrames(
            keys.new_zeros(0, *keys.shape[2:]), values_n.new_zeros(1, 0, len(values_n)), valid[:1, :0]
        )
        return keys[row, int(slots[0])], values[row, int(slots[0])], MatchView(new, none)

    def _valid(self, row: int, now: int) -> tuple[np.ndarray, np.ndarray]:
        """Slots in use on frame `now`: conditioning first, then recents from old to new."""
        return self._spatial.in_use(row, now, self.reach[row]), self._pointers.in_use(row, now)


def _slots(store: MemorySlots, rows: Sequence[int], frame: int, evict: Evict | None) -> list[int] | None:
    """Slot of the ring for a frame of each object, where `evict` chooses."""
    if evict is None or not store.ring:
        return None
    slots = []
    for row in rows:
        recents = store.frames[row, store.conditioning :]
        replaced = evict(row, recents[recents != EMPTY].tolist())
        slots.append(frame % store.ring if replaced is None else store.slot_after(row, frame, replaced))
    return slots


def inside(keys_nc: torch.Tensor, shares_n: torch.Tensor) -> torch.Tensor:
    """Keys of the cells that a mask covers by more than a half; of the one most covered if there is none."""
    covered = shares_n > 0.5
    return keys_nc[covered] if bool(covered.any()) else keys_nc[shares_n.argmax()][None]


def time_slots(config: ModelConfig, age: np.ndarray, prompted: np.ndarray) -> np.ndarray:
    """`MemoryView.slots_bf`: row of the temporal table for frames of this `age`; prompted ones have the last row."""
    return np.where(prompted, config.num_maskmem - 1, age - 1)


def _padded(valid: Sequence[np.ndarray], capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """Slots of each row padded to ``[b, capacity]``, and which of them are valid: ``[b, capacity]`` bool."""
    counts = np.array([len(slots) for slots in valid])
    filled = np.stack([np.pad(slots, (0, capacity - len(slots)), mode="edge") for slots in valid])
    return filled, np.arange(capacity) < counts[:, None]
