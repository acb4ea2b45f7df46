# SPDX-License-Identifier: Apache-2.0
"""Finds the axes of an object's visible points: the box with the shortest edges around them.

Knows points only: no messages, no tf, and not what the object is.

Principal axes alone are wrong for a body that shows two faces: they lie between the faces. The sum of the edges of the
box around the points is smallest where the box is parallel to the faces, for one face, two or three. The principal axes
are where the search begins.

Convention: x is the longest edge, z the shortest, y completes a right-handed frame. z points to the side of the camera
and x to the positive side of that axis of the frame to which it is nearest. `OrientationTracker` then keeps names and
directions of an object's axes from image to image.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np

SAMPLES = 400  # points of the search
TRIMMED = 0.015  # share of the points beyond each side of the box: mask edges and stray readings
COARSE_RAD = np.deg2rad(np.arange(-45.0, 45.0, 7.5))
REACH_RAD = math.radians(5.9)  # of a search that begins at the last rotation
FINE_RAD = np.deg2rad(
    [-6, -4.5, -3, -2, -1, 0, 1, 2, 3, 4.5, 6, -45, -22.5, 22.5]
)  # the last three for the contrast
FULL_CONTRAST = 1 - 1 / math.sqrt(2)  # of a rectangle: at 45 degrees its box has sqrt(2) times the edges
MIN_QUALITY = 0.24  # below, the points look alike from all sides
KEPT_QUALITY = 0.16  # the same for an object that had axes in the last image, so that they do not flicker
LONG = 1.6  # an edge that exceeds the second one so much is an axis by itself
UNKNOWN_STDDEV_RAD = math.pi / math.sqrt(3)  # of an angle that may be anything
LEAST_STDDEV_RAD = math.radians(2.0)  # measured on rendered boxes with the noise of a depth camera


@dataclass(frozen=True)
class Axes:
    """The axes of one object in some frame.

    Attributes:
        rotation: ``[3, 3]``, columns are the object's x, y and z axis; the identity if the points show no axes.
        size_xyz: ``[3]`` metres, edges of the box along these axes.
        quality: 0..1, how much worse other directions fit. 1: faces at right angles; 0: a ball.
        distinct: False: `rotation` is the identity and says nothing.
    """

    rotation: np.ndarray
    size_xyz: np.ndarray
    quality: float
    distinct: bool

    @property
    def stddev_rad(self) -> float:
        """Standard deviation of the rotation about each axis, radians."""
        return LEAST_STDDEV_RAD / max(self.quality, 0.1) if self.distinct else UNKNOWN_STDDEV_RAD


def find_axes(
    points: np.ndarray,
    camera_xyz: np.ndarray,
    start: np.ndarray | None = None,
    min_quality: float = MIN_QUALITY,
) -> Axes:
    """The axes of ``[n, 3]`` points (n >= 3, metres), by the convention above.

    camera_xyz: the camera's place in the frame of the points. start: the rotation of the last image; the search begins
    there, and is repeated from the principal axes if the object has turned much. min_quality: axes of a lower quality
    are not distinct.
    """
    sample = points[_chosen(len(points))]
    centre = np.median(sample, axis=0)
    sample = sample - centre
    rotation, contrast = _search(sample, start)
    edges = _edges(sample @ rotation)
    order = np.argsort(-edges, kind="stable")
    rotation, edges, contrast = rotation[:, order], edges[order], contrast[order]
    quality = np.clip(contrast / FULL_CONTRAST, 0.0, 1.0)
    if quality.min() >= min_quality:
        return Axes(_directed(rotation, camera_xyz - centre), edges, float(quality.min()), True)
    if edges[0] >= LONG * edges[1] and quality[1:].min() >= min_quality:  # a pen: round, but long
        rotation = _completed(rotation[:, 0], camera_xyz - centre)
        return Axes(
            _directed(rotation, camera_xyz - centre),
            _edges(sample @ rotation),
            float(quality[1:].min()),
            True,
        )
    return Axes(np.eye(3), _edges(sample), float(quality.min()), False)


@functools.cache
def _chosen(count: int) -> np.ndarray:
    """Indices of at most SAMPLES of `count` points, in no order: every n-th pixel would be stripes of the image."""
    return np.random.default_rng(0).permutation(count)[:SAMPLES]


def _search(sample: np.ndarray, start: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The rotation with the shortest edges, and the contrast of each of its axes."""
    contrast, angle = np.zeros(3), np.zeros(3)
    if start is not None:
        rotation = start
        for axis in range(3):
            rotation, contrast[axis], angle[axis] = _turned(sample, rotation, axis, FINE_RAD)
        if np.abs(angle).max() < REACH_RAD:
            return rotation, contrast
    rotation = np.linalg.eigh(sample.T @ sample)[1]
    for angles in (COARSE_RAD, FINE_RAD, FINE_RAD):
        for axis in range(3):
            rotation, contrast[axis], _ = _turned(sample, rotation, axis, angles)
    return rotation, contrast


