# SPDX-License-Identifier: Apache-2.0
"""The mailbox: newest wins, every dropped item is counted, no item is taken twice."""

import threading
import time

from sam2_ros.node.mailbox import Mailbox


def test_the_newest_item_replaces_what_nobody_took():
    mailbox = Mailbox()
    for item in (1, 2, 3):
        mailbox.put(item)
    assert mailbox.take(timeout_s=0) == 3
    assert (mailbox.received, mailbox.dropped) == (3, 2)


def test_an_item_is_handed_out_once():
    mailbox = Mailbox()
    mailbox.put("image")
    assert mailbox.take(timeout_s=0) == "image"
    assert mailbox.take(timeout_s=0.01) is None


def test_take_waits_for_a_new_item():
    mailbox = Mailbox()
    taken = []
    taker = threading.Thread(target=lambda: taken.append(mailbox.take(timeout_s=10)))
    taker.start()
    mailbox.put("late")
    taker.join(10)
    assert taken == ["late"]


def test_close_wakes_the_taker_and_open_starts_empty():
    mailbox = Mailbox()
    taken = []
    taker = threading.Thread(target=lambda: taken.append(mailbox.take()))
    taker.start()
    mailbox.close()
    taker.join(10)
    assert taken == [None]
    mailbox.put("ignored")
    mailbox.open()
    assert mailbox.take(timeout_s=0) is None
    mailbox.put("new")
    assert mailbox.take(timeout_s=0) == "new"


def test_a_cleared_item_is_not_a_dropped_one():
    mailbox = Mailbox()
    mailbox.put(1)
    mailbox.clear()
    mailbox.put(2)
    assert mailbox.take(timeout_s=0) == 2
    assert (mailbox.received, mailbox.dropped) == (1, 0)


def test_a_kept_item_is_not_replaced_and_newer_ones_wait_behind_it():
    mailbox = Mailbox()
    mailbox.put(1)
    mailbox.put(2, keep=True)
    for item in (3, 4):
        mailbox.put(item)
    assert [mailbox.take(timeout_s=0) for _ in range(3)] == [2, 4, None]
    assert (mailbox.received, mailbox.dropped) == (4, 2)


def test_one_item_is_kept_at_a_time():
    mailbox = Mailbox()
    mailbox.put(1, keep=True)
    mailbox.put(2, keep=True)
    mailbox.put(3)
    assert [mailbox.take(timeout_s=0) for _ in range(3)] == [1, 3, None]
    mailbox.put(4, keep=True)
    mailbox.put(5)
    mailbox.clear()
    assert mailbox.take(timeout_s=0) is None
    assert (mailbox.received, mailbox.dropped) == (3, 1)


def test_a_fast_producer_and_a_slow_consumer_account_for_every_item():
    mailbox = Mailbox()
    taken = []

    def consume():
        while (item := mailbox.take()) is not None:
            taken.append(item)
            time.sleep(0.001)

    consumer = threading.Thread(target=consume)
    consumer.start()
    for item in range(1, 2001):
        mailbox.put(item)
    deadline_s = time.monotonic() + 10
    while (not taken or taken[-1] != 2000) and time.monotonic() < deadline_s:
        time.sleep(0.001)
    mailbox.close()
    consumer.join(10)
    assert taken == sorted(set(taken))  # never twice, never backwards
    assert taken[-1] == 2000  # the newest always arrives
    assert len(taken) + mailbox.dropped == mailbox.received == 2000
