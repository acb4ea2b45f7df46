# SPDX-License-Identifier: Apache-2.0
"""Every accepted prompt has one outcome, whatever happens to its object and its image; every object one end."""

import numpy as np
import pytest

from sam2_ros.engine import FrameResult, ObjectState, Prompt, PromptError, TrackedObject
from sam2_ros.node.frame_history import FrameHistory, StampedImage
from sam2_ros.node.object_registry import ObjectRegistry
from sam2_ros.node.prompt_outcome import Outcome
from sam2_ros.node.prompt_queue import PromptQueue, PromptRequest

APPLIED, LATE, REJECTED, REMOVED = Outcome
BOX = (2.0, 2.0, 8.0, 8.0)
MS = 1_000_000


class Bench:
    """A queue whose outcomes are kept."""

    def __init__(self) -> None:
        self.outcomes = []
        self.objects = ObjectRegistry(3, self.outcomes.append)
        self.history = FrameHistory(5.0)
        self.queue = PromptQueue(self.objects, self.history)

    def add(self, object_id, stamp_ms=0):
        prompt = Prompt(object_id, box=BOX)
        return self.queue.enqueue(PromptRequest(prompt, True, stamp_ms * MS, source="service"), 0.0)

    def image(self, stamp_ms) -> StampedImage:
        image = StampedImage(np.zeros((10, 10, 3), np.uint8), stamp_ms * MS, "camera", stamp_ms / 1e3)
        self.history.add(image)
        return image

    def settle(self, *ids, forgotten=()) -> None:
        result = FrameResult(0, 0.0, 10, 10)
        result.objects = [
            TrackedObject(each, 1, "", np.ones((10, 10), bool), state=ObjectState.TRACKING) for each in ids
        ]
        result.forgotten = list(forgotten)
        self.queue.settle(result)

    def short(self):
        return [(each.id, each.outcome) for each in self.outcomes]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_an_applied_prompt_has_the_image_it_was_applied_to(bench):
    queued, image = bench.add("cup"), bench.image(100)
    (due,) = bench.queue.take(image, 0.0).prompts
    assert due is queued
    bench.queue.conclude(queued, APPLIED, image)
    bench.queue.conclude(queued, REJECTED, image, "too late to say so")
    bench.settle("cup")
    (outcome,) = bench.outcomes
    assert (outcome.id, outcome.source, outcome.stamp_ns) == ("cup", "service", 100 * MS)
    assert outcome.prompt.box == BOX
    assert queued.is_shown(received_s=0.1)
    assert not queued.is_shown(received_s=0.09)


@pytest.mark.parametrize("end", ["remove", "reset", "cleanup"])
def test_prompts_that_wait_end_with_their_object(bench, end):
    bench.add("cup")
    bench.queue.conclude(bench.queue.take(image := bench.image(100), 0.0).prompts[0], APPLIED, image)
    bench.settle("cup")
    waiting, new = bench.add("cup"), bench.add("new")
    bench.outcomes.clear()
    if end == "cleanup":
        bench.objects.clear()
        bench.queue.drop_ended()
    elif end == "reset":
        bench.queue.reset()
    else:
        bench.queue.remove([])
    assert bench.short() == [("cup", REMOVED), ("new", REMOVED), ("cup", REJECTED), ("new", REJECTED)]
    assert bench.outcomes[0].source == ("" if end == "cleanup" else "service")
    assert waiting.reason.startswith("prompt 'cup': the object ended before the prompt was applied")
    assert new.outcome == REJECTED
    bench.queue.take(bench.image(200), 0.0)
    assert len(bench.outcomes) == 4


def test_an_object_removed_while_its_image_is_tracked_has_a_rejected_prompt_after_its_end(bench):
    queued, image = bench.add("cup"), bench.image(100)
    bench.queue.take(image, 0.0)
    bench.queue.remove(["cup"])
    bench.queue.conclude(queued, APPLIED, image)
    bench.settle("cup")
    assert bench.short() == [("cup", REMOVED), ("cup", REJECTED)]


def test_a_prompt_of_a_failed_image_is_rejected_and_an_object_that_never_was_has_no_end(bench):
    bench.add("cup")
    bench.queue.take(bench.image(100), 0.0)
    assert [lost.id for lost in bench.queue.abandon("its image failed: boom")] == ["cup"]
    assert [(each.outcome, each.reason) for each in bench.outcomes] == [
        (REJECTED, "prompt 'cup': its image failed: boom")
    ]
    assert bench.objects.ids == []


def test_a_late_prompt_has_its_own_image_and_one_outcome(bench):
    own = bench.image(100)
    bench.image(200)
    queued = bench.add("cup", stamp_ms=100)
    due = bench.queue.take(bench.image(300), 0.0)
    bench.queue.finish(due.late, arrived=due.late)
    bench.queue.conclude(queued, LATE)
    assert [(each.outcome, each.stamp_ns) for each in bench.outcomes] == [(LATE, own.stamp_ns)]
    bench.queue.remove(["cup"])
    bench.queue.drop_ended()
    assert bench.short() == [("cup", LATE), ("cup", REMOVED)]


def test_a_late_prompt_of_a_removed_object_is_rejected_once(bench):
    bench.image(100)
    bench.image(200)
    queued = bench.add("cup", stamp_ms=100)
    due = bench.queue.take(bench.image(300), 0.0)
    bench.queue.remove(["cup"])
    bench.queue.finish(due.late, arrived=due.late)
    bench.queue.conclude(queued, LATE)
    assert bench.short() == [("cup", REMOVED), ("cup", REJECTED)]


def test_objects_that_the_tracker_ends_say_why(bench):
    for name in ("cup", "can"):
        queued, image = bench.add(name), bench.image(100)
        bench.queue.take(image, 0.0)
        bench.queue.conclude(queued, APPLIED, image)
        bench.settle("cup", "can") if name == "can" else bench.settle("cup")
    bench.outcomes.clear()
    bench.queue.take(bench.image(200), 0.0)
    bench.settle(forgotten=["cup"])
    assert [(each.id, each.source, each.reason) for each in bench.outcomes] == [
        ("cup", "", "hidden for longer than forget_after"),
        ("can", "", "dropped: out of device memory"),
    ]


def test_a_prompt_that_is_not_accepted_is_reported_without_its_mask(bench):
    request = PromptRequest(Prompt("cup", mask=np.ones((4, 4), bool)), named=False, source="topic")
    bench.queue.image_size((10, 10))
    with pytest.raises(PromptError) as error:
        bench.queue.enqueue(request, 0.0)
    outcome = request.rejected(str(error.value))
    assert (outcome.id, outcome.prompt.mask, outcome.outcome) == ("", None, REJECTED)
