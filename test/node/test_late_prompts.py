# SPDX-License-Identifier: Apache-2.0
"""Late prompts with the shipped model: a fast object is found where it is now, at a limited cost for the stream."""

import time
from collections.abc import Iterable

import numpy as np
import pytest

from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine import Prompt, Sam2Model, Tracker, TrackerConfig, config_for
from sam2_ros.eval.metrics import mask_iou
from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.node.frame_history import FrameHistory, StampedImage
from sam2_ros.node.late_prompts import BUSY_SHARE, DEADLINE_S, MAX_CATCH_UP_IMAGES, CatchUpReport, LatePrompts
from sam2_ros.node.object_registry import ObjectRegistry
from sam2_ros.node.prompt_queue import QueuedPrompt
from sam2_ros.weights.load import load_model

HEIGHT, WIDTH, SIDE = 120, 320, 40
PERIOD_NS = 33_000_000
SPEED_PX = 8  # per frame
PATIENCE_S = 1000.0  # deadline without effect, so that a slow machine visits as many images as a fast one


def box_at(frame: int) -> tuple[float, float, float, float]:
    x = 10.0 + SPEED_PX * frame
    return (x, 40.0, x + SIDE, 40.0 + SIDE)


def image_at(frame: int) -> np.ndarray:
    """A red square that moves to the right over a textured ground, and a blue disc that stands still."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    image = np.repeat((90 + 20 * ((rows // 7 + columns // 9) % 2))[..., None], 3, axis=2).astype(np.uint8)
    image[(rows - 100) ** 2 + (columns - 160) ** 2 < 200] = (20, 60, 210)
    x0, y0, x1, y1 = (int(edge) for edge in box_at(frame))
    image[y0:y1, x0:x1] = (200, 30, 20)
    return image


def iou_now(obj, frame: int) -> float:
    truth = np.zeros((HEIGHT, WIDTH), bool)
    x0, y0, x1, y1 = (int(edge) for edge in box_at(frame))
    truth[y0:y1, x0:x1] = True
    return float((obj.mask & truth).sum() / (obj.mask | truth).sum())


class Stream:
    """A tracker with its image history, and the late prompts of its stream."""

    def __init__(self, model) -> None:
        self.tracker = Tracker(model, TrackerConfig(max_objects=3))
        self.history = FrameHistory(60.0)  # longer than a test takes on a busy machine
        self.visited: list[int] = []
        self.objects = ObjectRegistry(3)
        self.late_prompts = LatePrompts(
            self.tracker, Tracker(model, TrackerConfig(max_objects=3)), self.history, decoder=self
        )
        self.broken: set[int] = set()

    def to_rgb(self, frame):
        if frame in self.broken:
            raise ImageError("cut short")
        self.visited.append(frame)
        return image_at(frame)

    def see(self, frame: int, *prompts: Prompt):
        image = self.arrive(frame)
        result = self.tracker.step(image_at(frame), prompts, stamp_s=image.stamp_ns / 1e9)
        self.history.mark_tracked(image.stamp_ns, result.frame_index)
        return {obj.id: obj for obj in result.objects}

    def arrive(self, frame: int) -> StampedImage:
        image = StampedImage(frame, stamp_of(frame), "camera", time.monotonic())
        self.history.add(image)
        return image

    def late(self, frame: int, *prompts: Prompt) -> None:
        self.take(frame, *prompts, submitted_s=time.monotonic() + PATIENCE_S)

    def take(self, frame: int, *prompts: Prompt, submitted_s: float) -> None:
        image = self.history.at(stamp_of(frame))
        assert image is not None
        late = [
            QueuedPrompt(
                prompt, self.objects.admit(prompt.id, named=True), image.stamp_ns, submitted_s, image=image
            )
            for prompt in prompts
        ]
        self.late_prompts.take(late, time.monotonic())

    def carry_on(self, until: int) -> list[CatchUpReport]:
        reports = []
        while self.late_prompts.busy:
            reports.append(self.late_prompts.advance(stamp_of(until)))
        return reports


def ids(prompts: Iterable[QueuedPrompt]) -> list[str]:
    return [queued.id for queued in prompts]


def stamp_of(frame: int) -> int:
    return 5_000_000_000 + frame * PERIOD_NS


@pytest.fixture(scope="module")
def model():
    return load_model("nano", device="cpu", image_size=256)


@pytest.fixture
def stream(model):
    return Stream(model)


def test_a_fast_object_prompted_late_is_found_where_it_is_now(stream, model):
    for frame in range(12):
        stream.see(frame, *([Prompt("disc", points=np.array([[160.0, 100.0]]))] if frame == 0 else []))
    stream.late(2, Prompt("square", box=box_at(2)))  # 300 ms before now
    (report,) = [report for report in stream.carry_on(until=11) if report.arrived]
    assert (ids(report.arrived), ids(report.ended)) == (["square"], ["square"])
    carried = stream.see(12)

    naive = Stream(model)
    for frame in range(12):
        naive.see(frame)
    naive.see(11, Prompt("square", box=box_at(2)))  # the same box, applied to the newest image
    assert iou_now(carried["square"], 12) > 0.8
    assert iou_now(naive.see(12)["square"], 12) < 0.3
    assert carried["square"].label == 2
    assert carried["disc"].presence > 0


def test_at_most_eight_evenly_spaced_images_are_visited_and_the_last_is_the_newest(stream):
    for frame in range(30):
        stream.arrive(frame)
    stream.late(0, Prompt("square", box=box_at(0)))
    stream.carry_on(until=29)
    assert stream.visited[0] == 0
    assert stream.visited[-1] == 29
    assert len(stream.visited) == 1 + MAX_CATCH_UP_IMAGES
    gaps = np.diff(stream.visited)
    assert gaps.max() - gaps.min() <= 1


def test_without_time_it_arrives_after_the_image_of_the_prompt(stream):
    for frame in range(10):
        stream.see(frame)
    stream.take(7, Prompt("square", box=box_at(7)), submitted_s=-1e6)
    (report,) = stream.carry_on(until=9)
    assert ids(report.arrived) == ["square"]
    assert stream.visited == [7]


def test_prompts_of_one_image_travel_together(stream):
    for frame in range(6):
        stream.see(frame)
    disc = Prompt("disc", points=np.array([[160.0, 100.0]]))
    stream.late(3, Prompt("square", box=box_at(3)), disc)
    stream.late(4, Prompt("other", box=box_at(4)))
    reports = stream.carry_on(until=5)
    assert [ids(report.arrived) for report in reports if report.arrived] == [["square", "disc"], ["other"]]
    assert stream.visited == [3, 4, 5, 4, 5]
    objects = stream.see(6)
    assert iou_now(objects["square"], 6) > 0.8
    assert iou_now(objects["other"], 6) > 0.8


def test_a_late_correction_keeps_identity_and_memory(stream):
    for frame in range(8):
        before = stream.see(frame, *([Prompt("square", box=box_at(0))] if frame == 0 else []))
    x0, y0, x1, y1 = box_at(5)
    stream.late(5, Prompt("square", points=np.array([[(x0 + x1) / 2, (y0 + y1) / 2]])))
    stream.carry_on(until=7)
    after = stream.see(8)
    assert after["square"].label == before["square"].label
    assert iou_now(after["square"], 8) > 0.8
    row = stream.tracker.tracks["square"].row
    assert np.count_nonzero(stream.tracker.bank.spatial_frame[row, :4] > -(1 << 30)) == 2


def test_an_object_removed_or_an_image_unreadable_during_catch_up_affects_no_other(stream):
    for frame in range(10):
        stream.see(frame, *([Prompt("old", points=np.array([[160.0, 100.0]]))] if frame == 0 else []))
    stream.late(2, Prompt("square", box=box_at(2)), Prompt("gone", box=box_at(2)))
    stream.late_prompts.advance(stamp_of(9))
    stream.objects.remove(["gone"])
    stream.broken = {4, 5}
    reports = stream.carry_on(until=9)
    assert [ids(report.arrived) for report in reports if report.arrived] == [["square"]]
    assert set(stream.see(10)) == {"old", "square"}

    stream.late(2, Prompt("new", box=box_at(2)))
    stream.broken = {2}
    (report,) = stream.carry_on(until=9)
    assert ids(report.ended) == ids(report.rejected) == ["new"]
    assert "cut short" in next(iter(report.rejected.values()))
    assert set(stream.see(11)) == {"old", "square"}


def test_a_failure_during_catch_up_is_reported_and_leaves_the_tracked_object_unchanged(stream, model):
    for frame in range(6):
        stream.see(frame, *([Prompt("square", box=box_at(0))] if frame == 0 else []))
    stream.late(3, Prompt("square", box=box_at(3)))
    encoder = model.memory_encoder
    del model.memory_encoder
    try:
        (report,) = stream.carry_on(until=5)
    finally:
        model.memory_encoder = encoder
    assert ids(report.rejected) == ["square"]
    assert "memory_encoder" in next(iter(report.rejected.values()))
    assert not stream.late_prompts.busy
    assert iou_now(stream.see(6)["square"], 6) > 0.8


def test_after_a_cut_only_the_image_of_the_prompt_is_visited(stream):
    for frame in range(10):
        stream.see(frame)
    stream.late(2, Prompt("square", box=box_at(2)))
    stream.late_prompts.skip_images()
    stream.tracker.discontinuity()
    stream.carry_on(until=9)
    assert stream.visited == [2]
    assert "square" in stream.see(10)


def test_a_busy_stream_gives_way_for_its_share_of_the_time_only(stream):
    for frame in range(10):
        stream.see(frame)
    began_s = time.monotonic()
    assert not stream.late_prompts.due(idle=True, now_s=began_s)
    stream.late(2, Prompt("square", box=box_at(2)))
    assert stream.late_prompts.due(idle=False, now_s=time.monotonic())
    stream.late_prompts.advance(stamp_of(9))
    took_s = time.monotonic() - began_s
    assert stream.late_prompts.due(idle=True, now_s=began_s + took_s)
    assert not stream.late_prompts.due(idle=False, now_s=began_s + took_s)
    assert stream.late_prompts.due(idle=False, now_s=began_s + 2.5 * took_s / BUSY_SHARE)
    assert stream.late_prompts.due(idle=False, now_s=began_s + PATIENCE_S + DEADLINE_S + 1.0)


def test_a_late_correction_is_answered_with_the_memory_of_that_time(monkeypatch):
    """Of a model that remembers six recent frames. Memories of later frames would change every logit."""
    model = Sam2Model(config_for("nano1").at_image_size(128)).eval().requires_grad_(False)
    model.load_state_dict(fill_by_key(model.state_dict(), presence_bias=6.0))
    answer, in_time = late_and_in_time(Stream(model), model, monkeypatch)
    np.testing.assert_allclose(answer.logits, in_time.logits, atol=0.05)


def test_a_late_correction_is_much_as_it_would_have_been_in_time(stream, model, monkeypatch):
    """nano's two recent frames are later than the click: it is answered with the prompted frame alone."""
    answer, in_time = late_and_in_time(stream, model, monkeypatch)
    assert mask_iou(answer.mask, in_time.mask) > 0.9


