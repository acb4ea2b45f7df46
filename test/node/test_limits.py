# SPDX-License-Identifier: Apache-2.0
"""Limits of one request, of waiting prompts, and of everything kept, with any stamps."""

from types import SimpleNamespace

import numpy as np
import pytest

from sam2_ros.engine import FrameResult, ObjectState, Prompt, PromptError, TrackedObject
from sam2_ros.node import frame_history as history_module
from sam2_ros.node.convert import prompt_request
from sam2_ros.node.detector.candidates import MAX_CANDIDATES, Candidates
from sam2_ros.node.detector.track_history import TrackHistory
from sam2_ros.node.frame_history import FrameHistory, StampedImage
from sam2_ros.node.limits import Limits, listed
from sam2_ros.node.object_registry import ObjectRegistry
from sam2_ros.node.prompt_queue import PromptQueue, PromptRequest

MS = 1_000_000
SIZE_HW = (48, 64)
SECOND = 1000 * MS
IMAGE_BYTES = 1000


def image(stamp_ns: int, received_s: float, frame_id: str = "camera") -> StampedImage:
    return StampedImage(SimpleNamespace(data=bytes(IMAGE_BYTES)), stamp_ns, frame_id, received_s)


def queue_with(history: FrameHistory | None = None, **limits) -> PromptQueue:
    history = history or FrameHistory(2.0)
    queue = PromptQueue(ObjectRegistry(8), history, Limits(**limits))
    queue.image_size(SIZE_HW)
    return queue


def submit(queue: PromptQueue, object_id: str = "cup", stamp_ns: int = 0, **fields) -> str:
    if not fields:
        fields = {"box": (4.0, 4.0, 20.0, 20.0)}
    return queue.submit(PromptRequest(Prompt(object_id, **fields), True, stamp_ns), 0.0)


def clicks(count: int) -> dict[str, np.ndarray]:
    return {"points": np.full((count, 2), 5.0)}


def message(**fields) -> SimpleNamespace:
    empty = SimpleNamespace(data=b"", height=0, width=0)
    header = SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=0), frame_id="")
    given = {"id": "cup", "class_id": "", "points": [], "box": [], "mask": empty, "header": header}
    return SimpleNamespace(**{**given, "replace": False, **fields})


# Limits of one request


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"points": [None] * 257}, r"'cup': 257 points; expected at most max_points = 256"),
        ({"id": "x" * 129}, r"'x{60}\.\.\.': id of 129 bytes; expected at most max_id_bytes = 128"),
        ({"id": "杯" * 43}, r"id of 129 bytes"),
        ({"class_id": "x" * 1_000_000}, r"'cup': class_id of 1,000,000 bytes"),
    ],
)
def test_a_prompt_beyond_the_limits_is_refused_by_name_before_it_is_converted(fields, said):
    with pytest.raises(PromptError, match=said) as refused:
        prompt_request(message(**fields), "#1")
    assert len(str(refused.value)) < 250


def test_a_prompt_at_the_limits_is_accepted():
    points = [SimpleNamespace(x=1.0, y=2.0, positive=True)] * 256
    request = prompt_request(message(id="x" * 128, points=points), "#1")
    assert queue_with().submit(request, 0.0) == "x" * 128


def test_a_message_with_too_many_prompts_is_refused_with_one_reason():
    Limits().check_count(64)
    with pytest.raises(PromptError, match=r"10,000 prompts in one message; expected at most .* = 64"):
        Limits().check_count(10_000)


def test_a_long_list_shows_the_first_reasons_and_a_count():
    assert listed(["a", "b"]) == "a, b"
    assert listed([f"r{n}" for n in range(10_000)], "; ").endswith("; r7; and 9,992 more")


# Limits of waiting prompts


def test_the_number_of_prompts_that_wait_for_an_image_is_limited():
    queue = queue_with(max_pending_prompts=3)
    for _ in range(3):
        submit(queue)
    with pytest.raises(PromptError, match=r"'bowl': 3 prompts wait .* max_pending_prompts = 3"):
        submit(queue, "bowl")
    queue.take(image(SECOND, 1.0), 1.0)
    assert submit(queue, "bowl") == "bowl"


def test_the_points_of_one_object_are_counted_over_all_its_waiting_prompts():
    queue = queue_with()
    submit(queue, **clicks(200))
    submit(queue, "bowl", **clicks(200))
    with pytest.raises(PromptError, match=r"'cup': 257 points with those that wait"):
        submit(queue, **clicks(57))
    submit(queue, **clicks(56))
    # Applied points are not counted: an object may be clicked any number of times in its life.
    queue.take(image(SECOND, 1.0), 1.0)
    submit(queue, **clicks(256))


