# SPDX-License-Identifier: Apache-2.0
"""The queue of waiting results, with real threads: order, time-outs, limits, and a `put` that never waits."""

import threading
import time

import pytest

from sam2_ros.node.spatial.location import NoPositionError, NotYetError
from sam2_ros.node.spatial.waiting import WaitingQueue

TIMEOUT_S = 10.0
PROMPT_S = 0.05  # far below every wait in these tests


class Bench:
    """A queue of numbers. Numbers up to `newest` have an answer; numbers below `oldest` never get one."""

    def __init__(self, timeout_s: float = TIMEOUT_S, **limits: int) -> None:
        self.newest, self.oldest = -1, 0
        self.released: list[tuple[int, str, float]] = []  # item, "answer" or the reason, seconds waited
        self.threads: set[int] = set()
        self.lost = 0
        self.releasing = False
        self.unlucky = -1  # the item whose release fails
        self.errors: list[Exception] = []
        self.held = threading.Event()  # cleared: releasing hangs
        self.held.set()
        self.timeout_s = timeout_s
        self.queue: WaitingQueue[int, str] = WaitingQueue(
            self._ask, self._release, self.errors.append, lambda: self.timeout_s, **limits
        )

    def _ask(self, item: int) -> str:
        if item < self.oldest:
            raise NoPositionError("past")
        if item > self.newest:
            raise NotYetError("not yet")
        return "answer"

    def _release(self, item: int, answer: object, waited_s: float) -> None:
        self.releasing = True
        self.held.wait(TIMEOUT_S)
        if item == self.unlucky:
            raise RuntimeError("unlucky")
        self.threads.add(threading.get_ident())
        self.released.append((item, str(answer), waited_s))

    def put(self, *items: int, size_bytes: int = 1) -> None:
        for item in items:
            begun_s = time.monotonic()
            self.lost += self.queue.put(item, size_bytes)
            assert time.monotonic() - begun_s < PROMPT_S

    def wait(self, condition) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline_s, (self.released, len(self.queue))
            time.sleep(0.001)

    @property
    def items(self) -> list[int]:
        return [item for item, _, _ in self.released]

    @property
    def answers(self) -> list[str]:
        return [answer for _, answer, _ in self.released]


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.held.set()
    assert made.queue.stop()


def test_an_item_with_an_answer_is_released_at_once_on_the_callers_thread(bench):
    bench.newest = 5
    bench.put(0, 1, 2)
    assert bench.released == [(item, "answer", 0.0) for item in (0, 1, 2)]
    assert bench.threads == {threading.get_ident()}


def test_an_item_that_can_get_no_answer_is_released_at_once_with_the_reason(bench):
    bench.oldest = 3
    bench.put(1, 2)
    assert bench.released == [(1, "past", 0.0), (2, "past", 0.0)]


def test_an_answer_that_comes_late_is_waited_for_and_the_order_is_kept(bench):
    bench.put(0, 1, 2)
    assert bench.released == []
    bench.newest = 1
    bench.put(3)
    bench.wait(lambda: bench.items == [0, 1])
    bench.newest = 4
    bench.put(4)  # has its answer, but must not overtake
    bench.wait(lambda: bench.items == [0, 1, 2, 3, 4])
    assert set(bench.answers) == {"answer"}
    assert all(waited_s > 0 for item, _, waited_s in bench.released if item < 3)


def test_after_the_time_out_an_item_is_released_without_an_answer_and_the_next_has_its_own_time():
    bench = Bench(timeout_s=0.1)
    bench.put(7)
    time.sleep(0.06)
    bench.put(8)
    bench.wait(lambda: bench.items == [7])
    bench.newest = 8  # at most 40 ms before the second one's time-out
    bench.wait(lambda: bench.items == [7, 8])
    (_, reason, waited_s), (_, answer, _) = bench.released
    assert (reason, answer) == ("not yet", "answer")
    assert 0.1 <= waited_s < 0.1 + PROMPT_S
    bench.timeout_s = 0.0
    bench.put(9)
    assert bench.released[-1] == (9, "not yet", 0.0)
    assert bench.queue.stop()


