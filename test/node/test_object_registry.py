# SPDX-License-Identifier: Apache-2.0
"""The object registry: which objects exist, with which ids, labels and states."""

import numpy as np
import pytest

from sam2_ros.engine import FrameResult, ObjectState, PromptError, TrackedObject
from sam2_ros.node import object_registry
from sam2_ros.node.object_registry import ObjectRegistry

SIZE_HW = (6, 8)
PENDING, TRACKING = ObjectState.PENDING, ObjectState.TRACKING


def result_of(*ids: str, state: ObjectState = TRACKING) -> FrameResult:
    """A tracker's result with these objects, under the tracker's own labels."""
    objects = [
        TrackedObject(
            each, label, "", np.ones(SIZE_HW, bool), np.zeros((1, 1)), 1.0, 5.0, state, 0.0, (0, 0, 8, 6), 48,
            (3.5, 2.5),
        )
        for label, each in enumerate(ids, start=1)
    ]  # fmt: skip
    return FrameResult(0, 0.0, *SIZE_HW, objects=objects)


def shown(objects: ObjectRegistry, result: FrameResult, *prompted: object_registry.ObjectEntry):
    objects.announce()
    objects.confirm(result, prompted)
    return [(obj.id, obj.label, obj.state) for obj in result.objects]


@pytest.fixture
def objects() -> ObjectRegistry:
    return ObjectRegistry(max_objects=3)


def test_an_object_is_pending_under_the_label_it_keeps(objects):
    entry = objects.admit("cup", named=True, class_id="mug")
    result = result_of()
    assert shown(objects, result) == [("cup", 1, PENDING)]
    (pending,) = result.objects
    assert (pending.class_id, pending.area_px, pending.age_s, pending.mask.shape) == ("mug", 0, 0.0, SIZE_HW)
    bowl = objects.admit("bowl", named=True)
    assert shown(objects, result_of("bowl"), bowl) == [("cup", 1, PENDING), ("bowl", 2, TRACKING)]
    assert shown(objects, result_of("bowl", "cup"), entry) == [("cup", 1, TRACKING), ("bowl", 2, TRACKING)]
    assert objects.remove(["cup"]) == ([], ["bowl"])
    objects.admit("cup", named=True)
    assert shown(objects, result_of("bowl")) == [("bowl", 2, TRACKING), ("cup", 3, PENDING)]


def test_an_object_requested_while_an_image_is_in_progress_appears_with_the_next(objects):
    objects.announce()
    objects.admit("cup", named=True)
    result = result_of()
    objects.confirm(result, [])
    assert result.objects == []
    assert shown(objects, result_of()) == [("cup", 1, PENDING)]


def test_names_and_labels_are_never_given_twice(objects):
    assert objects.admit("object_2", named=True).id == "object_2"
    assert [objects.admit("click", named=False).id for _ in range(2)] == ["object_1", "object_3"]
    assert [label for _, label, _ in shown(objects, result_of())] == [1, 2, 3]
    assert objects.reset() == 3
    assert objects.admit("click", named=False).id == "object_4"
    assert shown(objects, result_of()) == [("object_4", 4, PENDING)]
    objects.clear()  # another tracker
    assert objects.ids == []
    assert objects.admit("click", named=False).id == "object_5"
    assert shown(objects, result_of()) == [("object_5", 5, PENDING)]
    assert objects.resets == 1


def test_an_object_ends_when_its_last_prompt_is_rejected_or_the_tracker_drops_it(objects):
    first, second = (objects.admit("cup", named=True) for _ in range(2))
    assert first is second
    objects.close(first)
    assert objects.ids == ["cup"]
    objects.close(second)
    assert (objects.ids, first.exists) == ([], False)
    entry = objects.admit("cup", named=True)
    assert shown(objects, result_of("cup"), entry) == [("cup", 1, TRACKING)]
    objects.close(objects.admit("cup", named=True))  # a failed refinement does not end the object
    assert objects.ids == ["cup"]
    assert shown(objects, result_of()) == []  # forgotten
    assert objects.ids == []


def test_a_late_prompt_of_a_removed_object_does_not_reach_its_successor(objects):
    late = objects.admit("cup", named=True)
    objects.remove(["cup"])
    successor = objects.admit("cup", named=True)
    objects.close(late, tracked=True)
    assert not objects.is_tracked("cup")
    assert shown(objects, result_of("cup")) == [("cup", 1, PENDING)]
    assert shown(objects, result_of("cup"), successor) == [("cup", 1, TRACKING)]


def test_an_object_is_known_by_its_label_while_it_exists(objects):
    entries = [objects.admit(each, named=True) for each in ("cup", "ball")]
    shown(objects, result_of("cup", "ball"), *entries)
    assert [objects.has_label(label) for label in (1, 2, 3)] == [True, True, False]
    objects.remove(["cup"])
    assert [objects.has_label(label) for label in (1, 2)] == [False, True]


def test_a_removed_object_is_not_counted_even_before_the_next_image(objects):
    entries = [objects.admit(each, named=True) for each in ("cup", "box")]
    assert objects.states() == {}
    shown(objects, result_of("cup", "box"), *entries)
    assert objects.states() == {TRACKING: 2}
    objects.remove(["cup"])
    assert objects.states() == {TRACKING: 1}
    objects.reset()
    assert objects.states() == {}


def test_prompts_beyond_max_objects_or_the_last_label_are_rejected_with_the_reason(objects, monkeypatch):
    for each in "abc":
        objects.admit(each, named=True)
    with pytest.raises(PromptError, match=r"'d': 3 objects are tracked.*max_objects = 3"):
        objects.admit("d", named=True)
    assert objects.admit("a", named=True).id == "a"
    monkeypatch.setattr(object_registry, "MAX_LABEL", 4)
    shown(objects, result_of())
    objects.remove(["a", "b"])
    objects.admit("d", named=True)  # the last label
    with pytest.raises(PromptError, match=r"no label left for 'e': all 4 labels have been used; restart"):
        objects.admit("e", named=True)
