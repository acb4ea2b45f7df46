"""The desk: ids in request order, prompts with the image they are for, removals that cannot be overtaken."""

import itertools

import numpy as np
import pytest

from sam2_ros.engine import FrameResult, ObjectState, Prompt, PromptError, TrackedObject
from sam2_ros.node.prompts import PromptDesk, PromptRequest

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


def request(object_id: str = "", stamp_ms: int = 0, **fields) -> PromptRequest:
    fields.setdefault("box", (4.0, 4.0, 20.0, 20.0))
    frame_id = fields.pop("frame_id", "")
    prompt = Prompt(id=object_id or "#1", **fields)
    return PromptRequest(prompt, named=bool(object_id), stamp_ns=stamp_ms * MS, frame_id=frame_id)


@pytest.fixture
def desk() -> PromptDesk:
    """A desk that has seen a second of a 10 Hz camera, the newest image at 2000 ms."""
    numbers = itertools.count(1)
    desk = PromptDesk(max_objects=3, history_s=0.5, reserve_id=lambda: f"object_{next(numbers)}")
    for stamp_ms in range(1000, 2001, 100):
        desk.saw_image(stamp_ms * MS, "camera", SIZE_HW)
    return desk


def test_ids_are_reserved_in_request_order_and_skip_names_in_use(desk):
    assert desk.submit(request("object_2"), 0.0) == "object_2"
    assert desk.submit(request(), 0.0) == "object_1"
    assert desk.submit(request(), 0.0) == "object_3"
    work = desk.take(2100 * MS, 0.1)
    assert [prompt.id for prompt in work.prompts] == ["object_2", "object_1", "object_3"]
    assert work.remarks == []


def test_a_prompt_is_taken_once(desk):
    desk.submit(request("cup"), 0.0)
    assert [prompt.id for prompt in desk.take(2100 * MS, 0.1).prompts] == ["cup"]
    desk.settle(result_of("cup"))
    assert desk.take(2200 * MS, 0.2).prompts == []


def test_a_prompt_for_a_coming_image_waits_for_it(desk):
    desk.submit(request("cup", stamp_ms=2300), 0.0)
    assert desk.take(2100 * MS, 0.1).prompts == []
    assert desk.take(2200 * MS, 0.2).prompts == []
    work = desk.take(2300 * MS, 0.3)
    assert [prompt.id for prompt in work.prompts] == ["cup"]
    assert work.remarks == []


def test_the_image_a_prompt_waits_for_is_known(desk):
    desk.submit(request("cup", stamp_ms=2300), 0.0)
    desk.submit(request("bowl"), 0.0)  # the next image, whichever that is
    assert [desk.awaits(stamp_ms * MS) for stamp_ms in (2200, 2300, 2340, 2400)] == [False, True, True, False]
    desk.take(2300 * MS, 0.1)
    assert not desk.awaits(2300 * MS)


def test_a_stamp_within_half_a_period_is_the_same_image(desk):
    desk.submit(request("cup", stamp_ms=2130), 0.0)
    work = desk.take(2100 * MS, 0.1)
    assert [prompt.id for prompt in work.prompts] == ["cup"]
    assert work.remarks == []


def test_a_late_prompt_goes_with_the_next_image_and_says_so(desk):
    desk.submit(request("cup", stamp_ms=1800), 0.0)
    work = desk.take(2100 * MS, 0.1)
    assert [prompt.id for prompt in work.prompts] == ["cup"]
    assert work.remarks == ["prompt 'cup': applied to a newer image, 300 ms late"]


def test_a_prompt_older_than_the_history_is_rejected(desk):
    with pytest.raises(PromptError, match=r"'cup'.*0\.60 s older than the newest.*prompt_history = 0\.5 s"):
        desk.submit(request("cup", stamp_ms=1400), 0.0)


def test_a_prompt_whose_image_never_comes_ends_with_a_remark(desk):
    desk.submit(request("cup", stamp_ms=60_000), 0.0)
    assert desk.take(2100 * MS, 0.9).remarks == []
    assert "rejected: made on an image 57.80 s newer" in desk.take(2200 * MS, 1.1).remarks[0]
    assert desk.take(60_000 * MS, 1.2).prompts == []


