# SPDX-License-Identifier: Apache-2.0
"""Depth images of simple bodies at known distances, for pinhole, wide-angle and fisheye cameras.

Knows geometry only, not the code under test. Fields have the names of the ROS messages.
"""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator

from sam2_ros.engine import FrameResult, ObjectState, TrackedObject
from sam2_ros.engine.postprocess import measure_mask

HEIGHT_PX, WIDTH_PX, FOCAL_PX = 240, 320, 300.0
MATRIX = np.array([[FOCAL_PX, 0, 158.0], [0, FOCAL_PX, 121.0], [0, 0, 1]])
STAMP = SimpleNamespace(sec=100, nanosec=0)


def camera_info(**changes: Any) -> SimpleNamespace:
    """The CameraInfo of the pinhole camera above."""
    projection = np.hstack([MATRIX, np.zeros((3, 1))])
    info = SimpleNamespace(
        header=SimpleNamespace(stamp=STAMP, frame_id="camera"),
        height=HEIGHT_PX,
        width=WIDTH_PX,
        distortion_model="plumb_bob",
        d=[],
        k=MATRIX.ravel(),
        p=projection.ravel(),
        binning_x=0,
        binning_y=0,
        roi=SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False),
    )
    for name, value in changes.items():
        setattr(info, name, value)
    return info


def depth_message(
    depth_m: np.ndarray,
    encoding: str = "32FC1",
    bigendian: bool = False,
    padding: int = 0,
    divisor: int = 1000,
) -> SimpleNamespace:
    """An Image of depth [H, W] in metres, NaN without a reading; rows have `padding` more bytes."""
    order = ">" if bigendian else "<"
    if encoding == "16UC1":
        raw = np.round(np.nan_to_num(depth_m) * divisor).astype(order + "u2")
    else:
        raw = depth_m.astype(order + "f4")
    height, width = raw.shape
    rows = np.full((height, width * raw.itemsize + padding), 0xA5, np.uint8)
    rows[:, : width * raw.itemsize] = np.ascontiguousarray(raw).view(np.uint8).reshape(height, -1)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=STAMP, frame_id="camera"),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(bigendian),
        step=rows.shape[1],
        data=array("B", rows.tobytes()),
    )


def pinhole_slopes(matrix: np.ndarray = MATRIX, height: int = HEIGHT_PX, width: int = WIDTH_PX) -> np.ndarray:
    """[H, W, 2] x / z and y / z of every pixel."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([(columns - matrix[0, 2]) / matrix[0, 0], (rows - matrix[1, 2]) / matrix[1, 1]], axis=-1)


def distorted_slopes(model: str, distortion: list[float], reach: float) -> np.ndarray:
    """[H, W, 2] as `pinhole_slopes`, through a lens: projects a fine grid and interpolates back.

    The grid reaches as far as `reach` in x / z; NaN beyond.
    """
    side = np.tan(np.linspace(-np.arctan(reach), np.arctan(reach), 150))
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 1, 2)
    points = np.dstack([grid, np.ones(grid.shape[:2])])
    zero = np.zeros(3)
    if model == "equidistant":
        pixels, _ = cv2.fisheye.projectPoints(points, zero, zero, MATRIX, np.array(distortion))
    else:
        pixels, _ = cv2.projectPoints(points, zero, zero, MATRIX, np.array(distortion))
    rows, columns = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    return LinearNDInterpolator(pixels.reshape(-1, 2), grid.reshape(-1, 2))(columns, rows)


def plane(slopes: np.ndarray, point: tuple, normal: tuple) -> np.ndarray:
    """[H, W] depth of an infinite plane."""
    rays = np.dstack([slopes, np.ones(slopes.shape[:2])])
    return np.dot(point, normal) / (rays @ np.array(normal, float))


def wall(slopes: np.ndarray, z_m: float) -> np.ndarray:
    return plane(slopes, (0, 0, z_m), (0, 0, 1))


def card(slopes: np.ndarray, centre: tuple, size: tuple, tilt_rad: float = 0.0) -> np.ndarray:
    """[H, W] depth of a flat rectangle `size` = (w, h) metres, rotated by `tilt_rad` about y; inf beside it."""
    across = np.array([np.cos(tilt_rad), 0, np.sin(tilt_rad)])
    normal = np.array([-np.sin(tilt_rad), 0, np.cos(tilt_rad)])
    depth = plane(slopes, centre, tuple(normal))
    points = np.dstack([slopes, np.ones(slopes.shape[:2])]) * depth[..., None] - np.array(centre)
    on = (np.abs(points @ across) <= size[0] / 2) & (np.abs(points[..., 1]) <= size[1] / 2)
    return np.where(on, depth, np.inf)


def sphere(slopes: np.ndarray, centre: tuple, radius_m: float) -> np.ndarray:
    """[H, W] depth of a sphere's near side; inf beside it."""
    rays = np.dstack([slopes, np.ones(slopes.shape[:2])])
    a, b = (rays**2).sum(-1), rays @ np.array(centre, float)
    root = b**2 - a * (np.dot(centre, centre) - radius_m**2)
    with np.errstate(invalid="ignore"):
        return np.where(root > 0, (b - np.sqrt(root)) / a, np.inf)


def cuboid(slopes: np.ndarray, centre: tuple, size: tuple, rotation: np.ndarray) -> np.ndarray:
    """[H, W] depth of a box with edges `size` along the columns of `rotation` [3, 3]; inf beside it."""
    rays = np.dstack([slopes, np.ones(slopes.shape[:2])]) @ rotation
    eye, half = -np.array(centre, float) @ rotation, np.array(size, float) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        sides = (-half - eye) / rays, (half - eye) / rays
    near, far = np.minimum(*sides).max(-1), np.maximum(*sides).min(-1)
    return np.where((near < far) & (near > 0), near, np.inf)


def rotation_about(axis: int, angle_rad: float) -> np.ndarray:
    """[3, 3] rotation about the x (0), y (1) or z (2) axis."""
    rotation, first, second = np.eye(3), (axis + 1) % 3, (axis + 2) % 3
    rotation[[first, second], [first, second]] = np.cos(angle_rad)
    rotation[first, second], rotation[second, first] = -np.sin(angle_rad), np.sin(angle_rad)
    return rotation


def tracked(mask: np.ndarray, object_id: str = "cup", label: int = 1, presence: float = 7.0) -> TrackedObject:
    box, area_px, centroid_xy = measure_mask(mask)
    return TrackedObject(
        id=object_id,
        label=label,
        class_id="mug",
        mask=mask,
        logits=np.zeros((1, 1), np.float32),
        score=0.9,
        presence=presence,
        state=ObjectState.TRACKING,
        age_s=0.0,
        box=box,
        area_px=area_px,
        centroid_xy=centroid_xy,
    )


def frame(*objects: TrackedObject, stamp_s: float = 100.0) -> FrameResult:
    return FrameResult(0, stamp_s, HEIGHT_PX, WIDTH_PX, list(objects))
