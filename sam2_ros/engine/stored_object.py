# SPDX-License-Identifier: Apache-2.0
"""A copy of one object of a tracker, independent of the tracker: from it another tracker of the same model goes on.

Times are counted from the tracker's next frame. Does not know files, nor who keeps the copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from .memory_bank import MemoryBank
from .memory_slots import EMPTY, KEYS, MemorySlots
from .prompt_decoding import new_keys_id
from .result import ObjectState
from .tracker import Tracker


@dataclass(frozen=True)
class StoredMemories:
    """The frames of one kind of memory of one object; k of them.

    Attributes:
        tensors: by name, ``[k, ...]`` each, on the host.
        frames: ``[k]`` int64, frame numbers; 0 is the tracker's next frame, so they are negative.
        slots: ``[k]`` int64, the slot of each in its store.
        ids: ``[k]`` int64, see `MemorySlots.ids`; frames of equal ids have equal `KEYS`.
        conditioning: slots below it are of prompted frames.
    """

    tensors: dict[str, torch.Tensor]
    frames: np.ndarray
    slots: np.ndarray
    ids: np.ndarray
    conditioning: int

    @staticmethod
    def of(store: MemorySlots, row: int, now: int) -> StoredMemories:
        """Copy the frames of one row from before frame `now`."""
        slots = np.flatnonzero((store.frames[row] != EMPTY) & (store.frames[row] < now))
        index = torch.from_numpy(slots).to(store.tensors[0].device)
        tensors = {
            name: tensor[row, index].cpu() for name, tensor in zip(store.names, store.tensors, strict=True)
        }
        return StoredMemories(
            tensors, store.frames[row, slots] - now, slots, store.ids[row, slots], store.conditioning
        )

    @property
    def prompted(self) -> np.ndarray:
        """``[k]`` bool, frames that the object was prompted on."""
        return self.slots < self.conditioning

    def misfit(self, store: MemorySlots) -> str:
        """Why these memories do not fit a store; "" if they do."""
        theirs = {n: tuple(t.shape[2:]) for n, t in zip(store.names, store.tensors, strict=True)}
        ours = {name: tuple(tensor.shape[1:]) for name, tensor in self.tensors.items()}
        return "" if ours == theirs else f"memories of shapes {ours} for a bank of {theirs}"

    def write_to(self, store: MemorySlots, row: int, now: int, places: dict[int, int]) -> None:
        """Write to an empty row. `places`: slot of each prompted frame. Frames that find no place are left out."""
        for k, (frame, prompted) in enumerate(zip(self.frames.tolist(), self.prompted, strict=True)):
            if prompted:
                slot = places.get(frame, -1)
            else:
                slot = store.conditioning + (now + frame) % store.ring if -frame <= store.ring else -1
            if slot < 0:
                continue
            for tensor, stored in zip(store.tensors, self.tensors.values(), strict=True):
                tensor[row, slot] = stored[k].to(tensor.device)
            store.frames[row, slot], store.ids[row, slot] = now + frame, self.ids[k]


@dataclass(frozen=True)
class StoredObject:
    """One object: identity, state, and memories of every kind, in the order of `MemoryBank.stores`.

    Attributes:
        first_frame: see `MemoryBank.first_frame`, counted as `StoredMemories.frames`; `EMPTY` = none.
        last_visible_s: seconds as the stamps of frames; -inf = never.
        above, below: see `Track`.
        sought: see `Track`.
        policy_state: see `Track`.
    """

    id: str
    label: int
    class_id: str
    state: ObjectState
    last_visible_s: float
    above: int
    below: int
    sought: bool
    first_frame: int
    memories: tuple[StoredMemories, ...]
    policy_state: dict[str, list[float]] = field(default_factory=dict)

    def prompted_only(self) -> StoredObject:
        """A copy with the memories of prompted frames alone: what the object looks like, not where it was."""
        kept = []
        for each in self.memories:
            chosen = each.prompted
            index = torch.from_numpy(np.flatnonzero(chosen))
            tensors = {name: tensor[index] for name, tensor in each.tensors.items()}
            kept.append(
                replace(
                    each,
                    tensors=tensors,
                    frames=each.frames[chosen],
                    slots=each.slots[chosen],
                    ids=each.ids[chosen],
                )
            )
        return replace(self, memories=tuple(kept))


@torch.inference_mode()
def store_objects(tracker: Tracker, ids: Iterable[str] | None = None) -> list[StoredObject]:
    """Copy objects of a tracker to the host as of its newest frame; `ids` None = all. Unknown ids are left out.

    An object without any memory, whose first frame failed, is left out too.
    """
    bank, now, stored = tracker.bank, tracker.frame_index, []
    wanted = None if ids is None else set(ids)
    for track in tracker.tracks:
        if not bank.has_memory(track.row) or (wanted is not None and track.id not in wanted):
            continue
        first = int(bank.first_frame[track.row])
        stored.append(
            StoredObject(
                track.id,
                track.label,
                track.class_id,
                track.state,
                track.last_visible_s,
                track.above,
                track.below,
                track.sought,
                first if first == EMPTY else first - now,
                tuple(StoredMemories.of(store, track.row, now) for store in bank.stores),
                {name: list(numbers) for name, numbers in track.policy_state.items()},
            )
        )
    return stored


@torch.inference_mode()
def recall_objects(tracker: Tracker, objects: Iterable[StoredObject], seek: bool = False) -> dict[str, str]:
    """Add stored objects to a tracker of the same model, where they replace those of the same ids.

    An object keeps its label unless that has been used here. Without `seek`, the next `Tracker.step` gives what it
    would have given where the objects were stored, provided that frame numbers agree (`Tracker.frame_index`), which
    matters with `TrackerConfig.memory_every`. Recent frames that a policy kept for longer than usual are left out.

    Args:
        tracker: may have other settings; memories for which it has no slots are left out, the oldest first.
        objects: as `store_objects` returns them.
        seek: the objects are PENDING, and looked for everywhere, until they are found, see `Track.sought`.

    Returns:
        id -> why there is no room for the object; it was not added.

    Raises:
        ValueError: the memories are those of another model; the tracker is unchanged.
    """
    objects = list(objects)
    for stored in objects:
        if problem := misfit(stored, tracker.bank):
            raise ValueError(f"object '{stored.id}': {problem}")
    new_ids: dict[int, int] = {}
    refused = {}
    for stored in objects:
        if refusal := tracker.tracks.refusal(stored.id):
            refused[stored.id] = refusal
            continue
        track = tracker.tracks.recall(stored.id, stored.label)
        tracker.discard_output(track.row)
        _write(stored, tracker.bank, track.row, tracker.frame_index, new_ids)
        track.class_id = stored.class_id
        if seek:
            track.seek()
        else:
            track.state, track.last_visible_s, track.sought = (
                stored.state,
                stored.last_visible_s,
                stored.sought,
            )
            track.above, track.below = stored.above, stored.below
            track.policy_state = {name: list(numbers) for name, numbers in stored.policy_state.items()}
    return refused


def misfit(stored: StoredObject, bank: MemoryBank) -> str:
    """Why an object's memories do not fit a bank, which is of another model then; "" if they do."""
    if len(stored.memories) != len(bank.stores):
        return f"{len(stored.memories)} kinds of memory; expected {len(bank.stores)}"
    problems = (each.misfit(store) for each, store in zip(stored.memories, bank.stores, strict=True))
    return next(filter(None, problems), "")


