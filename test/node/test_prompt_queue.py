# SPDX-License-Identifier: Apache-2.0
"""The prompt queue: ids in request order, prompts with their own image, removals that no later prompt can undo."""

import numpy as np
import pytest

from sam2_ros.engine import FrameResult, ObjectState, Prompt, PromptError, TrackedObject
from sam2_ros.node.frame_history import FrameHistory, StampedImage
from sam2_ros.node.object_registry import ObjectRegistry
from sam2_ros.node.prompt_queue import PromptQueue, PromptRequest

SIZE_HW = (48, 64)
MS = 1_000_000


def tracked(object_id: str, label: int = 1) -> TrackedObject:
    return TrackedObject(
        id=object_id,
        label=label,
        class_id="",
        mask=np.zeros(SIZE_HW, bool),
        logits=np.zeros((4, 4), np.float32),
        score=1.0,
        presence=5.0,
        state=ObjectState.TRACKING,
        age_s=0.0,
        box=(0, 0, 0, 0),
        area_px=0,
        centroid_xy=(0.0, 0.0),
    )


def result_of(*ids: str) -> FrameResult:
    return FrameResult(
        0, 0.0, *SIZE_HW, objects=[tracked(object_id, n) for n, object_id in enumerate(ids, 1)]
    )


def pending(result: FrameResult) -> list[str]:
    return [obj.id for obj in result.objects if obj.state == ObjectState.PENDING]


def settled(queue: PromptQueue, *ids: str) -> FrameResult:
    """The completed result of the last image, in which the tracker found these objects."""
    result = result_of(*ids)
    queue.settle(result)
    return result


def request(object_id: str = "", stamp_ms: int = 0, **fields) -> PromptRequest:
    fields.setdefault("box", (4.0, 4.0, 20.0, 20.0))
    frame_id = fields.pop("frame_id", "")
    prompt = Prompt(id=object_id or "#1", **fields)
    return PromptRequest(prompt, named=bool(object_id), stamp_ns=stamp_ms * MS, frame_id=frame_id)


class Queue(PromptQueue):
    """A queue with a camera: `saw` adds an image, received one second after the one before."""

    received_s = 0.0

    def saw(self, stamp_ms: int, frame_id: str = "camera") -> StampedImage:
        self.received_s += 1.0
        self.image_size(SIZE_HW)
        image = StampedImage(np.zeros(8, np.uint8), stamp_ms * MS, frame_id, self.received_s)
        self._history.add(image)
        return image

    def take_next(self, stamp_ms: int, now_s: float):
        """An image comes and is taken at once."""
        return self.take(self.saw(stamp_ms), now_s)


@pytest.fixture
def queue() -> Queue:
    """A queue after one second of a 10 Hz camera; the newest image is at 2000 ms."""
    queue = Queue(ObjectRegistry(max_objects=3), FrameHistory(0.5))
    for stamp_ms in range(1000, 2001, 100):
        queue.saw(stamp_ms)
    return queue


def test_ids_are_reserved_in_request_order_and_skip_names_in_use(queue):
    assert queue.submit(request("object_2"), 0.0) == "object_2"
    assert queue.submit(request(), 0.0) == "object_1"
    assert queue.submit(request(), 0.0) == "object_3"
    work = queue.take_next(2100, 0.1)
    assert [queued.id for queued in work.prompts] == ["object_2", "object_1", "object_3"]
    assert (work.late, work.rejected) == ([], [])


def test_a_prompt_is_taken_once(queue):
    queue.submit(request("cup"), 0.0)
    assert [queued.id for queued in queue.take_next(2100, 0.1).prompts] == ["cup"]
    queue.settle(result_of("cup"))
    assert queue.take_next(2200, 0.2).prompts == []


def test_a_prompt_for_a_coming_image_waits_for_it(queue):
    queue.submit(request("cup", stamp_ms=2300), 0.0)
    assert queue.take_next(2100, 0.1).prompts == []
    assert queue.take_next(2200, 0.2).prompts == []
    work = queue.take_next(2300, 0.3)
    assert [queued.id for queued in work.prompts] == ["cup"]
    assert (work.late, work.rejected) == ([], [])


def test_the_image_a_prompt_waits_for_is_known(queue):
    queue.submit(request("cup", stamp_ms=2300), 0.0)
    queue.submit(request("bowl"), 0.0)  # the next image, whichever that is
    assert [queue.awaits(stamp_ms * MS) for stamp_ms in (2200, 2300, 2340, 2400)] == [
        False,
        True,
        True,
        False,
    ]
    queue.take_next(2300, 0.1)
    assert not queue.awaits(2300 * MS)


