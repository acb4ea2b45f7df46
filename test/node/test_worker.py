# SPDX-License-Identifier: Apache-2.0
"""The worker with a real tracker and random weights: failing images, removals, jumps, and how it stops."""

import threading
import time

import numpy as np
import pytest
from random_models import random_model

from sam2_ros.engine import Prompt, Tracker, TrackerConfig, config_for
from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.node.diagnostics import Statistics
from sam2_ros.node.frame_history import FrameHistory, StampedImage
from sam2_ros.node.late_prompts import LatePrompts
from sam2_ros.node.mailbox import Mailbox
from sam2_ros.node.object_registry import ObjectRegistry
from sam2_ros.node.prompt_queue import PromptQueue, PromptRequest
from sam2_ros.node.worker import Worker

IMAGE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
TIMEOUT_S = 60.0


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(message)

    def warning(self, message: str) -> None:
        self.lines.append(message)

    def error(self, message: str) -> None:
        self.lines.append(message)


class Bench:
    """A running worker. A message is the image itself, or an ImageError to raise instead."""

    def __init__(self, model, to_rgb=None) -> None:
        self.tracker = Tracker(model, TrackerConfig(max_objects=2))
        self.history = FrameHistory(2.0)
        self.objects = ObjectRegistry(2)
        self.queue = PromptQueue(self.objects, self.history)
        self.to_rgb = to_rgb or self._to_rgb
        self.mailbox: Mailbox[StampedImage] = Mailbox()
        self.statistics = Statistics()
        self.log = Log()
        self.delivered: list[tuple[int, list[str]]] = []
        self.reasons: list[str] = []
        self.breaks: list[int] = []
        self.worker = Worker(
            self.tracker,
            LatePrompts(self.tracker, Tracker(model, TrackerConfig(max_objects=2)), self.history, self),
            self.history,
            self.queue,
            self.mailbox,
            self.statistics,
            decoder=self,
            results=self,
            give_up=self.give_up,
            log=self.log,
        )
        self.worker.start()

    def deliver(self, result, image_rgb, image) -> None:
        self.delivered.append((image.stamp_ns, [obj.id for obj in result.objects]))

    def discontinuity(self) -> None:
        self.breaks.append(len(self.delivered))

    def give_up(self, reason: str) -> None:
        self.reasons.append(reason)

    @staticmethod
    def _to_rgb(message):
        if isinstance(message, ImageError):
            raise message
        return message

    def handled(self) -> int:
        return self.statistics.processed_count + self.statistics.losses.total()

    def process(self, message, stamp_ns: int, frame_id: str = "camera") -> None:
        before = self.handled()
        image = StampedImage(message, stamp_ns, frame_id, time.monotonic())
        self.history.add(image)
        self.mailbox.put(image)
        self.wait(lambda: self.handled() > before)

    def wait(self, condition) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline_s, self.log.lines
            time.sleep(0.002)

    def prompt(self, object_id: str) -> None:
        prompt = Prompt(object_id, box=(8.0, 8.0, 30.0, 30.0))
        self.queue.submit(PromptRequest(prompt, named=True), time.monotonic())


@pytest.fixture(scope="module")
def model():
    return random_model(config_for("nano").at_image_size(256))


@pytest.fixture
def bench(model):
    bench = Bench(model)
    yield bench
    assert bench.worker.stop()


def test_every_image_is_delivered_once_with_what_was_asked_for(bench):
    bench.prompt("cup")
    bench.process(IMAGE, 1)
    bench.process(IMAGE, 2)
    bench.objects.remove(["cup"])
    bench.process(IMAGE, 3)
    assert bench.delivered == [(1, ["cup"]), (2, ["cup"]), (3, [])]


class CallDuringStep:
    """Wraps the tracker, and calls `happens` once, before the worker gets the result of a step."""

    def __init__(self, tracker: Tracker, happens) -> None:
        self._tracker, self._happens = tracker, happens

    def __getattr__(self, name):
        return getattr(self._tracker, name)

    def step(self, *arguments, **keywords):
        result = self._tracker.step(*arguments, **keywords)
        happens, self._happens = self._happens, lambda: None
        happens()
        return result


@pytest.mark.parametrize("ask", ["remove", "remove all", "reset"])
def test_an_object_removed_while_an_image_is_in_progress_is_not_in_its_result(bench, ask):
    bench.prompt("cup")
    bench.prompt("box")
    bench.process(IMAGE, 1)
    asks = {
        "remove": lambda: bench.objects.remove(["cup"]),
        "remove all": lambda: bench.objects.remove([]),
        "reset": bench.objects.reset,
    }
    bench.worker._tracker = CallDuringStep(bench.tracker, asks[ask])
    bench.process(IMAGE, 2)
    bench.process(IMAGE, 3)
    left = ["box"] if ask == "remove" else []
    assert bench.delivered == [(1, ["cup", "box"]), (2, left), (3, left)]
    assert bench.tracker.object_ids == left
    assert bench.objects.ids == left


