# SPDX-License-Identifier: Apache-2.0
"""Requests and images beyond the limits, on a live graph: refused by name, all others are served."""

import array
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from sam2_ros_msgs.srv import Segment
from sensor_msgs.msg import Image

from .conftest import BOX, START_TIMEOUT_S, ids, scene

MS = 1_000_000


@pytest.fixture(scope="module")
def robot(make_robot):
    robot = make_robot(history_bytes=1_000_000, max_pending_bytes=1_000_000)
    robot.listen_to_outputs()
    return robot


@pytest.fixture(autouse=True)
def one_object(robot):
    robot.reset()
    assert robot.add(robot.prompt("box", box=BOX)).success
    robot.process()


def gained(after: dict[str, str], before: dict[str, str], name: str) -> int:
    return int(after[name]) - int(before[name])


def test_a_request_beyond_the_limits_is_refused_by_name_and_affects_no_other(robot):
    points = [(50, 50, True)] * 257
    named = robot.prompt("x" * 1_000_000, box=BOX)
    reply = robot.add(robot.prompt("many", points=points), named, robot.prompt("disc", points=points[:256]))
    assert list(reply.ids) == ["", "", "disc"]
    assert "prompt 'many': 257 points; expected at most max_points = 256" in reply.message
    assert "id of 1,000,000 bytes; expected at most max_id_bytes = 128" in reply.message
    assert len(reply.message) < 500
    assert ids(robot.process()) == ["box", "disc"]

    reply = robot.add(*[robot.prompt(f"q{n}", box=BOX) for n in range(5000)])
    assert not any(reply.ids)
    assert "5,000 prompts in one message; expected at most max_message_prompts = 64" in reply.message
    reply = robot.remove(*[f"q{n}" for n in range(5000)])
    assert reply.message.endswith("q7, and 4,992 more")
    assert len(reply.message) < 100

    bad = robot.add(*[robot.prompt(f"q{n}", box=(9.0, 9.0, 1.0, 1.0)) for n in range(60)])
    assert bad.message.count("no area") == 8
    assert bad.message.endswith("and 52 more")
    request = Segment.Request(prompts=[robot.prompt("", box=BOX)] * 65)
    assert "max_message_prompts = 64" in robot.call(Segment, "segment", request, START_TIMEOUT_S).message
    request = Segment.Request(prompts=[robot.prompt("many", points=points)])
    assert "max_points = 256" in robot.call(Segment, "segment", request, START_TIMEOUT_S).message
    assert ids(robot.process()) == ["box", "disc"]


def test_a_limit_can_be_raised_while_the_node_runs(robot):
    points = [(50, 50, True)] * 300
    assert robot.set_parameter("max_points", 300).successful
    assert robot.add(robot.prompt("box", points=points)).success
    assert robot.set_parameter("max_points", 256).successful
    assert not robot.add(robot.prompt("box", points=points)).success
    assert not robot.set_parameter("max_points", 100_000).successful


def test_prompts_that_wait_while_no_image_comes_are_bounded_in_number_and_bytes(robot):
    robot.process(np.zeros((500, 500, 3), np.uint8))
    mask = Image(height=500, width=500, encoding="mono8", step=500)
    mask.data = array.array("B", b"\1" * 250_000)
    replies = [robot.add(robot.prompt("box", mask=mask)) for _ in range(5)]
    assert [reply.success for reply in replies] == [True] * 4 + [False]
    assert "max_pending_bytes" in replies[-1].message
    for _ in range(60):
        assert robot.add(robot.prompt("box", box=BOX)).success
    assert "64 prompts wait for their images" in robot.add(robot.prompt("box", box=BOX)).message
    assert ids(robot.process(np.zeros((500, 500, 3), np.uint8))) == ["box"]


def test_memory_is_bounded_by_bytes_when_stamps_hardly_advance(robot):
    image = np.zeros((200, 500, 3), np.uint8)
    first = robot.next_stamp_ns(10 * 1000 * MS)
    for n in range(20):
        robot.process(image, stamp_ns=first + n * 1000)
    summary = robot.diagnostics()
    assert float(summary["image_history_mb"]) <= 1.0
    assert int(summary["image_history_cut"]) >= 17
    prompt = robot.prompt("late", box=BOX)
    prompt.header.stamp.sec, prompt.header.stamp.nanosec = divmod(first, 1000 * MS)
    assert "dropped to stay within history_bytes = 1 MB" in robot.add(prompt).message


def test_an_image_out_of_order_is_dropped_and_counted_and_is_no_jump(robot):
    before = robot.diagnostics()

    def dropped() -> int:
        return gained(robot.diagnostics(), before, "frames_out_of_order")

    for number in (1, 2):
        newest = robot.next_stamp_ns(300 * MS)
        robot.process(stamp_ns=newest)
        robot.send_image(scene(), stamp_ns=newest - 100 * MS)
        robot._stamp_ns = newest
        robot.wait_for("the drop", lambda: dropped() == number)  # noqa: B023
    assert ids(robot.process()) == ["box"]
    robot.wait_for("counts", lambda: gained(robot.diagnostics(), before, "frames_processed") == 3)
    after = robot.diagnostics()
    assert gained(after, before, "discontinuities") == 0
    assert gained(after, before, "frames_in") == 5
    assert "image out of order" in robot.log()


def test_a_larger_jump_back_is_a_discontinuity(robot):
    before = int(robot.diagnostics()["discontinuities"])
    message = robot.process(stamp_ns=robot._stamp_ns - 2000 * MS)
    assert ids(message) == ["box"]
    assert int(robot.diagnostics()["discontinuities"]) == before + 1


def test_an_image_with_a_huge_frame_id_is_skipped_and_counted(robot):
    before = robot.diagnostics()

    def skipped() -> int:
        return gained(robot.diagnostics(), before, "frames_skipped")

    robot.send_image(scene(), frame_id="x" * 1_000_000)
    robot.wait_for("the first", lambda: skipped() == 1)
    robot.send_image(scene(), encoding="y" * 100_000)
    robot.wait_for("the second", lambda: skipped() == 2)
    assert ids(robot.process()) == ["box"]
    assert gained(robot.diagnostics(), before, "frames_in") == 3
    assert len(max(robot.log().splitlines(), key=len)) < 1000


def test_an_object_may_be_clicked_for_a_life(robot):
    began_s = time.monotonic()
    for n in range(300):
        assert robot.add(robot.prompt("box", points=[(45 + n % 10, 50, True)])).success
        if n % 50 == 49:
            assert ids(robot.process()) == ["box"]
    assert time.monotonic() - began_s < START_TIMEOUT_S


def test_every_request_to_segment_is_answered_and_too_many_are_refused_at_once(robot):
    client = robot.client(Segment, "segment")
    robot.wait_for("the service", client.service_is_ready)
    request = Segment.Request(prompts=[robot.prompt("a", box=BOX)])
    replies = []
    for _ in range(5):  # ten at a time: more at once do not fit into the queues of the middleware
        replies.extend(client.call_async(request) for _ in range(10))
        robot.wait_for("all but those that wait", lambda: sum(not reply.done() for reply in replies) <= 9)
    robot.wait_for("all replies", lambda: all(reply.done() for reply in replies))
    done = [reply.result() for reply in replies]
    assert sum(reply.success for reply in done) >= 9
    refused = [reply.message for reply in done if not reply.success]
    assert refused
    assert set(refused) == {"8 requests wait already; wait for a reply before you send the next request"}
    assert ids(robot.process()) == ["box"]
