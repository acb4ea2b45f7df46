# SPDX-License-Identifier: Apache-2.0
"""A camera's intrinsics: converts pixels to undistorted viewing directions, and points to pixels.

Knows the field names of sensor_msgs/CameraInfo, imports no ROS, and does not know what is in the image.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from .location import NoPositionError

# distortion model -> allowed numbers of coefficients
_COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-9)
_TOLERANCE_PX = 0.5


class Intrinsics:
    """The intrinsics of one image.

    `matrix` is the 3x3 camera matrix of the image's own pixels, cropped (roi) and binned as CameraInfo describes.
    """

    def __init__(self, info: Any, height_px: int, width_px: int, rectified: bool) -> None:
        """`rectified`: the image is rectified already; P applies, without distortion.

        Raises NoPositionError for an uncalibrated camera, a size other than the image's, or an unknown distortion
        model.
        """
        numbers = np.asarray(info.p if rectified else info.k, dtype=np.float64)
        matrix = numbers.reshape(3, 4)[:, :3] if rectified else numbers.reshape(3, 3)
        name = "P" if rectified else "K"
        if not (np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0):
            raise NoPositionError(
                f"camera_info is uncalibrated: {name}[0] is {matrix[0, 0]:g}, expected a focal length in "
                "pixels: calibrate the camera, or load its calibration into the driver"
            )
        self.matrix: np.ndarray = _of_the_image(matrix, info, height_px, width_px)
        self._model = ""  # empty: no distortion (pinhole)
        distortion = np.asarray(info.d, dtype=np.float64).reshape(-1)
        if not rectified and np.any(distortion):  # NaN counts as non-zero
            self._model = _known_model(info.distortion_model, distortion)
        self._distortion = distortion

    @property
    def focal_px(self) -> float:
        """Geometric mean of the two focal lengths."""
        return float(np.sqrt(self.matrix[0, 0] * self.matrix[1, 1]))

    def slopes(self, pixels_xy: np.ndarray) -> np.ndarray:
        """[n, 2] pixels -> [n, 2] float64 slopes (x / z, y / z) of their viewing directions; NaN where undefined.

        P's fourth column (the baseline of a stereo pair) is not used: positions are in this camera's frame.
        """
        pixels = np.asarray(pixels_xy, dtype=np.float64).reshape(-1, 1, 2)
        if not len(pixels):
            return np.zeros((0, 2))
        if not self._model:
            return (pixels[:, 0] - self.matrix[:2, 2]) / self.matrix[[0, 1], [0, 1]]
        zero, identity = np.zeros(3), np.eye(3)
        if self._model == "equidistant":
            slopes = cv2.fisheye.undistortPoints(pixels, self.matrix, self._distortion)
            back, _ = cv2.fisheye.projectPoints(_in_front(slopes), zero, zero, self.matrix, self._distortion)
        else:
            # The five iterations of cv2.undistortPoints leave pixels of error at a wide lens's corners.
            slopes = cv2.undistortPointsIter(
                pixels, self.matrix, self._distortion, identity, identity, _CRITERIA
            )
            back, _ = cv2.projectPoints(_in_front(slopes), zero, zero, self.matrix, self._distortion)
        # OpenCV returns values also where the distortion cannot be inverted, and for fisheye pixels that look sideways
        # or backwards. Projecting back detects both.
        error_px = np.abs(back - pixels).max(axis=(1, 2))
        return np.where(error_px[:, None] < _TOLERANCE_PX, slopes.reshape(-1, 2), np.nan)

    def pixels(self, points_xyz: np.ndarray) -> np.ndarray:
        """[n, 3] points in the camera's frame, metres -> [n, 2] float64 pixels, also outside the image.

        NaN for points that are not in front of the camera, and for those so far aside that the distortion does not
        describe them: its polynomial would fold them back into the image.
        """
        points = np.asarray(points_xyz, dtype=np.float64).reshape(-1, 3)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            slopes = np.where(points[:, 2:] > 0, points[:, :2] / points[:, 2:], np.nan)
        if not len(points) or not self._model:
            return slopes * self.matrix[[0, 1], [0, 1]] + self.matrix[:2, 2]
        zero = np.zeros(3)
        project = cv2.fisheye.projectPoints if self._model == "equidistant" else cv2.projectPoints
        pixels = project(_in_front(slopes[:, None]), zero, zero, self.matrix, self._distortion)[0].reshape(
            -1, 2
        )
        error = np.abs(self.slopes(pixels) - slopes).max(axis=1)
        return np.where(error[:, None] * self.focal_px < _TOLERANCE_PX, pixels, np.nan)


def _in_front(slopes: np.ndarray) -> np.ndarray:
    """[n, 1, 2] slopes -> [n, 1, 3] points one metre in front of the camera; far away where the slope is NaN."""
    return np.concatenate([np.nan_to_num(slopes, nan=1e9), np.ones((len(slopes), 1, 1))], axis=2)


def _of_the_image(matrix: np.ndarray, info: Any, height_px: int, width_px: int) -> np.ndarray:
    """The 3x3 matrix of the image's pixels from that of the full sensor; roi and binning as in image_geometry."""
    roi = info.roi
    cropped = roi.width > 0 and roi.height > 0
    full_hw = (roi.height, roi.width) if cropped else (info.height, info.width)
    binning_x, binning_y = max(int(info.binning_x), 1), max(int(info.binning_y), 1)
    fits = all(
        full // binning <= size <= -(-full // binning)
        for full, binning, size in zip(full_hw, (binning_y, binning_x), (height_px, width_px), strict=True)
    )
    if not fits or not all(full_hw):
        described = f"{info.width}x{info.height}"
        if cropped:
            described += f", of which {roi.width}x{roi.height} (roi)"
        if binning_x * binning_y > 1:
            described += f", binned {binning_x}x{binning_y}"
        raise NoPositionError(
            f"camera_info describes an image of {described}, expected the {width_px}x{height_px} of the image: "
            "remap camera_info to the one that is published beside the image"
        )
    adjusted = matrix.copy()
    adjusted[0, 2] -= roi.x_offset
    adjusted[1, 2] -= roi.y_offset
    adjusted[0] /= binning_x
    adjusted[1] /= binning_y
    return adjusted


def _known_model(model: str, distortion: np.ndarray) -> str:
    if model not in _COEFFICIENTS:
        raise NoPositionError(
            f"camera_info has the distortion model '{model}', expected {', '.join(_COEFFICIENTS)}: rectify "
            "the image (image_proc), remap image_raw to it, and set rectified"
        )
    if len(distortion) not in _COEFFICIENTS[model] or not np.isfinite(distortion).all():
        raise NoPositionError(
            f"camera_info has {len(distortion)} distortion coefficients "
            f"({', '.join(f'{value:g}' for value in distortion)}), expected "
            f"{' or '.join(map(str, _COEFFICIENTS[model]))} finite ones for {model}: calibrate the camera"
        )
    return model
