# SPDX-License-Identifier: Apache-2.0
"""Draws a clip with torch on any device, all frames at once: the same clip that `synthetic.render` draws with OpenCV.

Scenes and sprites are made with NumPy and OpenCV, and uploaded once. Knows nothing of training.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from sam2_ros.errors import UserError
from sam2_ros.synthetic.cuts import Shot, shot_at
from sam2_ros.synthetic.description import ClipDescription
from sam2_ros.synthetic.lighting import Lighting
from sam2_ros.synthetic.photographs.photo_scene import PhotoScene
from sam2_ros.synthetic.scene import Scene, ScrollingTexture

from .layers import ShotFrames, draw_layer
from .sensor import expose
from .sprites import Sprites, sample


class DeviceClip(NamedTuple):
    """Like `synthetic.clip.Clip`, as tensors on the device, channels first."""

    frames_t3hw: torch.Tensor  # uint8 RGB
    masks_tnhw: torch.Tensor  # bool, disjoint


@torch.no_grad()
def draw_description(description: ClipDescription, sensor_seed: int, device: torch.device) -> DeviceClip:
    """Draw every frame of a description, equal to `synthetic.render` up to rounding.

    Noise and flicker have other random numbers, from `sensor_seed`. Without them frames differ by less than a grey
    level on average, and masks in pixels that an outline covers by half.

    Raises UserError for a clip with photographs, which it cannot draw.
    """
    _refuse_photographs(description)
    config, times = description.config, description.times
    frames = torch.empty(len(times), 3, config.height_px, config.width_px, dtype=torch.uint8, device=device)
    masks = torch.zeros(
        len(times), config.objects, config.height_px, config.width_px, dtype=torch.bool, device=device
    )
    sprites = Sprites(device)  # for the whole clip, as the shots share things
    for shot in description.shots:
        # A shot's frames are contiguous.
        own = [index for index, t in enumerate(times) if shot_at(description.shots, t) is shot]
        if not own:
            continue
        rows = slice(own[0], own[-1] + 1)
        drawn = _draw_shot(shot, times[rows], sprites)
        frames[rows] = drawn.colour_t3hw.round_().clamp_(0, 255).to(torch.uint8)
        for number, label in enumerate(shot.scene.labels):
            if label >= 0:
                masks[rows, label] = drawn.owner_thw == number + 1
    if description.sensor is not None:
        frames = expose(description.sensor, frames, sensor_seed)
    return DeviceClip(frames, masks)


def _refuse_photographs(description: ClipDescription) -> None:
    for shot in description.shots:
        scene = shot.scene
        if isinstance(scene, PhotoScene) or any(
            layer.warp is not None or not isinstance(part.surface, ScrollingTexture | None)
            for layer in scene.layers
            for part in layer.parts
        ):
            raise UserError(
                "a clip with photographs was given to the device's renderer, a procedural clip expected: "
                "let worker processes draw it"
            )


def _draw_shot(shot: Shot, clip_times: tuple[int, ...], sprites: Sprites) -> ShotFrames:
    scene = shot.scene
    assert isinstance(scene, Scene), "photographs are refused before"
    times = [t - shot.begin + shot.scene_begin for t in clip_times]
    cameras = np.stack([scene.camera.matrix(t) for t in times])
    frames = _backdrop(scene, cameras, sprites)
    for number, layer in enumerate(scene.layers):
        draw_layer(frames, layer, number + 1, cameras, times, sprites)
    if scene.lighting is not None:
        frames = frames._replace(colour_t3hw=_light(frames.colour_t3hw, scene.lighting, cameras, times))
    return frames


def _backdrop(scene: Scene, cameras: np.ndarray, sprites: Sprites) -> ShotFrames:
    height, width = scene.camera.height_px, scene.camera.width_px
    image = sprites.image(scene.background).expand(len(cameras), -1, -1, -1)
    matrices = cameras @ scene.background_place
    colour = sample(image, matrices, (0, 0, width, height), padding="reflection")
    owner = torch.zeros(len(cameras), height, width, dtype=torch.uint8, device=colour.device)
    return ShotFrames(colour, owner)


def _light(
    colour_t3hw: torch.Tensor, lighting: Lighting, cameras: np.ndarray, times: list[int]
) -> torch.Tensor:
    """Apply changing light to the frames, like `Lighting.cast`."""
    device, size = colour_t3hw.device, colour_t3hw.shape[2:]
    gain = torch.tensor(np.stack([lighting.gain_rgb(t) for t in times]), dtype=torch.float32, device=device)
    # The reference maps colours with a table of integer grey levels, rounded down.
    colour_t3hw = (colour_t3hw.round() * gain[:, :, None, None]).clamp_(0, 255).floor_()
    if lighting.band is not None:
        coarse = [
            lighting.band.light(size[0], size[1], camera, t) for camera, t in zip(cameras, times, strict=True)
        ]
        light = torch.from_numpy(np.stack(coarse)).to(device)[:, None]
        colour_t3hw *= F.interpolate(light, size, mode="bilinear", align_corners=False)
    return colour_t3hw
