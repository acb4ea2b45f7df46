"""The desk: ids in request order, prompts with the image they are for, removals that cannot be overtaken."""

import itertools

import numpy as np
import pytest

from sam2_ros.engine import FrameResult, ObjectState, Prompt, PromptError, TrackedObject
from sam2_ros.node.frame_history import Arrival, FrameHistory
from sam2_ros.node.prompt_queue import PromptDesk, PromptRequest

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


class Desk(PromptDesk):
    """A desk beside its camera: `saw` an image, which is received one second after the other."""

    received_s = 0.0

    def saw(self, stamp_ms: int, frame_id: str = "camera") -> Arrival:
        self.received_s += 1.0
        self.image_size(SIZE_HW)
        arrival = Arrival(np.zeros(8, np.uint8), stamp_ms * MS, frame_id, self.received_s)
        self._history.saw(arrival)
        return arrival

    def take_next(self, stamp_ms: int, now_s: float):
        """An image comes and it is its turn."""
        return self.take(self.saw(stamp_ms), now_s)


@pytest.fixture
def desk() -> Desk:
    """A desk that has seen a second of a 10 Hz camera, the newest image at 2000 ms."""
    numbers = itertools.count(1)
    desk = Desk(max_objects=3, history=FrameHistory(0.5), reserve_id=lambda: f"object_{next(numbers)}")
    for stamp_ms in range(1000, 2001, 100):
        desk.saw(stamp_ms)
    return desk


def test_ids_are_reserved_in_request_order_and_skip_names_in_use(desk):
    assert desk.submit(request("object_2"), 0.0) == "object_2"
    assert desk.submit(request(), 0.0) == "object_1"
    assert desk.submit(request(), 0.0) == "object_3"
    work = desk.take_next(2100, 0.1)
    assert [prompt.id for prompt in work.prompts] == ["object_2", "object_1", "object_3"]
    assert (work.late, work.rejected) == ([], {})


def test_a_prompt_is_taken_once(desk):
    desk.submit(request("cup"), 0.0)
    assert [prompt.id for prompt in desk.take_next(2100, 0.1).prompts] == ["cup"]
    desk.settle(result_of("cup"))
    assert desk.take_next(2200, 0.2).prompts == []


def test_a_prompt_for_a_coming_image_waits_for_it(desk):
    desk.submit(request("cup", stamp_ms=2300), 0.0)
    assert desk.take_next(2100, 0.1).prompts == []
    assert desk.take_next(2200, 0.2).prompts == []
    work = desk.take_next(2300, 0.3)
    assert [prompt.id for prompt in work.prompts] == ["cup"]
    assert (work.late, work.rejected) == ([], {})


def test_the_image_a_prompt_waits_for_is_known(desk):
    desk.submit(request("cup", stamp_ms=2300), 0.0)
    desk.submit(request("bowl"), 0.0)  # the next image, whichever that is
    assert [desk.awaits(stamp_ms * MS) for stamp_ms in (2200, 2300, 2340, 2400)] == [False, True, True, False]
    desk.take_next(2300, 0.1)
    assert not desk.awaits(2300 * MS)


def test_a_stamp_within_half_a_period_is_the_same_image(desk):
    desk.submit(request("cup", stamp_ms=2130), 0.0)
    work = desk.take_next(2100, 0.1)
    assert [prompt.id for prompt in work.prompts] == ["cup"]
    assert (work.late, work.rejected) == ([], {})


def test_a_late_prompt_is_late_for_its_own_image(desk):
    desk.submit(request("cup", stamp_ms=1830), 7.0)
    work = desk.take_next(2100, 7.1)
    assert work.prompts == []
    (late,) = work.late
    assert (late.prompt.id, late.image.stamp_ns, late.submitted_s) == ("cup", 1800 * MS, 7.0)
    assert work.awaited == {"cup": ""}
    assert desk.settle(result_of("cup")).ids == []
    # On its way it counts as known, is still awaited, and is not taken again.
    for name in "ab":
        desk.submit(request(name), 7.2)
    with pytest.raises(PromptError, match="max_objects"):
        desk.submit(request("c"), 7.2)
    work = desk.take_next(2200, 7.3)
    assert (work.late, [prompt.id for prompt in work.prompts]) == ([], ["a", "b"])
    assert work.awaited == {"cup": ""}
    desk.ended(["cup"], ["cup"])
    assert desk.take_next(2300, 7.4).awaited == {}


def test_a_late_prompt_that_fails_frees_its_place_and_a_live_object_stays(desk):
    desk.submit(request("old"), 0.0)
    desk.take_next(2100, 0.1)
    desk.settle(result_of("old"))
    for name in ("old", "new"):
        desk.submit(request(name, stamp_ms=1900), 0.2)
    work = desk.take_next(2200, 0.3)
    assert [late.prompt.id for late in work.late] == ["old", "new"]
    assert work.awaited == {"new": ""}
    desk.ended(["old", "new"], [])
    assert desk.remove(["ghost"]) == (["ghost"], ["old"])


def test_what_is_removed_on_its_way_does_not_come_back(desk):
    desk.submit(request("cup", stamp_ms=1900), 0.0)
    desk.take_next(2100, 0.1)
    assert desk.remove(["cup"]) == ([], [])
    desk.ended(["cup"], ["cup"])
    assert desk.remove(["ghost"]) == (["ghost"], [])


