# SPDX-License-Identifier: Apache-2.0
"""Position and size (metres) of bodies at known places, with noise, holes, flying pixels and too large masks."""

import cv2
import numpy as np
import pytest
from depth_scenes import (
    HEIGHT_PX,
    WIDTH_PX,
    camera_info,
    card,
    depth_message,
    distorted_slopes,
    pinhole_slopes,
    plane,
    sphere,
    tracked,
    wall,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_ros.node.spatial.depth import DepthImage
from sam2_ros.node.spatial.intrinsics import Intrinsics
from sam2_ros.node.spatial.location import Location, NoPositionError
from sam2_ros.node.spatial.object_points import measure_points
from sam2_ros.node.spatial.surface import MAX_SAMPLES
from sam2_ros.node.spatial.transform import IDENTITY, Transform

SLOPES = pinhole_slopes()
PINHOLE = Intrinsics(camera_info(), HEIGHT_PX, WIDTH_PX, rectified=False)


def sensed(depth_m: np.ndarray, seed: int = 0, noise: float = 1.0, holes: float = 0.1) -> np.ndarray:
    """A simulated depth camera: flying pixels at every edge, noise that grows with distance, holes."""
    rng = np.random.default_rng(seed)
    finite = np.where(np.isfinite(depth_m), depth_m, 0).astype(np.float32)
    near, far = (change(finite, np.ones((3, 3))) for change in (cv2.erode, cv2.dilate))
    flying = near + (far - near) * rng.random(finite.shape)
    made = np.where(far - near > 0.1, flying, finite)
    made = made + noise * 0.002 * (1 + made**2) * rng.standard_normal(made.shape)
    made[rng.random(made.shape) < holes] = np.nan
    return made


def grown(mask: np.ndarray, by_px: int) -> np.ndarray:
    kernel = np.ones((2 * abs(by_px) + 1,) * 2)
    return (cv2.dilate if by_px > 0 else cv2.erode)(mask.astype(np.uint8), kernel).astype(bool)


def place(
    mask: np.ndarray, depth_m: np.ndarray, camera: Intrinsics = PINHOLE, to: Transform = IDENTITY, **how
) -> Location:
    return measure_points(tracked(mask), DepthImage(depth_message(depth_m, **how), 1000), camera).located(to)


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
@pytest.mark.parametrize("grow_px", [-2, 0, 3, 6])
@pytest.mark.parametrize("gap_m", [0.05, 0.3, 2.0])
def test_a_box_before_a_wall(gap_m, grow_px, encoding):
    # 6 px more on each side of 45 x 38 px: 40 % of the mask is wall
    body = card(SLOPES, (0.05, 0.02, 0.8), (0.12, 0.10))
    found = place(
        grown(np.isfinite(body), grow_px),
        sensed(np.minimum(body, wall(SLOPES, 0.8 + gap_m))),
        encoding=encoding,
    )
    assert found.position_xyz == pytest.approx((0.05, 0.02, 0.8), abs=0.004)
    shrunk = 0.0107 if grow_px == -2 else 0.0
    assert found.size_xyz[0] == pytest.approx(0.12 - shrunk, abs=0.01)
    assert found.size_xyz[1] == pytest.approx(0.10 - shrunk, abs=0.01)
    assert found.size_xyz[2] < 0.03  # noise alone


@pytest.mark.parametrize("grow_px", [0, 3, 8])
def test_a_sphere_before_a_wall(grow_px):
    body = sphere(SLOPES, (0.1, -0.05, 1.0), 0.1)
    found = place(grown(np.isfinite(body), grow_px), sensed(np.minimum(body, wall(SLOPES, 1.5))))
    x, y, z = found.position_xyz
    assert (x, y) == pytest.approx((0.1, -0.05), abs=0.01)
    assert 0.905 < z < 0.94  # median of the near side: 0.1 * sqrt(1/2) in front of the centre
    assert found.size_xyz[:2] == pytest.approx((0.18, 0.18), abs=0.02)
    assert 0.05 < found.size_xyz[2] < 0.12


@pytest.mark.parametrize("tilt_rad", [0.3, 0.8, 1.2])
def test_a_tilted_plane_is_kept_whole(tilt_rad):
    body = card(SLOPES, (0.0, 0.0, 1.5), (0.8, 0.5), tilt_rad)
    found = place(grown(np.isfinite(body), 2), sensed(np.minimum(body, wall(SLOPES, 4.0))))
    true_size = (0.8 * np.cos(tilt_rad), 0.5, 0.8 * np.sin(tilt_rad))
    assert found.size_xyz == pytest.approx(true_size, rel=0.08, abs=0.04)
    # the near half fills more pixels, so the median is nearer than the middle, but it must lie on the plane
    x, _, z = found.position_xyz
    assert x == pytest.approx((z - 1.5) / np.tan(tilt_rad), abs=0.01)
    assert 1.35 < z < 1.5


def test_the_position_is_the_median():
    body = card(SLOPES, (0.0, 0.0, 1.5), (0.8, 0.5), 1.0)
    mask = np.isfinite(body)
    found = place(mask, np.where(mask, body, np.nan))
    assert found.position_xyz[2] == pytest.approx(np.median(body[mask]), abs=0.005)
    assert np.mean(body[mask]) > np.median(body[mask]) + 0.01


@pytest.mark.parametrize("share", [0.3, 0.45])
@pytest.mark.parametrize("gap_m", [0.05, 0.5])
def test_the_wall_beside_the_object_may_be_45_percent_of_the_mask(gap_m, share):
    body = card(SLOPES, (0, 0, 0.8), (0.12, 0.12))
    mask = np.isfinite(body)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    beside = int(len(columns) * share / (1 - share))
    mask[rows[0] : rows[-1] + 1, columns[-1] : columns[-1] + beside] = True
    found = place(mask, sensed(np.minimum(body, wall(SLOPES, 0.8 + gap_m))))
    assert found.position_xyz == pytest.approx((0, 0, 0.8), abs=0.005)
    assert found.size_xyz[:2] == pytest.approx((0.12, 0.12), abs=0.015)


@pytest.mark.parametrize("seed", range(4))
def test_a_basket_one_sees_through(seed):
    rng = np.random.default_rng(seed)
    body = card(SLOPES, (0, 0, 1.0), (0.4, 0.4))
    gaps = np.kron(rng.random((HEIGHT_PX // 10, WIDTH_PX // 10)), np.ones((10, 10))) < 0.45
    depth_m = np.minimum(np.where(gaps, np.inf, body), wall(SLOPES, 1.6))
    found = place(np.isfinite(body), sensed(depth_m, seed))
    assert found.position_xyz == pytest.approx((0, 0, 1.0), abs=0.06)
    assert found.position_xyz[2] == pytest.approx(1.0, abs=0.005)
    assert found.size_xyz == pytest.approx((0.4, 0.4, 0.0), abs=0.04)


def test_a_finger_before_the_object_is_not_the_object():
    body, finger = card(SLOPES, (0, 0, 1.0), (0.3, 0.2)), card(SLOPES, (0.05, 0, 0.7), (0.03, 0.6))
    depth_m = np.minimum(np.minimum(body, finger), wall(SLOPES, 1.6))
    found = place(np.isfinite(body), sensed(depth_m))
    assert found.position_xyz[2] == pytest.approx(1.0, abs=0.005)
    assert found.size_xyz[2] < 0.03


@pytest.mark.parametrize("grow_px", [0, 1])
def test_a_thin_object_keeps_its_core(grow_px):
    body = card(SLOPES, (0, 0, 1.0), (0.01, 0.2))  # a pen, 3 px across
    mask = np.isfinite(body)
    depth_m = np.minimum(body, wall(SLOPES, 1.3))
    found = place(grown(mask, grow_px) if grow_px else mask, depth_m)
    assert found.position_xyz == pytest.approx((0, 0, 1.0), abs=0.005)
    assert found.size_xyz == pytest.approx((0.01, 0.2, 0.0), abs=0.01)


def test_a_floor_cut_off_by_the_image_is_no_edge():
    floor = plane(SLOPES, (0, 1, 0), (0, 1, 0.0001))
    seen = (floor > 2) & (floor < 6)
    found = place(seen, np.where(seen, floor, np.nan))
    bottom = np.argwhere(seen)[:, 0].max()
    assert bottom == HEIGHT_PX - 1
    assert found.pixels[:, 1].max() >= bottom - 5
    assert found.position_xyz[1] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("model", "distortion"),
    [
        ("plumb_bob", [-0.3, 0.1, 0.001, -0.001, -0.01]),
        ("rational_polynomial", [0.6, -0.4, 0.0, 0.0, 0.05, 0.9, -0.3, 0.02]),
        ("equidistant", [-0.02, 0.004, -0.001, 0.0002]),
    ],
)
def test_lenses_bend_nothing(model, distortion):
    slopes = distorted_slopes(model, distortion, reach=0.9)
    body = card(slopes, (0.33, 0.22, 0.9), (0.14, 0.12))  # in the corner, where the lens bends most
    camera = Intrinsics(
        camera_info(distortion_model=model, d=distortion), HEIGHT_PX, WIDTH_PX, rectified=False
    )
    found = place(np.isfinite(body), sensed(np.minimum(body, wall(slopes, 1.6))), camera)
    assert found.position_xyz == pytest.approx((0.33, 0.22, 0.9), abs=0.005)
    assert found.size_xyz[:2] == pytest.approx((0.14, 0.12), abs=0.015)
    # without the distortion model the position would be wrong
    straight = place(np.isfinite(body), sensed(np.minimum(body, wall(slopes, 1.6))))
    assert np.linalg.norm(np.subtract(straight.position_xyz, found.position_xyz)) > 0.01


def test_points_lie_on_the_object_at_their_pixels():
    body = card(SLOPES, (0.05, 0.02, 0.8), (0.12, 0.10))
    mask = np.isfinite(body)
    found = place(grown(mask, 3), sensed(np.minimum(body, wall(SLOPES, 1.5))))
    assert found.points.dtype == np.float32
    assert found.points.shape == (len(found.pixels), 3)
    assert np.issubdtype(found.pixels.dtype, np.integer)
    back = np.round(found.points[:, :2] / found.points[:, 2:] * 300 + (158, 121))
    np.testing.assert_array_equal(back, found.pixels)
    assert mask[found.pixels[:, 1], found.pixels[:, 0]].mean() > 0.98


def test_size_is_along_the_axes_of_the_target_frame():
    turn = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # from an optical frame to x forward, z up
    body = card(SLOPES, (0.05, 0.02, 0.8), (0.12, 0.06))
    found = place(
        np.isfinite(body), np.minimum(body, wall(SLOPES, 2.0)), to=Transform(turn, np.array([1.0, 2, 3]))
    )
    assert found.position_xyz == pytest.approx((1.8, 1.95, 2.98), abs=0.005)
    assert found.size_xyz == pytest.approx((0.0, 0.12, 0.06), abs=0.008)


def test_cost_is_bounded_for_a_mask_that_fills_the_image():
    found = place(np.ones((HEIGHT_PX, WIDTH_PX), bool), wall(SLOPES, 2.0))
    assert 0.5 * MAX_SAMPLES < len(found.points) <= MAX_SAMPLES * 1.1
    assert found.position_xyz[2] == pytest.approx(2.0)


def test_too_few_readings_are_no_position():
    body = card(SLOPES, (0, 0, 0.8), (0.12, 0.10))
    mask = np.isfinite(body)
    nothing = np.full(mask.shape, np.nan)
    with pytest.raises(
        NoPositionError, match=r"^0 of \d+ pixels of the mask have a depth reading, expected at least"
    ):
        place(mask, nothing)
    nothing[120, 155:166] = 0.8
    with pytest.raises(NoPositionError, match="11 of"):
        place(mask, nothing)


def test_a_surface_beyond_90_degrees_is_no_position():
    narrow = [60.0, 0, 158, 0, 60.0, 121, 0, 0, 1]
    info = camera_info(distortion_model="equidistant", d=[0.01, 0, 0, 0], k=narrow)
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), bool)
    mask[100:140, 0:20] = True
    with pytest.raises(NoPositionError, match="direction in front of the camera"):
        place(mask, wall(SLOPES, 1.0), Intrinsics(info, HEIGHT_PX, WIDTH_PX, rectified=False))


@settings(max_examples=60, deadline=None)
@given(
    z_m=st.floats(0.5, 5),
    width=st.floats(0.15, 0.8),
    height=st.floats(0.15, 0.6),
    tilt_rad=st.floats(-1.2, 1.2),
    seed=st.integers(0, 99),
)
def test_no_plane_is_torn_apart(z_m, width, height, tilt_rad, seed):
    body = card(SLOPES, (0, 0, z_m), (width * z_m, height * z_m), tilt_rad)
    mask = np.isfinite(body)
    found = place(mask, sensed(np.where(mask, body, np.nan), seed))
    truth = np.dstack([SLOPES, np.ones(mask.shape)])[mask] * body[mask][:, None]
    extent = np.percentile(truth, 99, axis=0) - np.percentile(truth, 1, axis=0)
    assert found.position_xyz == pytest.approx(np.median(truth, axis=0), abs=0.1 * max(width, height) * z_m)
    assert (np.array(found.size_xyz) > 0.75 * extent).all()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_depth_gives_a_finite_place_or_a_reason(data):
    seed = data.draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    levels = np.array(data.draw(st.lists(st.floats(0, 100, width=32), min_size=1, max_size=4)))
    depth_m = rng.choice(np.append(levels, np.nan), (HEIGHT_PX, WIDTH_PX))
    x0, y0 = data.draw(st.integers(0, 300)), data.draw(st.integers(0, 220))
    width, height = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), bool)
    mask[y0 : y0 + height, x0 : x0 + width] = rng.random((height, width)) < 0.9
    mask[y0, x0] = True
    try:
        found = place(mask, depth_m)
    except NoPositionError:
        return
    assert np.isfinite([*found.position_xyz, *found.size_xyz]).all()
    assert np.isfinite(found.points).all()
    assert mask[found.pixels[:, 1], found.pixels[:, 0]].all()
