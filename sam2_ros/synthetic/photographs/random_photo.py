# SPDX-License-Identifier: Apache-2.0
"""Chooses clips of one photograph: which instances are labelled, how the camera moves, and what flies over.

Knows nothing of pixels: `photo_scene` draws the result. A clip of one frame is an augmented photograph.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from sam2_ros.synthetic.clip import ClipConfig
from sam2_ros.synthetic.lighting import Lighting
from sam2_ros.synthetic.random_scene import in_share, random_length, random_motion
from sam2_ros.synthetic.scene import Layer, Motion, Wave

from .bank import Instance, PhotographBank
from .photo_scene import PhotoCamera, PhotoScene, shrunk_levels
from .things import cutout_layer, exposed

Rng = np.random.Generator
LEAST_AREA, LEAST_INSIDE = (
    0.003,
    0.6,
)  # of a labelled instance: area / area of the frame; share inside the frame
MAX_ZOOM = 3.0
ANY_PHOTOGRAPH = 0.3  # share of the clips in which cut-outs may stand for instances that the photograph lacks
_WINDOWS, _PROBE_PX = 6, 96


class _View(NamedTuple):
    """A camera on a photograph, and the instances that it sees well at t = 0."""

    photograph: int
    camera: PhotoCamera
    seen: list[Instance]


def random_photo_scene(rng: Rng, config: ClipConfig, bank: PhotographBank) -> PhotoScene:
    """Choose a photograph, up to `config.objects` of its instances, a camera, and cut-outs in front.

    Labels that remain are those of cut-outs that move in front of the photograph.
    """
    view = _random_view(rng, config, bank)
    chosen = [view.seen[int(i)] for i in rng.permutation(len(view.seen))[: config.objects]]
    camera = _moving(rng, config, view.camera, chosen)
    image, masks = bank.pixels(view.photograph)
    labels = {one: label for label, one in enumerate(chosen)}
    by_area = sorted(chosen, key=lambda one: -one.area_px)  # what is in front is mostly smaller
    layers = [_stand_in(rng, config, bank, label) for label in range(len(chosen), config.objects)]
    if config.frames > 1:
        layers += [_flying(rng, config, bank) for _ in range(int(rng.integers(config.occluders + 1)))]
    side = min(config.height_px, config.width_px)
    lights = config.frames > 1 and in_share(rng, config.lighting)
    return PhotoScene(
        camera,
        shrunk_levels(exposed(rng, image)),
        tuple(shrunk_levels(masks[one.number]) for one in by_area),
        tuple(labels[one] for one in by_area),
        tuple(layers),
        Lighting.random(rng, side, config.frames) if lights else None,
    )


def _random_view(rng: Rng, config: ClipConfig, bank: PhotographBank) -> _View:
    """Draw a photograph and a window, until it shows enough instances; return the best."""
    rich = [p for p in range(len(bank)) if len(_large(bank, p)) >= config.objects]
    some = [p for p in range(len(bank)) if _large(bank, p)]
    pool = some if not rich or (config.frames > 1 and rng.random() < ANY_PHOTOGRAPH) else rich
    best: _View | None = None
    for _ in range(_WINDOWS):
        photograph = pool[int(rng.integers(len(pool)))]
        camera = _random_window(rng, config, bank, photograph)
        view = _View(photograph, camera, _seen(bank, photograph, camera))
        if best is None or len(view.seen) > len(best.seen):
            best = view
        if len(best.seen) >= config.objects:
            break
    assert best is not None
    return best


def _large(bank: PhotographBank, photograph: int) -> list[Instance]:
    """Return the instances of a photograph that are large enough in a window over all of it."""
    own = bank.instances[photograph]
    least = LEAST_AREA * min(bank.pixel_size(photograph)) ** 2
    return [one for one in own if one.area_px >= least]


def _random_window(rng: Rng, config: ClipConfig, bank: PhotographBank, photograph: int) -> PhotoCamera:
    """Draw the window at t = 0, around one of the instances, and the zoom over the clip."""
    height, width = bank.pixel_size(photograph)
    choices = _large(bank, photograph) or list(bank.instances[photograph])
    x0, y0, x1, y1 = choices[int(rng.integers(len(choices)))].box
    largest = min(height, width)
    window, zoom = largest * float(np.sqrt(rng.uniform(0.15, 1.0))), 0.0
    if config.frames > 1:
        window = largest * float(rng.uniform(0.6, 1.0))
        factor = float(np.exp(rng.uniform(0, np.log(MAX_ZOOM))))
        zoom = np.log(factor) / (config.frames - 1)
        if rng.random() < 0.5:
            window, zoom = window / factor, zoom
        else:
            zoom = -zoom
    apart = 0.25 * window * rng.normal(0, 1, 2)
    return PhotoCamera(
        config.height_px,
        config.width_px,
        (height, width),
        (float((x0 + x1) / 2 + apart[0]), float((y0 + y1) / 2 + apart[1])),
        (0.0, 0.0),
        window,
        float(zoom),
        stretch=float(np.exp(rng.normal(0, 0.12))),
        flip=-1.0 if rng.random() < 0.5 else 1.0,
        angle_rad=float(rng.normal(0, 0.06)),
    )


def _moving(rng: Rng, config: ClipConfig, camera: PhotoCamera, chosen: list[Instance]) -> PhotoCamera:
    """Return the camera with a pan towards one of the labelled instances, a roll, and a change of perspective."""
    if config.frames == 1:
        return camera

    def wave(amplitude: float) -> Wave:
        frequency = float(rng.uniform(0.3, 2.0) / max(8, config.frames))
        return Wave(float(rng.normal(0, amplitude)), frequency, float(rng.uniform(0, 2 * np.pi)))

    velocity = (0.0, 0.0)
    if chosen and rng.random() < 0.8:
        x0, y0, x1, y1 = chosen[int(rng.integers(len(chosen)))].box
        end = camera.window_px * np.exp(camera.zoom * (config.frames - 1))
        target = np.array([(x0 + x1) / 2, (y0 + y1) / 2]) + 0.3 * end * rng.normal(0, 1, 2)
        change = (target - np.array(camera.start_xy)) / (config.frames - 1)
        velocity = (float(change[0]), float(change[1]))
    return replace(
        camera,
        velocity_xy=velocity,
        roll=wave(0.08),
        tilt_x=wave(0.04),
        tilt_y=wave(0.04),
        sway_x=wave(0.06),
        sway_y=wave(0.04),
    )


def _seen(bank: PhotographBank, photograph: int, camera: PhotoCamera) -> list[Instance]:
    """Return the instances that are mostly in the frame at t = 0, and large enough there."""
    scale = _PROBE_PX / max(camera.height_px, camera.width_px)
    height, width = max(8, round(scale * camera.height_px)), max(8, round(scale * camera.width_px))
    to_photo = camera.matrix(0) @ np.diag([camera.width_px / width, camera.height_px / height, 1])
    area = abs(np.linalg.det(to_photo[:2, :2])) * height * width  # of the frame, photograph pixels
    found = []
    for one in bank.instances[photograph]:
        if one.area_px < LEAST_AREA * area:
            continue
        mask = bank.pixels(photograph).masks[one.number]
        small = cv2.warpPerspective(
            mask, to_photo, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        share = small.mean() / 255
        if share >= LEAST_AREA and share * area >= LEAST_INSIDE * one.area_px:
            found.append(one)
    return found


def _stand_in(rng: Rng, config: ClipConfig, bank: PhotographBank, label: int) -> Layer:
    """Make a labelled cut-out that moves in front of the photograph."""
    side = min(config.height_px, config.width_px)
    length_px = side * random_length(rng, config.size_range[0], min(0.45, config.size_range[1]))
    motion = random_motion(rng, config, length_px / 2, config.motion_scale)
    return cutout_layer(rng, bank, bank.choose(rng, length_px), motion, config.frames, label)


def _flying(rng: Rng, config: ClipConfig, bank: PhotographBank) -> Layer:
    """Make a cut-out that crosses the frame, over a random point at a random time."""
    side = min(config.height_px, config.width_px)
    length_px = side * float(np.exp(rng.uniform(np.log(0.12), np.log(0.6))))
    over = np.array([config.width_px, config.height_px]) * rng.uniform(0.25, 0.75, 2)
    heading = rng.uniform(0, 2 * np.pi)
    speed = (side + 2 * length_px) / (config.frames * rng.uniform(0.3, 1.0))
    velocity = speed * np.array([np.cos(heading), np.sin(heading)])
    start = over - velocity * rng.uniform(0.3, 0.9) * config.frames
    motion = Motion(
        (float(start[0]), float(start[1])),
        length_px / 2,
        angle_rad=float(rng.normal(0, 0.4)),
        velocity_xy=(float(velocity[0]), float(velocity[1])),
        rock=Wave(0.3, float(rng.uniform(0.3, 2) / max(8, config.frames)), float(rng.uniform(0, 6.3))),
        flip=-1.0 if rng.random() < 0.5 else 1.0,
    )
    return cutout_layer(rng, bank, bank.choose(rng, length_px, front=True), motion, config.frames)
