# SPDX-License-Identifier: Apache-2.0
"""The action ~/track_until on a live node, with real action clients: goals that end, are cancelled, or are orphaned."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.action", reason="needs sam2_ros_msgs, built and sourced")

from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Duration
from rclpy.action import ActionClient
from sam2_ros_msgs.action import TrackUntil

from .conftest import BOX, DISC, HEIGHT_PX, WIDTH_PX

VISIBLE, LOST = TrackUntil.Goal.VISIBLE, TrackUntil.Goal.LOST
STABLE, DURATION = TrackUntil.Goal.STABLE, TrackUntil.Goal.DURATION
NOTHING = np.full((HEIGHT_PX, WIDTH_PX, 3), 70, np.uint8)
EVER_S = 600.0
ORPHAN = Path(__file__).with_name("orphan_client.py")


class Goal:
    """One goal, sent by the robot's client: its feedback, and its result when it has ended."""

    def __init__(self, robot, client, until, timeout_s=EVER_S, stable_for_s=0.0, **fields) -> None:
        self.robot = robot
        goal = TrackUntil.Goal(
            until=until, timeout=duration(timeout_s), stable_for=duration(stable_for_s), **fields
        )
        self.feedback = []
        sent = client.send_goal_async(goal, lambda message: self.feedback.append(message.feedback.status))
        self.handle = robot.wait_for("the goal's acceptance", lambda: sent.done() and sent.result())
        assert self.handle.accepted
        self.result = self.handle.get_result_async()

    def ended(self, timeout_s: float = 30.0):
        """(status, result) of the goal."""
        self.robot.wait_for("the end of the goal", self.result.done, timeout_s)
        return self.result.result().status, self.result.result().result

    def cancel(self) -> None:
        self.robot.wait_for("the reply to cancelling", self.handle.cancel_goal_async().done)


def duration(seconds: float) -> Duration:
    return Duration(sec=int(seconds), nanosec=int(seconds % 1 * 1e9))


@pytest.fixture(scope="module")
def robot(make_robot):
    robot = make_robot(max_objects=3, lost_after=0.5, forget_after=0.0)
    robot.action = ActionClient(robot.node, TrackUntil, "/sam2/track_until")
    robot.wait_for("the action server", robot.action.server_is_ready, 240.0)
    robot.listen_to_outputs()
    return robot


@pytest.fixture
def send(robot):
    """Sends goals; the objects of the test before are gone."""
    robot.reset()
    return lambda until, *args, **fields: Goal(robot, robot.action, until, *args, **fields)


def until_ended(robot, goal, image=None):
    """Process images until the goal has ended; its (status, result)."""
    robot.wait_for("the end of the goal", lambda: goal.result.done() or (robot.process(image) and False))
    return goal.ended()


def test_a_prompt_in_the_goal_starts_an_object_and_the_goal_succeeds_when_it_is_visible(robot, send):
    goal = send(VISIBLE, prompt=robot.prompt("box", box=BOX))
    status, result = until_ended(robot, goal)
    assert (status, result.success) == (GoalStatus.STATUS_SUCCEEDED, True), result.message
    assert (result.message, result.status.id, result.status.state) == ("visible", "box", 1)
    assert result.status.roi.width > 20
    assert [obj.id for obj in robot.process().objects] == ["box"]  # it is tracked on


def test_three_goals_at_once_one_is_cancelled_and_one_waits_for_a_hidden_object(robot, send):
    visible = send(VISIBLE, prompt=robot.prompt("box", box=BOX))
    lasting = send(DURATION, prompt=robot.prompt("disc", points=[(*DISC, True)]))
    assert until_ended(robot, visible)[1].success
    lost, lost_too = send(LOST, id="box"), send(LOST, id="box")
    robot.process()
    lasting.cancel()
    status, result = lasting.ended()
    assert (status, result.success) == (GoalStatus.STATUS_CANCELED, False)
    assert "cancelled; 'disc' remains" in result.message
    for goal in (lost, lost_too):
        status, result = until_ended(robot, goal, NOTHING)
        assert (status, result.success, result.status.state) == (GoalStatus.STATUS_SUCCEEDED, True, 3)
    states = [status.state for status in lost.feedback]
    assert 2 in states  # hidden before it was lost
    assert states == sorted(states)
    assert [obj.id for obj in robot.process().objects] == ["box", "disc"]


def test_feedback_comes_at_once_when_the_state_changes_and_otherwise_at_most_ten_times_a_second(robot, send):
    goal = send(DURATION, prompt=robot.prompt("box", box=BOX))
    robot.wait_for("tracking", lambda: robot.process().objects[0].state == 1)
    before, begun_s = len(goal.feedback), time.monotonic()
    for _ in range(20):
        robot.process()
    # 0.1 s apart, and one that was due at the beginning.
    assert len(goal.feedback) - before <= (time.monotonic() - begun_s) / 0.1 + 2
    goal.cancel()
    goal.ended()


def test_a_goal_ends_at_its_time_without_any_image(robot, send):
    begun_s = time.monotonic()
    late = send(VISIBLE, 0.6, prompt=robot.prompt("box", box=BOX))
    status, result = late.ended()
    assert 0.5 < time.monotonic() - begun_s < 20
    assert (status, result.success) == (GoalStatus.STATUS_ABORTED, False)
    assert result.message == "'box' was not VISIBLE within 0.6 s; no image has shown it yet"
    robot.process()
    status, result = send(DURATION, 0.3, id="box").ended()
    assert (status, result.message) == (GoalStatus.STATUS_SUCCEEDED, "tracked for 0.3 s")


