# SPDX-License-Identifier: Apache-2.0
"""The header of a state file: everything but tensors, as JSON; every value is checked when it is read.

Does not know how tensors are stored.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import torch

from sam2_ros.engine import ObjectState
from sam2_ros.engine.memory_slots import EMPTY, KEYS
from sam2_ros.engine.result import MAX_LABEL
from sam2_ros.engine.stored_object import StoredMemories, StoredObject
from sam2_ros.text import text_problem

from .identity import ModelIdentity
from .saved_state import SavedState

MOST = 1 << 40  # of any number
MOST_SLOTS = 4096
Tensors = dict[str, torch.Tensor]


def tensor_name(object_index: int, kind: int, name: str, memories: StoredMemories, k: int) -> str:
    """Name of a tensor of one frame. Frames of equal ids have their `KEYS` once."""
    return f"{name}.{memories.ids[k]}" if name == KEYS else f"{object_index}.{kind}.{name}.{k}"


def encode(state: SavedState) -> tuple[str, Tensors]:
    """The header and the tensors of a state."""
    tensors: Tensors = {}
    objects = []
    for index, stored in enumerate(state.objects):
        kinds = []
        for kind, memories in enumerate(stored.memories):
            for name, values in memories.tensors.items():
                for k in range(len(memories.frames)):
                    tensors[tensor_name(index, kind, name, memories, k)] = values[k].contiguous()
            kinds.append(
                {
                    "names": list(memories.tensors),
                    "frames": memories.frames.tolist(),
                    "slots": memories.slots.tolist(),
                    "ids": memories.ids.tolist(),
                    "conditioning": memories.conditioning,
                }
            )
        seen_s = stored.last_visible_s
        objects.append(
            {
                "id": stored.id,
                "label": stored.label,
                "class_id": stored.class_id,
                "state": stored.state.name,
                "last_visible_s": seen_s if math.isfinite(seen_s) else None,
                "above": stored.above,
                "below": stored.below,
                "sought": stored.sought,
                "first_frame": None if stored.first_frame == EMPTY else stored.first_frame,
                "memories": kinds,
                "policy_state": stored.policy_state,
            }
        )
    content = {
        "model": vars(state.model),
        "frame_index": state.frame_index,
        "next_label": state.next_label,
        "names": state.names,
        "objects": objects,
    }
    return json.dumps(content), tensors


def decode(text: str, tensors: Tensors) -> SavedState:
    """The state of a header and its tensors. Raises ValueError, KeyError or TypeError for anything unexpected."""
    content = json.loads(text)
    model = content["model"]
    identity = ModelIdentity(
        _text(model["name"]),
        _text(model["version"]),
        _whole(model["image_size"], 1, MOST),
        _text(model["weights"]),
    )
    next_label = _whole(content["next_label"], 1, MAX_LABEL + 1)
    objects = tuple(_object(each, index, tensors) for index, each in enumerate(content["objects"]))
    for what in ("id", "label"):
        given = [getattr(stored, what) for stored in objects]
        if len(set(given)) < len(given):
            raise ValueError(f"two objects of one {what}")
    if any(not 1 <= stored.label < next_label for stored in objects):
        raise ValueError(f"labels {[stored.label for stored in objects]} with next_label {next_label}")
    return SavedState(
        identity,
        objects,
        _whole(content["frame_index"], 0, MOST),
        next_label,
        _whole(content["names"], 0, MOST),
    )


def _object(content: dict[str, Any], index: int, tensors: Tensors) -> StoredObject:
    seen_s, first = content["last_visible_s"], content["first_frame"]
    return StoredObject(
        id=_text(content["id"], empty=False),
        label=_whole(content["label"], 1, MAX_LABEL),
        class_id=_text(content["class_id"]),
        state=ObjectState[_text(content["state"])],
        last_visible_s=float("-inf") if seen_s is None else _finite(seen_s),
        above=_whole(content["above"], 0, MOST),
        below=_whole(content["below"], 0, MOST),
        sought=content["sought"] is True,
        first_frame=EMPTY if first is None else _whole(first, -MOST, -1),
        memories=tuple(
            _memories(each, index, kind, tensors) for kind, each in enumerate(content["memories"])
        ),
        policy_state={
            _text(name): [_finite(number) for number in numbers]
            for name, numbers in content["policy_state"].items()
        },
    )


def _memories(content: dict[str, Any], index: int, kind: int, tensors: Tensors) -> StoredMemories:
    conditioning = _whole(content["conditioning"], 1, MOST_SLOTS)
    frames = [_whole(each, -MOST, -1) for each in content["frames"]]
    slots = [_whole(each, 0, MOST_SLOTS) for each in content["slots"]]
    ids = [_whole(each, -MOST, MOST) for each in content["ids"]]
    if not len(frames) == len(slots) == len(ids) == len(set(slots)):
        raise ValueError(f"{len(frames)} frames, {len(slots)} slots and {len(ids)} ids")
    frames_k, slots_k, ids_k = (np.array(each, np.int64) for each in (frames, slots, ids))
    memories = StoredMemories({}, frames_k, slots_k, ids_k, conditioning)
    for name in content["names"]:
        found = [tensors[tensor_name(index, kind, _text(name), memories, k)] for k in range(len(frames))]
        memories.tensors[name] = torch.stack(found) if found else torch.zeros(0)
    return memories


def _text(value: object, empty: bool = True) -> str:
    if problem := text_problem(value):
        raise ValueError(f"a name {problem}")
    if not value and not empty:
        raise ValueError("an empty name")
    return str(value)


def _whole(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r:.40} where a whole number of {least}..{most} belongs")
    return value


def _finite(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise ValueError(f"{value!r:.40} where a number belongs")
    return float(value)  # type: ignore[arg-type]
