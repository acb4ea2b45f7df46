"""One object's place in space: its mask and the depth image in, position, size and points out.

Knows no messages and no time, hence no velocity.
"""

from __future__ import annotations

import numpy as np

from sam2_ros.engine import TrackedObject
from sam2_ros.node.spatial.depth import DepthImage
from sam2_ros.node.spatial.intrinsics import Camera
from sam2_ros.node.spatial.location import Location, NoPositionError, Vector
from sam2_ros.node.spatial.surface import MIN_SAMPLES, find_surface
from sam2_ros.node.spatial.transform import Transform
from sam2_ros.node.spatial.velocity import UNKNOWN

SIZE_PERCENTILES = (1, 99)


def locate_object(obj: TrackedObject, depth: DepthImage, camera: Camera, transform: Transform) -> Location:
    """The location of a visible object in the transform's target frame, with an unknown velocity.

    The position is the median of the surface's points along each axis of the camera, the size their extent
    along each axis of the target frame. Raises NoPositionError when the depth says too little.
    """
    surface = find_surface(obj.mask, obj.box, depth, camera.focal_px)
    slopes = camera.slopes(surface.pixels_xy)
    seen = np.isfinite(slopes).all(axis=1)
    if np.count_nonzero(seen) < MIN_SAMPLES:
        raise NoPositionError(
            f"{np.count_nonzero(seen)} of {len(seen)} pixels have a direction in front of the camera, expected at "
            f"least {MIN_SAMPLES}: camera_info's distortion does not reach so far out"
        )
    depth_m = surface.depth_m[seen, None].astype(np.float64)
    points_camera = np.concatenate([slopes[seen] * depth_m, depth_m], axis=1)
    points = transform.apply(points_camera)
    low, high = np.percentile(points, SIZE_PERCENTILES, axis=0)
    return Location(
        position_xyz=_vector(transform.apply(np.median(points_camera, axis=0))),
        size_xyz=_vector(high - low),
        velocity_xyz=UNKNOWN,
        points=points.astype(np.float32),
        pixels=surface.pixels_xy[seen],
    )


def _vector(numbers: np.ndarray) -> Vector:
    x, y, z = numbers.tolist()
    return x, y, z