def test_an_unreadable_image_is_skipped_and_prompts_wait_for_the_next(bench):
    bench.prompt("cup")
    bench.process(ImageError("cut short"), 1)
    bench.process(IMAGE, 2)
    assert bench.delivered == [(2, ["cup"])]
    assert bench.statistics.losses["skipped"] == 1
    assert any("cut short" in line for line in bench.log.lines)


def test_a_prompt_that_does_not_fit_the_image_costs_nothing_else(bench):
    bench.queue.submit(PromptRequest(Prompt("far", points=np.array([[900.0, 900.0]])), named=True), 0.0)
    bench.prompt("cup")
    bench.process(IMAGE, 1)
    assert bench.delivered == [(1, ["cup"])]
    assert any("rejected: prompt 'far'" in line and "outside the image" in line for line in bench.log.lines)


def test_a_failure_in_mid_step_costs_the_new_object_and_not_the_old_one(bench, model):
    bench.prompt("old")
    bench.process(IMAGE, 1)
    bench.prompt("new")
    encoder = model.memory_encoder
    del model.memory_encoder
    try:
        bench.process(IMAGE, 2)
    finally:
        model.memory_encoder = encoder
    assert any("prompts for new are lost" in line for line in bench.log.lines)
    bench.process(IMAGE, 3)
    bench.prompt("new")
    bench.process(IMAGE, 4)
    assert bench.delivered == [(1, ["old"]), (3, ["old"]), (4, ["old", "new"])]
    assert bench.reasons == []


def test_three_failures_in_a_row_end_the_work_with_the_reason(bench):
    floats = IMAGE.astype(np.float32)
    for stamp_ns in (1, 2):
        bench.process(floats, stamp_ns)
    bench.process(IMAGE, 3)  # interrupts the series of failures
    for stamp_ns in (4, 5, 6):
        bench.process(floats, stamp_ns)
    bench.wait(lambda: bench.reasons)
    assert len(bench.reasons) == 1
    assert "3 images in a row failed" in bench.reasons[0]
    assert "uint8" in bench.reasons[0]
    assert bench.delivered == [(3, [])]


def test_a_jump_of_the_stream_keeps_the_objects_and_is_counted(bench):
    bench.prompt("cup")
    bench.process(IMAGE, 1_000_000_000)
    bench.process(IMAGE, 500_000_000)
    bench.process(IMAGE, 600_000_000, frame_id="wrist")
    assert [ids for _, ids in bench.delivered] == [["cup"]] * 3
    assert bench.statistics.discontinuities == 2
    assert bench.breaks == [1, 2]  # before the image that does not continue the stream
    assert any("time jumped back by 0.50 s" in line for line in bench.log.lines)
    assert any("frame_id changed from 'camera' to 'wrist'" in line for line in bench.log.lines)


def test_stopping_in_mid_image_delivers_nothing_more(model):
    entered, leave = threading.Event(), threading.Event()

    def slowly(message):
        entered.set()
        assert leave.wait(TIMEOUT_S)
        return message

    bench = Bench(model, to_rgb=slowly)
    bench.mailbox.put(StampedImage(IMAGE, 1, "camera", time.monotonic()))
    assert entered.wait(TIMEOUT_S)
    stopper = threading.Thread(target=bench.worker.stop)
    stopper.start()
    assert bench.mailbox.take() is None  # returns when stop has closed the mailbox
    leave.set()
    stopper.join(TIMEOUT_S)
    assert not stopper.is_alive()
    assert bench.delivered == []


def test_requests_for_one_object_between_two_images_are_merged_and_a_replaced_box_is_logged(bench, model):
    first, later = (8.0, 8.0, 30.0, 30.0), (20.0, 10.0, 60.0, 40.0)
    click = {"points": np.array([[30.0, 20.0]]), "labels": np.array([1])}
    for prompt in (Prompt("cup", box=first), Prompt("cup", **click), Prompt("cup", box=later)):
        bench.queue.submit(PromptRequest(prompt, named=True), time.monotonic())
    bench.process(IMAGE, 1)
    assert bench.delivered == [(1, ["cup"])]
    assert bench.log.lines == ["prompt 'cup': two boxes for one image: the later one counts"]
    assert bench.statistics.prompts["applied"] == 3
    found = bench.tracker.step(IMAGE).objects[0]
    alone = Tracker(model)
    alone.step(IMAGE, [Prompt("cup", box=later, **click)])
    np.testing.assert_array_equal(found.logits, alone.step(IMAGE).objects[0].logits)


@pytest.mark.parametrize("size_known", [True, False])
@pytest.mark.parametrize("prompts", [1, 2])
def test_a_prompt_is_validated_twice_at_most_from_its_message_to_the_mask_decoder(
    bench, monkeypatch, size_known, prompts
):
    """Once on arrival, and once with its image if the image size was not known on arrival."""
    checked = []
    check = Prompt._checked_box
    monkeypatch.setattr(
        Prompt, "_checked_box", lambda self, *given: checked.append(given) or check(self, *given)
    )
    if size_known:
        bench.queue.image_size(IMAGE.shape[:2])
    for _ in range(prompts):
        bench.prompt("cup")
    assert len(checked) == prompts
    bench.process(IMAGE, 1)
    assert bench.delivered == [(1, ["cup"])]
    assert len(checked) == prompts * (1 if size_known else 2)
