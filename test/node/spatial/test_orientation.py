# SPDX-License-Identifier: Apache-2.0
"""Axes of rendered bodies: near the true ones, the same from image to image, and none where there are none."""

import numpy as np
import pytest
from depth_scenes import (
    HEIGHT_PX,
    WIDTH_PX,
    camera_info,
    cuboid,
    depth_message,
    pinhole_slopes,
    rotation_about,
    sphere,
    tracked,
    wall,
)
from scipy.spatial.transform import Rotation

from sam2_ros.node.spatial.depth import DepthImage
from sam2_ros.node.spatial.intrinsics import Intrinsics
from sam2_ros.node.spatial.object_points import measure_points
from sam2_ros.node.spatial.orientation import (
    UNKNOWN_STDDEV_RAD,
    OrientationTracker,
    find_axes,
    quaternion_of,
)
from sam2_ros.node.spatial.transform import IDENTITY, Transform
from sam2_ros.node.spatial.velocity import WINDOW_S, VelocityEstimator

SLOPES = pinhole_slopes()
CENTRE = (0.03, 0.02, 0.8)
BRICK = (0.20, 0.12, 0.08)
CAMERA = np.zeros(3)
INTRINSICS = Intrinsics(camera_info(), HEIGHT_PX, WIDTH_PX, rectified=False)


def seen(body: np.ndarray, seed: int = 0):
    """The visible surface as a depth camera measures it: noise of 2 mm at 1 m, a wall behind."""
    depth_m = np.minimum(body, wall(SLOPES, 2.0))
    depth_m = depth_m + np.random.default_rng(seed).normal(size=depth_m.shape) * 0.002 * depth_m**2
    depth = DepthImage(depth_message(depth_m, "16UC1"), 1000)
    return measure_points(tracked(np.isfinite(body)), depth, INTRINSICS)


def apart_deg(first: np.ndarray, second: np.ndarray) -> float:
    """Angle between two rotations."""
    return float(np.degrees(Rotation.from_matrix(first.T @ second).magnitude()))


def line_deg(axis: np.ndarray, true: np.ndarray) -> float:
    """Angle between two lines."""
    return float(np.degrees(np.arccos(min(1.0, abs(axis @ true)))))


@pytest.mark.parametrize(
    "size", [BRICK, (0.24, 0.08, 0.05), (0.2, 0.12, 0.005)], ids=["brick", "bar", "card"]
)
def test_the_axes_of_a_box_are_its_edges_longest_first_whatever_faces_it_shows(size):
    errors = []
    for seed in range(20):
        tilt = np.random.default_rng(seed).uniform(-0.9, 0.9, 3)
        true = rotation_about(0, tilt[0]) @ rotation_about(1, tilt[1]) @ rotation_about(2, tilt[2])
        axes = find_axes(seen(cuboid(SLOPES, CENTRE, size, true), seed).points_camera, CAMERA)
        assert axes.distinct
        assert np.linalg.det(axes.rotation) == pytest.approx(1.0)
        assert axes.rotation[:, 2] @ -np.array(CENTRE) > 0  # z to the side of the camera
        assert list(axes.size_xyz) == sorted(axes.size_xyz, reverse=True)
        errors.append(
            max(line_deg(axes.rotation[:, 0], true[:, 0]), line_deg(axes.rotation[:, 2], true[:, 2]))
        )
    assert np.median(errors) < 3
    # A box that shows one long and one end face may hide which edge is the longest: rare.
    assert np.percentile(errors, 85) < 8


def test_a_box_that_turns_keeps_the_names_and_directions_of_its_axes():
    """A whole turn about a tilted axis, 6 degrees an image: no axis ever jumps, also where two edges look equal."""
    tracker, last, steps, errors = OrientationTracker(), None, [], []
    for number in range(60):
        true = rotation_about(0, 0.6) @ rotation_about(1, np.radians(6 * number))
        surface = seen(cuboid(SLOPES, CENTRE, (0.16, 0.12, 0.12), true), number)
        axes = tracker.find(1, surface.points_camera, CAMERA)
        assert axes.distinct
        if last is not None:
            steps.append(apart_deg(last, axes.rotation))
        last = axes.rotation
        errors.append(line_deg(axes.rotation[:, 0], true[:, 0]))
    assert max(steps) < 25
    assert np.median(steps) == pytest.approx(6, abs=2)
    assert np.median(errors) < 4


def test_the_axes_of_a_box_that_stands_still_do_not_tremble():
    body, tracker, turns = (
        cuboid(SLOPES, CENTRE, BRICK, rotation_about(0, 0.6) @ rotation_about(2, 0.4)),
        OrientationTracker(),
        [],
    )
    for number in range(20):
        axes = tracker.find(1, seen(body, number).points_camera, CAMERA)
        turns.append(axes.rotation)
    assert max(apart_deg(turns[0], each) for each in turns) < 6


