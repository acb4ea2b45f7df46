# SPDX-License-Identifier: Apache-2.0
"""Converts between vision_msgs and the node: Detection2DArray to detections, tracker results to Detection2DArray.

Knows the layout of vision_msgs 4 (Humble and later); does not know how a detection is used. Imports vision_msgs only
when a message type or a message is needed.
"""

from __future__ import annotations

import math
from typing import Any

from sam2_ros.engine import FrameResult
from sam2_ros.node.limits import MAX_NAME_BYTES, shown
from sam2_ros.node.packages import require

from .detections import Detection
from .overlap import Box

SCORE_ROUNDING = 1e-6  # tolerance above 1 for scores computed in float32, such as 1.0000001
MAX_BOXES = 10_000  # in one message: more than the raw output of any detector
MAX_DETECTIONS = 300  # used of one message; association time grows with their square


def import_vision_msgs() -> Any:
    """The module vision_msgs.msg. Raises UserError, with the command to install it."""
    return require("vision_msgs.msg", "vision_msgs", "boxes in and out (~/detections, ~/detections_2d)")


def detections_from(message: Any, min_score: float = 0.0) -> tuple[list[Detection], list[str]]:
    """The detections of a Detection2DArray, and one line for each that cannot be used.

    Of more than MAX_DETECTIONS, the best are used that reach `min_score`; of more than MAX_BOXES, none.

    Class and score are those of the hypothesis with the best score. A detection without a hypothesis has no class and
    score 1.0, because its sender vouches for the box. A rotated box becomes its axis-aligned hull. Boxes are not
    clipped to the image, whose size is not known here.
    """
    detections: list[Detection] = []
    problems: list[str] = []
    if len(message.detections) > MAX_BOXES:
        return [], [
            f"message with {len(message.detections):,} detections ignored; expected at most {MAX_BOXES:,}: let the "
            "detector suppress its duplicates"
        ]
    for number, each in enumerate(message.detections, start=1):
        try:
            class_id, score = _best_hypothesis(each.results)
            detections.append(Detection(_hull(each.bbox), score, class_id))
        except ValueError as error:
            problems.append(f"detection #{number} ignored: {error}")
    if len(detections) > MAX_DETECTIONS:
        good = sorted((each for each in detections if each.score >= min_score), key=lambda each: -each.score)
        if len(good) > MAX_DETECTIONS:
            problems.append(
                f"{len(good):,} detections in one message: the best {MAX_DETECTIONS} are used; raise "
                "min_detection_score, or let the detector suppress its duplicates"
            )
        detections = good[:MAX_DETECTIONS]
    return detections, problems


def detections_2d_message(result: FrameResult, header: Any) -> Any:
    """The visible objects of one image as a Detection2DArray with the image's header.

    Per detection: `id` is the object's id, the only hypothesis its class and score (predicted mask IoU, 0..1), the box
    the tight box of its mask.
    """
    messages = import_vision_msgs()
    array = messages.Detection2DArray(header=header)
    for obj in result.objects:
        if not obj.visible:
            continue
        x0, y0, x1, y1 = (float(edge) for edge in obj.box)
        detection = messages.Detection2D(header=header, id=obj.id)
        detection.bbox.center.position.x, detection.bbox.center.position.y = (x0 + x1) / 2, (y0 + y1) / 2
        detection.bbox.size_x, detection.bbox.size_y = x1 - x0, y1 - y0
        hypothesis = messages.ObjectHypothesis(class_id=obj.class_id, score=float(obj.score))
        detection.results.append(messages.ObjectHypothesisWithPose(hypothesis=hypothesis))
        array.detections.append(detection)
    return array


def _best_hypothesis(results: Any) -> tuple[str, float]:
    """(class_id, score) of the best hypothesis; of equal scores the first. ValueError for a score outside 0..1."""
    if not len(results):
        return "", 1.0
    for each in results:
        score = each.hypothesis.score
        if len(each.hypothesis.class_id) > MAX_NAME_BYTES:
            raise ValueError(
                f"class '{shown(each.hypothesis.class_id)}' has a name of {len(each.hypothesis.class_id):,} "
                f"characters; expected at most {MAX_NAME_BYTES}"
            )
        if not 0.0 <= score <= 1.0 + SCORE_ROUNDING:
            raise ValueError(
                f"class '{shown(each.hypothesis.class_id)}' has score {score:g}; expected a probability from 0 to 1"
            )
    best = max(results, key=lambda each: each.hypothesis.score).hypothesis
    return best.class_id, min(float(best.score), 1.0)


def _hull(bbox: Any) -> Box:
    """Axis-aligned hull of a vision_msgs/BoundingBox2D, x0 y0 x1 y1 in pixels; ValueError if it has no area."""
    x, y, theta = bbox.center.position.x, bbox.center.position.y, bbox.center.theta
    width, height = bbox.size_x, bbox.size_y
    if not all(math.isfinite(value) for value in (x, y, theta, width, height)) or min(width, height) <= 0:
        raise ValueError(
            f"box with centre ({x:g}, {y:g}), size {width:g} x {height:g}, theta {theta:g}; expected finite "
            "numbers and a size above zero, in pixels"
        )
    cos, sin = abs(math.cos(theta)), abs(math.sin(theta))
    half_x, half_y = (width * cos + height * sin) / 2, (width * sin + height * cos) / 2
    return x - half_x, y - half_y, x + half_x, y + half_y