def test_many_items_from_a_stream_whose_answers_lag_all_get_theirs_in_order():
    bench = Bench(timeout_s=1.0)
    stop = threading.Event()
    begun_s = time.monotonic()

    def lagging() -> None:
        while not stop.wait(0.004):
            bench.newest = int((time.monotonic() - begun_s - 0.03) / 0.005)

    answers = threading.Thread(target=lagging, daemon=True)
    answers.start()
    for item in range(100):
        time.sleep(max(0.0, begun_s + item * 0.005 - time.monotonic()))
        bench.queue.put(item, 1)
    bench.wait(lambda: len(bench.released) == 100)
    stop.set()
    answers.join()
    assert bench.items == list(range(100))
    assert set(bench.answers) == {"answer"}
    assert bench.queue.stop()


def test_when_the_queue_is_full_the_oldest_are_released_without_an_answer_and_nothing_is_lost():
    bench = Bench(max_items=3)
    bench.put(*range(5))
    bench.wait(lambda: bench.items == [0, 1])
    assert "results wait already, the maximum: stopped waiting for the transform. not yet" in bench.answers[0]
    bench.newest = 10
    bench.wait(lambda: bench.items == list(range(5)))
    assert bench.answers[2:] == ["answer"] * 3
    assert bench.lost == 0
    assert bench.queue.stop()


def test_bytes_are_bounded_and_a_single_large_one_may_wait():
    bench = Bench(max_bytes=10)
    bench.put(0, size_bytes=50)
    time.sleep(PROMPT_S)
    assert bench.released == []
    bench.put(1, size_bytes=6)
    bench.put(2, size_bytes=6)
    bench.wait(lambda: bench.items == [0, 1])
    assert bench.queue.stop()
    assert bench.items == [0, 1, 2]


def test_a_release_that_hangs_holds_up_neither_the_caller_nor_the_memory():
    bench = Bench(max_items=4)
    bench.held.clear()
    queue = bench.queue
    bench.put(0)
    bench.queue.hurry("test")
    bench.wait(lambda: bench.releasing)
    bench.put(*range(1, 50))
    assert len(queue) <= 1 + 8
    bench.newest = 100
    bench.held.set()
    bench.wait(lambda: not len(queue))
    assert bench.items == sorted(bench.items)
    assert bench.items[-1] == 49  # the newest is released
    assert bench.lost + len(bench.items) == 50
    assert queue.stop()


def test_hurry_releases_the_waiting_items_only(bench):
    bench.put(0, 1)
    bench.queue.hurry("jumped")
    bench.wait(lambda: bench.items == [0, 1])
    assert bench.answers[0] == "jumped: stopped waiting for the transform. not yet"
    bench.put(2)
    time.sleep(PROMPT_S)
    assert bench.items == [0, 1]


def test_stop_releases_the_rest_in_order_ends_the_thread_and_accepts_nothing_more():
    bench = Bench()
    bench.put(*range(20))
    bench.newest = 9
    begun_s = time.monotonic()
    assert bench.queue.stop()
    assert time.monotonic() - begun_s < 1.0
    assert bench.items == list(range(20))
    assert bench.answers[:10] == ["answer"] * 10
    assert not any(thread.name == "sam2-positions" for thread in threading.enumerate())
    bench.queue.put(99, 1)
    assert len(bench.queue) == 0


def test_stop_does_not_wait_for_a_release_that_hangs():
    bench = Bench()
    bench.held.clear()
    bench.put(0)
    bench.newest = 0
    begun_s = time.monotonic()
    assert not bench.queue.stop()
    assert time.monotonic() - begun_s < 2.0
    bench.held.set()


def test_a_failed_release_does_not_stop_the_later_ones(bench):
    bench.unlucky = 13
    bench.put(12, 13, 14)
    bench.newest = 20
    bench.wait(lambda: bench.items == [12, 14])
    assert [str(error) for error in bench.errors] == ["unlucky"]
