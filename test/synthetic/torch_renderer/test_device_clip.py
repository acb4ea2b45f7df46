# SPDX-License-Identifier: Apache-2.0
"""The torch renderer matches OpenCV on the CPU: frames up to rounding, masks up to pixels of outlines.

Knows nothing of training. `-m gpu` runs the same tests on a GPU.
"""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from sam2_ros.synthetic.clip import SHARES, Clip, ClipConfig
from sam2_ros.synthetic.cuts import Shot
from sam2_ros.synthetic.description import ClipDescription, random_description
from sam2_ros.synthetic.drawing import shapes
from sam2_ros.synthetic.drawing.textures import TextureBank
from sam2_ros.synthetic.lighting import Band, Lighting
from sam2_ros.synthetic.render import render_clip
from sam2_ros.synthetic.scene import CameraMotion, Layer, Motion, Part, Scene, ScrollingTexture, Wave
from sam2_ros.synthetic.sensor import Sensor
from sam2_ros.synthetic.torch_renderer.device_clip import DeviceClip, draw_description

HEIGHT, WIDTH = 96, 128
EVERYTHING = replace(
    ClipConfig(
        height_px=HEIGHT,
        width_px=WIDTH,
        frames=9,
        times=(0, 4, 8),
        textures=TextureBank(photographs=False),
        size_range=(0.3, 0.75),
        camera_motion=1.0,
        degrade=0.0,
    ),
    **dict.fromkeys(SHARES, 1.0),
)
SEEDS = range(12)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device(request.param)


def _grey_levels_apart(clip: Clip, drawn: DeviceClip) -> np.ndarray:
    """Return the absolute difference in grey levels, [t, h, w, 3]."""
    return np.abs(clip.frames.astype(int) - drawn.frames_t3hw.permute(0, 2, 3, 1).cpu().numpy())


def test_all_shares_together_give_the_same_clips(device: torch.device) -> None:
    per_frame, ious = [], []
    for seed in SEEDS:
        description, _ = random_description(np.random.default_rng(seed), EVERYTHING)
        clip, drawn = render_clip(seed, EVERYTHING), draw_description(description, seed, device)
        assert drawn.frames_t3hw.device.type == drawn.masks_tnhw.device.type == device.type
        assert drawn.frames_t3hw.dtype == torch.uint8
        masks = drawn.masks_tnhw.cpu().numpy()
        assert masks.sum(axis=1).max() <= 1
        per_frame.extend(_grey_levels_apart(clip, drawn).mean(axis=(1, 2, 3)))
        for a, b in zip(clip.masks.reshape(-1, HEIGHT, WIDTH), masks.reshape(-1, HEIGHT, WIDTH), strict=True):
            if a.sum() > 200:
                ious.append((a & b).sum() / (a | b).sum())
    assert np.mean(per_frame) < 0.2
    assert max(per_frame) < 0.6
    assert len(ious) > 30
    assert np.mean(ious) > 0.998
    assert min(ious) > 0.985  # OpenCV blurs in whole bytes: along a blurred edge, half covered pixels differ


def test_these_clips_use_every_drawing_path() -> None:
    descriptions = [random_description(np.random.default_rng(seed), EVERYTHING)[0] for seed in SEEDS]
    scenes = [shot.scene for description in descriptions for shot in description.shots]
    layers = [layer for scene in scenes for layer in scene.layers]
    assert any(len(description.shots) == 3 for description in descriptions)
    assert any(layer.motion_blur for layer in layers)
    assert any(layer.bend.amplitude for layer in layers)
    assert any(layer.shadow_strength for layer in layers)
    assert any(len(layer.parts) > 1 for layer in layers)
    assert any(part.surface is not None for layer in layers for part in layer.parts)
    assert any(scene.lighting is not None and scene.lighting.band is not None for scene in scenes)
    assert all(scene.camera.readout for scene in scenes)


def _sprite(seed: int) -> np.ndarray:
    """Draw a blob of smooth colours, [64, 64, 4] uint8."""
    waves = 128 + 100 * np.sin(
        np.arange(64)[:, None, None] / (5 + np.arange(3)) + np.arange(64)[None, :, None] / 7
    )
    alpha = shapes.rasterise([shapes.fit(shapes.blob(np.random.default_rng(seed), 0.2))], 64)
    return np.dstack([waves.astype(np.uint8), alpha])


def _turning(sprite: np.ndarray) -> Part:
    surface = np.ascontiguousarray(sprite[..., :3])
    strip = np.concatenate([surface, 255 - surface], axis=1)
    return Part(sprite, surface=ScrollingTexture(strip, np.full((64, 64, 3), 150, np.uint8), 0.03))


