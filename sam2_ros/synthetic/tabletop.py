# SPDX-License-Identifier: Apache-2.0
"""Renders a table with a moving can for a colour and depth camera, with the can's true pixels and place.

It knows nothing of ROS. A view depends on the time alone: a listener computes the truth from an image's stamp.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

HEIGHT_PX, WIDTH_PX, FOCAL_PX = 240, 424, 380.0
MATRIX = np.array([[FOCAL_PX, 0, (WIDTH_PX - 1) / 2], [0, FOCAL_PX, (HEIGHT_PX - 1) / 2], [0, 0, 1]])
"""Intrinsics of both images: the depth image is registered to the colour image."""
CAN_RADIUS_M, CAN_HEIGHT_M = 0.033, 0.12
PERIOD_S = 14.0
"""The can goes back and forth in this time; in the middle of each way a box hides it."""
NOISE_M = 0.002
"""Standard deviation of a depth reading at 1 m; it grows with the square of the distance."""

_CAN_X_M, _REACH_M = 0.68, 0.26
_BOX_LOW, _BOX_HIGH = np.array([0.49, -0.1, 0.0]), np.array([0.55, 0.1, 0.19])
_BALL, _BALL_RADIUS_M = np.array([0.5, -0.24, 0.035]), 0.035
_LIGHT = np.array([-0.5, 0.35, 0.8]) / np.linalg.norm([-0.5, 0.35, 0.8])
_TABLE_M = 1.6  # side of the table's texture; beyond it the texture is repeated


def _camera_pose() -> np.ndarray:
    eye, target = np.array([0.0, 0.0, 0.35]), np.array([0.62, 0.0, 0.05])
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.array([0.0, -1.0, 0.0])
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(forward, right), forward, eye], axis=1)
    return pose


CAMERA_IN_BASE = _camera_pose()
"""[4, 4], metres: from the optical frame (x right, y down, z forward) to base_link (x forward, y left, z up)."""


@dataclass(frozen=True)
class TabletopView:
    """One moment: ``image`` [H, W, 3] uint8 RGB, ``depth_m`` [H, W] float32 along the optical axis with NaN where the
    camera has no reading, ``can`` [H, W] bool: the pixels that show the can."""

    image: np.ndarray
    depth_m: np.ndarray
    can: np.ndarray


def can_centre(time_s: float) -> np.ndarray:
    """Centre of the can's volume in base_link, [3] metres."""
    return np.array([_CAN_X_M, _REACH_M * np.cos(2 * np.pi * time_s / PERIOD_S), CAN_HEIGHT_M / 2])