def test_a_stamp_within_half_a_period_is_the_same_image(queue):
    queue.submit(request("cup", stamp_ms=2130), 0.0)
    work = queue.take_next(2100, 0.1)
    assert [queued.id for queued in work.prompts] == ["cup"]
    assert (work.late, work.rejected) == ([], [])


def test_a_late_prompt_is_late_for_its_own_image(queue):
    queue.submit(request("cup", stamp_ms=1830), 7.0)
    work = queue.take_next(2100, 7.1)
    assert work.prompts == []
    (late,) = work.late
    assert (late.prompt.id, late.image.stamp_ns, late.submitted_s) == ("cup", 1800 * MS, 7.0)
    assert pending(settled(queue)) == ["cup"]
    # While it catches up it counts as an object, is pending, and is not taken again.
    for name in "ab":
        queue.submit(request(name), 7.2)
    with pytest.raises(PromptError, match="max_objects"):
        queue.submit(request("c"), 7.2)
    work = queue.take_next(2200, 7.3)
    assert (work.late, [queued.id for queued in work.prompts]) == ([], ["a", "b"])
    assert pending(settled(queue, "a", "b")) == ["cup"]
    queue.finish([late], [late])
    queue.take_next(2300, 7.4)
    assert pending(settled(queue, "a", "b", "cup")) == []


def test_a_late_prompt_that_fails_frees_its_place_and_a_live_object_stays(queue):
    queue.submit(request("old"), 0.0)
    queue.take_next(2100, 0.1)
    queue.settle(result_of("old"))
    for name in ("old", "new"):
        queue.submit(request(name, stamp_ms=1900), 0.2)
    work = queue.take_next(2200, 0.3)
    assert [late.prompt.id for late in work.late] == ["old", "new"]
    assert pending(settled(queue, "old")) == ["new"]
    queue.finish(work.late, [])
    assert queue.objects.remove(["ghost"]) == (["ghost"], ["old"])


def test_an_object_removed_during_catch_up_does_not_come_back(queue):
    queue.submit(request("cup", stamp_ms=1900), 0.0)
    late = queue.take_next(2100, 0.1).late
    assert queue.objects.remove(["cup"]) == ([], [])
    queue.finish(late, late)
    assert queue.objects.remove(["ghost"]) == (["ghost"], [])


def test_a_prompt_of_the_stream_before_a_break_is_late_for_its_image_there(queue):
    queue.submit(request("cup", stamp_ms=2000), 0.0)
    (late,) = queue.take_next(500, 0.1).late
    assert late.image.stamp_ns == 2000 * MS


def test_a_stamp_between_two_images_far_apart_is_unknown(queue):
    queue.saw(2400)
    with pytest.raises(PromptError, match=r"'cup': no image with its stamp.*200 ms away.*or zero"):
        queue.submit(request("cup", stamp_ms=2200), 0.0)


def test_a_prompt_older_than_the_history_is_rejected(queue):
    with pytest.raises(PromptError, match=r"'cup'.*0\.60 s older than the newest.*prompt_history = 0\.5 s"):
        queue.submit(request("cup", stamp_ms=1400), 0.0)


def test_a_prompt_whose_image_never_comes_is_rejected_with_the_reason(queue):
    queue.submit(request("cup", stamp_ms=60_000), 0.0)
    assert queue.take_next(2100, 0.9).rejected == []
    ((cup, reason),) = queue.take_next(2200, 1.1).rejected
    assert cup.id == "cup"
    assert "made on an image 57.80 s newer" in reason
    assert queue.objects.ids == []
    assert queue.take_next(60_000, 1.2).prompts == []


def test_after_time_jumped_back_old_stamps_are_not_late_but_unknown(queue):
    queue.saw(500, "camera")
    assert queue.submit(request("cup", stamp_ms=2000), 0.0) == "cup"
    assert queue.submit(request("bowl", stamp_ms=500), 0.0) == "bowl"
    work = queue.take_next(500, 0.1)
    assert [queued.id for queued in work.prompts] == ["bowl"]
    assert (work.late, work.rejected) == ([], [])


