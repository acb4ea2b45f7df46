# SPDX-License-Identifier: Apache-2.0
"""Makes foxglove_msgs/ImageAnnotations of a result: outlines, boxes and names, which Foxglove draws over the image.

Knows the layout of foxglove_msgs 3, and imports it only when a message is made; does not know who draws it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import cv2
import numpy as np

from sam2_ros.engine import FrameResult, ObjectState, TrackedObject
from sam2_ros.media.overlay import colour_of
from sam2_ros.node.packages import require

TOLERANCE_PX = 1.0  # of an outline's corners from the mask's border
MIN_CORNERS = 3
MAX_PARTS = 32  # outlines of one object, the longest: a torn mask has hundreds
BOX_THICKNESS = 1.0
PLATE = 0.6  # opacity of the dark background of a name


def import_foxglove_msgs() -> Any:
    """The module foxglove_msgs.msg. Raises UserError, with the command to install it."""
    return require("foxglove_msgs.msg", "foxglove_msgs", "outlines for Foxglove (~/annotations)")


def annotations_message(result: FrameResult, header: Any) -> Any:
    """The annotations of one image under its stamp.

    A visible object has the outlines of its mask, holes included, its box, and `id STATE score` above it. Names and
    states of the others stand in the lower left corner, with the time since they were seen. Colours are those of
    `media.overlay`. Foxglove's coordinates begin at the corner of the first pixel: its middle is (0.5, 0.5).
    """
    foxglove = import_foxglove_msgs()
    message = foxglove.ImageAnnotations()
    if hasattr(message, "timestamp"):  # of all of them; early versions have none
        message.timestamp = header.stamp
    short_px = min(result.height_px, result.width_px)
    font_px, thickness = max(8.0, short_px / 30), max(1.0, short_px / 360)
    annotate = partial(
        foxglove.PointsAnnotation, timestamp=header.stamp, type=foxglove.PointsAnnotation.LINE_LOOP
    )
    name = partial(
        foxglove.TextAnnotation,
        timestamp=header.stamp,
        font_size=font_px,
        background_color=foxglove.Color(a=PLATE),
    )
    for obj in result.objects:
        if not obj.visible:
            continue
        colour, (x0, y0, x1, y1) = _colour(foxglove, obj), obj.box
        for corners in outlines(obj.mask, obj.box):
            points = [foxglove.Point2(x=x, y=y) for x, y in (corners + 0.5).tolist()]
            message.points.append(annotate(points=points, outline_color=colour, thickness=thickness))
        corners_of_box = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
        points = [foxglove.Point2(x=float(x), y=float(y)) for x, y in corners_of_box]
        message.points.append(annotate(points=points, outline_color=colour, thickness=BOX_THICKNESS))
        text = f"{obj.id} {obj.state.name} {obj.score:.2f}"
        place = foxglove.Point2(x=float(x0), y=max(float(y0), font_px))
        message.texts.append(name(position=place, text=text, text_color=colour))
    bottom_px = result.height_px - font_px / 2
    for obj in reversed([obj for obj in result.objects if not obj.visible]):
        text = f"{obj.id} {obj.state.name}"
        if obj.state is not ObjectState.PENDING:
            text += f" {obj.age_s:.1f} s"
        place = foxglove.Point2(x=font_px / 2, y=bottom_px)
        message.texts.append(name(position=place, text=text, text_color=_colour(foxglove, obj)))
        bottom_px -= 1.7 * font_px
    return message


def outlines(mask_hw: np.ndarray, box: tuple[int, int, int, int]) -> list[np.ndarray]:
    """Simplified outlines of a mask, [H, W] bool, within its box: [n, 2] int32 corners, the middles of border pixels.

    Outer borders and those of holes, the longest MAX_PARTS; parts too small for a polygon are left out, unless there is
    no other.
    """
    x0, y0, x1, y1 = box
    crop = np.ascontiguousarray(mask_hw[y0:y1, x0:x1]).view(np.uint8)
    found, _ = cv2.findContours(crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0))
    longest = sorted(found, key=lambda contour: cv2.arcLength(contour, True), reverse=True)[:MAX_PARTS]
    simple = [cv2.approxPolyDP(contour, TOLERANCE_PX, True)[:, 0] for contour in longest]
    return [corners for corners in simple if len(corners) >= MIN_CORNERS] or simple[:1]


def _colour(foxglove: Any, obj: TrackedObject) -> Any:
    red, green, blue = (channel / 255 for channel in colour_of(obj.label))
    return foxglove.Color(r=red, g=green, b=blue, a=1.0)
