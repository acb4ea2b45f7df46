# SPDX-License-Identifier: Apache-2.0
"""The demo's scene: a robot's camera over a laboratory floor, a toy robot that drives behind a box, a cup.

Knows nothing of the tracker. Uses only textures that are not used in training.
"""

from __future__ import annotations

import cv2
import numpy as np

from .clip import ClipConfig
from .drawing import shapes
from .drawing.cutouts import cutouts
from .drawing.patterns import make_pattern
from .drawing.textures import TextureBank, photograph, recolour
from .drawing.things import cutout_sprite, shaded_sprite
from .scene import CameraMotion, Layer, Motion, Part, Scene, Wave

Rng = np.random.Generator
DEMO_SEED = 20_261_120
DEMO_CONFIG = ClipConfig(
    height_px=480,
    width_px=640,
    frames=150,
    objects=2,
    textures=TextureBank(split="demo"),
    hide_probability=1.0,
)
_LIGHT_RAD = 4.0  # direction of the light: from above, slightly from the left
_SPRITE_PX = 192
_BALL_PATTERN = 3


def demo_scene(rng: Rng) -> Scene:
    """Make the scene: object 0 is the cup, object 1 the toy robot that the box hides; the ball is not prompted."""
    width, height = DEMO_CONFIG.width_px, DEMO_CONFIG.height_px
    camera = CameraMotion(
        height,
        width,
        pan_x=(Wave(16, 1 / 70, 0.4),),
        pan_y=(Wave(7, 1 / 45, 1.0),),
        zoom=Wave(0.025, 1 / 95, 0.3),
        roll=Wave(0.014, 1 / 60, 0.0),
        shake_px=rng.normal(0, 0.35, (DEMO_CONFIG.frames, 2)),
    )
    robot = Motion(
        (112, 212),
        66,
        velocity_xy=(2.55, 0.0),
        sway_x=(Wave(8, 1 / 50, 0.5),),
        sway_y=(Wave(3, 1 / 22, 0.0), Wave(6, 1 / 140, 0.0)),
        rock=Wave(0.05, 1 / 20, 0.0),
        grow=Wave(0.05, 1 / 120, 0.0),
    )
    cup = Motion(
        (452, 372),
        66,
        sway_x=(Wave(120, 1 / 190, 0.3), Wave(-160, 1 / 260, 0.0)),
        sway_y=(Wave(26, 1 / 85, 0.0),),
        rock=Wave(0.16, 1 / 75, 0.0),
        grow=Wave(0.1, 1 / 110, 0.0),
    )
    ball = Motion((596, 300), 24, velocity_xy=(-2.2, 0.15), spin=-0.09, sway_y=(Wave(5, 1 / 30, 0.0),))
    box = Motion((304, 206), 77)
    return Scene(
        camera,
        _laboratory(int(height * 1.3), int(width * 1.3), rng),
        (
            Layer(_robot(rng), robot, label=1, shadow_xy=(0.12, 0.28), shadow_strength=0.5, motion_blur=True),
            Layer((_box(rng),), box, shadow_xy=(0.1, 0.12), shadow_strength=0.45),
            Layer((_ball(rng),), ball, shadow_xy=(0.1, 0.35), shadow_strength=0.5, motion_blur=True),
            Layer((_cup(),), cup, label=0, shadow_xy=(0.08, 0.14), shadow_strength=0.5, motion_blur=True),
        ),
    )


def _paint(rng: Rng, mean_rgb: tuple[int, int, int]) -> np.ndarray:
    """Make paint of one colour with a faint pattern of the demo split, [S, S, 3]."""
    texture = DEMO_CONFIG.textures.crop(rng, _SPRITE_PX, _SPRITE_PX, photo_share=0.0)
    grey = cv2.cvtColor(texture, cv2.COLOR_RGB2GRAY)
    faint = cv2.addWeighted(grey, 0.25, np.full_like(grey, 128), 0.75, 0)
    return recolour(rng, cv2.merge([faint, faint, faint]), 0.05, mean_rgb=np.array(mean_rgb, float))


def _piece(
    rng: Rng,
    outline: np.ndarray,
    mean_rgb: tuple[int, int, int],
    scale: float,
    at_xy: tuple[float, float],
    relief: float,
) -> Part:
    alpha = shapes.rasterise([shapes.fit(outline)], _SPRITE_PX)
    return Part(shaded_sprite(_paint(rng, mean_rgb), alpha, _LIGHT_RAD, relief), scale=scale, pivot_xy=at_xy)


