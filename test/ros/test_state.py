# SPDX-License-Identifier: Apache-2.0
"""Objects that outlive the node: a killed node, the services of states, files and disks that fail."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.srv", reason="needs sam2_ros_msgs, built and sourced")

from sam2_ros_msgs.msg import PromptEvent, TrackedObject
from sam2_ros_msgs.srv import LoadState, SaveState

from sam2_ros.state.state_file import read_state

from .conftest import BOX, DISC, labels, scene

NOTHING = np.full_like(scene(), 70)
DISC_BOX = (90.0, 60.0, 130.0, 100.0)


def save(robot, path="", *ids):
    return robot.call(SaveState, "save_state", SaveState.Request(path=str(path), ids=list(ids)))


def load(robot, path="", *ids, merge=True):
    return robot.call(LoadState, "load_state", LoadState.Request(path=str(path), ids=list(ids), merge=merge))


def track(robot, *prompts):
    reply = robot.add(*prompts)
    assert reply.success, reply.message
    robot.process()
    return robot.process()


def until_found(robot, *ids):
    """Images until these objects are TRACKING; returns the last message."""

    def found():
        message = robot.process()
        states = {obj.id: obj.state for obj in message.objects}
        return message if all(states.get(id) == TrackedObject.TRACKING for id in ids) else None

    return robot.wait_for(f"{ids} to be found", found)


def saved_ids(path: Path) -> list[str]:
    return read_state(path).ids if path.exists() else []


def test_a_killed_node_comes_back_with_its_objects(make_robot, tmp_path):
    path = tmp_path / "state.safetensors"
    robot = make_robot(state_file=path, state_period=0.3)
    robot.listen_to_outputs()
    track(robot, robot.prompt("gone", box=BOX))
    track(robot, robot.prompt("cup", box=BOX, class_id="mug"), robot.prompt("", box=DISC_BOX))
    robot.remove("gone")
    before = labels(robot.process())
    assert before == {"cup": 2, "object_1": 3}
    robot.wait_for("a saved state", lambda: saved_ids(path) == ["cup", "object_1"])
    robot.process_handle.send_signal(signal.SIGKILL)
    robot.process_handle.wait()

    begun_s = time.monotonic()
    again = make_robot(state_file=path)
    again.listen_to_outputs()
    found = until_found(again, "cup", "object_1")
    print(f"\n{time.monotonic() - begun_s:.1f} s from the start of the process to the masks of both objects")
    assert time.monotonic() - begun_s < 30.0
    assert labels(found) == before
    assert found.objects[0].class_id == "mug"
    assert all(obj.area > 500 for obj in found.objects)
    named = again.add(again.prompt("", points=[(60, 15, True)])).ids[0]
    assert named == "object_2"
    assert labels(again.process())[named] == 4  # a label of its own: 1 was given before the kill

    again.reset()  # what is removed does not come back
    again.wait_for("an empty state", lambda: saved_ids(path) == [])
    again.process_handle.send_signal(signal.SIGKILL)
    again.process_handle.wait()
    third = make_robot(state_file=path)
    third.listen_to_outputs()
    assert third.process().objects == []
    assert labels(track(third, third.prompt("new", box=BOX))) == {"new": 5}


@pytest.fixture(scope="module")
def robot(make_robot):
    robot = make_robot()
    robot.listen_to_outputs()
    return robot


def test_objects_are_saved_and_loaded_by_service(robot, tmp_path):
    events = robot.listen(PromptEvent, "/sam2/prompt_events")
    before = labels(track(robot, robot.prompt("cup", box=BOX), robot.prompt("disc", points=[(*DISC, True)])))
    both, one = tmp_path / "both.safetensors", tmp_path / "one.safetensors"
    assert list(save(robot, both).ids) == ["cup", "disc"]
    assert list(save(robot, one, "disc").ids) == ["disc"]
    assert saved_ids(one) == ["disc"]

    robot.remove("cup")
    assert list(load(robot, both, "cup").ids) == ["cup"]
    first = robot.process()
    assert {obj.id: obj.state for obj in first.objects}["cup"] == TrackedObject.PENDING
    assert labels(until_found(robot, "cup", "disc")) == before
    robot.wait_for(
        "the event", lambda: [e.outcome for e in events if e.source == "state file"] == [PromptEvent.APPLIED]
    )

    reply = load(robot, one, merge=False)  # instead of what is there
    assert reply.success
    assert labels(until_found(robot, "disc")) == {"disc": before["disc"]}
    removed = lambda: [e.reason for e in events if e.outcome == PromptEvent.REMOVED]  # noqa: E731
    robot.wait_for("the removal", lambda: removed()[-1:] == ["replaced by ~/load_state"])

    # cup's label belongs to nobody else, and to cup if it comes back
    assert labels(track(robot, robot.prompt("new", box=BOX)))["new"] > max(before.values())
    load(robot, both, "cup")
    assert labels(robot.process())["cup"] == before["cup"]
    robot.remove()


def test_an_object_that_is_not_there_stays_pending(robot, tmp_path):
    path = tmp_path / "cup.safetensors"
    track(robot, robot.prompt("cup", box=BOX))
    save(robot, path)
    robot.remove()
    assert load(robot, path).success
    for _ in range(6):
        (cup,) = robot.process(NOTHING).objects
        assert (cup.state, cup.area) == (TrackedObject.PENDING, 0)
    until_found(robot, "cup")
    robot.remove()


def test_what_cannot_be_done_is_one_line_and_changes_nothing(robot, tmp_path):
    path = tmp_path / "cup.safetensors"
    track(robot, robot.prompt("cup", box=BOX))
    assert save(robot, path).success
    content = path.read_bytes()

    def refused(reply, *words: str) -> None:
        assert not reply.success
        assert "\n" not in reply.message
        assert all(word in reply.message for word in words), reply.message

    refused(save(robot), "state_file is empty")
    refused(save(robot, path, "nobody"), "no tracked object 'nobody'")
    refused(save(robot, "/proc/state"), "/proc/state cannot be written")
    notes = tmp_path / "notes.txt"
    notes.write_text("by hand")
    refused(save(robot, notes), "notes.txt is there and is no state file, which is not replaced")
    assert notes.read_text() == "by hand"
    refused(load(robot, path, "nobody"), "no object 'nobody'", "it holds cup")
    refused(load(robot, tmp_path / "none"), "does not exist")
    (tmp_path / "half").write_bytes(content[: len(content) // 2])
    refused(load(robot, tmp_path / "half"), "damaged")
    assert path.read_bytes() == content
    assert list(labels(robot.process())) == ["cup"]
    robot.remove()


def test_a_state_of_another_model_is_refused_with_both_names(robot, make_robot, tmp_path):
    path = tmp_path / "cup.safetensors"
    track(robot, robot.prompt("cup", box=BOX))
    save(robot, path)
    robot.remove()
    other = make_robot(image_size=288, state_file=path)
    other.listen_to_outputs()
    assert other.process().objects == []
    reply = load(other, f"{path}.refused-1")
    assert "model nano 2.1 at 256 px, and this one is nano 2.1 at 288 px" in reply.message
    line = other.diagnostics()["state"]
    assert line["level"] == 1
    assert "kept as cup.safetensors.refused-1" in line["message"]
    assert other.log().count("not loaded:") == 1
    assert saved_ids(Path(f"{path}.refused-1")) == ["cup"]


def test_more_objects_than_max_objects_are_refused_together(make_robot, tmp_path):
    path = tmp_path / "two.safetensors"
    robot = make_robot(max_objects=2)
    robot.listen_to_outputs()
    track(robot, robot.prompt("a", box=BOX), robot.prompt("b", box=DISC_BOX))
    save(robot, path)
    robot.remove("a")
    track(robot, robot.prompt("c", box=BOX))
    reply = load(robot, path)
    assert not reply.success
    assert "max_objects = 2" in reply.message
    assert set(labels(robot.process())) == {"b", "c"}
    assert load(robot, path, merge=False).success
    assert set(labels(robot.process())) == {"a", "b"}


def test_a_full_disk_costs_nothing_but_the_state(make_robot, small_disk):
    path = small_disk / "state.safetensors"
    filler = small_disk / "filler"
    filler.write_bytes(os.urandom(90_000))
    robot = make_robot(state_file=path, state_period=0.2)
    robot.listen_to_outputs()
    track(robot, robot.prompt("cup", box=BOX))
    robot.wait_for("the line", lambda: "objects are not saved" in robot.log())
    line = robot.diagnostics()["state"]
    assert line["level"] == 1
    assert "No space left on device" in line["message"]
    for _ in range(3):
        assert list(labels(robot.process())) == ["cup"]
        time.sleep(0.3)
    assert robot.log().count("objects are not saved") == 1  # not once a period
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    robot.process()
    robot.wait_for("the state", lambda: saved_ids(path) == ["cup"])
    robot.wait_for("no fault", lambda: robot.diagnostics()["state"]["level"] == 0)


def test_a_node_that_stops_saves_and_one_that_is_cleaned_up_begins_from_its_file(make_robot, tmp_path):
    path = tmp_path / "state.safetensors"
    robot = make_robot(state_file=path, state_period=3600.0)
    robot.listen_to_outputs()
    before = labels(track(robot, robot.prompt("cup", box=BOX)))
    robot.process()
    frame = lambda: read_state(path).frame_index  # noqa: E731
    robot.wait_for("the new object in the file", lambda: saved_ids(path) == ["cup"])
    for _ in range(3):
        robot.process()
    saved_at = frame()
    assert robot.transition("deactivate")
    assert frame() > saved_at
    assert robot.transition("cleanup")
    assert saved_ids(path) == ["cup"]  # cleanup ends the objects, but not in the file
    assert robot.transition("configure")
    assert robot.transition("activate")
    robot.wait_until_tracking()
    assert labels(until_found(robot, "cup")) == before
    saved_at = frame()
    robot.process_handle.send_signal(signal.SIGINT)
    assert robot.process_handle.wait(10) == 0
    assert frame() > saved_at