def _turned(
    sample: np.ndarray, rotation: np.ndarray, axis: int, angles: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """The rotation about one of its axes whose box has the shortest edges, its contrast and angle.

    The contrast is 1 - shortest / longest of the sums of edges.
    """
    first, second = rotation[:, (axis + 1) % 3], rotation[:, (axis + 2) % 3]
    perimeters = _perimeters(sample @ np.stack([first, second], axis=1), angles)
    angle = float(angles[np.argmin(perimeters)])
    turned = rotation.copy()
    turned[:, (axis + 1) % 3] = math.cos(angle) * first + math.sin(angle) * second
    turned[:, (axis + 2) % 3] = math.cos(angle) * second - math.sin(angle) * first
    return turned, 1 - float(perimeters.min()) / max(float(perimeters.max()), 1e-9), angle


def _perimeters(plane: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """[a] sum of both edges of the box around [n, 2] points, with its axes rotated by each of [a] angles."""
    directions = np.concatenate(
        [np.stack([np.cos(angles), np.sin(angles)]), np.stack([-np.sin(angles), np.cos(angles)])], axis=1
    )
    edges = _edges(plane @ directions)
    return edges[: len(angles)] + edges[len(angles) :]


def _edges(projected: np.ndarray) -> np.ndarray:
    """[k] extent of each column of [n, k], without the outermost TRIMMED of the points on each side."""
    last = len(projected) - 1
    low = min(round(TRIMMED * last), last // 2)
    rows = np.ascontiguousarray(projected.T)
    rows.partition((low, last - low), axis=1)
    extent: np.ndarray = rows[:, last - low] - rows[:, low]
    return extent


def _completed(x_axis: np.ndarray, to_camera: np.ndarray) -> np.ndarray:
    """A rotation with this x axis whose z axis is as near as possible to the direction of the camera."""
    across = to_camera - (to_camera @ x_axis) * x_axis
    if np.linalg.norm(across) < 1e-6 * max(float(np.linalg.norm(to_camera)), 1e-6):
        across = np.eye(3)[np.argmin(np.abs(x_axis))]
        across = across - (across @ x_axis) * x_axis
    z_axis = across / np.linalg.norm(across)
    return np.stack([x_axis, np.cross(z_axis, x_axis), z_axis], axis=1)


def _directed(rotation: np.ndarray, to_camera: np.ndarray) -> np.ndarray:
    """The same axes with directions by convention, right-handed."""
    x_axis, z_axis = rotation[:, 0], rotation[:, 2]
    if x_axis[np.argmax(np.abs(x_axis))] < 0:
        x_axis = -x_axis
    if z_axis @ to_camera < 0:
        z_axis = -z_axis
    return np.stack([x_axis, np.cross(z_axis, x_axis), z_axis], axis=1)


def _same_box() -> np.ndarray:
    """[24, 3, 3] the rotations that map a box's set of axes onto itself."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[list(order), range(3)] = signs
            if np.linalg.det(matrix) > 0:
                found.append(matrix)
    return np.array(found)


_SAME_BOX = _same_box()


class OrientationTracker:
    """Keeps the names and directions of each object's axes, by label. Not thread-safe.

    Of the 24 ways to name the axes of a box, an image gets the one nearest to the last image's. So a box that turns by
    less than 45 degrees between two images keeps its axes, also where two of its edges are equally long.
    """

    def __init__(self) -> None:
        self._last: dict[int, np.ndarray] = {}
        self._distinct: set[int] = set()  # in their last image

    def find(self, label: int, points: np.ndarray, camera_xyz: np.ndarray) -> Axes:
        """The axes of an object's points, as `find_axes`, named as in its last image."""
        floor = KEPT_QUALITY if label in self._distinct else MIN_QUALITY
        return self.update(label, find_axes(points, camera_xyz, self._last.get(label), floor))

    def update(self, label: int, axes: Axes) -> Axes:
        """The axes named as in the object's last image; by convention if there was none."""
        if not axes.distinct:
            self._distinct.discard(label)
            return axes
        self._distinct.add(label)
        last = self._last.get(label)
        if last is not None:
            # trace(last^T rotation same) is 1 + 2 cos(angle between the two)
            nearness = np.einsum("ij,ik,nkj->n", last, axes.rotation, _SAME_BOX)
            same = _SAME_BOX[int(np.argmax(nearness))]
            axes = Axes(axes.rotation @ same, axes.size_xyz @ np.abs(same), axes.quality, True)
        self._last[label] = axes.rotation
        return axes

    def keep(self, labels: set[int]) -> None:
        """Drop all objects except these."""
        for label in self._last.keys() - labels:
            del self._last[label]
        self._distinct &= labels

    def clear(self) -> None:
        self._last.clear()
        self._distinct.clear()


def quaternion_of(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """[3, 3] rotation -> (x, y, z, w), w >= 0. Divides by the largest component, which is never near zero."""
    m = rotation
    squares = np.array(
        [
            1 + m[0, 0] - m[1, 1] - m[2, 2],
            1 - m[0, 0] + m[1, 1] - m[2, 2],
            1 - m[0, 0] - m[1, 1] + m[2, 2],
            1 + m[0, 0] + m[1, 1] + m[2, 2],
        ]
    )
    products = np.array(
        [
            [squares[0], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]],
            [m[0, 1] + m[1, 0], squares[1], m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], squares[2], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], squares[3]],
        ]
    )
    quaternion = products[int(np.argmax(squares))]
    quaternion = quaternion / np.linalg.norm(quaternion) * (1.0 if quaternion[3] >= 0 else -1.0)
    x, y, z, w = quaternion.tolist()
    return x, y, z, w
