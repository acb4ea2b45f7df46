# SPDX-License-Identifier: Apache-2.0
"""Clips of photographs: masks match the pixels, every object shows at first, the camera stays in the photograph.

Knows nothing of training.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from own_photographs import HEIGHT, WIDTH, own_records

from sam2_ros.errors import UserError
from sam2_ros.synthetic.clip import SHARES, ClipConfig
from sam2_ros.synthetic.description import random_description
from sam2_ros.synthetic.drawing.textures import TextureBank
from sam2_ros.synthetic.photographs.bank import PhotographBank
from sam2_ros.synthetic.photographs.photo_scene import PhotoScene
from sam2_ros.synthetic.photographs.random_photo import LEAST_AREA, MAX_ZOOM, random_photo_scene
from sam2_ros.synthetic.random_scene import random_scene
from sam2_ros.synthetic.render import render_clip
from sam2_ros.synthetic.scene import Layer, Scene
from sam2_ros.synthetic.torch_renderer.device_clip import draw_description

BANK = PhotographBank(own_records(), "own")
PLAIN = ClipConfig(
    height_px=120,
    width_px=160,
    frames=10,
    objects=2,
    textures=TextureBank(photographs=False),
    photographs=BANK,
)
KINDS = {"composites": {"composites": 1.0}, "photo_camera": {"photo_camera": 1.0}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_clips_are_reproducible_disjoint_and_show_every_object_at_first(seed: int, kind: str) -> None:
    config = replace(PLAIN, objects=3, **dict.fromkeys(SHARES, 0.5), **KINDS[kind])
    clip, again = render_clip(seed, config), render_clip(seed, config)
    assert np.array_equal(clip.frames, again.frames)
    assert np.array_equal(clip.masks, again.masks)
    assert clip.masks.sum(axis=1).max() <= 1
    assert clip.masks[0].sum(axis=(1, 2)).min() >= config.min_area_share * 120 * 160


def test_without_a_share_photographs_change_no_clip() -> None:
    for seed in range(4):
        clip, without = render_clip(seed, PLAIN), render_clip(seed, replace(PLAIN, photographs=None))
        assert np.array_equal(clip.frames, without.frames)
        assert np.array_equal(clip.masks, without.masks)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"composites": 0.7, "photo_camera": 0.5}, r"composites \+ photo_camera 1\.2: .* at most 1"),
        ({"photographs": None, "composites": 0.5}, "without photographs: expected a PhotographBank"),
        ({"photo_camera": -0.1}, "photo_camera -0.1: expected a share"),
    ],
)
def test_impossible_shares_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PLAIN, **settings)


def _composite(seed: int) -> Scene:
    config = replace(PLAIN, composites=1.0, distractors=0, occluders=0, hide_probability=0.0)
    return random_scene(np.random.default_rng(seed), config)


def _is_cutout(layer: Layer) -> bool:
    mean = cv2.mean(layer.parts[0].sprite, np.ascontiguousarray(layer.parts[0].sprite[..., 3]))
    return len(layer.parts) == 1 and mean[0] > mean[1] + 40 > mean[2]


def test_most_objects_and_backdrops_of_composites_come_from_photographs() -> None:
    scenes = [_composite(seed) for seed in range(20)]
    cutouts = [_is_cutout(layer) for scene in scenes for layer in scene.layers]
    assert np.mean(cutouts) > 0.7
    greens = [(s.background[..., 1] > s.background[..., 2].astype(int) + 20).mean() > 0.3 for s in scenes]
    assert np.mean(greens) > 0.7


@pytest.mark.parametrize("seed", range(8))
def test_the_pixels_of_a_composited_object_are_those_of_its_cutout(seed: int) -> None:
    scene = _composite(seed)
    layers = [replace(one, motion_blur=False, shadow_strength=0.0) for one in scene.layers if _is_cutout(one)]
    scene = replace(scene, layers=tuple(layers[-1:]), background=np.full_like(scene.background, (0, 160, 0)))
    if not scene.layers:
        pytest.skip("this seed draws no cut-out")
    for t in (0, 6):
        frame, owner = scene.draw(t)
        mask = owner == 1
        changed = (frame != (0, 160, 0)).any(axis=2)
        assert changed[mask].all()
        grown = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        assert (changed & ~grown).sum() <= 0.02 * mask.sum() + 6
        inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        assert (frame[inner][:, 0].astype(int) > frame[inner][:, 1]).all()


def _photo_scene(seed: int, **settings: object) -> PhotoScene:
    config = replace(PLAIN, photo_camera=1.0, occluders=0, **settings)  # type: ignore[arg-type]
    return random_photo_scene(np.random.default_rng(seed), config, BANK)


@pytest.mark.parametrize("seed", range(8))
def test_masks_of_a_photograph_follow_its_objects_under_the_camera(seed: int) -> None:
    scene = _photo_scene(seed)
    # The labelled objects white on black, instead of the photograph: what is seen must be the masks.
    white = tuple(np.max([mask[level] for mask in scene.masks], axis=0) for level in range(len(scene.levels)))
    bare = replace(scene, levels=tuple(cv2.merge([w, w, w]) for w in white), layers=(), lighting=None)
    for t in range(0, 10, 3):
        frame, owner = bare.draw(t)
        seen, mask = frame[..., 0] >= 128, (owner > 0) & (owner <= len(scene.masks))
        if mask.sum() > 100:
            assert (seen & mask).sum() / (seen | mask).sum() > 0.99


def test_the_window_stays_inside_the_photograph_and_zooms_up_to_three_times() -> None:
    factors = []
    for seed in range(20):
        camera = _photo_scene(seed).camera
        sizes = []
        for t in range(10):
            to_photo = camera.matrix(t)
            corners = to_photo @ np.array([[0, 160, 0, 160], [0, 0, 120, 120], [1, 1, 1, 1]])
            x, y = corners[:2] / corners[2]
            assert x.min() >= 0
            assert y.min() >= 0
            assert x.max() <= WIDTH
            assert y.max() <= HEIGHT
            sizes.append(np.sqrt(abs(np.linalg.det(to_photo[:2, :2]))))
        factors.append(sizes[0] / sizes[-1])
    assert max(factors) > 1.5  # nearer
    assert min(factors) < 1 / 1.5
    assert min(factors) > 1 / (1.3 * MAX_ZOOM)
    assert max(factors) < 1.3 * MAX_ZOOM


def test_labelled_instances_of_a_photograph_are_large_enough_and_mostly_inside_at_first() -> None:
    for seed in range(12):
        scene = _photo_scene(seed)
        _, owner = replace(scene, layers=()).draw(0)
        for index in range(len(scene.masks)):
            assert (owner == index + 1).mean() > 0.6 * LEAST_AREA


def test_a_clip_of_one_frame_is_the_photograph_itself_without_anything_in_front() -> None:
    for seed in range(8):
        scene = _photo_scene(seed, frames=1)
        assert scene.layers == ()
        assert sorted(scene.labels) == [0, 1]
        clip = render_clip(seed, replace(PLAIN, frames=1, photo_camera=1.0, degrade=0.0))
        red = clip.frames[0, ..., 0].astype(int) > clip.frames[0, ..., 1]
        assert red[clip.masks[0].any(axis=0)].mean() > 0.93


def test_cutouts_stand_for_instances_that_the_photograph_lacks() -> None:
    config = replace(PLAIN, photo_camera=1.0, objects=6)
    for seed in range(4):
        description, (_, owner) = random_description(np.random.default_rng(seed), config)
        labels = description.shots[0].scene.labels
        assert sorted(label for label in labels if label >= 0) == list(range(6))
        assert all((owner == number + 1).any() for number, label in enumerate(labels) if label >= 0)


def test_the_share_of_each_kind_of_clip_is_what_was_asked_for() -> None:
    config = replace(PLAIN, composites=0.5, photo_camera=0.3, frames=2, hide_probability=0.0)
    kinds = []
    for seed in range(120):
        description, _ = random_description(np.random.default_rng(seed), config)
        over_photo = isinstance(description.shots[0].scene, PhotoScene)
        kinds.append("camera" if over_photo else "composite" if description.config.composites else "drawn")
    assert kinds.count("camera") / 120 == pytest.approx(0.3, abs=0.1)
    assert kinds.count("composite") / 120 == pytest.approx(0.5, abs=0.12)
    assert kinds.count("drawn") > 5


@pytest.mark.parametrize("kind", KINDS)
def test_the_renderer_on_a_device_refuses_photographs_in_one_line(kind: str) -> None:
    description, _ = random_description(np.random.default_rng(5), replace(PLAIN, **KINDS[kind]))
    with pytest.raises(UserError, match=r"clip with photographs .* let worker processes draw it") as error:
        draw_description(description, 0, torch.device("cpu"))
    assert "\n" not in str(error.value)