def test_a_prompt_of_the_stream_before_a_break_is_late_for_its_image_there(desk):
    desk.submit(request("cup", stamp_ms=2000), 0.0)
    (late,) = desk.take_next(500, 0.1).late
    assert late.image.stamp_ns == 2000 * MS


def test_a_stamp_between_two_images_far_apart_is_unknown(desk):
    desk.saw(2400)
    with pytest.raises(PromptError, match=r"'cup': no image with its stamp.*200 ms away.*or zero"):
        desk.submit(request("cup", stamp_ms=2200), 0.0)


def test_a_prompt_older_than_the_history_is_rejected(desk):
    with pytest.raises(PromptError, match=r"'cup'.*0\.60 s older than the newest.*prompt_history = 0\.5 s"):
        desk.submit(request("cup", stamp_ms=1400), 0.0)


def test_a_prompt_whose_image_never_comes_ends_with_a_remark(desk):
    desk.submit(request("cup", stamp_ms=60_000), 0.0)
    assert desk.take_next(2100, 0.9).rejected == {}
    assert "made on an image 57.80 s newer" in desk.take_next(2200, 1.1).rejected["cup"]
    assert desk.take_next(60_000, 1.2).prompts == []


def test_after_time_jumped_back_old_stamps_are_not_late_but_unknown(desk):
    desk.saw(500, "camera")
    assert desk.submit(request("cup", stamp_ms=2000), 0.0) == "cup"
    assert desk.submit(request("bowl", stamp_ms=500), 0.0) == "bowl"
    work = desk.take_next(500, 0.1)
    assert [prompt.id for prompt in work.prompts] == ["bowl"]
    assert (work.late, work.rejected) == ([], {})


def test_another_camera_makes_prompts_of_the_first_one_invalid(desk):
    desk.saw(2100, "wrist")
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
    assert desk.take_next(2100, 0.1).prompts == []


def test_before_the_first_image_only_what_needs_no_image_is_checked():
    desk = PromptDesk(8, FrameHistory(2.0), lambda: "object_1")
    with pytest.raises(PromptError, match="no area"):
        desk.submit(request("cup", box=(9.0, 9.0, 1.0, 1.0)), 0.0)
    assert desk.submit(request("cup", mask=np.ones((5, 7), bool), box=None), 0.0) == "cup"
    assert desk.submit(request("far", points=np.array([[4000.0, 3000.0]])), 0.0) == "far"


def test_max_objects_counts_those_that_still_wait_and_lets_live_ones_be_refined(desk):
    for name in ("a", "b"):
        desk.submit(request(name), 0.0)
    desk.take_next(2100, 0.1)
    desk.settle(result_of("a", "b"))
    desk.submit(request("c", stamp_ms=2500), 0.2)
    with pytest.raises(PromptError, match=r"'d': 3 objects are tracked.*max_objects = 3"):
        desk.submit(request("d"), 0.3)
    assert desk.submit(request("a"), 0.4) == "a"


def test_removing_forgets_waiting_prompts_and_reports_what_is_left(desk):
    desk.submit(request("a"), 0.0)
    desk.take_next(2100, 0.1)
    desk.settle(result_of("a"))
    desk.submit(request("b"), 0.2)
    assert desk.remove(["b", "ghost"]) == (["ghost"], ["a"])
    work = desk.take_next(2200, 0.3)
    assert work.prompts == []
    assert not work.removals.covers("a")
    desk.settle(result_of("a"))
    assert desk.remove([]) == ([], [])
    assert desk.take_next(2300, 0.4).removals.ids == ["a"]


def test_what_is_removed_while_an_image_is_in_work_is_gone_from_its_result(desk):
    desk.submit(request("a"), 0.0)
    desk.submit(request("b"), 0.0)
    desk.take_next(2100, 0.1)
    assert desk.remove(["a"]) == ([], ["b"])
    removals = desk.settle(result_of("a", "b"))
    assert removals.covers("a")
    assert not removals.covers("b")
    # The id may come back at once, as a new object: the removal must not hit it.
    desk.submit(request("a"), 0.2)
    work = desk.take_next(2200, 0.3)
    assert [prompt.id for prompt in work.prompts] == ["a"]
    assert not work.removals.covers("a")


def test_reset_covers_everything_once(desk):
    desk.submit(request("a"), 0.0)
    desk.take_next(2100, 0.1)
    desk.settle(result_of("a"))
    desk.submit(request("b"), 0.2)
    assert desk.reset() == 2
    desk.submit(request("c"), 0.3)
    work = desk.take_next(2200, 0.4)
    assert work.removals.everything
    assert [prompt.id for prompt in work.prompts] == ["c"]
    assert not desk.settle(result_of("c")).everything


def test_prompts_of_a_failed_image_are_named(desk):
    desk.submit(request("a"), 0.0)
    desk.take_next(2100, 0.1)
    desk.settle(result_of("a"))
    desk.submit(request("a"), 0.2)
    desk.submit(request("b"), 0.2)
    desk.take_next(2200, 0.3)
    assert desk.abandon() == (["a", "b"], ["b"])
    assert desk.remove(["ghost"]) == (["ghost"], ["a"])