def _robot(rng: Rng) -> tuple[Part, ...]:
    """Draw a robot: two wheels, a body with a stripe, a head with a dark visor."""
    round_box = shapes.superellipse(rng, 1.35, 0.35)
    disc = shapes.superellipse(rng, 1.0, 1.0)
    body = _piece(rng, round_box, (58, 128, 138), 0.72, (0.0, 0.12), 0.6)
    stripe = _piece(rng, shapes.superellipse(rng, 4.5, 0.4), (226, 200, 92), 0.6, (0.0, 0.3), 0.2)
    head = _piece(rng, shapes.superellipse(rng, 1.2, 0.5), (212, 214, 208), 0.42, (0.12, -0.52), 0.6)
    visor = _piece(rng, shapes.superellipse(rng, 2.4, 0.5), (30, 34, 46), 0.28, (0.2, -0.54), 0.2)
    wheels = [_piece(rng, disc, (42, 40, 44), 0.27, (x, 0.68), 0.5) for x in (-0.42, 0.42)]
    hubs = [_piece(rng, disc, (170, 172, 176), 0.11, (x, 0.68), 0.2) for x in (-0.42, 0.42)]
    return (body, stripe, head, visor, *wheels, *hubs)


def _box(rng: Rng) -> Part:
    """Draw a wooden box, seen slightly from above: a lighter lid and a strip of tape."""
    table = photograph("coffee.png")[185:300, 485:600]  # the table's wood, right of the saucer
    board = cv2.resize(table, (_SPRITE_PX, _SPRITE_PX), interpolation=cv2.INTER_CUBIC)
    board = recolour(rng, board, 0.1, mean_rgb=np.array([168.0, 122, 82]))
    lid = slice(0, int(_SPRITE_PX * 0.2))
    board[lid] = cv2.convertScaleAbs(board[lid], alpha=1.2)
    tape = slice(int(_SPRITE_PX * 0.44), int(_SPRITE_PX * 0.56))
    board[:, tape] = (0.5 * board[:, tape] + 0.5 * np.array([206, 186, 150])).astype(np.uint8)
    corners = np.array([[-0.88, -1.0], [0.88, -1.0], [1.0, -0.62], [1.0, 1.0], [-1.0, 1.0], [-1.0, -0.62]])
    alpha = shapes.rasterise([shapes.fit(corners)], _SPRITE_PX)
    return Part(shaded_sprite(board, alpha, _LIGHT_RAD, 0.25))


def _ball(rng: Rng) -> Part:
    alpha = shapes.rasterise([shapes.fit(shapes.superellipse(rng, 1.0, 1.0))], _SPRITE_PX)
    texture = make_pattern(DEMO_CONFIG.textures.seeds[_BALL_PATTERN], _SPRITE_PX)
    return Part(
        shaded_sprite(recolour(rng, texture, 0.1, mean_rgb=np.array([150.0, 70, 60])), alpha, _LIGHT_RAD, 0.9)
    )


def _cup() -> Part:
    (saucer,) = cutouts("demo", textured=True)
    return Part(cutout_sprite(saucer, _SPRITE_PX))


def _laboratory(height_px: int, width_px: int, rng: Rng) -> np.ndarray:
    """Draw the room: a tiled terrazzo floor in perspective, behind it a pale wall, [h, w, 3] uint8."""
    stone = cv2.resize(photograph("gravel.png"), (700, 700), interpolation=cv2.INTER_AREA)
    stone = cv2.addWeighted(stone, 0.32, np.full_like(stone, 128), 0.68, 0)
    stone = np.tile(recolour(rng, stone, 0.05, mean_rgb=np.array([178.0, 170, 158])), (2, 2, 1))
    side = stone.shape[0]
    for at in range(0, side, 200):  # joints between the tiles; each tile has its own shade
        for other in range(0, side, 200):
            tile = stone[at : at + 200, other : other + 200]
            tile[:] = cv2.convertScaleAbs(tile, alpha=float(rng.normal(1.0, 0.03)))
        stone[at : at + 4] = (112, 106, 100)
        stone[:, at : at + 4] = (112, 106, 100)
    horizon = int(0.24 * height_px)
    source = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    reach = 0.75 * width_px
    target = np.array(
        [
            [-0.35 * width_px, horizon],
            [1.35 * width_px, horizon],
            [width_px + 2 * reach, height_px],
            [-2 * reach, height_px],
        ],
        np.float32,
    )
    room = cv2.warpPerspective(
        stone, cv2.getPerspectiveTransform(source, target), (width_px, height_px), flags=cv2.INTER_AREA
    )
    wall = cv2.resize(_paint(rng, (196, 200, 196)), (width_px, horizon), interpolation=cv2.INTER_CUBIC)
    room[:horizon] = cv2.blur(wall, (31, 31))
    room[horizon - 22 : horizon] = (120, 116, 112)  # skirting board
    room[horizon - 24 : horizon - 22] = (226, 226, 222)
    x = np.linspace(-1, 1, width_px, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height_px, dtype=np.float32)[:, None]
    light = 1.06 - 0.16 * (x + 0.3) ** 2 - 0.1 * (y - 0.2) ** 2
    return cv2.multiply(room, cv2.merge([light, light, light]), dtype=cv2.CV_8U)
