# SPDX-License-Identifier: Apache-2.0
"""Draws models with pybullet's CPU renderer: poses in, a picture and the index of the body at each pixel out.

Knows pybullet; does not know motion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Light:
    """A distant light. `direction_3` points to the light, in world coordinates; the coefficients are 0..1."""

    direction_3: tuple[float, float, float]
    colour_3: tuple[float, float, float]
    ambient: float
    diffuse: float
    specular: float
    shadow: bool


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with square images: its pose, ``[4, 4]`` world to camera (x right, y up, z back)."""

    view_44: np.ndarray
    field_of_view_deg: float
    near: float = 0.02
    far: float = 400.0


@dataclass(frozen=True)
class Look:
    """The look of one part: its mesh, a texture or none, and a colour that multiplies the texture, 0..1."""

    mesh: Path
    texture: Path | None
    colour_3: Sequence[float]


class Stage:
    """One scene; a context manager, because pybullet keeps meshes and textures until it is disconnected."""

    def __init__(self) -> None:
        import pybullet

        self.bullet: Any = pybullet
        self.client = pybullet.connect(pybullet.DIRECT)
        self.parts: list[list[int]] = []
        self.owner: dict[int, int] = {}
        self.textures: dict[Path, int] = {}

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.bullet.disconnect(self.client)

    def add(self, looks: Sequence[Look], radius: float) -> int:
        """Adds a body of a model's parts, scaled by `radius`; returns its index."""
        bullet, client = self.bullet, self.client
        index, parts = len(self.parts), []
        for look in looks:
            shape = bullet.createVisualShape(
                bullet.GEOM_MESH,
                fileName=str(look.mesh),
                meshScale=[radius] * 3,
                rgbaColor=[*map(float, look.colour_3), 1],
                flags=bullet.VISUAL_SHAPE_DOUBLE_SIDED,
                physicsClientId=client,
            )
            part = bullet.createMultiBody(baseVisualShapeIndex=shape, physicsClientId=client)
            if look.texture is not None:
                texture = self._texture(look.texture)
                bullet.changeVisualShape(part, -1, textureUniqueId=texture, physicsClientId=client)
            self.owner[part] = index
            parts.append(part)
        self.parts.append(parts)
        return index

    def clear(self) -> None:
        """Removes all bodies; textures stay loaded."""
        for part in self.owner:
            self.bullet.removeBody(part, physicsClientId=self.client)
        self.parts, self.owner = [], {}

    def place(self, body: int, position_3: Sequence[float], rotation_33: np.ndarray) -> None:
        quaternion = _quaternion(rotation_33)
        for part in self.parts[body]:
            self.bullet.resetBasePositionAndOrientation(
                part, list(map(float, position_3)), quaternion, physicsClientId=self.client
            )

    def draw(self, size: int, camera: Camera, light: Light) -> tuple[np.ndarray, np.ndarray]:
        """A picture, ``[size, size, 3]`` uint8, and the body at each pixel, ``[size, size]`` int, -1 = none."""
        bullet = self.bullet
        projection = bullet.computeProjectionMatrixFOV(camera.field_of_view_deg, 1.0, camera.near, camera.far)
        _, _, rgba, _, seen = bullet.getCameraImage(
            size,
            size,
            camera.view_44.T.ravel().tolist(),
            projection,
            lightDirection=light.direction_3,
            lightColor=light.colour_3,
            lightAmbientCoeff=light.ambient,
            lightDiffuseCoeff=light.diffuse,
            lightSpecularCoeff=light.specular,
            shadow=int(light.shadow),
            renderer=bullet.ER_TINY_RENDERER,
            physicsClientId=self.client,
        )
        picture = np.asarray(rgba, np.uint8).reshape(size, size, 4)[..., :3]
        seen = np.asarray(seen, np.int64).reshape(size, size)
        table = np.full(max(self.owner, default=0) + 2, -1)
        for part, body in self.owner.items():
            table[part] = body
        return picture, table[np.where(seen < 0, len(table) - 1, seen)]

    def _texture(self, path: Path) -> int:
        if path not in self.textures:
            self.textures[path] = self.bullet.loadTexture(str(path), physicsClientId=self.client)
        return self.textures[path]


def _quaternion(rotation_33: np.ndarray) -> list[float]:
    """x, y, z, w of a rotation matrix (Bar-Itzhack's symmetric eigenvector form)."""
    m = np.asarray(rotation_33, np.float64)
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], 0, 0, 0],
            [m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], 0, 0],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1], 0],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m.trace()],
        ]
    )
    return [float(v) for v in np.linalg.eigh(k)[1][:, -1]]
