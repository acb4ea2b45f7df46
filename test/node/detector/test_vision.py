# SPDX-License-Identifier: Apache-2.0
"""Conversion between vision_msgs and the node's detections and results."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from sam2_ros.engine import FrameResult, ObjectState, TrackedObject
from sam2_ros.errors import UserError
from sam2_ros.node.detector import vision
from sam2_ros.node.detector.detections import Detection
from sam2_ros.node.detector.vision import detections_2d_message, detections_from, import_vision_msgs


def plain_message(*boxes: tuple) -> SimpleNamespace:
    """The layout of a Detection2DArray; each box is (x, y, size_x, size_y, theta, ((class_id, score), ...))."""
    return SimpleNamespace(
        detections=[
            SimpleNamespace(
                bbox=SimpleNamespace(
                    center=SimpleNamespace(position=SimpleNamespace(x=x, y=y), theta=theta),
                    size_x=size_x,
                    size_y=size_y,
                ),
                results=[
                    SimpleNamespace(hypothesis=SimpleNamespace(class_id=class_id, score=score))
                    for class_id, score in hypotheses
                ],
            )
            for x, y, size_x, size_y, theta, hypotheses in boxes
        ]
    )


def real_message(*boxes: tuple):
    """The same as a message of vision_msgs, serialized and deserialized."""
    import vision_msgs.msg as messages
    from rclpy.serialization import deserialize_message, serialize_message

    array = messages.Detection2DArray()
    for x, y, size_x, size_y, theta, hypotheses in boxes:
        detection = messages.Detection2D()
        detection.bbox.center.position.x, detection.bbox.center.position.y = float(x), float(y)
        detection.bbox.center.theta = float(theta)
        detection.bbox.size_x, detection.bbox.size_y = float(size_x), float(size_y)
        for class_id, score in hypotheses:
            result = messages.ObjectHypothesisWithPose()
            result.hypothesis.class_id, result.hypothesis.score = class_id, float(score)
            detection.results.append(result)
        array.detections.append(detection)
    return deserialize_message(serialize_message(array), messages.Detection2DArray)


@pytest.fixture
def message_of():
    """Real messages, or plain objects where vision_msgs is not installed."""
    return plain_message if importlib.util.find_spec("vision_msgs") is None else real_message


def test_centre_and_size_become_edges(message_of):
    detections, problems = detections_from(message_of((50, 40, 20, 10, 0, (("cup", 0.8),))))
    assert detections == [Detection((40.0, 35.0, 60.0, 45.0), 0.8, "cup")]
    assert problems == []


def test_the_best_hypothesis_counts(message_of):
    hypotheses = (("bowl", 0.3), ("cup", 0.6), ("mug", 0.6), ("hat", 0.1))
    (detection,), _ = detections_from(message_of((50, 40, 20, 10, 0, hypotheses)))
    assert (detection.class_id, detection.score) == ("cup", 0.6)


def test_a_box_without_a_hypothesis_is_certain_and_has_no_class(message_of):
    (detection,), _ = detections_from(message_of((50, 40, 20, 10, 0, ())))
    assert (detection.class_id, detection.score) == ("", 1.0)


@pytest.mark.parametrize(
    ("theta", "half_x", "half_y"),
    [
        (math.pi / 2, 5, 10),
        (math.pi, 10, 5),
        (-math.pi / 4, 15 / math.sqrt(2), 15 / math.sqrt(2)),
        (math.pi / 6, 5 * math.sqrt(3) + 2.5, 5 + 2.5 * math.sqrt(3)),
    ],
)
def test_a_rotated_box_becomes_its_hull(message_of, theta, half_x, half_y):
    (detection,), _ = detections_from(message_of((50, 40, 20, 10, theta, ())))
    assert detection.box == pytest.approx((50 - half_x, 40 - half_y, 50 + half_x, 40 + half_y))


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((math.nan, 40, 20, 10, 0, ()), "centre (nan, 40)"),
        ((50, math.inf, 20, 10, 0, ()), "centre (50, inf)"),
        ((50, 40, 0, 10, 0, ()), "size 0 x 10"),
        ((50, 40, 20, -1, 0, ()), "size 20 x -1"),
        ((50, 40, 20, 10, math.nan, ()), "theta nan"),
        (
            (50, 40, 20, 10, 0, (("cup", 87.0),)),
            "class 'cup' has score 87; expected a probability from 0 to 1",
        ),
        ((50, 40, 20, 10, 0, (("cup", 0.5), ("hat", math.nan))), "class 'hat' has score nan"),
    ],
)
def test_what_cannot_be_used_is_named_and_costs_no_other(message_of, box, reason):
    good = (50, 40, 20, 10, 0, (("cup", 0.8),))
    detections, problems = detections_from(message_of(good, box, good))
    assert len(detections) == 2
    assert len(problems) == 1
    assert problems[0].startswith("detection #2 ignored: ")
    assert reason in problems[0]
    assert "\n" not in problems[0]


def test_a_score_rounded_above_one_is_one(message_of):
    (detection,), _ = detections_from(message_of((50, 40, 20, 10, 0, (("cup", 1.0000001),))))
    assert detection.score == 1.0


def tracked(object_id: str, box: tuple[int, int, int, int], presence: float = 5.0) -> TrackedObject:
    mask = np.zeros((48, 64), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return TrackedObject(
        id=object_id,
        label=1,
        class_id="cup",
        mask=mask,
        logits=np.zeros((4, 4), np.float32),
        score=0.75,
        presence=presence,
        state=ObjectState.TRACKING,
        age_s=0.0,
        box=box,
        area_px=int(mask.sum()),
        centroid_xy=(0.0, 0.0),
    )


def test_visible_objects_go_out_and_come_back_as_they_were():
    pytest.importorskip(
        "vision_msgs.msg", reason="no wheel of vision_msgs: apt install ros-<distro>-vision-msgs"
    )
    from rclpy.serialization import deserialize_message, serialize_message
    from std_msgs.msg import Header
    from vision_msgs.msg import Detection2DArray

    header = Header(frame_id="camera")
    header.stamp.sec, header.stamp.nanosec = 7, 9
    objects = [
        tracked("a", (3, 4, 20, 31)),
        tracked("b", (0, 0, 5, 5), presence=-3.0),
        tracked("c", (0, 0, 0, 0)),
    ]
    sent = detections_2d_message(FrameResult(0, 7.0, 48, 64, objects=objects), header)
    message = deserialize_message(serialize_message(sent), Detection2DArray)
    assert message.header == header
    assert [(each.id, each.header) for each in message.detections] == [("a", header)]
    detections, problems = detections_from(message)
    assert detections == [Detection((3.0, 4.0, 20.0, 31.0), 0.75, "cup")]
    assert problems == []


@pytest.mark.parametrize("distro", ["jazzy", None])
def test_a_missing_package_is_named_in_one_line(distro, monkeypatch):
    for module in ("vision_msgs", "vision_msgs.msg"):
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    if distro:
        monkeypatch.setenv("ROS_DISTRO", distro)
    with pytest.raises(UserError, match=f"apt install ros-{distro or '<distro>'}-vision-msgs") as error:
        import_vision_msgs()
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="vision-msgs"):
        detections_2d_message(FrameResult(0, 0.0, 48, 64), None)


def test_reading_messages_imports_no_ros():
    code = (
        "import sys, sam2_ros.node.detector.vision; "
        "print(sorted({n.split('.')[0] for n in sys.modules} & {'rclpy', 'vision_msgs', 'std_msgs'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_of_too_many_boxes_the_best_are_used_and_of_far_too_many_none(message_of):
    boxes = [(50, 40, 20, 10, 0, (("cup", n / 1000),)) for n in range(1000)]
    detections, problems = detections_from(message_of(*boxes), min_score=0.1)
    assert len(detections) == vision.MAX_DETECTIONS
    assert min(each.score for each in detections) == pytest.approx((1000 - vision.MAX_DETECTIONS) / 1000)
    assert problems == [
        "900 detections in one message: the best 300 are used; raise min_detection_score, or let the detector "
        "suppress its duplicates"
    ]
    few, problems = detections_from(message_of(*boxes), min_score=0.9)
    assert (len(few), problems) == (100, [])  # raw output of a detector, most of it below the threshold
    none, (problem,) = detections_from(message_of(*[boxes[0]] * (vision.MAX_BOXES + 1)))
    assert none == []
    assert "10,001 detections ignored" in problem


def test_a_class_name_without_end_costs_its_detection(message_of):
    boxes = [(50, 40, 20, 10, 0, ((name, 0.9),)) for name in ("cup", "x" * 1_000_000)]
    detections, (problem,) = detections_from(message_of(*boxes))
    assert [each.class_id for each in detections] == ["cup"]
    assert "1,000,000 characters" in problem
    assert len(problem) < 200
