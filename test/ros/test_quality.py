# SPDX-License-Identifier: Apache-2.0
"""The shipped model in the live node tracks a rendered object as well as without ROS."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from sam2_ros.engine import Prompt, Tracker
from sam2_ros.errors import CheckpointError
from sam2_ros.media.messages.tracked_object import read_objects
from sam2_ros.synthetic.clip import ClipConfig
from sam2_ros.synthetic.render import render_clip
from sam2_ros.weights.load import load_model

from .conftest import IMAGE_SIZE


def iou(first_hw: np.ndarray, second_hw: np.ndarray) -> float:
    union = np.count_nonzero(first_hw | second_hw)
    return np.count_nonzero(first_hw & second_hw) / union if union else 1.0


def tight_box(mask_hw: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(mask_hw)
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def test_a_rendered_object_is_followed_through_the_node_as_without_it(make_robot):
    try:
        tracker = Tracker(load_model("nano", device="cpu", image_size=IMAGE_SIZE))
    except CheckpointError as error:
        pytest.skip(f"needs the trained weights of nano: {error}")
    robot = make_robot(model="nano", device="cpu")
    robot.listen_to_outputs()
    clip = render_clip(
        4, ClipConfig(height_px=240, width_px=320, frames=16, objects=1, occluders=0, hide_probability=0.0)
    )
    box = tight_box(clip.masks[0, 0])
    robot.process(clip.frames[0])  # the first image of this size
    assert robot.add(robot.prompt("thing", box=box)).success

    with_rendered, with_direct = [], []
    for frame, masks in zip(clip.frames, clip.masks, strict=True):
        direct = tracker.step(frame, [Prompt("thing", box=box)] if not with_direct else [])
        (thing,) = read_objects(robot.process(frame))
        with_rendered.append(iou(thing.mask, masks[0]))
        with_direct.append(iou(thing.mask, direct.objects[0].mask))
    assert min(with_direct) > 0.95  # the same images in the same order; threads may round differently
    assert np.mean(with_rendered) > 0.5
