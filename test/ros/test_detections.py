# SPDX-License-Identifier: Apache-2.0
"""Detections on a live graph: they start objects, find hidden ones again, and disturb no tracked object."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")
pytest.importorskip("vision_msgs.msg", reason="needs vision_msgs, which has no wheel")

import vision_msgs.msg as vision

from sam2_ros.media.messages.tracked_object import read_objects

from .conftest import BOX, HEIGHT_PX, START_TIMEOUT_S, WIDTH_PX, stamp_ns

TRACKING, LOST = 1, 3
DISC_BOX = (90.0, 60.0, 131.0, 101.0)


def detection(box, class_id, score=0.9):
    message = vision.Detection2D()
    x0, y0, x1, y1 = box
    message.bbox.center.position.x, message.bbox.center.position.y = (x0 + x1) / 2, (y0 + y1) / 2
    message.bbox.size_x, message.bbox.size_y = float(x1 - x0), float(y1 - y0)
    message.results.append(vision.ObjectHypothesisWithPose())
    message.results[0].hypothesis.class_id = class_id
    message.results[0].hypothesis.score = score
    return message


def detect(robot, stamp, *detections, frame_id="camera"):
    message = vision.Detection2DArray(detections=list(detections))
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    robot.publisher(vision.Detection2DArray, "/sam2/detections").publish(message)


def states(message) -> dict[str, int]:
    return {obj.class_id: obj.state for obj in message.objects}


def run(robot, images, *detections, image=None):
    """Images, each followed by the detections made on it; returns the last result."""
    for _ in range(images):
        message = robot.process(image)
        detect(robot, stamp_ns(message), *detections)
    return robot.process(image)


@pytest.fixture(scope="module")
def everything(make_robot):
    robot = make_robot(max_objects=3, detection_mode="track_all", lost_after=0.2)
    robot.listen_to_outputs()
    return robot


@pytest.fixture
def robot(everything):
    everything.reset()
    # Late enough that the association has forgotten earlier tests.
    everything.process(stamp_ns=everything.next_stamp_ns(20_000_000_000))
    return everything


def test_an_object_detected_twice_is_created_once(robot):
    both = detection(BOX, "brick"), detection(DISC_BOX, "ball", 0.8)
    robot.wait_for("two objects", lambda: set(states(run(robot, 1, *both))) == {"brick", "ball"})
    message = run(robot, 10, *both)
    assert states(message) == {"brick": TRACKING, "ball": TRACKING}
    masks = {obj.class_id: read for obj, read in zip(message.objects, read_objects(message), strict=True)}
    assert masks["brick"].mask[50, 50]
    assert masks["ball"].mask[80, 110]


def test_a_detector_that_flickers_jitters_and_changes_classes_makes_one_object(robot):
    robot.wait_for("the object", lambda: run(robot, 1, detection(BOX, "brick")).objects)
    first = run(robot, 2, detection(BOX, "brick")).objects[0]
    random = np.random.default_rng(1)
    for number in range(12):
        jitter = random.uniform(-4, 4, 4)
        box = tuple(np.array(BOX) + jitter)
        seen = [] if number % 3 == 2 else [detection(box, "cup" if number % 4 == 3 else "brick")]
        message = run(robot, 1, *seen)
    assert [(obj.id, obj.label) for obj in message.objects] == [(first.id, first.label)]


def test_low_scores_and_boxes_beyond_max_objects_are_ignored(robot):
    before = robot.diagnostics()
    message = run(robot, 5, detection(BOX, "brick", 0.2))
    assert message.objects == []
    many = [detection((x, 5.0, x + 20, 25.0), f"thing {x}") for x in range(0, 150, 30)]
    robot.wait_for("a full house", lambda: len(run(robot, 1, *many).objects) == 3)
    message = run(robot, 8, *many)
    # Of equal scores, the first three get the places; the other two are ignored with every message.
    assert [obj.class_id for obj in message.objects] == sorted(
        each.results[0].hypothesis.class_id for each in many
    )[:3]
    summary = robot.diagnostics()
    assert summary["detections"]["level"] == 0

    def counted(name: str) -> int:
        return int(summary[name]) - int(before[name])

    assert counted("detections_created") == 3
    assert counted("detections_ignored") >= 5 + 8 * 2
    assert (counted("seeds_accepted"), counted("seeds_applied"), counted("seeds_rejected")) == (3, 3, 0)


def test_prompts_of_a_detector_are_not_counted_as_a_users(robot):
    before = robot.diagnostics()
    robot.add(robot.prompt("mine", points=[(110.0, 80.0, True)], class_id="ball"))
    robot.wait_for("both", lambda: len(run(robot, 1, detection(BOX, "brick")).objects) == 2)
    summary = robot.wait_for(
        "the count", lambda: (s := robot.diagnostics())["seeds_applied"] != before["seeds_applied"] and s
    )
    for name, count in (
        ("prompts_accepted", 1),
        ("prompts_applied", 1),
        ("seeds_accepted", 1),
        ("seeds_applied", 1),
    ):
        assert int(summary[name]) - int(before[name]) == count, name


@pytest.mark.parametrize("forget", ["reset", "remove"])
def test_a_lost_object_that_was_forgotten_is_not_brought_back_by_its_detector(robot, forget):
    first = robot.wait_for("the object", lambda: run(robot, 1, detection(BOX, "brick")).objects)[0]
    run(robot, 3, detection(BOX, "brick"))
    nothing = np.full((HEIGHT_PX, WIDTH_PX, 3), 70, np.uint8)
    robot.wait_for("the loss", lambda: robot.process(nothing).objects[0].state == LOST)
    stamps = [stamp_ns(robot.process(nothing)) for _ in range(2)]

    def detect_and_wait(stamp):
        before = robot.diagnostics()["messages"]
        detect(robot, stamp, detection(BOX, "brick"))
        robot.wait_for("the message", lambda: robot.diagnostics()["messages"] != before)

    # A box is confirmed by two messages; the second one is of an image that still had the object.
    detect_and_wait(stamps[0])
    robot.reset() if forget == "reset" else robot.remove(first.id)
    detect_and_wait(stamps[1])
    for _ in range(3):
        assert first.id not in [obj.id for obj in robot.process(nothing).objects]
    if forget == "reset":  # one box since then: a flicker
        assert robot.process(nothing).objects == []


def test_a_lost_object_is_prompted_again_where_the_detector_sees_it(make_robot):
    robot = make_robot(max_objects=3, detection_mode="reseed", lost_after=0.2)
    robot.listen_to_outputs()
    moved = np.full((HEIGHT_PX, WIDTH_PX, 3), 70, np.uint8)
    moved[60:100, 100:140] = (200, 30, 20)
    robot.add(robot.prompt("brick", box=BOX, class_id="brick"))
    label = robot.process().objects[0].label
    for _ in range(3):
        robot.process()
    nothing = np.full((HEIGHT_PX, WIDTH_PX, 3), 70, np.uint8)
    robot.wait_for("the loss", lambda: robot.process(nothing).objects[0].state == 3)
    where = detection((100.0, 60.0, 140.0, 100.0), "brick")
    robot.wait_for(
        "its return", lambda: run(robot, 1, where, image=moved).objects[0].state == TRACKING, START_TIMEOUT_S
    )
    message = run(robot, 2, where, image=moved)
    (found,) = read_objects(message)
    assert (found.id, found.label) == ("brick", label)
    assert found.mask[80, 120]
    # In this mode nothing new is started.
    message = run(robot, 6, where, detection((10.0, 10.0, 40.0, 40.0), "stranger"), image=moved)
    assert [obj.id for obj in message.objects] == ["brick"]


def test_detections_of_another_frame_or_time_are_refused_and_said(robot):
    for _ in range(3):
        detect(robot, stamp_ns(robot.process()), detection(BOX, "brick"), frame_id="elsewhere")
    robot.wait_for("the reason", lambda: robot.process() and "made in frame 'elsewhere'" in robot.log())
    assert robot.process().objects == []


def test_tracked_objects_are_published_as_detections(robot):
    boxes = robot.listen(vision.Detection2DArray, "/sam2/detections_2d")
    robot.add(robot.prompt("mine", box=BOX, class_id="brick"))
    robot.process()
    message = robot.wait_for(
        "boxes", lambda: robot.process() and next((m for m in boxes if m.detections), None)
    )
    same = robot.objects_at(stamp_ns(message))
    (found,), (expected,) = message.detections, same.objects
    assert found.id == "mine"
    assert found.results[0].hypothesis.class_id == "brick"
    assert found.results[0].hypothesis.score == pytest.approx(expected.score)
    assert found.bbox.size_x == expected.roi.width
    assert found.bbox.center.position.x == expected.roi.x_offset + expected.roi.width / 2
    assert message.header == same.header


def test_a_silent_detector_is_a_warning(robot):
    robot.process()
    summary = robot.wait_for(
        "the warning", lambda: (s := robot.diagnostics())["detections"]["level"] == 1 and s
    )
    assert "no detections on /sam2/detections for" in summary["detections"]["message"]
