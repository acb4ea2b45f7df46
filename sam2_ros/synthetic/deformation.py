# SPDX-License-Identifier: Apache-2.0
"""How a cut-out changes its shape and the colours that it shows: turning, shearing, bending at a joint, rippling.

Does not know what the cut-out shows, nor how it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .scene import Surface, Wave

Rng = np.random.Generator
STILL = Wave()
VIEW_DISTANCE = 3.0  # of the viewer, in units of the half side: the strength of the perspective
_EDGE = 0.985  # where the surface of a turned thing ends, as a share of its half width


@dataclass(frozen=True)
class Ripple:
    """A smooth displacement across the sprite whose strength changes over time."""

    along_xy: tuple[float, float]  # wave number, rad per half side
    phase: float
    shift_xy: tuple[float, float]  # direction, of length 1
    strength: Wave  # half sides


@dataclass(frozen=True)
class Deformation:
    """A change of shape, none at t = 0; implements `warps.Warp`."""

    yaw: Wave = STILL  # rad, about the vertical axis
    pitch: Wave = STILL  # rad, about the horizontal axis
    shear: Wave = STILL
    joint: Wave = STILL  # rad, by which one side of `joint_at` turns about it
    joint_at: tuple[float, float] = (0.0, 0.0)
    joint_angle_rad: float = 0.0  # direction from the joint to the side that turns
    joint_soft: float = 0.6  # half sides over which the turn begins
    ripples: tuple[Ripple, ...] = ()

    def source(self, x: np.ndarray, y: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Map points of the deformed thing to points of the sprite, in units of its half side."""
        yaw, pitch = self.yaw(t), self.pitch(t)
        if yaw or pitch:  # the inverse of a plane's rotation about its axis, seen from VIEW_DISTANCE
            x, y = _unrotated(x, y, yaw)
            y, x = _unrotated(y, x, pitch)
        shear = self.shear(t)
        if shear:
            x = x + shear * y
        angle = self.joint(t)
        if angle:
            dx, dy = x - self.joint_at[0], y - self.joint_at[1]
            along = np.cos(self.joint_angle_rad) * dx + np.sin(self.joint_angle_rad) * dy
            share = np.clip(along / self.joint_soft, 0, 1)
            turn = -angle * share * share * (3 - 2 * share)
            cos, sin = np.cos(turn), np.sin(turn)
            x = self.joint_at[0] + cos * dx - sin * dy
            y = self.joint_at[1] + sin * dx + cos * dy
        for ripple in self.ripples:
            strength = ripple.strength(t)
            wave = strength * np.sin(ripple.along_xy[0] * x + ripple.along_xy[1] * y + ripple.phase)
            x, y = x + ripple.shift_xy[0] * wave, y + ripple.shift_xy[1] * wave
        return x, y

    @staticmethod
    def random(rng: Rng, frames: int) -> Deformation:
        """Draw a deformation for a clip of so many frames."""

        def wave(amplitude: float) -> Wave:
            frequency = rng.uniform(0.3, 1.6) / max(8, frames)
            return Wave(float(amplitude), float(frequency), float(rng.uniform(0, 2 * np.pi)))

        # A wave is zero at t = 0 and reaches up to twice its amplitude.
        turns = rng.random()
        ripples = []
        for _ in range(int(rng.integers(1, 4))):
            number, heading, side = (
                rng.uniform(1.0, 4.0),
                rng.uniform(0, 2 * np.pi),
                rng.uniform(0, 2 * np.pi),
            )
            ripples.append(
                Ripple(
                    (float(number * np.cos(heading)), float(number * np.sin(heading))),
                    float(rng.uniform(0, 2 * np.pi)),
                    (float(np.cos(side)), float(np.sin(side))),
                    wave(rng.uniform(0.02, 0.14) / number),  # a steeper displacement would fold the sprite
                )
            )
        return Deformation(
            yaw=wave(rng.uniform(0.1, 0.5)) if turns < 0.6 else STILL,
            pitch=wave(rng.uniform(0.05, 0.3)) if turns < 0.3 else STILL,
            shear=wave(rng.uniform(0.02, 0.12)) if rng.random() < 0.5 else STILL,
            joint=wave(rng.uniform(0.1, 0.4)) if rng.random() < 0.6 else STILL,
            joint_at=(float(rng.uniform(-0.2, 0.2)), float(rng.uniform(-0.4, 0.4))),
            joint_angle_rad=float(rng.choice([-0.5, 0.5]) * np.pi + rng.normal(0, 0.4)),
            joint_soft=float(rng.uniform(0.5, 0.9)),
            ripples=tuple(ripples),
        )