def test_another_camera_makes_prompts_of_the_first_one_invalid(queue):
    queue.saw(2100, "wrist")
    assert queue.submit(request("cup", frame_id="wrist"), 0.0) == "cup"
    with pytest.raises(PromptError, match=r"made in frame 'camera'.*'wrist'"):
        queue.submit(request("bowl", frame_id="camera"), 0.0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"box": (1.0, 2.0, 3.0)}, "'cup'.*box of 3 numbers"),
        ({"box": (5.0, 5.0, 5.0, 9.0)}, "'cup'.*no area"),
        ({"box": (float("nan"), 0.0, 9.0, 9.0)}, "'cup'.*not finite"),
        ({"points": np.array([[64.0, 3.0]])}, "'cup'.*outside the image"),
        ({"mask": np.ones((5, 5), bool)}, "'cup'.*mask of 5 x 5"),
        ({"frame_id": "map"}, "'cup'.*frame 'map'.*'camera'"),
    ],
)
def test_a_bad_prompt_is_refused_at_once_with_its_name(queue, fields, said):
    with pytest.raises(PromptError, match=said):
        queue.submit(request("cup", **fields), 0.0)
    assert queue.take_next(2100, 0.1).prompts == []


def test_before_the_first_image_only_what_needs_no_image_is_checked():
    queue = PromptQueue(ObjectRegistry(8), FrameHistory(2.0))
    with pytest.raises(PromptError, match="no area"):
        queue.submit(request("cup", box=(9.0, 9.0, 1.0, 1.0)), 0.0)
    assert queue.submit(request("cup", mask=np.ones((5, 7), bool), box=None), 0.0) == "cup"
    assert queue.submit(request("far", points=np.array([[4000.0, 3000.0]])), 0.0) == "far"


def test_max_objects_counts_those_that_still_wait_and_lets_live_ones_be_refined(queue):
    for name in ("a", "b"):
        queue.submit(request(name), 0.0)
    queue.take_next(2100, 0.1)
    queue.settle(result_of("a", "b"))
    queue.submit(request("c", stamp_ms=2500), 0.2)
    with pytest.raises(PromptError, match=r"'d': 3 objects are tracked.*max_objects = 3"):
        queue.submit(request("d"), 0.3)
    assert queue.submit(request("a"), 0.4) == "a"


def test_removing_forgets_waiting_prompts_and_reports_what_is_left(queue):
    queue.submit(request("a"), 0.0)
    queue.take_next(2100, 0.1)
    queue.settle(result_of("a"))
    queue.submit(request("b"), 0.2)
    assert queue.objects.remove(["b", "ghost"]) == (["ghost"], ["a"])
    work = queue.take_next(2200, 0.3)
    assert work.prompts == []
    assert queue.objects.is_tracked("a")
    queue.settle(result_of("a"))
    assert queue.objects.remove([]) == ([], [])
    queue.take_next(2300, 0.4)
    assert not queue.objects.is_tracked("a")


def test_an_object_removed_while_an_image_is_in_progress_is_gone_from_its_result(queue):
    queue.submit(request("a"), 0.0)
    queue.submit(request("b"), 0.0)
    queue.take_next(2100, 0.1)
    assert queue.objects.remove(["a"]) == ([], ["b"])
    assert [obj.id for obj in settled(queue, "a", "b").objects] == ["b"]
    # A new object may get the id at once; the removal must not affect it.
    queue.submit(request("a"), 0.2)
    work = queue.take_next(2200, 0.3)
    assert [queued.id for queued in work.prompts] == ["a"]
    assert not queue.objects.is_tracked("a")  # the tracker still holds the earlier object of this id
    assert [(obj.id, obj.label) for obj in settled(queue, "b", "a").objects] == [("b", 1), ("a", 2)]


def test_reset_covers_everything_once(queue):
    queue.submit(request("a"), 0.0)
    queue.take_next(2100, 0.1)
    queue.settle(result_of("a"))
    queue.submit(request("b"), 0.2)
    assert queue.objects.reset() == 2
    queue.submit(request("c"), 0.3)
    work = queue.take_next(2200, 0.4)
    assert [queued.id for queued in work.prompts] == ["c"]
    assert [obj.id for obj in settled(queue, "a", "c").objects] == ["c"]
    assert queue.objects.ids == ["c"]


def test_prompts_of_a_failed_image_are_named(queue):
    queue.submit(request("a"), 0.0)
    queue.take_next(2100, 0.1)
    queue.settle(result_of("a"))
    queue.submit(request("a"), 0.2)
    queue.submit(request("b"), 0.2)
    queue.take_next(2200, 0.3)
    assert [lost.id for lost in queue.abandon()] == ["a", "b"]
    assert [queue.objects.is_tracked(each) for each in "ab"] == [True, False]
    assert queue.objects.remove(["ghost"]) == (["ghost"], ["a"])
