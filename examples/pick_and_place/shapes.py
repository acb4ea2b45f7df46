# SPDX-License-Identifier: Apache-2.0
"""The things on the table: shapes of pybullet_data and a few plain solids, sized for a gripper of 8 cm.

Knows PyBullet and one body at a time; does not know where things are put, nor how they move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pybullet

RED, BLUE, GREEN, YELLOW = (0.8, 0.15, 0.1), (0.15, 0.3, 0.75), (0.2, 0.6, 0.25), (0.9, 0.75, 0.15)
WHITE, PURPLE, ORANGE, BROWN = (0.9, 0.9, 0.88), (0.5, 0.25, 0.6), (0.95, 0.5, 0.1), (0.45, 0.3, 0.2)
MASS_KG = 0.12


@dataclass(frozen=True)
class Shape:
    """A thing that can be loaded. `load`: PyBullet's client -> body; `rest_m`: height of its origin on the table."""

    name: str
    load: Callable[[int], int]
    rest_m: float
    radius_m: float  # of the circle that it occupies on the table
    rolling_radius_m: float = 0.0  # 0: it does not roll
    lying: bool = False  # it rolls on its side, along y


def _file(path: str, scale: float, colour: tuple[float, float, float] | None, client: int) -> int:
    body = pybullet.loadURDF(path, globalScaling=scale, physicsClientId=client)
    if colour is not None:
        pybullet.changeVisualShape(body, -1, rgbaColor=(*colour, 1), physicsClientId=client)
    return _ready(body, client)


def _cylinder(radius_m: float, height_m: float, colour: tuple[float, float, float], client: int) -> int:
    kind = pybullet.GEOM_CYLINDER
    solid = pybullet.createCollisionShape(kind, radius=radius_m, height=height_m, physicsClientId=client)
    look = pybullet.createVisualShape(
        kind, radius=radius_m, length=height_m, rgbaColor=(*colour, 1), physicsClientId=client
    )
    return _ready(pybullet.createMultiBody(MASS_KG, solid, look, physicsClientId=client), client)


def _box(size_m: tuple[float, float, float], colour: tuple[float, float, float], client: int) -> int:
    half = [side / 2 for side in size_m]
    solid = pybullet.createCollisionShape(pybullet.GEOM_BOX, halfExtents=half, physicsClientId=client)
    look = pybullet.createVisualShape(
        pybullet.GEOM_BOX, halfExtents=half, rgbaColor=(*colour, 1), physicsClientId=client
    )
    return _ready(pybullet.createMultiBody(MASS_KG, solid, look, physicsClientId=client), client)


def _ready(body: int, client: int) -> int:
    """Gives a body one mass and the friction of rubber on wood, whatever its file says."""
    pybullet.changeDynamics(
        body,
        -1,
        mass=MASS_KG,
        lateralFriction=0.7,
        spinningFriction=0.002,
        rollingFriction=0.0001,
        restitution=0.0,
        physicsClientId=client,
    )
    return body


SHAPES = (
    Shape("cube", partial(_file, "cube_small.urdf", 0.95, RED), 0.024, 0.035),
    Shape("lego", partial(_file, "lego/lego.urdf", 1.3, None), 0.017, 0.035),
    Shape("duck", partial(_file, "duck_vhacd.urdf", 0.8, YELLOW), 0.03, 0.05),
    Shape("carton", partial(_box, (0.10, 0.045, 0.07), GREEN), 0.035, 0.06),
    Shape("can", partial(_cylinder, 0.029, 0.09, BLUE), 0.045, 0.03),
    Shape("tin", partial(_cylinder, 0.034, 0.05, ORANGE), 0.025, 0.035),
    Shape("bar", partial(_file, "jenga/jenga.urdf", 0.8, BROWN), 0.013, 0.065),
)
ROLLING = (
    Shape("ball", partial(_file, "sphere_small.urdf", 1.0, RED), 0.03, 0.03, rolling_radius_m=0.03),
    Shape("football", partial(_file, "soccerball.urdf", 0.065, None), 0.0325, 0.035, rolling_radius_m=0.0325),
    Shape("rolling can", partial(_cylinder, 0.029, 0.09, PURPLE), 0.029, 0.055, 0.029, lying=True),
)
SCREEN_SIZE_M = (0.03, 0.16, 0.20)
SCREEN = Shape("cereal box", partial(_box, SCREEN_SIZE_M, WHITE), SCREEN_SIZE_M[2] / 2, 0.1)