def _unrotated(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Map a view of a plane that is rotated about the y axis back to the plane; (x, y) swapped: about the x axis."""
    cos, sin = np.cos(angle), np.sin(angle) / VIEW_DISTANCE
    on_x = x / np.maximum(cos - x * sin, 0.05)
    return on_x, y * (1 + on_x * sin)


class TurnedSurface:
    """The colours of a cut-out as if on a round body that turns: they move within the outline; the back is a mirror.

    Implements `scene.Surface`. At t = 0 it shows the cut-out unchanged.
    """

    def __init__(self, sprite: np.ndarray, angle: Wave, spin: float = 0.0) -> None:
        """`sprite`: [S, S, 4] uint8; `angle` in rad, `spin` in rad per frame."""
        self._colour = np.ascontiguousarray(sprite[..., :3])
        self._angle, self._spin = angle, spin
        middle, half = _body(sprite[..., 3])
        side = len(sprite)
        self._middle, self._half = middle[:, None], half[:, None]
        self._rows = np.repeat(np.arange(side, dtype=np.float32)[:, None], side, axis=1)
        across = (np.arange(side, dtype=np.float32)[None, :] - self._middle) / self._half
        self._around = np.arcsin(np.clip(across, -_EDGE, _EDGE))

    def at(self, t: float) -> np.ndarray:
        """Return the visible colours at time t, [S, S, 3] uint8."""
        angle = self._angle(t) + self._spin * t
        if angle == 0:
            return self._colour
        columns = self._middle + self._half * np.sin(self._around + np.float32(angle))
        return cv2.remap(self._colour, columns, self._rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    @staticmethod
    def random(rng: Rng, sprite: np.ndarray, frames: int) -> Surface:
        """Draw a turn to and fro by up to about 100 degrees, or one or half a turn in one direction."""
        if rng.random() < 0.3:
            turned = rng.choice([-1, 1]) * rng.uniform(0.5, 2.0) * np.pi
            return TurnedSurface(sprite, STILL, float(turned / max(8, frames)))
        frequency = float(rng.uniform(0.4, 1.5) / max(8, frames))
        return TurnedSurface(
            sprite, Wave(float(rng.uniform(0.3, 0.9)), frequency, float(rng.uniform(0, 2 * np.pi)))
        )


def _body(alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle and the half width of the thing in every row, [S] float32 each, smooth from row to row."""
    side = len(alpha)
    inside = alpha >= 128
    filled = np.flatnonzero(inside.any(axis=1))
    left = inside.argmax(axis=1).astype(np.float32)
    right = side - 1 - inside[:, ::-1].argmax(axis=1).astype(np.float32)
    rows = np.arange(side)
    left, right = (np.interp(rows, filled, ends[filled]).astype(np.float32) for ends in (left, right))
    reach = max(3, side // 6 | 1)
    # The widest nearby row, then smooth: neighbouring rows move alike, and no row is wider than its body.
    left = cv2.blur(cv2.erode(left[:, None], np.ones((reach, 1))), (1, reach))[:, 0]
    right = cv2.blur(cv2.dilate(right[:, None], np.ones((reach, 1))), (1, reach))[:, 0]
    return (left + right) / 2, np.maximum((right - left) / 2, 2)
