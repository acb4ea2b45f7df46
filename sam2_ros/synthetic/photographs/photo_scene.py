# SPDX-License-Identifier: Apache-2.0
"""Draws a photograph with its own instances under a moving camera, with cut-outs that pass in front.

Does not choose anything: photograph, camera and cut-outs are given.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sam2_ros.synthetic.lighting import Lighting
from sam2_ros.synthetic.scene import Layer, Wave, draw_layer

STILL = Wave()
STILL_CAMERA = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])  # cut-outs are placed in the frame


@dataclass(frozen=True)
class PhotoCamera:
    """A window of a photograph that moves: pans, zooms, rolls and tilts, and never leaves the photograph."""

    height_px: int  # of the frame
    width_px: int
    photo_hw: tuple[int, int]
    start_xy: tuple[float, float]  # centre of the window in the photograph, px
    velocity_xy: tuple[float, float]  # px per frame
    window_px: float  # length of the shorter side of the window at t = 0
    zoom: float = 0.0  # change of the logarithm of the window's length per frame
    stretch: float = 1.0  # width / height of the window over that of the frame
    flip: float = 1.0  # -1 mirrors
    angle_rad: float = 0.0
    roll: Wave = STILL
    tilt_x: Wave = STILL  # change of the perspective's depth across half the frame
    tilt_y: Wave = STILL
    sway_x: Wave = STILL  # in windows
    sway_y: Wave = STILL

    def matrix(self, t: float) -> np.ndarray:
        """Return the map from frame pixels to photograph pixels, [3, 3], both measured from the corner of a pixel."""
        side = min(self.height_px, self.width_px)
        to_unit = np.array(
            [[2 / side, 0, -self.width_px / side], [0, 2 / side, -self.height_px / side], [0, 0, 1]]
        )
        window = self.window_px * np.exp(self.zoom * t)
        stretch = np.sqrt(self.stretch)
        angle = self.angle_rad + self.roll(t)
        cos, sin = np.cos(angle), np.sin(angle)
        shape = np.diag([stretch * self.flip, 1 / stretch, 1])
        tilt = np.array([[1, 0, 0], [0, 1, 0], [self.tilt_x(t), self.tilt_y(t), 1]])
        place = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ shape @ tilt @ to_unit
        corners = place @ np.array(
            [[0, self.width_px, 0, self.width_px], [0, 0, self.height_px, self.height_px], [1, 1, 1, 1]]
        )
        corners = corners[:2] / corners[2]
        low, high = corners.min(axis=1), corners.max(axis=1)
        height, width = self.photo_hw
        scale = min(window / 2, (width - 1) / (high[0] - low[0]), (height - 1) / (high[1] - low[1]))
        centre = (
            np.array(self.start_xy)
            + np.array(self.velocity_xy) * t
            + window * np.array([self.sway_x(t), self.sway_y(t)])
        )
        centre = np.clip(centre, -scale * low + 0.5, np.array([width, height]) - scale * high - 0.5)
        return np.array([[scale, 0, centre[0]], [0, scale, centre[1]], [0, 0, 1]]) @ place


@dataclass(frozen=True)
class PhotoScene:
    """A photograph, its labelled instances, and the cut-outs in front."""

    camera: PhotoCamera
    levels: tuple[np.ndarray, ...]  # the photograph at 1, 1/2, 1/4 .. of its size, [h, w, 3] uint8 RGB
    masks: tuple[
        tuple[np.ndarray, ...], ...
    ]  # of each labelled instance the same levels, [h, w] uint8, 0..255
    mask_labels: tuple[int, ...]
    layers: tuple[Layer, ...] = ()
    lighting: Lighting | None = None

    @property
    def labels(self) -> tuple[int, ...]:
        """The label of each owner, which is -1 for a thing that is not labelled."""
        return *self.mask_labels, *(layer.label for layer in self.layers)

    def draw(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw frame t: [H, W, 3] uint8 RGB, and the index + 1 of the owner of each pixel, [H, W] uint8."""
        camera = self.camera
        to_photo = camera.matrix(t)
        frame = cv2.cvtColor(
            _warped(self.levels, to_photo, camera, cv2.BORDER_REFLECT_101), cv2.COLOR_RGB2RGBA
        )
        owner = np.zeros((camera.height_px, camera.width_px), np.uint8)
        for index, mask in enumerate(self.masks):
            owner[_warped(mask, to_photo, camera, cv2.BORDER_CONSTANT) >= 128] = index + 1
        for index, layer in enumerate(self.layers, len(self.masks)):
            draw_layer(frame, owner, layer, STILL_CAMERA, t, index + 1)
        frame = cv2.cvtColor(frame, cv2.COLOR_RGBA2RGB)
        return (frame if self.lighting is None else self.lighting.cast(frame, STILL_CAMERA, t)), owner


def shrunk_levels(image: np.ndarray, count: int = 3) -> tuple[np.ndarray, ...]:
    """Return the image at 1, 1/2, 1/4 .. of its size."""
    levels = [image]
    while len(levels) < count and min(levels[-1].shape[:2]) >= 64:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return tuple(levels)


def _warped(
    levels: tuple[np.ndarray, ...], to_photo: np.ndarray, camera: PhotoCamera, border: int
) -> np.ndarray:
    """Resample the level that is at most 1.6 times as fine as the frame."""
    fineness = float(np.sqrt(abs(np.linalg.det(to_photo[:2, :2]))))  # photograph pixels per frame pixel
    number = int(np.clip(np.ceil(np.log2(max(fineness, 1e-3) / 1.6)), 0, len(levels) - 1))
    level = levels[number]
    y_scale, x_scale = (level.shape[axis] / camera.photo_hw[axis] for axis in (0, 1))
    to_level = np.diag([x_scale, y_scale, 1]) @ to_photo
    centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return cv2.warpPerspective(
        level,
        np.linalg.inv(centre) @ to_level @ centre,
        (camera.width_px, camera.height_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=border,
    )
