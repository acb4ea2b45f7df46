# SPDX-License-Identifier: Apache-2.0
"""The object registry and states: labels and generated names are never given twice, whatever is loaded."""

from __future__ import annotations

import pytest

from sam2_ros.engine import FrameResult, ObjectState, PromptError
from sam2_ros.engine.result import MAX_LABEL
from sam2_ros.engine.stored_object import StoredObject
from sam2_ros.node.object_registry import ObjectRegistry
from sam2_ros.state.identity import ModelIdentity
from sam2_ros.state.saved_state import SavedState

MODEL = ModelIdentity("nano", "2.1", 448, "0")


def state(next_label: int, names: int = 0, **labels: int) -> SavedState:
    objects = tuple(
        StoredObject(id, label, "mug", ObjectState.TRACKING, 0.0, 0, 0, False, -1, ())
        for id, label in labels.items()
    )
    return SavedState(MODEL, objects, 0, next_label, names)


def label_of(registry: ObjectRegistry, id: str) -> int:
    entry = registry.admit(id, named=True)
    registry.announce()
    registry.confirm(FrameResult(0, 0.0, 8, 8), [])
    return entry.label


@pytest.fixture
def registry() -> ObjectRegistry:
    return ObjectRegistry(max_objects=4)


def test_numbering_goes_on_above_the_file(registry):
    registry.recall(state(8, names=3, cup=2, box=5), merge=True)
    assert registry.numbering().labels == {"cup": 2, "box": 5}
    assert label_of(registry, "new") == 8
    assert registry.admit("#1", named=False).id == "object_4"


def test_a_label_that_another_object_has_had_is_not_taken(registry):
    assert label_of(registry, "other") == 1
    registry.recall(state(3, cup=1, box=2), merge=True)
    assert registry.numbering().labels == {"cup": 3, "box": 2}
    assert label_of(registry, "new") == 4


def test_an_object_gets_its_own_label_back(registry):
    registry.recall(state(3, cup=1, box=2), merge=True)
    registry.remove(["cup"])
    registry.recall(state(3, cup=1), merge=True)
    assert registry.numbering().labels["cup"] == 1


def test_without_room_nothing_changes(registry):
    for id in "abc":
        registry.admit(id, named=True)
    with pytest.raises(PromptError, match="5 objects with those of the file"):
        registry.recall(state(3, cup=1, box=2), merge=True)
    assert registry.ids == ["a", "b", "c"]
    registry.recall(state(3, cup=1, box=2), merge=False)
    assert registry.ids == ["cup", "box"]
    with pytest.raises(PromptError, match="no labels left"):
        registry.recall(state(MAX_LABEL + 1, late=MAX_LABEL), merge=True)