def _write(stored: StoredObject, bank: MemoryBank, row: int, now: int, new_ids: dict[int, int]) -> None:
    """Replace the memories of one row. `new_ids`: id in the copy -> id here, of all objects that are recalled."""
    bank.clear(row)
    places = _places(stored, bank.conditioning)
    if stored.first_frame != EMPTY:
        kept = stored.first_frame in places or not places
        bank.first_frame[row] = now + (stored.first_frame if kept else min(places))
    for memories, store in zip(stored.memories, bank.stores, strict=True):
        ids = memories.ids
        if KEYS in store.names:
            for id in ids.tolist():
                new_ids[id] = new_ids[id] if id in new_ids else new_keys_id()
            ids = np.array([new_ids[id] for id in ids.tolist()], np.int64)
        replace(memories, ids=ids).write_to(store, row, now, places)


def _places(stored: StoredObject, slots: int) -> dict[int, int]:
    """Frame -> slot, of the prompted frames that find room: the first one, and of the others the newest."""
    spatial = stored.memories[0]
    found = {int(f): int(s) for f, s in zip(spatial.frames, spatial.slots, strict=True)}
    found = {frame: slot for frame, slot in found.items() if slot < spatial.conditioning}
    if all(slot < slots for slot in found.values()):
        return found
    newest = sorted(found, key=lambda frame: (frame != stored.first_frame, -frame))[:slots]
    return {frame: slot for slot, frame in enumerate(sorted(newest))}
