# SPDX-License-Identifier: Apache-2.0
"""~/prompt_events on a live node: one event for every prompt of every source, none lost or twice; their replay."""

from __future__ import annotations

import importlib.util
import uuid
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.action", reason="needs sam2_ros_msgs, built and sourced")

from geometry_msgs.msg import Point
from rclpy.action import ActionClient
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from sam2_ros_msgs.action import TrackUntil
from sam2_ros_msgs.msg import PromptArray, PromptEvent
from std_msgs.msg import Header

from sam2_ros.cli import main as cli
from sam2_ros.media.bag.storage import BagReader, BagWriter
from sam2_ros.media.messages.tracked_object import read_objects

from .conftest import BOX, DISC, HEIGHT_PX, WIDTH_PX, scene, stamp_ns

APPLIED, LATE, REJECTED, REMOVED = 0, 1, 2, 3
NOTHING = np.full((HEIGHT_PX, WIDTH_PX, 3), 70, np.uint8)
LATCHED = QoSProfile(depth=5000, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def header_at(stamp: int) -> Header:
    header = Header(frame_id="camera")
    header.stamp.sec, header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    return header


class Events:
    """A subscriber of ~/prompt_events; keeps the messages as they came."""

    def __init__(self, robot) -> None:
        self.robot = robot
        self.cdr: list[bytes] = []
        self.subscription = robot.node.create_subscription(
            PromptEvent, "/sam2/prompt_events", self.cdr.append, LATCHED, raw=True
        )
        robot.wait_for("the events topic", lambda: robot.node.count_publishers("/sam2/prompt_events"))

    def all(self) -> list[PromptEvent]:
        return [deserialize_message(cdr, PromptEvent) for cdr in list(self.cdr)]

    def next(self, count: int) -> list[PromptEvent]:
        """The next events, once there are at least `count`; they are forgotten here."""
        self.robot.wait_for(f"{count} events, {len(self.cdr)} so far", lambda: len(self.cdr) >= count)
        found = self.all()
        self.cdr.clear()
        return found

    def close(self) -> None:
        self.robot.node.destroy_subscription(self.subscription)


def short(event: PromptEvent) -> tuple[str, str, int]:
    return event.source, event.id, event.outcome


@pytest.fixture(scope="module")
def robot(make_robot):
    more = {"detection_mode": "track_all"} if importlib.util.find_spec("vision_msgs") else {}
    robot = make_robot(max_objects=4, lost_after=0.2, forget_after=1.0, **more)
    robot.action = ActionClient(robot.node, TrackUntil, "/sam2/track_until")
    robot.listen_to_outputs()
    robot.publisher(Point, "/sam2/clicked_pixel")
    robot.publisher(PromptArray, "/sam2/prompts")
    robot.wait_for("the action server", robot.action.server_is_ready)
    return robot


@pytest.fixture
def events(robot):
    robot.reset()
    robot.process()
    events = Events(robot)
    # What late subscribers get has come when the event of a prompt sent now has come; no earlier one has its name.
    marker = f"marker {uuid.uuid4()}"
    robot.add(robot.prompt(marker, box=(900.0, 900.0, 950.0, 950.0)))
    robot.wait_for("the marker", lambda: any(each.id == marker for each in events.all()[-1:]))
    events.cdr.clear()
    yield events
    events.close()


def test_every_source_has_its_name_and_the_id_and_image_that_the_node_chose(robot, events):
    robot.add(robot.prompt("box", box=BOX, class_id="brick"))
    stamp = stamp_ns(robot.process())
    (event,) = events.next(1)
    assert short(event) == ("service", "box", APPLIED)
    assert (stamp_ns(event), event.header.frame_id, event.prompt.class_id) == (stamp, "camera", "brick")
    assert (event.prompt.header, event.prompt.id, tuple(event.prompt.box)) == (event.header, "box", BOX)

    robot.send_prompts(robot.prompt(points=[(*DISC, True), (5.0, 5.0, False)]))
    robot.wait_for("the event", lambda: robot.process() and events.cdr)
    (event,) = events.next(1)
    assert (event.source, event.outcome, event.reason) == ("topic", APPLIED, "")
    assert event.id.startswith("object_")
    assert event.prompt.id == event.id
    assert [(point.x, point.y, point.positive) for point in event.prompt.points] == [
        (*DISC, True),
        (5, 5, False),
    ]

    robot.publisher(Point, "/sam2/clicked_pixel").publish(Point(x=DISC[0], y=DISC[1]))
    robot.wait_for("the event", lambda: robot.process() and events.cdr)
    (event,) = events.next(1)
    assert (event.source, event.outcome, len(event.prompt.points)) == ("click", APPLIED, 1)

    goal = TrackUntil.Goal(prompt=robot.prompt("goal", box=BOX))
    sent = robot.action.send_goal_async(goal)
    robot.wait_for("the goal", sent.done)
    robot.process()
    assert [short(event) for event in events.next(1)] == [("action", "goal", APPLIED)]


def test_a_mask_comes_back_as_it_was_given(robot, events):
    mask = robot.prompt("masked")
    mask.mask.height, mask.mask.width, mask.mask.step, mask.mask.encoding = (
        HEIGHT_PX,
        WIDTH_PX,
        WIDTH_PX,
        "mono8",
    )
    pixels = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    pixels[30:70, 30:70] = 255
    mask.mask.data = pixels.tobytes()
    assert robot.add(mask).success
    robot.process()
    (event,) = events.next(1)
    found = np.frombuffer(event.prompt.mask.data, np.uint8).reshape(HEIGHT_PX, WIDTH_PX)
    assert np.array_equal(found > 0, pixels > 0)


def test_late_and_rejected_prompts_say_so_with_the_image_or_the_reason(robot, events):
    made_on = stamp_ns(robot.process())
    for _ in range(3):
        robot.process()
    robot.add(robot.prompt("late", box=BOX, header=header_at(made_on)))
    robot.wait_for("the event", lambda: robot.process() and events.cdr)
    (event,) = events.next(1)
    assert (*short(event), stamp_ns(event)) == ("service", "late", LATE, made_on)

    robot.add(
        robot.prompt("far", box=(900.0, 900.0, 950.0, 950.0)),
        robot.prompt("old", box=BOX, header=header_at(1)),
    )
    robot.send_prompts(robot.prompt("empty"), robot.prompt(box=BOX, header=Header(frame_id="other")))
    found = events.next(4)
    assert [short(event) for event in found] == [
        ("service", "far", REJECTED),
        ("service", "old", REJECTED),
        ("topic", "empty", REJECTED),
        ("topic", "", REJECTED),
    ]
    assert [event.reason.split(":")[0] for event in found[:3]] == [
        "prompt 'far'",
        "prompt 'old'",
        "prompt 'empty'",
    ]
    assert "made in frame 'other'" in found[3].reason
    assert (list(found[0].prompt.box), stamp_ns(found[1])) == ([900.0, 900.0, 950.0, 950.0], 1)


def test_the_end_of_an_object_is_an_event_and_its_waiting_prompts_are_rejected(robot, events):
    robot.add(robot.prompt("box", box=BOX), robot.prompt("disc", points=[(*DISC, True)]))
    robot.process()
    events.next(2)
    robot.add(robot.prompt("box", points=[(50.0, 50.0, True)]))  # waits for the next image
    robot.remove("box")
    removed, rejected = events.next(2)
    assert (*short(removed), removed.reason) == ("service", "box", REMOVED, "removed by ~/remove_objects")
    assert short(rejected) == ("service", "box", REJECTED)
    assert "the object ended before the prompt was applied: removed by ~/remove_objects" in rejected.reason
    robot.reset()
    (event,) = events.next(1)
    assert (*short(event), event.reason) == ("service", "disc", REMOVED, "removed by ~/reset")
    robot.add(robot.prompt("hidden", box=BOX))
    robot.process()
    for _ in range(20):  # hidden for longer than forget_after
        robot.process(NOTHING)
    applied, ended = events.next(2)
    assert (short(applied), short(ended)) == (("service", "hidden", APPLIED), ("", "hidden", REMOVED))
    assert ended.reason == "hidden for longer than forget_after"


@pytest.mark.skipif(not importlib.util.find_spec("vision_msgs"), reason="needs vision_msgs")
def test_a_detector_s_prompts_are_events_too(robot, events):
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

    detection = Detection2D()
    detection.bbox.center.position.x = detection.bbox.center.position.y = 50.0
    detection.bbox.size_x = detection.bbox.size_y = 40.0
    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id, result.hypothesis.score = "brick", 0.9
    detection.results = [result]
    publisher = robot.publisher(Detection2DArray, "/sam2/detections")

    def detected() -> bool:
        stamp = stamp_ns(robot.process())
        publisher.publish(Detection2DArray(header=header_at(stamp), detections=[detection]))
        return bool(events.cdr)

    robot.wait_for("an object of the detector", detected)
    event = events.next(1)[0]
    assert (event.source, event.prompt.class_id) == ("detector", "brick")
    assert event.outcome in (APPLIED, LATE)


def test_a_flood_from_several_sources_loses_and_repeats_nothing(robot, events):
    """Refinements, new objects, rejected prompts and removals at once, while images are tracked."""
    asked: Counter[str] = Counter()
    for number in range(12):
        good = [
            robot.prompt("box", points=[(50.0, 50.0, True)], class_id=f"good {number} {n}") for n in range(5)
        ]
        bad = [robot.prompt(f"bad {number} {n}") for n in range(50)]
        robot.send_prompts(*good, *bad)
        reply = robot.add(*good, *bad, robot.prompt(f"new {number % 6}", box=BOX, class_id=f"new {number}"))
        asked.update(dict.fromkeys([prompt.class_id for prompt in good], 2))
        asked.update(dict.fromkeys([prompt.id for prompt in bad], 2))
        asked[f"new {number}"] += 1
        assert len(reply.ids) == 56
        if number % 3 == 2:
            robot.remove(*[each for each in (f"new {number % 6}",) if each in reply.ids])
        robot.process()
    total = sum(asked.values())
    robot.process()
    robot.wait_for(
        f"{total} events of prompts",
        lambda: robot.process() and sum(event.outcome != REMOVED for event in events.all()) >= total,
    )
    found = events.all()
    of_prompts = Counter(event.prompt.class_id or event.id for event in found if event.outcome != REMOVED)
    assert of_prompts == asked
    removed = [event.id for event in found if event.outcome == REMOVED]
    applied = {event.id for event in found if event.outcome in (APPLIED, LATE)}
    assert set(removed) <= applied | {f"new {n}" for n in range(6)}
    assert "not_published" not in robot.log()


def test_a_late_subscriber_gets_the_last_hundred(robot, events):
    robot.add(*[robot.prompt(f"bad {number}") for number in range(60)])
    robot.add(*[robot.prompt(f"bad {number}") for number in range(60, 120)])
    events.next(120)
    late = Events(robot)
    assert [event.id for event in late.next(100)] == [f"bad {number}" for number in range(20, 120)]
    late.close()


def test_prompts_recorded_from_the_events_are_replayed_to_the_same_masks(
    robot, events, tmp_path, capsys, model
):
    masks: dict[int, dict[str, np.ndarray]] = {}
    with BagWriter(tmp_path / "camera", storage="mcap") as bag:
        for number in range(8):
            if number == 1:
                robot.add(robot.prompt("box", box=BOX))
            if number == 3:
                robot.send_prompts(robot.prompt("disc", points=[(*DISC, True)]), robot.prompt("bad"))
                events.robot.wait_for("the bad one", lambda: any(e.id == "bad" for e in events.all()))
            stamp = robot.send_image(scene(number))
            message = robot.wait_for("the result", lambda stamp=stamp: robot.objects_at(stamp))
            masks[stamp] = {obj.id: obj.mask for obj in read_objects(message)}
            bag.write_image("/camera/image_raw", stamp, "camera", scene(number))
    robot.wait_for("the events", lambda: len(events.cdr) == 3)
    with BagWriter(tmp_path / "events", storage="mcap") as bag:
        for cdr in events.cdr:
            bag.write_raw("/sam2/prompt_events", "sam2_ros_msgs/msg/PromptEvent", 1, cdr)
    command = ["replay", str(tmp_path / "camera"), "--prompts", str(tmp_path / "events"), "--direct"]
    status = cli.run([*command, "--image-size", "256", "--model", model, "--out", str(tmp_path / "out")])
    assert status == 0, capsys.readouterr().err
    with BagReader(tmp_path / "out/direct/tracked") as reader:
        replayed = {
            stamp_ns(message): {obj.id: obj.mask for obj in read_objects(message)}
            for _, _, message in reader.messages(["/sam2_node/objects"])
        }
    assert [set(masks[stamp]) for stamp in sorted(masks)] == [set(), *[{"box"}] * 2, *[{"box", "disc"}] * 5]
    for stamp, live in masks.items():
        assert set(replayed[stamp]) == set(live)
        for object_id, mask in live.items():
            assert np.array_equal(replayed[stamp][object_id], mask), (stamp, object_id)
