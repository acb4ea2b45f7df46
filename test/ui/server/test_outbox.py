# SPDX-License-Identifier: Apache-2.0
"""What waits for a client that reads slowly: bounded, in order, answers always."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy (extra ui)")
pytest.importorskip("alembic", reason="needs alembic (extra ui)")
from sam2_ros.ui.server.outbox import Outbox


def sent(outbox: Outbox) -> list[str | bytes]:
    """Everything that waits, in order."""

    async def read() -> list[str | bytes]:
        found: list[str | bytes] = []
        while outbox._waiting:
            found += (await outbox.next()).messages
        return found

    return asyncio.run(read())


def test_messages_keep_their_order():
    outbox = Outbox(100)
    outbox.push("frame 1", b"masks")
    outbox.answer([b"binary", "answer 1"], lambda: None)
    outbox.event("lanes", "event")
    outbox.answer(["answer 2"], lambda: None)
    assert sent(outbox) == [b"masks", b"binary", "answer 1", "event", "answer 2"]


def test_the_oldest_masks_are_dropped_and_answers_are_not():
    outbox = Outbox(100)
    for frame in range(1000):
        outbox.push(frame, bytes([frame % 256]) * 30)
        if frame % 100 == 0:
            outbox.answer([f"answer {frame}"], lambda: None)
    waiting = sent(outbox)
    assert [message for message in waiting if isinstance(message, str)] == [
        f"answer {n}00" if n else "answer 0" for n in range(10)
    ]
    assert [message[0] for message in waiting if isinstance(message, bytes)] == [
        n % 256 for n in (997, 998, 999)
    ]
    assert outbox.dropped == 997


def test_newer_masks_of_a_frame_and_newer_events_replace_those_that_wait():
    outbox = Outbox(1000)
    outbox.push(1, b"old")
    outbox.push(2, b"other")
    outbox.event(("progress", "track"), "1 of 9")
    outbox.push(1, b"new")
    outbox.event(("progress", "export"), "5 of 9")
    outbox.event(("progress", "track"), "2 of 9")
    assert sent(outbox) == [b"other", b"new", "5 of 9", "2 of 9"]
    outbox.push(1, b"x" * 990)
    outbox.push(2, b"y")
    assert len(sent(outbox)) == 2  # what was sent or replaced no longer counts


def test_masks_that_are_larger_than_the_limit_are_dropped():
    outbox = Outbox(10)
    outbox.push(1, b"x" * 11)
    assert sent(outbox) == []
    assert outbox.dropped == 1


def test_whoever_waits_for_an_answer_to_be_sent_is_released_at_the_end():
    outbox, released = Outbox(10), []
    for number in range(3):
        outbox.answer(["answer"], lambda number=number: released.append(number))
    outbox.close()
    assert released == [0, 1, 2]


def test_the_reader_waits_for_the_next_message():
    async def scenario() -> list[str | bytes]:
        outbox = Outbox(10)
        reading = asyncio.create_task(outbox.next())
        await asyncio.sleep(0)
        assert not reading.done()
        outbox.event("x", "came")
        return list((await asyncio.wait_for(reading, 5)).messages)

    assert asyncio.run(scenario()) == ["came"]
