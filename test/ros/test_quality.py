"""The shipped model through the live node: a rendered object is followed, with the mask as rendered."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from sam2_ros.media.render import ClipConfig, render_clip
from sam2_ros.media.tracked_message import read_objects
from sam2_ros.weights import CheckpointError, find_checkpoint


def shipped_model() -> str:
    try:
        find_checkpoint("nano")
    except CheckpointError as error:
        pytest.skip(f"needs the trained weights of nano: {error}")
    return "nano"


def tight_box(mask_hw: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(mask_hw)
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def test_a_rendered_object_is_followed_through_the_node(make_robot):
    robot = make_robot(model=shipped_model())
    robot.listen_to_outputs()
    robot.reset()
    clip = render_clip(
        seed=7,
        config=ClipConfig(
            height_px=240, width_px=320, frames=16, objects=1, occluders=0, hide_probability=0.0
        ),
    )
    robot.process(clip.frames[0])
    assert robot.add(robot.prompt("thing", box=tight_box(clip.masks[0, 0]))).success
    overlaps = []
    for frame, masks in zip(clip.frames, clip.masks, strict=True):
        (thing,) = read_objects(robot.process(frame))
        union = np.count_nonzero(thing.mask | masks[0])
        if masks[0].any():
            overlaps.append(np.count_nonzero(thing.mask & masks[0]) / union)
    assert np.mean(overlaps) > 0.6
