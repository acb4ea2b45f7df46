# SPDX-License-Identifier: Apache-2.0
"""Locations of the objects of one image: positions, sizes, velocities, points, or the reason why there are none.

Plain numbers and numpy arrays; does not know how they were found or where they go.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Vector = tuple[float, float, float]


class NoPositionError(ValueError):
    """Why an image, or one object in it, has no position: what was given, what is expected, the remedy."""


class NotYetError(NoPositionError):
    """Why there is no position yet: what is missing may come a moment later.

    Attributes:
        behind_s: how much older than the image the newest transform is; None while tf does not connect the frames.
    """

    def __init__(self, reason: str, behind_s: float | None = None) -> None:
        super().__init__(reason)
        self.behind_s = behind_s


@dataclass(frozen=True)
class Location:
    """One visible object; everything is in the frame of the ObjectLocations.

    Attributes:
        position_xyz: metres, the median of the object's visible surface.
        size_xyz: metres, extent of that surface along the axes of the frame, from its 1st to its 99th
            percentile.
        velocity_xyz: m/s, zeros when unknown.
        points: ``[n, 3]`` float32, metres: a sample of the visible surface.
        pixels: ``[n, 2]`` int, column and row of each point in the image.
    """

    position_xyz: Vector
    size_xyz: Vector
    velocity_xyz: Vector
    points: np.ndarray
    pixels: np.ndarray


@dataclass(frozen=True)
class ObjectLocations:
    """All positions of one image.

    Attributes:
        frame_id: of positions, sizes and velocities.
        locations: object id -> location, for the visible objects that have one.
        reason: why there are no positions; empty when there are, or when nothing is visible.
    """

    frame_id: str
    locations: dict[str, Location]
    reason: str