def test_a_removed_object_and_a_rejected_prompt_end_the_goal_with_the_reason(robot, send):
    removed = send(LOST, prompt=robot.prompt("box", box=BOX))
    robot.process()
    robot.remove("box")
    status, result = removed.ended()
    assert (status, result.message) == (
        GoalStatus.STATUS_ABORTED,
        "'box' ended: removed by ~/remove_objects",
    )
    status, result = send(VISIBLE, prompt=robot.prompt("far", box=(900.0, 900.0, 950.0, 950.0))).ended()
    assert (status, result.success) == (GoalStatus.STATUS_ABORTED, False)
    assert result.message.startswith("prompt 'far'")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"id": "ghost"}, "no object 'ghost': expected one of the objects (none), or a prompt"),
        ({}, "neither a prompt nor an id"),
        ({"id": "cup", "until": 9}, "until = 9: expected one of VISIBLE=0, LOST=1, STABLE=2, DURATION=3"),
        ({"id": "cup", "until": DURATION, "timeout_s": 0.0}, "timeout = 0 s: expected the time to track for"),
        ({"id": "cup", "until": STABLE, "stable_for_s": 1.0}, "set its parameter use_3d"),
        ({"id": "cup", "until": STABLE}, "stable_for = 0 s: expected a positive time"),
    ],
)
def test_a_goal_that_can_never_be_met_is_aborted_with_the_reason(send, fields, reason):
    status, result = send(fields.pop("until", VISIBLE), **fields).ended()
    assert (status, result.success) == (GoalStatus.STATUS_ABORTED, False)
    assert reason in result.message


def test_more_goals_than_max_goals_are_aborted_and_a_place_is_free_again_after_one_ends(robot, send):
    assert robot.set_parameter("max_goals", 2).successful
    running = [send(DURATION, prompt=robot.prompt("box", box=BOX)), send(LOST, id="box")]
    assert "2 goals run, as many as max_goals = 2 allows" in send(LOST, id="box").ended()[1].message
    running[0].cancel()
    assert running[0].ended()[0] == GoalStatus.STATUS_CANCELED
    running.append(send(LOST, id="box"))
    robot.set_parameter("max_goals", 64)
    for goal in running[1:]:
        goal.cancel()
        assert goal.ended()[0] == GoalStatus.STATUS_CANCELED


def test_a_client_that_is_killed_leaves_goals_that_end_by_their_time_and_the_node_works_on(robot, send):
    robot.process()
    command = [sys.executable, str(ORPHAN), str(robot.domain_id), "2"]
    orphan = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy())
    assert orphan.stdout.readline() == "accepted\n"  # five goals of 2 s, on one object
    orphan.kill()
    orphan.wait()
    mine = send(DURATION, 0.5, prompt=robot.prompt("disc", points=[(*DISC, True)]))
    assert until_ended(robot, mine)[1].success
    assert robot.set_parameter("max_goals", 1).successful

    def accepted() -> bool:  # only when no goal runs
        robot.process()
        goal = send(DURATION, 0.1, id="disc")
        return goal.ended()[1].success

    robot.add(robot.prompt("disc", points=[(*DISC, True)]))
    robot.wait_for("the end of the orphans", accepted, 30.0)
    robot.set_parameter("max_goals", 64)
    assert "Traceback" not in robot.log()


@pytest.mark.slow
def test_goals_without_a_limit_end_when_their_client_was_killed_and_no_other_listens(make_robot):
    robot = make_robot(max_goals=5)
    robot.listen_to_outputs()
    command = [sys.executable, str(ORPHAN), str(robot.domain_id), "0"]
    orphan = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy())
    assert orphan.stdout.readline() == "accepted\n"
    orphan.kill()
    orphan.wait()

    def logged() -> bool:  # DDS notices a killed process after 20 s
        robot.process()
        return "5 goals of ~/track_until aborted: no action client has listened for 10 s" in robot.log()

    robot.wait_for("the end of the goals", logged, 60.0)
    robot.action = ActionClient(robot.node, TrackUntil, "/sam2/track_until")
    robot.wait_for("the action server", robot.action.server_is_ready)
    assert Goal(robot, robot.action, DURATION, 0.1, id="orphan").ended()[1].success


def test_deactivating_ends_every_goal_and_refuses_new_ones_until_the_node_is_active_again(robot, send):
    goals = [send(VISIBLE, prompt=robot.prompt("box", box=BOX)), send(DURATION, id="box")]
    assert robot.transition("deactivate")
    for goal in goals:
        status, result = goal.ended()
        assert (status, result.message) == (GoalStatus.STATUS_ABORTED, "the node was deactivated")
    status, result = send(VISIBLE, prompt=robot.prompt("cup", box=BOX)).ended()
    assert status == GoalStatus.STATUS_ABORTED
    assert result.message == "the node is inactive, expected active: activate it, then send the goal again"
    assert robot.transition("activate")
    robot.wait_until_tracking()
    assert until_ended(robot, send(VISIBLE, prompt=robot.prompt("cup", box=BOX)))[1].success


def test_shutdown_ends_every_goal(robot, send):
    goal = send(DURATION, prompt=robot.prompt("box", box=BOX))
    robot.process()
    assert robot.transition("shutdown")
    status, result = goal.ended()
    assert (status, result.success) == (GoalStatus.STATUS_ABORTED, False)
    assert result.message in ("the node was deactivated", "the node was shut down")
    assert "finalized" in send(VISIBLE, prompt=robot.prompt("cup", box=BOX)).ended()[1].message