def test_masks_that_wait_are_bounded_by_their_bytes():
    mask = np.ones(SIZE_HW, bool)
    queue = queue_with(max_pending_bytes=2 * mask.nbytes)
    submit(queue, mask=mask)
    submit(queue, mask=mask)
    with pytest.raises(PromptError, match=r"'cup': .* MB of masks .* max_pending_bytes"):
        submit(queue, mask=mask)
    submit(queue)  # a box has no mask bytes


def test_late_prompts_count_until_they_have_arrived():
    history = FrameHistory(2.0)
    queue = queue_with(history, max_pending_prompts=1)
    for n in range(1, 11):
        history.add(image(n * 100 * MS, n / 10))
    submit(queue, stamp_ns=500 * MS)
    history.add(image(1100 * MS, 1.1))
    late = queue.take(image(1100 * MS, 1.1), 1.1).late
    assert late
    with pytest.raises(PromptError, match="max_pending_prompts"):
        submit(queue)
    queue.finish(late, late)
    submit(queue)


def test_images_that_late_prompts_hold_are_bounded_by_their_bytes():
    history = FrameHistory(2.0, max_bytes=3 * IMAGE_BYTES)
    queue = queue_with(history)
    for n in range(1, 4):
        history.add(image(n * 100 * MS, n / 10))
        submit(queue, stamp_ns=n * 100 * MS)
    history.add(image(400 * MS, 0.4))
    submit(queue, stamp_ns=300 * MS)  # shares the image of an earlier prompt
    with pytest.raises(PromptError, match=r"images of all late prompts are .* MB .* history_bytes"):
        submit(queue, stamp_ns=400 * MS)


def test_removals_do_not_pile_up_while_no_image_comes():
    queue = queue_with()
    submit(queue, "live")
    queue.take(image(SECOND, 1.0), 1.0)
    for n in range(1000):
        submit(queue, f"object_{n}")
        assert queue.objects.remove([f"object_{n}", f"unknown_{n}"]) == ([f"unknown_{n}"], ["live"])
        queue.objects.remove(["live"]) if n == 500 else None
        submit(queue, "live") if n == 500 else None
    assert not queue.objects.is_tracked("live")  # the tracker must drop the earlier object of this id
    assert (queue.objects.ids, queue.pending) == (["live"], 1)
    assert [queued.id for queued in queue.take(image(2 * SECOND, 2.0), 2.0).prompts] == ["live"]


# Limits of what is kept


def test_images_whose_stamps_hardly_advance_are_kept_by_their_bytes():
    history = FrameHistory(2.0, max_bytes=20 * IMAGE_BYTES)
    for n in range(100):
        history.add(image(SECOND + n * 1000, n / 30))
    assert history.bytes == 20 * IMAGE_BYTES
    assert history.cut == 80
    assert history.nearest(SECOND).stamp_ns == SECOND + 80_000
    assert [each.stamp_ns for each in history.between(SECOND + 97_000, 2 * SECOND)] == [
        SECOND + 98_000,
        SECOND + 99_000,
    ]


def test_a_prompt_on_an_image_dropped_early_gets_the_reason():
    history = FrameHistory(2.0, max_bytes=3 * IMAGE_BYTES)
    queue = queue_with(history)
    for n in range(1, 11):
        history.add(image(n * 100 * MS, n / 10))
    with pytest.raises(
        PromptError, match=r"0\.50 s older than the newest, which was dropped .*history_bytes"
    ):
        submit(queue, stamp_ns=500 * MS)
    submit(queue, stamp_ns=900 * MS)


def test_small_images_are_kept_by_their_number_and_by_when_they_came(monkeypatch):
    history = FrameHistory(2.0)
    for n in range(100):
        history.add(image(SECOND + n, float(n)))
    assert history.bytes == (1 + 10) * IMAGE_BYTES  # five times prompt_history, by the clock
    monkeypatch.setattr(history_module, "MAX_IMAGES", 4)
    history.add(image(SECOND + 200, 100.0))
    assert history.bytes == 4 * IMAGE_BYTES


def test_one_image_larger_than_the_bound_is_kept_alone():
    history = FrameHistory(2.0, max_bytes=10)
    for n in range(1, 4):
        history.add(image(n * 100 * MS, n / 10))
    assert history.at(300 * MS) is history.newest
    assert history.bytes == IMAGE_BYTES


