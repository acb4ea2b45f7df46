# SPDX-License-Identifier: Apache-2.0
"""Measures the visible surface of one object: mask and depth image in; points, position and size out.

Knows no messages and no time, hence no velocity. The surface is measured in the camera's frame first and transformed
later, because the transform may come later than the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sam2_ros.engine import TrackedObject

from .depth import DepthImage
from .intrinsics import Intrinsics
from .location import Location, NoPositionError, Vector
from .orientation import Axes
from .surface import MAX_SAMPLES, MIN_SAMPLES, find_surface, noise_m
from .transform import Transform
from .velocity import UNKNOWN

SIZE_PERCENTILES = (1, 99)


@dataclass(frozen=True)
class ObjectPoints:
    """One object's visible surface in the camera's frame.

    Attributes:
        points_camera: ``[n, 3]`` float64, metres, a sample of the surface.
        pixels: ``[n, 2]`` int, column and row of each point in the image.
        focal_px: focal length of the image.
    """

    points_camera: np.ndarray
    pixels: np.ndarray
    focal_px: float

    def located(
        self, transform: Transform, axes_of: Callable[[np.ndarray, np.ndarray], Axes] | None = None
    ) -> Location:
        """The object's location in the transform's target frame, with unknown velocity.

        The position is the median of the points along each axis of the camera, the size their extent along each axis of
        the target frame. `axes_of`: finds the object's own axes from its points and the camera's
        place, as `find_axes`.
        """
        points, middle = transform.apply(self.points_camera), np.median(self.points_camera, axis=0)
        low, high = np.percentile(points, SIZE_PERCENTILES, axis=0)
        return Location(
            position_xyz=_vector(transform.apply(middle)),
            size_xyz=_vector(high - low),
            velocity_xyz=UNKNOWN,
            points=points.astype(np.float32),
            pixels=self.pixels,
            axes=None if axes_of is None else axes_of(points, transform.translation),
            stddev_m=self._stddev_m(float(middle[2])),
        )

    def _stddev_m(self, depth_m: float) -> float:
        """Standard deviation of the position: the noise of one depth reading, and one pixel of the mask's edge.

        Not divided by the root of the number of readings: the errors of neighbouring readings are alike.
        """
        return math.hypot(noise_m(depth_m), depth_m / self.focal_px)


def measure_points(
    obj: TrackedObject, depth: DepthImage, intrinsics: Intrinsics, max_samples: float = MAX_SAMPLES
) -> ObjectPoints:
    """The surface of a visible object, at most about `max_samples` points.

    Raises NoPositionError if there are too few depth readings.
    """
    surface = find_surface(obj.mask, obj.box, depth, intrinsics.focal_px, max_samples)
    slopes = intrinsics.slopes(surface.pixels_xy)
    seen = np.isfinite(slopes).all(axis=1)
    if np.count_nonzero(seen) < MIN_SAMPLES:
        raise NoPositionError(
            f"{np.count_nonzero(seen)} of {len(seen)} pixels have a direction in front of the camera, expected at "
            f"least {MIN_SAMPLES}: the distortion in camera_info is not valid so far from the image centre"
        )
    depth_m = surface.depth_m[seen, None].astype(np.float64)
    points = np.concatenate([slopes[seen] * depth_m, depth_m], axis=1)
    return ObjectPoints(points, surface.pixels_xy[seen], intrinsics.focal_px)


def _vector(numbers: np.ndarray) -> Vector:
    x, y, z = numbers.tolist()
    return x, y, z