def test_after_time_jumped_back_old_stamps_are_not_late_but_unknown(desk):
    desk.saw_image(500 * MS, "camera", SIZE_HW)
    assert desk.submit(request("cup", stamp_ms=2000), 0.0) == "cup"
    assert desk.submit(request("bowl", stamp_ms=500), 0.0) == "bowl"
    work = desk.take(500 * MS, 0.1)
    assert [prompt.id for prompt in work.prompts] == ["bowl"]
    assert work.remarks == []


def test_another_camera_makes_prompts_of_the_first_one_invalid(desk):
    desk.saw_image(2100 * MS, "wrist", SIZE_HW)
    assert desk.submit(request("cup", frame_id="wrist"), 0.0) == "cup"
    with pytest.raises(PromptError, match=r"made in frame 'camera'.*'wrist'"):
        desk.submit(request("bowl", frame_id="camera"), 0.0)


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
def test_a_bad_prompt_is_refused_at_once_with_its_name(desk, fields, said):
    with pytest.raises(PromptError, match=said):
        desk.submit(request("cup", **fields), 0.0)
    assert desk.take(2100 * MS, 0.1).prompts == []


def test_before_the_first_image_only_what_needs_no_image_is_checked():
    desk = PromptDesk(8, 2.0, lambda: "object_1")
    with pytest.raises(PromptError, match="no area"):
        desk.submit(request("cup", box=(9.0, 9.0, 1.0, 1.0)), 0.0)
    assert desk.submit(request("cup", mask=np.ones((5, 7), bool), box=None), 0.0) == "cup"
    assert desk.submit(request("far", points=np.array([[4000.0, 3000.0]])), 0.0) == "far"


def test_max_objects_counts_those_that_still_wait_and_lets_live_ones_be_refined(desk):
    for name in ("a", "b"):
        desk.submit(request(name), 0.0)
    desk.take(2100 * MS, 0.1)
    desk.settle(result_of("a", "b"))
    desk.submit(request("c", stamp_ms=2500), 0.2)
    with pytest.raises(PromptError, match=r"'d': 3 objects are tracked.*max_objects = 3"):
        desk.submit(request("d"), 0.3)
    assert desk.submit(request("a"), 0.4) == "a"


def test_removing_forgets_waiting_prompts_and_reports_what_is_left(desk):
    desk.submit(request("a"), 0.0)
    desk.take(2100 * MS, 0.1)
    desk.settle(result_of("a"))
    desk.submit(request("b"), 0.2)
    assert desk.remove(["b", "ghost"]) == (["ghost"], ["a"])
    work = desk.take(2200 * MS, 0.3)
    assert work.prompts == []
    assert work.removals.covers("b")
    assert not work.removals.covers("a")
    desk.settle(result_of("a"))
    assert desk.remove([]) == ([], [])
    assert desk.take(2300 * MS, 0.4).removals.ids == ["a"]


def test_what_is_removed_while_an_image_is_in_work_is_gone_from_its_result(desk):
    desk.submit(request("a"), 0.0)
    desk.submit(request("b"), 0.0)
    desk.take(2100 * MS, 0.1)
    assert desk.remove(["a"]) == ([], ["b"])
    removals = desk.settle(result_of("a", "b"))
    assert removals.covers("a")
    assert not removals.covers("b")
    # The id may come back at once, as a new object: the removal must not hit it.
    desk.submit(request("a"), 0.2)
    work = desk.take(2200 * MS, 0.3)
    assert [prompt.id for prompt in work.prompts] == ["a"]
    assert not work.removals.covers("a")


def test_reset_covers_everything_once(desk):
    desk.submit(request("a"), 0.0)
    desk.take(2100 * MS, 0.1)
    desk.settle(result_of("a"))
    desk.submit(request("b"), 0.2)
    assert desk.reset() == 2
    desk.submit(request("c"), 0.3)
    work = desk.take(2200 * MS, 0.4)
    assert work.removals.everything
    assert [prompt.id for prompt in work.prompts] == ["c"]
    assert not desk.settle(result_of("c")).everything


def test_prompts_of_a_failed_image_are_named(desk):
    desk.submit(request("a"), 0.0)
    desk.take(2100 * MS, 0.1)
    desk.settle(result_of("a"))
    desk.submit(request("a"), 0.2)
    desk.submit(request("b"), 0.2)
    desk.take(2200 * MS, 0.3)
    assert desk.abandon() == (["a", "b"], ["b"])
    assert desk.remove(["ghost"]) == (["ghost"], ["a"])
