# SPDX-License-Identifier: Apache-2.0
"""The simulated RGB-D camera: where it is, its intrinsics, and what PyBullet's software renderer draws for it.

Does not know which objects there are, nor ROS. Frames are optical: x right, y down, z forward. Pixel (0, 0) is the
centre of the first pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pybullet

WIDTH_PX, HEIGHT_PX = 320, 240
FOCAL_PX = 420.0
# The renderer samples column u at u, counted from the left border, and row v at HEIGHT_PX - 1 - v from the lower one.
MATRIX = np.array([[FOCAL_PX, 0, WIDTH_PX / 2], [0, FOCAL_PX, HEIGHT_PX / 2 - 1], [0, 0, 1]], np.float64)
NEAR_M, FAR_M = 0.1, 4.0
TARGET_XYZ = (0.52, 0.0, 0.03)  # the camera looks at the middle of the table
DISTANCE_M, ELEVATION = 0.98, math.radians(52)
SWING, SWING_S, HEAVE = math.radians(20), 12.0, math.radians(5)  # of the moving camera, and its period
NOISE_M = 0.001  # standard deviation of a depth reading at 1 m; grows with the square of the distance
EDGE_M = 0.02  # a step in depth between neighbours: such a pixel has no reading


@dataclass(frozen=True)
class View:
    """One image: rgb ``[H, W, 3]`` uint8; depth_m ``[H, W]`` float32 exact; bodies ``[H, W]`` int, -1 for none."""

    rgb: np.ndarray
    depth_m: np.ndarray
    bodies: np.ndarray
    camera_in_base: np.ndarray


def camera_pose(time_s: float, moving: bool) -> np.ndarray:
    """``[4, 4]`` pose of the optical frame in the arm's base frame; the moving camera swings on an arc."""
    phase = 2 * math.pi * time_s / SWING_S
    around = SWING * math.sin(phase) if moving else 0.0
    up = ELEVATION + (HEAVE * math.sin(2 * phase) if moving else 0.0)
    away = np.array([math.cos(up) * math.cos(around), math.cos(up) * math.sin(around), math.sin(up)])
    right = np.cross(-away, (0, 0, 1))
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(-away, right), -away], axis=1)
    pose[:3, 3] = np.array(TARGET_XYZ) + DISTANCE_M * away
    return pose


def render(client: int, camera_in_base: np.ndarray, shadows: bool = True) -> View:
    """Draws the world of a PyBullet client with the software renderer."""
    opengl = np.linalg.inv(camera_in_base @ np.diag([1.0, -1.0, -1.0, 1.0]))  # y up, z backward
    _, _, rgba, buffer, bodies = pybullet.getCameraImage(
        WIDTH_PX,
        HEIGHT_PX,
        opengl.T.ravel().tolist(),
        _projection().T.ravel().tolist(),
        lightDirection=(0.6, 0.5, 2.0),
        shadow=int(shadows),
        renderer=pybullet.ER_TINY_RENDERER,
        physicsClientId=client,
    )
    shape = HEIGHT_PX, WIDTH_PX
    buffer = np.reshape(buffer, shape).astype(np.float64)
    return View(
        np.ascontiguousarray(np.reshape(rgba, (*shape, 4))[..., :3]).astype(np.uint8),
        (NEAR_M * FAR_M / (FAR_M - (FAR_M - NEAR_M) * buffer)).astype(np.float32),
        np.reshape(bodies, shape),
        camera_in_base,
    )


def _projection() -> np.ndarray:
    depth = FAR_M - NEAR_M
    matrix = np.zeros((4, 4))
    matrix[0, 0], matrix[1, 1] = 2 * FOCAL_PX / WIDTH_PX, 2 * FOCAL_PX / HEIGHT_PX
    matrix[2, 2], matrix[2, 3], matrix[3, 2] = -(FAR_M + NEAR_M) / depth, -2 * FAR_M * NEAR_M / depth, -1
    return matrix


def measured_depth(depth_m: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """``[H, W]`` float32 metres as a depth camera returns it: with noise, and NaN at the edges of things."""
    steps = np.zeros(depth_m.shape, bool)
    for axis in (0, 1):
        jump = np.abs(np.diff(depth_m, axis=axis)) > EDGE_M
        steps |= np.pad(jump, [(0, 1) if a == axis else (0, 0) for a in (0, 1)])
    noisy = depth_m + noise.normal(0, NOISE_M, depth_m.shape) * depth_m**2
    noisy[steps] = np.nan
    return noisy.astype(np.float32)


def project(camera_in_base: np.ndarray, point_xyz: np.ndarray) -> tuple[float, float, float]:
    """Column, row (pixels) and depth (metres) of a point of the base frame."""
    x, y, z = np.linalg.inv(camera_in_base)[:3] @ np.append(point_xyz, 1.0)
    return FOCAL_PX * x / z + MATRIX[0, 2], FOCAL_PX * y / z + MATRIX[1, 2], z


def surface_median(view: View, body: int) -> np.ndarray | None:
    """Median of a body's visible points along each axis of the camera, in the base frame; None if it is hidden.

    The same reference point that the node reports, from the true mask and the exact depth.
    """
    rows, columns = np.nonzero(view.bodies == body)
    if len(rows) < 12:  # the node needs as many depth readings
        return None
    z = view.depth_m[rows, columns].astype(np.float64)
    x, y = ((at - centre) / FOCAL_PX * z for at, centre in ((columns, MATRIX[0, 2]), (rows, MATRIX[1, 2])))
    median = np.median(np.stack([x, y, z], axis=1), axis=0)
    return np.asarray(view.camera_in_base[:3] @ np.append(median, 1.0))
