# SPDX-License-Identifier: Apache-2.0
"""Measures the visible surface of one object: mask and depth image in; points, position and size out.

Knows no messages and no time, hence no velocity. The surface is measured in the camera's frame first and transformed
later, because the transform may come later than the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sam2_ros.engine import TrackedObject

from .depth import DepthImage
from .intrinsics import Intrinsics
from .location import Location, NoPositionError, Vector
from .surface import MIN_SAMPLES, find_surface
from .transform import Transform
from .velocity import UNKNOWN

SIZE_PERCENTILES = (1, 99)


@dataclass(frozen=True)
class ObjectPoints:
    """One object's visible surface in the camera's frame.

    Attributes:
        points_camera: ``[n, 3]`` float64, metres, a sample of the surface.
        pixels: ``[n, 2]`` int, column and row of each point in the image.
    """

    points_camera: np.ndarray
    pixels: np.ndarray

    def located(self, transform: Transform) -> Location:
        """The object's location in the transform's target frame, with unknown velocity.

        The position is the median of the points along each axis of the camera, the size their extent along each axis of
        the target frame.
        """
        points = transform.apply(self.points_camera)
        low, high = np.percentile(points, SIZE_PERCENTILES, axis=0)
        return Location(
            position_xyz=_vector(transform.apply(np.median(self.points_camera, axis=0))),
            size_xyz=_vector(high - low),
            velocity_xyz=UNKNOWN,
            points=points.astype(np.float32),
            pixels=self.pixels,
        )


def measure_points(obj: TrackedObject, depth: DepthImage, intrinsics: Intrinsics) -> ObjectPoints:
    """The surface of a visible object; NoPositionError if there are too few depth readings."""
    surface = find_surface(obj.mask, obj.box, depth, intrinsics.focal_px)
    slopes = intrinsics.slopes(surface.pixels_xy)
    seen = np.isfinite(slopes).all(axis=1)
    if np.count_nonzero(seen) < MIN_SAMPLES:
        raise NoPositionError(
            f"{np.count_nonzero(seen)} of {len(seen)} pixels have a direction in front of the camera, expected at "
            f"least {MIN_SAMPLES}: the distortion in camera_info is not valid so far from the image centre"
        )
    depth_m = surface.depth_m[seen, None].astype(np.float64)
    return ObjectPoints(np.concatenate([slopes[seen] * depth_m, depth_m], axis=1), surface.pixels_xy[seen])


def _vector(numbers: np.ndarray) -> Vector:
    x, y, z = numbers.tolist()
    return x, y, z