GROUND = np.ascontiguousarray(np.tile(_sprite(9)[..., :3], (3, 3, 1))[:125, :167])
STILL = Layer((Part(_sprite(0)),), Motion((60.0, 50.0), 38.0, velocity_xy=(3.0, -1.0)), 0)
PLAIN = Scene(CameraMotion(HEIGHT, WIDTH), GROUND, (STILL,))
ARM = Part(_sprite(1), 0.6, (0.5, 0.2), swing=Wave(0.7, 0.08, 0.3))
PANNING = CameraMotion(
    HEIGHT, WIDTH, (Wave(30.0, 0.03),), (Wave(12.0, 0.03),), Wave(0.2, 0.05), Wave(0.3, 0.04)
)
FAST, BESIDE = (
    Motion((40.0, 20.0), 38.0, velocity_xy=(9.0, 13.0)),
    Motion((2.0, 90.0), 38.0, velocity_xy=(5.0, 0.0)),
)
BAND = Band(0.4, 5.0, 1.5, 20.0, 9.0, 0.6)
WAYS = {
    "parts": replace(PLAIN, layers=(replace(STILL, parts=(Part(_sprite(0)), ARM)),)),
    "turning surface": replace(PLAIN, layers=(replace(STILL, parts=(_turning(_sprite(0)),)),)),
    "bend": replace(PLAIN, layers=(replace(STILL, bend=Wave(0.15, 0.05, 0.2)),)),
    "motion blur": replace(PLAIN, layers=(replace(STILL, motion_blur=True, motion=FAST),)),
    "shadow": replace(PLAIN, layers=(replace(STILL, shadow_xy=(0.3, 0.35), shadow_strength=0.6),)),
    "size": replace(PLAIN, layers=(replace(STILL, motion=replace(STILL.motion, approach=-0.1), shadow_strength=0.5),)),
    "camera": replace(PLAIN, camera=PANNING),
    "beyond the backdrop": replace(
        PLAIN, camera=CameraMotion(HEIGHT, WIDTH, (Wave(70.0, 0.06),), (Wave(-50.0, 0.06),))
    ),
    "rolling shutter": replace(PLAIN, camera=replace(PANNING, readout=1.0)),
    "light": replace(PLAIN, lighting=Lighting((0.3, -0.2, 0.1), 0.03, 0.5, BAND)),
    "partly outside": replace(PLAIN, layers=(replace(STILL, motion=BESIDE, motion_blur=True, shadow_strength=0.6),)),
    "outside": replace(PLAIN, layers=(replace(STILL, motion=Motion((900.0, 50.0), 38.0)),)),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_all_drawing_is_on_the_device(way: str) -> None:
    """The meta device computes nothing, and raises on most mixing with another device; a GPU raises on all."""
    config = replace(EVERYTHING, times=(0, 3), objects=1)
    drawn = draw_description(ClipDescription(config, (Shot(0, WAYS[way]),)), 0, torch.device("meta"))
    assert drawn.frames_t3hw.is_meta
    assert drawn.masks_tnhw.is_meta


@pytest.mark.parametrize("way", WAYS)
def test_each_drawing_path_gives_the_same_pixels_and_is_visible(way: str, device: torch.device) -> None:
    scene, times = WAYS[way], (0, 3, 6)
    config = replace(EVERYTHING, times=times, objects=1)
    drawn = draw_description(ClipDescription(config, (Shot(0, scene),)), 0, device)
    expected = [scene.draw(t) for t in times]
    clip = Clip(
        np.stack([frame for frame, _ in expected]), np.stack([owner == 1 for _, owner in expected])[:, None]
    )
    apart = _grey_levels_apart(clip, drawn)
    assert np.quantile(apart, 0.995) <= 4
    assert apart.mean() < 0.6
    assert (clip.masks != drawn.masks_tnhw.cpu().numpy()).sum() <= 12
    plain = np.stack([PLAIN.draw(t)[0] for t in times]).astype(int)
    assert np.abs(plain - clip.frames).mean() > 1.5  # the effect is visible


def test_a_cut_shows_the_other_scene_and_a_return_the_first_one_where_it_would_be(
    device: torch.device,
) -> None:
    shots = (Shot(0, PLAIN), Shot(2, WAYS["camera"]), Shot(5, PLAIN, 5))
    config = replace(EVERYTHING, times=(0, 1, 3, 4, 7), objects=1)
    drawn = (
        draw_description(ClipDescription(config, shots), 0, device)
        .frames_t3hw.permute(0, 2, 3, 1)
        .cpu()
        .numpy()
    )
    for frame, shot, t in zip(drawn, (0, 0, 1, 1, 2), config.times, strict=True):
        assert np.abs(shots[shot].draw(t)[0].astype(int) - frame).mean() < 0.6


def test_a_description_can_be_pickled(device: torch.device) -> None:
    description, _ = random_description(np.random.default_rng(1), EVERYTHING)
    there, here = (
        draw_description(pickle.loads(pickle.dumps(description)), 1, device),
        draw_description(description, 1, device),
    )
    assert torch.equal(there.frames_t3hw, here.frames_t3hw)
    assert torch.equal(there.masks_tnhw, here.masks_tnhw)


def test_noise_depends_on_the_seed_only(device: torch.device) -> None:
    description = ClipDescription(replace(EVERYTHING, objects=1), (Shot(0, PLAIN),), Sensor(0.05, 3, 5.0, 60))
    first, again, other = (draw_description(description, seed, device).frames_t3hw for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
