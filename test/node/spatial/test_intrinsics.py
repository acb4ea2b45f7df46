# SPDX-License-Identifier: Apache-2.0
"""Pixels to directions: each distortion model compared with a projection, crops and bins, and refused cameras."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from depth_scenes import FOCAL_PX, HEIGHT_PX, MATRIX, WIDTH_PX, camera_info, pinhole_slopes
from hypothesis import given
from hypothesis import strategies as st

from sam2_ros.node.spatial.intrinsics import Intrinsics
from sam2_ros.node.spatial.location import NoPositionError

LENSES = {
    "plumb_bob": [-0.32, 0.12, 0.001, -0.0008, -0.02],
    "rational_polynomial": [0.6, -0.4, 0.0004, -0.0003, 0.05, 0.9, -0.3, 0.02],
    "equidistant": [-0.02, 0.004, -0.001, 0.0002],
}
EVERY_PIXEL = np.stack(np.meshgrid(np.arange(WIDTH_PX), np.arange(HEIGHT_PX)), axis=-1).reshape(-1, 2)


def camera(rectified=False, **changes) -> Intrinsics:
    return Intrinsics(camera_info(**changes), HEIGHT_PX, WIDTH_PX, rectified)


def test_a_pinhole():
    made = camera()
    np.testing.assert_allclose(made.slopes(EVERY_PIXEL), pinhole_slopes().reshape(-1, 2), atol=1e-12)
    assert made.focal_px == pytest.approx(FOCAL_PX)
    assert made.slopes(np.zeros((0, 2))).shape == (0, 2)


@pytest.mark.parametrize("model", LENSES)
def test_a_direction_projects_back_to_its_pixel(model):
    slopes = camera(distortion_model=model, d=LENSES[model]).slopes(EVERY_PIXEL)
    points = np.hstack([slopes, np.ones((len(slopes), 1))]).reshape(-1, 1, 3)
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    pixels, _ = project(points, np.zeros(3), np.zeros(3), MATRIX, np.array(LENSES[model]))
    assert np.abs(pixels.reshape(-1, 2) - EVERY_PIXEL).max() < 0.01
    assert np.abs(slopes - pinhole_slopes().reshape(-1, 2)).max() > 0.01  # the lens distorts


@pytest.mark.parametrize("model", [*LENSES, "none"])
def test_a_point_is_seen_at_the_pixel_that_looks_at_it(model):
    made = camera(distortion_model=model, d=LENSES.get(model, []))
    slopes = made.slopes(EVERY_PIXEL[::7])
    depth_m = np.linspace(0.1, 30, len(slopes))[:, None]
    pixels = made.pixels(np.hstack([slopes * depth_m, depth_m]))
    assert np.abs(pixels - EVERY_PIXEL[::7]).max() < 0.01
    assert made.pixels(np.zeros((0, 3))).shape == (0, 2)


@pytest.mark.parametrize("model", [*LENSES, "none"])
def test_a_point_behind_the_camera_or_in_its_plane_has_no_pixel(model):
    made = camera(distortion_model=model, d=LENSES.get(model, []))
    pixels = made.pixels([[0.1, 0.1, -1.0], [0.1, 0.1, 0.0], [0.0, 0.0, 0.0], [0.1, 0.1, 1.0]])
    assert np.isnan(pixels).all(axis=1).tolist() == [True, True, True, False]


def test_a_point_far_aside_is_not_folded_back_into_the_image_by_the_lens():
    lens = camera(distortion_model="plumb_bob", d=LENSES["plumb_bob"])
    aside = np.array([[2.2, 0.0, 1.0]])  # 66 degrees: the polynomial has turned back
    folded, _ = cv2.projectPoints(aside, np.zeros(3), np.zeros(3), MATRIX, np.array(LENSES["plumb_bob"]))
    assert 150 < folded[0, 0, 0] < 160
    assert np.isnan(lens.pixels(aside)).all()


def test_what_a_fisheye_sees_beside_or_behind_it_has_no_direction():
    narrow = MATRIX.copy()
    narrow[0, 0] = narrow[1, 1] = 60.0  # 320 px are more than 180 degrees
    slopes = camera(distortion_model="equidistant", d=[0.01, 0, 0, 0], k=narrow.ravel()).slopes(
        np.array([[0, 121], [158, 121], [319, 121]])
    )
    assert np.isnan(slopes).all(axis=1).tolist() == [True, False, True]


def test_zero_coefficients_of_any_model_are_a_pinhole():
    np.testing.assert_allclose(
        camera(distortion_model="inverse", d=[0.0] * 5).slopes(EVERY_PIXEL), camera().slopes(EVERY_PIXEL)
    )


def test_a_rectified_image_is_described_by_p_without_distortion():
    p = np.array([200.0, 0, 160, -24, 0, 210, 120, 0, 0, 0, 1, 0])
    slopes = camera(rectified=True, distortion_model="plumb_bob", d=LENSES["plumb_bob"], p=p).slopes(
        [[180, 99]]
    )
    np.testing.assert_allclose(slopes, [[0.1, -0.1]])


@given(st.integers(0, 90), st.integers(0, 70), st.integers(1, 4), st.integers(1, 4))
def test_a_cropped_and_binned_pixel_looks_where_its_full_pixels_look(
    x_offset, y_offset, binning_x, binning_y
):
    roi = SimpleNamespace(x_offset=x_offset, y_offset=y_offset, width=160, height=120)
    info = camera_info(roi=roi, binning_x=binning_x, binning_y=binning_y)
    made = Intrinsics(info, 120 // binning_y, 160 // binning_x, rectified=False)
    pixel = np.array([10, 20])
    full = pixel * (binning_x, binning_y) + (x_offset, y_offset)
    np.testing.assert_allclose(made.slopes(pixel), camera().slopes(full), atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"k": np.zeros(9)}, r"uncalibrated: K\[0\] is 0, expected a focal length"),
        ({"k": np.full(9, np.nan)}, "uncalibrated"),
        ({"width": 640, "height": 480}, "an image of 640x480, expected the 320x240"),
        ({"width": 0, "height": 0}, "an image of 0x0, expected"),
        ({"binning_x": 2, "binning_y": 2}, "320x240, binned 2x2, expected the 320x240"),
        ({"roi": SimpleNamespace(x_offset=0, y_offset=0, width=100, height=80)}, r"100x80 \(roi\), expected"),
        ({"distortion_model": "thin_prism", "d": [0.1]}, "'thin_prism', expected plumb_bob, rational_poly"),
        (
            {"distortion_model": "equidistant", "d": [0.1] * 5},
            "5 distortion coefficients .* expected 4 finite",
        ),
        (
            {"d": [0.1, np.nan, 0, 0, 0]},
            r"coefficients \(0.1, nan, .* expected 4 or 5 finite ones for plumb_bob",
        ),
    ],
)
def test_a_camera_that_cannot_be_used_says_why(changes, said):
    with pytest.raises(NoPositionError, match=said):
        camera(**changes)


def test_a_rectified_image_needs_p():
    with pytest.raises(NoPositionError, match=r"uncalibrated: P\[0\] is 0"):
        camera(rectified=True, p=np.zeros(12))
    camera(rectified=True, k=np.zeros(9))