class Tabletop:
    """The scene. What does not move is rendered once."""

    def __init__(self) -> None:
        columns, rows = np.meshgrid(np.arange(WIDTH_PX), np.arange(HEIGHT_PX))
        slopes = np.stack([(columns - MATRIX[0, 2]) / FOCAL_PX, (rows - MATRIX[1, 2]) / FOCAL_PX], axis=-1)
        self._eye = CAMERA_IN_BASE[:3, 3]
        # Each ray advances by 1 m along the optical axis: the distance along it is the depth.
        self._rays = np.dstack([slopes, np.ones(slopes.shape[:2])]) @ CAMERA_IN_BASE[:3, :3].T
        self._depth: np.ndarray = np.full((HEIGHT_PX, WIDTH_PX), np.inf)
        self._colour: np.ndarray = np.zeros((HEIGHT_PX, WIDTH_PX, 3))
        self._draw_table()
        self._draw(*self._box_hit(), np.array([150.0, 120, 90]))
        self._draw(*self._ball_hit(), np.array([40.0, 90, 190]))

    def view(self, time_s: float) -> TabletopView:
        """What the camera sees; the same time gives the same pixels, noise included."""
        depth, normal, height_m = self._can_hit(can_centre(time_s))
        shown = depth < self._depth
        band = np.abs(height_m - CAN_HEIGHT_M / 2) < CAN_HEIGHT_M / 6
        paint = np.where(band[..., None], (235.0, 225, 205), (225.0, 95, 25))
        colour = np.where(shown[..., None], paint * _shade(normal), self._colour)
        rng = np.random.default_rng(round(time_s * 1000) % 2**32)
        image = np.clip(colour + rng.normal(0, 3, colour.shape), 0, 255).astype(np.uint8)
        return TabletopView(image, _as_measured(rng, np.where(shown, depth, self._depth)), shown)

    def _draw(self, depth: np.ndarray, normal: np.ndarray, paint: np.ndarray) -> None:
        nearer = depth < self._depth
        self._depth = np.where(nearer, depth, self._depth)
        self._colour = np.where(nearer[..., None], paint * _shade(normal), self._colour)

    def _draw_table(self) -> None:
        depth = np.where(self._rays[..., 2] < 0, -self._eye[2] / self._rays[..., 2], np.inf)
        points = self._eye + self._rays * np.where(np.isfinite(depth), depth, 0)[..., None]
        rng = np.random.default_rng(0)
        grain = cv2.resize(rng.uniform(-1, 1, (12, 60)), (512, 512), interpolation=cv2.INTER_CUBIC)
        u, v = ((points[..., axis] / _TABLE_M * 512 + 256).astype(int) % 512 for axis in (0, 1))
        paint = np.array([150.0, 128, 100]) + 22 * grain[u, v, None] * np.array([1, 0.9, 0.8])
        self._draw(depth, np.broadcast_to((0.0, 0, 1), self._rays.shape), paint)
        wall = np.array([170.0, 178, 184]) * np.linspace(0.8, 1.0, HEIGHT_PX)[:, None, None]
        self._colour = np.where(np.isfinite(depth)[..., None], self._colour, wall)

    def _box_hit(self) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(divide="ignore"):
            ends = (np.stack([_BOX_LOW, _BOX_HIGH]) - self._eye)[:, None, None] / self._rays
        near, far = ends.min(axis=0), ends.max(axis=0)
        depth, axis = near.max(axis=-1), near.argmax(axis=-1)
        normal = -np.sign(self._rays) * (np.arange(3) == axis[..., None])
        return np.where(depth < far.min(axis=-1), depth, np.inf), normal

    def _ball_hit(self) -> tuple[np.ndarray, np.ndarray]:
        depth = _nearest_root(self._rays, self._eye - _BALL, _BALL_RADIUS_M)
        points = self._eye + self._rays * np.where(np.isfinite(depth), depth, 0)[..., None]
        return depth, (points - _BALL) / _BALL_RADIUS_M

    def _can_hit(self, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth and normals of an upright cylinder with a lid, and how far above the table each point is."""
        offset = self._eye - centre
        side = _nearest_root(self._rays[..., :2], offset[:2], CAN_RADIUS_M)
        z_m = self._eye[2] + self._rays[..., 2] * np.where(np.isfinite(side), side, 0)
        side = np.where((z_m >= 0) & (z_m <= CAN_HEIGHT_M), side, np.inf)
        with np.errstate(divide="ignore"):
            lid = (CAN_HEIGHT_M - self._eye[2]) / self._rays[..., 2]
        on_lid = np.linalg.norm(offset[:2] + self._rays[..., :2] * lid[..., None], axis=-1) <= CAN_RADIUS_M
        lid = np.where(on_lid & (lid > 0), lid, np.inf)
        across = (
            offset[:2] + self._rays[..., :2] * np.where(np.isfinite(side), side, 0)[..., None]
        ) / CAN_RADIUS_M
        normal = np.dstack([across, np.zeros(across.shape[:2])])
        normal = np.where((lid < side)[..., None], (0.0, 0, 1), normal)
        return np.minimum(side, lid), normal, np.where(lid < side, CAN_HEIGHT_M, z_m)


def _nearest_root(rays: np.ndarray, offset: np.ndarray, radius_m: float) -> np.ndarray:
    """[H, W] the smaller t of |offset + t ray| = radius; inf where there is none."""
    a, b = (rays**2).sum(-1), rays @ offset
    square = b**2 - a * (offset @ offset - radius_m**2)
    return np.where(square > 0, (-b - np.sqrt(np.maximum(square, 0))) / a, np.inf)


def _shade(normal: np.ndarray) -> np.ndarray:
    return 0.55 + 0.45 * np.clip(normal @ _LIGHT, 0, 1)[..., None]


def _as_measured(rng: np.random.Generator, depth: np.ndarray) -> np.ndarray:
    """With noise, and without readings on the edges of things and beyond the table."""
    finite = np.where(np.isfinite(depth), depth, 0).astype(np.float32)
    span = cv2.dilate(finite, np.ones((3, 3))) - cv2.erode(finite, np.ones((3, 3)))
    noisy = finite + rng.normal(0, NOISE_M, depth.shape) * finite**2
    return np.where(np.isfinite(depth) & (span < 0.05), noisy, np.nan).astype(np.float32)