def late_and_in_time(stream, model, monkeypatch):
    """The answers to a click on frame 2: given after frame 5, and with its frame."""
    box = Prompt("square", box=box_at(0))
    x0, y0, x1, y1 = box_at(2)
    click = Prompt("square", points=np.array([[(x0 + x1) / 2, (y0 + y1) / 2]]))
    in_time = Stream(model)
    for frame in range(3):
        objects = in_time.see(frame, *{0: [box], 2: [click]}.get(frame, []))

    answers = []
    catch_up = stream.late_prompts._catch_up_tracker
    step = catch_up.step
    monkeypatch.setattr(catch_up, "step", lambda *given, **named: answers.append(step(*given, **named)))
    for frame in range(6):
        stream.see(frame, *([box] if frame == 0 else []))
    stream.late(2, click)
    stream.late_prompts.advance(stamp_of(5))
    (answer,) = answers[0].objects
    return answer, objects["square"]


def test_a_late_prompt_is_in_the_stream_within_a_second_however_much_the_stream_wants(stream):
    for frame in range(30):
        stream.arrive(frame)
    stream.take(0, Prompt("square", box=box_at(0)), submitted_s=time.monotonic() - 1.0)
    reports = []
    while stream.late_prompts.busy:  # images wait all the time
        assert stream.late_prompts.due(idle=False, now_s=time.monotonic())
        reports.append(stream.late_prompts.advance(stamp_of(29)))
    assert ids(reports[-1].arrived) == ["square"]
    assert stream.visited == [0]  # no time is left for those between


def test_a_late_prompt_visits_no_image_for_which_there_is_no_time(stream):
    for frame in range(30):
        stream.arrive(frame)
    now_s = time.monotonic()
    stream.take(0, Prompt("square", box=box_at(0)), submitted_s=now_s)
    stream.late_prompts.advance(stamp_of(29))
    time.sleep(max(0.0, now_s + 0.9 - time.monotonic()))  # the stream took all of it
    stream.carry_on(until=29)
    assert len(stream.visited) <= 2