def test_another_object_and_a_new_start_have_axes_by_convention():
    axes = find_axes(seen(cuboid(SLOPES, CENTRE, BRICK, rotation_about(2, 0.3))).points_camera, CAMERA)
    turned = find_axes(seen(cuboid(SLOPES, CENTRE, BRICK, rotation_about(2, 2.4))).points_camera, CAMERA)
    tracker = OrientationTracker()
    tracker.update(1, axes)
    assert np.allclose(tracker.update(2, turned).rotation, turned.rotation)
    followed = tracker.update(1, turned)
    assert apart_deg(followed.rotation, axes.rotation) <= apart_deg(turned.rotation, axes.rotation)
    assert np.prod(followed.size_xyz) == pytest.approx(np.prod(turned.size_xyz))
    tracker.keep({2})
    assert np.allclose(tracker.update(1, turned).rotation, turned.rotation)


def test_a_ball_has_no_axes_and_says_so_and_a_pen_has_its_length():
    for radius_m in (0.03, 0.08):
        axes = find_axes(seen(sphere(SLOPES, CENTRE, radius_m)).points_camera, CAMERA)
        assert not axes.distinct
        assert np.array_equal(axes.rotation, np.eye(3))
        assert axes.stddev_rad == UNKNOWN_STDDEV_RAD
    true = rotation_about(2, 0.5) @ rotation_about(1, 0.4)
    pen = find_axes(seen(cuboid(SLOPES, CENTRE, (0.2, 0.012, 0.012), true)).points_camera, CAMERA)
    assert pen.distinct
    assert line_deg(pen.rotation[:, 0], true[:, 0]) < 3
    assert pen.stddev_rad < np.radians(25)


def test_axes_turn_with_the_target_frame():
    body = cuboid(SLOPES, CENTRE, BRICK, rotation_about(0, 0.5) @ rotation_about(2, 0.4))
    surface = seen(body)
    turn = Transform(rotation_about(2, 0.7) @ rotation_about(0, -1.2), np.array([1.0, 2.0, 3.0]))
    here, there = surface.located(IDENTITY, find_axes).axes, surface.located(turn, find_axes).axes
    for axis in range(3):
        assert line_deg(turn.rotation @ here.rotation[:, axis], there.rotation[:, axis]) < 1
    assert surface.located(turn).axes is None  # not asked for, not computed


def test_quaternions_agree_with_scipy():
    for rotation in Rotation.random(50, random_state=0).as_matrix():
        given = Rotation.from_quat(quaternion_of(rotation)).as_matrix()
        assert np.allclose(given, rotation)
        assert quaternion_of(rotation)[3] >= 0


def test_the_standard_deviation_of_a_position_covers_its_error_and_is_not_far_above_it():
    """Error: against the median of the surface without noise, of masks that are up to 1 px off."""
    errors, claimed = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        centre = (rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1), rng.uniform(0.5, 1.5))
        body = cuboid(SLOPES, centre, BRICK, rotation_about(1, rng.uniform(-1, 1)))
        points = (
            np.dstack([SLOPES, np.ones(SLOPES.shape[:2])]) * np.where(np.isfinite(body), body, 0)[..., None]
        )
        true = np.median(points[np.isfinite(body)], axis=0)
        off = np.roll(np.isfinite(body), rng.integers(-1, 2, 2), axis=(0, 1))
        depth_m = np.minimum(body, wall(SLOPES, 2.0))
        bias_m, noise_m = (
            rng.normal() * 0.002 * depth_m**2,
            rng.normal(size=depth_m.shape) * 0.003 * depth_m**2,
        )
        depth = DepthImage(depth_message(depth_m + bias_m + noise_m, "16UC1"), 1000)
        location = measure_points(tracked(off), depth, INTRINSICS).located(IDENTITY)
        errors.append(np.linalg.norm(np.array(location.position_xyz) - true))
        claimed.append(location.stddev_m)
    ratio = np.array(errors) / np.array(claimed)
    assert np.mean(ratio < 2) >= 0.95
    assert np.median(ratio) > 0.1


def test_the_velocity_of_an_accelerated_object_is_that_of_half_a_window_earlier():
    estimator, rate_hz, acceleration = VelocityEstimator(), 20.0, 1.5
    delays_s = []
    for number in range(16):
        time_s = number / rate_hz
        x = -0.3 + acceleration * time_s**2 / 2
        surface = seen(sphere(SLOPES, (x, 0.0, 1.2), 0.06), number)
        velocity = estimator.update(1, time_s, surface.located(IDENTITY).position_xyz)
        if time_s > WINDOW_S:
            delays_s.append(time_s - velocity[0] / acceleration)
    assert np.mean(delays_s) == pytest.approx(WINDOW_S / 2, abs=0.05)


def test_a_position_that_jumps_is_believed_less_than_one_that_moves_steadily():
    steady, jumping = VelocityEstimator(), VelocityEstimator()
    for number in range(10):
        steady.update(1, number / 10, (number * 0.02, 0.0, 1.0))
        jumping.update(1, number / 10, (number * 0.02, 0.02 * (number % 2), 1.0))
    assert steady.scatter_m(1) < 1e-9
    assert jumping.scatter_m(1) == pytest.approx(0.012, abs=0.004)
    jumping.keep(set())
    assert jumping.scatter_m(1) == 0.0
