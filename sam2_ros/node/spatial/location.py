# SPDX-License-Identifier: Apache-2.0
"""Locations of the objects of one image: positions, sizes, velocities, points, or the reason why there are none.

Plain numbers and NumPy arrays; does not know how they are computed or published.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .orientation import Axes

Vector = tuple[float, float, float]


class NoPositionError(ValueError):
    """Why an image, or one object in it, has no position: what was given, what was expected, what to do."""


class NotYetError(NoPositionError):
    """There is no position yet, but the transform may still come.

    Attributes:
        behind_s: seconds by which the newest transform is older than the image; None if tf does not connect the frames.
    """

    def __init__(self, reason: str, behind_s: float | None = None) -> None:
        super().__init__(reason)
        self.behind_s = behind_s


@dataclass(frozen=True)
class Location:
    """The location of one visible object, in the frame of its ObjectLocations.

    Attributes:
        position_xyz: metres, median of the object's visible surface.
        size_xyz: metres, extent of that surface along the axes of the frame, 1st to 99th percentile.
        velocity_xyz: m/s, zeros if unknown.
        points: ``[n, 3]`` float32, metres, a sample of the visible surface.
        pixels: ``[n, 2]`` int, column and row of each point in the image.
        axes: the object's own axes and its size along them; None if nobody asked for them.
        stddev_m: standard deviation of the position, metres; NaN: not estimated.
    """

    position_xyz: Vector
    size_xyz: Vector
    velocity_xyz: Vector
    points: np.ndarray
    pixels: np.ndarray
    axes: Axes | None = None
    stddev_m: float = math.nan


@dataclass(frozen=True)
class ObjectLocations:
    """The locations of all objects of one image.

    Attributes:
        frame_id: frame of positions, sizes and velocities.
        locations: object id -> location, for the visible objects that have one.
        reason: why there are no positions; empty if there are some, or if no object is visible.
    """

    frame_id: str
    locations: dict[str, Location]
    reason: str
