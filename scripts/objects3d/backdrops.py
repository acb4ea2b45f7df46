# SPDX-License-Identifier: Apache-2.0
"""The backdrop of a clip, before which its objects move: a photograph, a texture, or a furnished room.

Knows pictures and the stage; does not know the objects in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from sam2_ros.synthetic.drawing.textures import TextureBank

from .looks import choose_looks, random_rgb
from .motion import Z_UP, rotation, spline
from .prepared import PreparedModel, choose_model
from .stage import Camera, Light, Look, Stage

Rng = np.random.Generator
PHOTOGRAPH_SHARE, ROOM_SHARE = 0.55, 0.3  # the rest: textures
FURNITURE = (3, 9)
WALL_PX = 384


def draw_backdrop(
    rng: Rng,
    photographs: Sequence[Path],
    models: Sequence[PreparedModel],
    frames: int,
    size: int,
    folder: Path,
) -> np.ndarray:
    """``[t, size, size, 3]`` uint8. Without photographs, rooms and textures take their share."""
    kind = rng.random()
    if photographs and kind < PHOTOGRAPH_SHARE:
        image = _photograph(photographs[int(rng.integers(len(photographs)))], 2 * size)
        return _panned(rng, image, frames, size)
    if kind < PHOTOGRAPH_SHARE + ROOM_SHARE:
        return _room(rng, models, frames, size, folder)
    return _panned(rng, TextureBank("train").crop(rng, 2 * size, 2 * size, upright=True), frames, size)


def _photograph(path: Path, shortest: int) -> np.ndarray:
    image = np.asarray(Image.open(path).convert("RGB"))
    scale = shortest / min(image.shape[:2])
    return cv2.resize(
        image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )


def _panned(rng: Rng, image_hw3: np.ndarray, frames: int, size: int) -> np.ndarray:
    """A window that moves over the image, zooms and rolls a little."""
    height, width = image_hw3.shape[:2]
    times = np.linspace(0, 1, frames)
    move = rng.uniform(0, 1)
    zooms = np.exp(
        spline(np.log(rng.uniform(0.45, 0.75) * rng.uniform(1 - 0.3 * move, 1 + 0.25 * move, (4, 1))), times)
    )[:, 0]
    rolls = spline(rng.uniform(-0.06, 0.06, (4, 1)) * move, times)[:, 0]
    places = spline(0.5 + move * rng.uniform(-0.5, 0.5, (4, 2)), times).clip(0, 1)
    mirrored = rng.random() < 0.5
    result = []
    for zoom, roll, place in zip(zooms, rolls, places, strict=True):
        side = min(zoom, 0.95) * min(height, width)
        room = side / 2 * (abs(np.cos(roll)) + abs(np.sin(roll)))
        middle = np.array([room, room]) + place * (np.array([width, height]) - 2 * room)
        turn = side / size * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        matrix = np.column_stack([turn, middle - turn @ np.full(2, size / 2)])
        frame = cv2.warpAffine(
            image_hw3,
            matrix,
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        result.append(frame[:, ::-1] if mirrored else frame)
    return np.stack(result)


def _room(rng: Rng, models: Sequence[PreparedModel], frames: int, size: int, folder: Path) -> np.ndarray:
    """A camera that looks around in a room with models on its floor."""
    half = np.array([*rng.uniform(2, 4.5, 2), rng.uniform(1.2, 1.8)])  # the floor is at -half[2]
    times = np.linspace(0, 1, frames)
    with Stage() as stage:
        for wall in _walls(rng, half, folder):
            stage.place(stage.add([wall], 1.0), (0, 0, 0), np.eye(3))
        for _ in range(int(rng.integers(*FURNITURE))):
            model = choose_model(rng, models)
            radius = rng.uniform(0.35, 1.1)
            angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 0.95)
            place = [*(far * half[:2] * [np.cos(angle), np.sin(angle)]), 0.55 * radius - half[2]]
            body = stage.add(choose_looks(rng, model, folder), radius)
            stage.place(body, place, rotation(np.array([0, 0, 1.0]), rng.uniform(0, 2 * np.pi)))
        yaws = spline(
            rng.uniform(0, 2 * np.pi) + np.deg2rad(rng.uniform(5, 60)) * rng.uniform(-0.5, 0.5, (4, 1)), times
        )
        pitches = spline(np.deg2rad(rng.uniform(-22, 2) + rng.uniform(-5, 5, (4, 1))), times)
        eyes = spline(rng.uniform(-0.25, 0.25, (4, 3)) * [*half[:2], 0.6], times)
        angle_deg, light = float(rng.uniform(50, 80)), random_light(rng, indoors=True)
        result = []
        for yaw, pitch, eye in zip(yaws[:, 0], pitches[:, 0], eyes, strict=True):
            to_camera = rotation(np.array([1.0, 0, 0]), -pitch) @ Z_UP @ rotation(np.array([0, 0, 1.0]), -yaw)
            view = np.eye(4)
            view[:3, :3], view[:3, 3] = to_camera, -to_camera @ eye
            picture, _ = stage.draw(2 * size, Camera(view, angle_deg), light)
            result.append(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA))
    return np.stack(result)


def _walls(rng: Rng, half_3: np.ndarray, folder: Path) -> list[Look]:
    """Floor, ceiling and four walls, each with a texture or a colour of its own or shared."""
    shared = random_rgb(rng)
    looks = []
    for number, (axis, side) in enumerate((axis, side) for axis in (2, 0, 1) for side in (-1.0, 1.0)):
        a, b = (1, 2) if axis == 0 else (0, 2) if axis == 1 else (0, 1)
        corners = np.zeros((4, 3))
        corners[:, axis] = side * half_3[axis]
        corners[:, a] = half_3[a] * np.array([-1, 1, 1, -1])
        corners[:, b] = half_3[b] * np.array([-1, -1, 1, 1])
        normal = np.zeros(3)
        normal[axis] = -side
        lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in corners]
        lines += ["vt 0 0", "vt 0.99 0", "vt 0.99 0.99", "vt 0 0.99", "vn {} {} {}".format(*normal)]
        # Both windings: the renderer draws only one side of a face.
        lines += [
            f"f {i}/{i}/1 {j}/{j}/1 {k}/{k}/1" for i, j, k in ((1, 2, 3), (1, 3, 4), (3, 2, 1), (4, 3, 1))
        ]
        mesh = folder / f"wall-{number}.obj"
        mesh.write_text("\n".join(lines) + "\n", "ascii")
        texture = None
        if rng.random() < 0.65:
            texture = folder / f"wall-{number}.png"
            Image.fromarray(TextureBank("train").crop(rng, WALL_PX, WALL_PX, upright=True)).save(texture)
        colour = (
            (1.0, 1.0, 1.0) if texture else tuple(np.clip(np.array(shared) * rng.uniform(0.7, 1.3), 0.1, 1))
        )
        looks.append(Look(mesh, texture, colour))
    return looks


def random_light(rng: Rng, indoors: bool = False) -> Light:
    """A light from above or from a side, sometimes coloured."""
    direction = rng.standard_normal(3) + np.array([0, 0, 1.5] if indoors else [0, 1, 1.2])
    tint = rng.uniform(0.75, 1, 3) if rng.random() < 0.4 else np.ones(3)
    x, y, z = (float(v) for v in direction / np.linalg.norm(direction))
    red, green, blue = (float(v) for v in tint)
    # Walls face the light as a whole: with a strong one they would be white.
    ambient, diffuse, specular = (
        ((0.35, 0.55), (0.2, 0.45), 0.1) if indoors else ((0.3, 0.6), (0.35, 0.7), 0.4)
    )
    strengths = float(rng.uniform(*ambient)), float(rng.uniform(*diffuse)), float(rng.uniform(0, specular))
    return Light((x, y, z), (red, green, blue), *strengths, shadow=False)
