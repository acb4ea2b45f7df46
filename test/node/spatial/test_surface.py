# SPDX-License-Identifier: Apache-2.0
"""Which pixels of a mask show the object, in hard cases: thin, small, cut off, or with contradicting readings."""

import numpy as np
import pytest
from depth_scenes import depth_message

from sam2_ros.engine.postprocess import measure_mask
from sam2_ros.node.spatial.depth import DepthImage
from sam2_ros.node.spatial.location import NoPositionError
from sam2_ros.node.spatial.surface import Surface, find_surface


def surface(mask: np.ndarray, depth_m: np.ndarray, focal_px: float = 300.0) -> Surface:
    return find_surface(mask, measure_mask(mask)[0], DepthImage(depth_message(depth_m), 1000), focal_px)


def test_a_long_thin_object_keeps_its_middle():
    # A pole between two nearer bars; its mask covers one pixel of each bar. The edge of an object of this area would be
    # more than 2 px, which would remove the whole pole.
    depth_m = np.full((720, 40), 0.7)
    depth_m[:, 19:21] = 1.0
    mask = np.zeros(depth_m.shape, bool)
    mask[10:710, 18:22] = True
    assert surface(mask, depth_m).depth_m == pytest.approx(1.0)


@pytest.mark.parametrize("wall_m", [1.07, 1.5, 4.0])
def test_a_small_object_before_a_wall(wall_m):
    depth_m = np.full((40, 40), wall_m)
    depth_m[:, :25] = 1.0
    mask = np.zeros(depth_m.shape, bool)
    mask[15:25, 20:30] = True  # half of it is wall
    found = surface(mask, depth_m, focal_px=200.0)  # a wall at 1.07 is nearer than the object is broad
    assert found.depth_m == pytest.approx(1.0)
    assert len(found.depth_m) == 50


@pytest.mark.parametrize("turns", range(4), ids=["left", "bottom", "right", "top"])
def test_where_the_image_ends_there_is_no_edge(turns):
    # Two columns of the mask are in the image: the outer one shows the object, the inner one something nearer.
    depth_m = np.full((60, 60), 2.0)
    depth_m[:, 0], depth_m[:, 1] = 1.0, 0.5
    mask = np.zeros(depth_m.shape, bool)
    mask[10:50, :2] = True
    assert surface(np.rot90(mask, turns), np.rot90(depth_m, turns)).depth_m == pytest.approx(1.0)


def test_what_runs_off_into_the_distance_is_cut_where_it_gets_deeper_than_the_object_is_broad():
    depth_m = np.full((100, 100), 1.0)
    depth_m[25:50] = np.linspace(6.0, 1.0, 25)[:, None]  # the floor behind it, without a step in between
    mask = np.zeros(depth_m.shape, bool)
    mask[25:75, 25:75] = True
    found = surface(mask, depth_m)
    assert found.depth_m.min() == pytest.approx(1.0)
    assert found.depth_m.max() < 1.5
    assert np.median(found.depth_m) == pytest.approx(1.0)


def test_readings_that_disagree_are_no_surface():
    depth_m = np.full((20, 20), 40.0)
    depth_m[8:12, 8:12] = np.repeat((1.0, 1.2, 40.0), (6, 6, 4)).reshape(4, 4)
    mask = np.zeros(depth_m.shape, bool)
    mask[8:12, 8:12] = True
    with pytest.raises(
        NoPositionError, match=r"6 of 16 depth readings in the mask agree, expected at least 12"
    ):
        surface(mask, depth_m)
