# SPDX-License-Identifier: Apache-2.0
"""The rendered depth camera: colour, depth, pixels and places fit each other."""

import numpy as np
import pytest

from sam2_ros.synthetic.tabletop import (
    CAMERA_IN_BASE,
    CAN_HEIGHT_M,
    CAN_RADIUS_M,
    MATRIX,
    PERIOD_S,
    Tabletop,
    can_centre,
)


@pytest.fixture(scope="module")
def scene():
    return Tabletop()


def in_base(view, pixels_hw: np.ndarray) -> np.ndarray:
    """[n, 3] metres: what the depth camera measured at these pixels, in base_link."""
    rows, columns = np.nonzero(pixels_hw & np.isfinite(view.depth_m))
    z_m = view.depth_m[rows, columns].astype(float)
    camera = np.linalg.inv(MATRIX) @ np.stack([columns, rows, np.ones(len(rows))]) * z_m
    return (CAMERA_IN_BASE[:3, :3] @ camera).T + CAMERA_IN_BASE[:3, 3]


def test_the_camera_pose_is_a_rotation_and_a_place():
    turn = CAMERA_IN_BASE[:3, :3]
    assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)


@pytest.mark.parametrize("time_s", [0.0, 1.0, PERIOD_S / 2, PERIOD_S * 1000.1])
def test_depth_on_the_can_is_its_surface(scene, time_s):
    view, centre = scene.view(time_s), can_centre(time_s)
    points = in_base(view, view.can)
    assert len(points) > 1000
    across_m = np.linalg.norm((points - centre)[:, :2], axis=1)
    on_lid = points[:, 2] > CAN_HEIGHT_M - 0.01
    assert np.median(np.abs(across_m[~on_lid] - CAN_RADIUS_M)) < 0.002
    assert across_m.max() < CAN_RADIUS_M + 0.01
    assert points[:, 2].min() > -0.01


def test_depth_on_the_table_is_the_table(scene):
    view = scene.view(0.0)
    corner = np.zeros_like(view.can)
    corner[-40:, :100] = True
    assert np.abs(in_base(view, corner)[:, 2]).max() < 0.01


def test_the_box_hides_the_can_in_the_middle_of_each_way(scene):
    shown = [scene.view(time_s).can.sum() for time_s in np.arange(0, PERIOD_S, 0.25)]
    hidden = np.array(shown) == 0
    assert 0.2 < hidden.mean() < 0.5
    assert max(shown) > 2000
    assert not hidden[0]
    assert not hidden[len(hidden) // 2]


def test_a_view_depends_on_its_time_alone(scene):
    first, again, later = scene.view(2.0), Tabletop().view(2.0), scene.view(2.1)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.depth_m, again.depth_m, equal_nan=True)
    assert not np.array_equal(first.image, later.image)