def test_a_history_of_images_that_come_again_and_again_stays_exact():
    history = FrameHistory(0.5)
    for n in range(200):
        stamp = SECOND + (n % 40) // 2 * 100 * MS  # every image twice, in a loop of two seconds
        history.add(image(stamp, n / 20))
        kept = history.between(0, 100 * SECOND)
        assert history.bytes == len(kept) * IMAGE_BYTES
        assert len({each.stamp_ns for each in kept}) == len(kept) <= 6


def result_at(stamp_s: float, side: int = 64) -> FrameResult:
    mask = np.ones((side, side), bool)
    seen = TrackedObject("cup", 1, "", mask, np.zeros((4, 4), np.float32), 1.0, 5.0, ObjectState.TRACKING,
        0.0, (0, 0, side, side), side * side, (0.0, 0.0))  # fmt: skip
    return FrameResult(0, stamp_s, side, side, objects=[seen])


def test_the_track_history_is_limited_by_bytes_too():
    track_history = TrackHistory(2.0, max_bytes=10 * 64 * 64 // 8)
    for n in range(1000):
        track_history.add(result_at(1.0 + n * 1e-6))
    assert track_history.bytes == 10 * 64 * 64 // 8
    assert track_history.cut == 990
    (cup,) = track_history.known(1.000995, {})
    assert cup.mask is not None


def test_candidates_of_a_detector_whose_stamps_hardly_advance_do_not_pile_up():
    candidates = Candidates()
    for n in range(40):
        x = np.arange(100) * 20.0 + n // 2 * 4000.0
        boxes = np.stack([x, x * 0, x + 10, x * 0 + 10], axis=1)
        seen = candidates.follow(boxes, ["cup"] * 100, 1.0 + n * 1e-6)
    assert len(candidates._alive) == MAX_CANDIDATES
    assert all(each in candidates._alive for each in seen)


# Order of images


def saw(
    history: FrameHistory, *stamps_ms: float, period_s: float = 0.1, frame_id: str = "camera"
) -> list[bool]:
    """True for each image that is accepted; they come one every `period_s`."""
    begun_s = history.newest.received_s if history.newest else 0.0
    return [
        history.add(image(round(stamp * MS), begun_s + n * period_s, frame_id))
        for n, stamp in enumerate(stamps_ms, start=1)
    ]


def test_an_image_slightly_out_of_order_is_refused_and_the_history_stays():
    history = FrameHistory(2.0)
    assert saw(history, 1000, 1100, 1200, 1150, 1300, 1050, 1400) == [True] * 3 + [False, True, False, True]
    assert [each.stamp_ns // MS for each in history.between(0, 10 * SECOND)] == [1000, 1100, 1200, 1300, 1400]


def test_two_late_images_in_a_row_and_those_that_come_backwards_are_no_jump():
    history = FrameHistory(2.0)
    assert saw(history, 5000, 4700, 4800, 5100) == [True, False, False, True]
    assert saw(history, 5050, 5000, 4950, 4900, 5200) == [False] * 4 + [True]
    assert history.at(5000 * MS) is not None


def test_a_jump_back_of_a_second_or_more_is_a_new_stream():
    history = FrameHistory(2.0)
    assert saw(history, 5000, 5100, 4100, 4200) == [True] * 4
    assert history.nearest(5000 * MS).stamp_ns == 4200 * MS


def test_a_bag_shorter_than_a_second_loops():
    history = FrameHistory(2.0)
    loop = [1000 + 100 * n for n in range(8)]
    taken = saw(history, *loop * 4)
    assert taken == ([True] * 8 + [False] * 2 + ([True] * 6 + [False] * 2) * 3)[:32]


def test_a_stream_that_begins_again_after_a_silence_is_no_late_image():
    history = FrameHistory(2.0)
    saw(history, 1000, 1100, 1200)
    assert saw(history, 1000, period_s=5.0) == [True]
    assert history.newest.stamp_ns == 1000 * MS


def test_a_simulation_reset_within_its_first_second_that_then_stands_still_is_seen():
    history = FrameHistory(2.0)
    saw(history, 500, 600, 700)
    assert saw(history, 100, 100, 100, 100) == [False, False, True, True]


def test_the_same_image_twice_another_camera_and_no_stamp_are_not_out_of_order():
    history = FrameHistory(2.0)
    assert saw(history, 700, 700) == [True, True]
    assert saw(history, 600, frame_id="other") == [True]
    assert saw(history, 0, frame_id="other") == [True]
