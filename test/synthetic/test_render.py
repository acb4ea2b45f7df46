# SPDX-License-Identifier: Apache-2.0
"""Rendered clips: the masks match the pixels, and the demo's textures are not used in training.

Knows nothing of training or of a model's quality on the clips.
"""

from __future__ import annotations

import dataclasses
import importlib.util

import cv2
import numpy as np
import pytest

from sam2_ros.errors import UserError
from sam2_ros.synthetic.clip import ClipConfig
from sam2_ros.synthetic.demo import DEMO_CONFIG
from sam2_ros.synthetic.drawing import shapes
from sam2_ros.synthetic.drawing.cutouts import CUTOUTS, cutouts
from sam2_ros.synthetic.drawing.patterns import make_pattern
from sam2_ros.synthetic.drawing.textures import PATTERN_SEEDS, PHOTOGRAPHS, TextureBank, photograph
from sam2_ros.synthetic.random_scene import random_scene, side_by_side
from sam2_ros.synthetic.render import demo_clip, render_clip
from sam2_ros.synthetic.scene import CameraMotion, Layer, Motion, Part, Scene, Wave

PROCEDURAL = TextureBank(photographs=False)
SMALL = ClipConfig(height_px=120, width_px=160, frames=4, textures=PROCEDURAL)
SEEDS = range(12)

with_photographs = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None, reason="the photographs come with scikit-image"
)


def test_the_same_seed_gives_the_same_clip_and_another_seed_another() -> None:
    first, again, other = render_clip(5, SMALL), render_clip(5, SMALL), render_clip(6, SMALL)
    assert np.array_equal(first.frames, again.frames)
    assert np.array_equal(first.masks, again.masks)
    assert not np.array_equal(first.frames, other.frames)


def test_a_clip_has_the_shape_that_was_asked_for() -> None:
    clip = render_clip(0, dataclasses.replace(SMALL, objects=2, frames=3))
    assert clip.frames.shape == (3, 120, 160, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.masks.shape == (3, 2, 120, 160)
    assert clip.masks.dtype == np.bool_
    assert clip.visible.shape == (3, 2)


def test_times_pick_frames_of_the_same_clip() -> None:
    whole = dataclasses.replace(SMALL, frames=9, degrade=0.0)
    every, some = (render_clip(3, config) for config in (whole, dataclasses.replace(whole, times=(0, 4, 8))))
    assert np.array_equal(some.frames, every.frames[[0, 4, 8]])
    assert np.array_equal(some.masks, every.masks[[0, 4, 8]])


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_are_disjoint_and_every_object_shows_in_the_first_frame(seed: int) -> None:
    clip = render_clip(seed, SMALL)
    assert clip.masks.sum(axis=1).max() <= 1
    assert clip.masks[0].sum(axis=(1, 2)).min() >= SMALL.min_area_share * 120 * 160
    assert np.array_equal(clip.visible, clip.masks.sum(axis=(2, 3)) > 0)


def test_crowded_clips_still_show_every_object_in_the_first_frame() -> None:
    """Twelve large objects under occluders are seldom all visible: then they are placed in rows and columns."""
    config = dataclasses.replace(SMALL, objects=12, size_range=(0.7, 0.9), min_area_share=0.004, occluders=3)
    clip = render_clip(1, config)
    assert clip.visible[0].all()
    scene = random_scene(np.random.default_rng(1), config)
    _, owner = side_by_side(scene, config).draw(0)
    assert len(np.unique(owner)) == 13


@pytest.mark.parametrize("seed", SEEDS)
def test_taking_an_object_away_changes_the_pixels_of_its_mask_and_no_others(seed: int) -> None:
    config = dataclasses.replace(
        SMALL, distractors=0, occluders=0, hide_probability=0.0, size_range=(0.4, 0.9), motion_scale=0.3
    )
    scene = random_scene(np.random.default_rng(seed), config)
    # No other pixels may depend on the object: no shadows. Motion blur spreads the edge and has its own test.
    layers = tuple(
        dataclasses.replace(layer, shadow_strength=0.0, motion_blur=False) for layer in scene.layers
    )
    scene = dataclasses.replace(scene, layers=layers)
    top = layers[-1]
    for t in (0, config.frames - 1):
        frame, owner = scene.draw(t)
        without, _ = dataclasses.replace(scene, layers=layers[:-1]).draw(t)
        mask = (owner == len(layers)).astype(np.uint8)
        changed = (frame != without).any(axis=2)
        grown = cv2.dilate(mask, np.ones((5, 5), np.uint8)).astype(bool)
        outside = changed & ~grown
        # A rough or very thin outline has a faint fringe, less than half opaque.
        drawn, _ = Scene(scene.camera, np.full_like(scene.background, 255), (_white(top),)).draw(t)
        _, silhouette = Scene(scene.camera, scene.background, (top,)).draw(t)
        assert drawn[silhouette == 1].min() == 255
        assert outside.sum() <= 0.05 * mask.sum() + 12
        core = cv2.erode(mask, np.ones((3, 3), np.uint8)).astype(bool)
        if core.any():
            difference = np.abs(frame.astype(int) - without).max(axis=2)
            assert (difference[core] > 0).mean() > 0.9


def _white(layer: Layer) -> Layer:
    parts = []
    for part in layer.parts:
        sprite = part.sprite.copy()
        sprite[..., :3] = 255
        parts.append(dataclasses.replace(part, sprite=sprite))
    return dataclasses.replace(layer, parts=tuple(parts))


def _disc_scene(motion: Motion, camera: CameraMotion, **layer: object) -> Scene:
    """Make a scene with a white disc on black."""
    alpha = shapes.rasterise([shapes.superellipse(np.random.default_rng(0), 1.0, 1.0) * 0.9], 96)
    sprite = np.dstack([np.full((96, 96, 3), 255, np.uint8), alpha])
    background = np.zeros((140, 200, 3), np.uint8)
    return Scene(camera, background, (Layer((Part(sprite),), motion, 0, **layer),))  # type: ignore[arg-type]


@pytest.mark.parametrize("t", [0, 3, 7])
def test_the_mask_is_where_the_pixels_are_more_than_half_white(t: int) -> None:
    motion = Motion((70.3, 52.8), 21.4, velocity_xy=(4.2, 1.7), rock=Wave(0.4, 0.1), grow=Wave(0.3, 0.05))
    camera = CameraMotion(120, 160, pan_x=(Wave(9, 0.04),), zoom=Wave(0.1, 0.03), roll=Wave(0.2, 0.05))
    frame, owner = _disc_scene(motion, camera).draw(t)
    assert np.array_equal(owner == 1, frame[..., 0] >= 128)


def test_the_disc_is_where_motion_and_camera_put_it_and_as_large() -> None:
    motion = Motion((60.0, 50.0), 20.0, velocity_xy=(5.0, 2.0))
    camera = CameraMotion(120, 160, pan_x=(Wave(6, 0.25),))  # + 6 px at t = 1
    _, owner = _disc_scene(motion, camera).draw(1)
    y, x = np.nonzero(owner)
    assert x.mean() + 0.5 == pytest.approx(60 + 5 + 6, abs=0.1)
    assert y.mean() + 0.5 == pytest.approx(50 + 2, abs=0.1)
    assert owner.sum() == pytest.approx(np.pi * 18**2, rel=0.02)


def test_motion_blur_spreads_a_moving_disc_along_its_path_only() -> None:
    motion = Motion((80.0, 60.0), 15.0, velocity_xy=(14.0, 0.0))
    sharp, _ = _disc_scene(motion, CameraMotion(120, 160)).draw(0)
    soft, owner = _disc_scene(motion, CameraMotion(120, 160), motion_blur=True).draw(0)
    grey = (soft[..., 0] > 8) & (soft[..., 0] < 247)
    assert grey[60].sum() > ((sharp[60, :, 0] > 8) & (sharp[60, :, 0] < 247)).sum() + 4
    assert soft[:, 80, 0][45:76].max() == 255
    assert np.array_equal(owner == 1, soft[..., 0] >= 128)


def test_a_shadow_darkens_beside_the_object_and_is_not_part_of_its_mask() -> None:
    motion = Motion((80.0, 60.0), 20.0)
    scene = _disc_scene(motion, CameraMotion(120, 160), shadow_xy=(0.6, 0.0), shadow_strength=0.6)
    lit = dataclasses.replace(scene, background=np.full((140, 200, 3), 200, np.uint8))
    frame, owner = lit.draw(0)
    assert frame[60, 104, 0] < 150
    assert owner[60, 104] == 0
    assert frame[60, 40, 0] == 200


def test_an_occluder_owns_the_pixels_that_it_covers() -> None:
    back = _disc_scene(Motion((80.0, 60.0), 20.0), CameraMotion(120, 160))
    front = dataclasses.replace(back.layers[0], motion=Motion((90.0, 60.0), 30.0), label=-1)
    _, owner = dataclasses.replace(back, layers=(back.layers[0], front)).draw(0)
    _, alone = dataclasses.replace(back, layers=(front,)).draw(0)
    assert np.array_equal(owner == 2, alone == 1)
    assert 0 < (owner == 1).sum() < (back.draw(0)[1] == 1).sum()


def test_some_clips_hide_an_object_and_show_it_again() -> None:
    config = dataclasses.replace(SMALL, frames=8, hide_probability=1.0)
    clips = [render_clip(seed, config).visible for seed in range(12)]
    returned = [bool((~v[1:-1] & v[2:]).any()) for v in clips]
    assert sum(returned) >= 9


def test_a_ring_keeps_its_hole_and_a_square_its_area() -> None:
    square = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    assert shapes.rasterise([square], 80).sum() / 255 == pytest.approx(40 * 40, rel=0.03)
    ring = shapes.rasterise([square * 1.6, square * 0.8], 80)
    assert ring[40, 40] == 0
    assert ring[40, 16] == 255


@pytest.mark.parametrize("seed", range(16))
def test_outlines_end_inside_the_sprite(seed: int) -> None:
    rng = np.random.default_rng(seed)
    alpha = shapes.frayed(rng, shapes.random_alpha(rng, 64)) if seed % 2 else shapes.random_alpha(rng, 64)
    assert alpha.max() == 255
    assert max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) == 0


def test_demo_and_training_share_no_photograph_no_pattern_and_no_cutout() -> None:
    train, demo = TextureBank("train"), TextureBank("demo")
    assert DEMO_CONFIG.textures == demo
    assert train.files
    assert demo.files
    assert not set(train.files) & set(demo.files)
    assert not set(train.seeds) & set(demo.seeds)
    assert not {id(c) for c in cutouts("train", False)} & {id(c) for c in cutouts("demo", False)}
    assert len(CUTOUTS) == len(cutouts("train", False)) + len(cutouts("demo", False))
    seen = {make_pattern(seed, 24).tobytes() for seed in PATTERN_SEEDS["train"]}
    assert not seen & {make_pattern(seed, 24).tobytes() for seed in PATTERN_SEEDS["demo"]}


def test_every_photograph_is_free_and_listed_once() -> None:
    assert {photo.licence for photo in PHOTOGRAPHS} <= {"CC0", "public domain"}
    assert all(photo.author for photo in PHOTOGRAPHS)
    assert len({photo.file for photo in PHOTOGRAPHS}) == len(PHOTOGRAPHS)
    assert {c.file for c in CUTOUTS} <= {photo.file for photo in PHOTOGRAPHS}


@with_photographs
@pytest.mark.parametrize("photo", PHOTOGRAPHS, ids=lambda photo: photo.file)
def test_every_photograph_is_in_the_wheel(photo: object) -> None:
    image = photograph(photo.file)  # type: ignore[attr-defined]
    assert image.ndim == 3
    assert max(image.shape[:2]) <= 640


@with_photographs
def test_cutouts_lie_inside_their_photographs() -> None:
    for cutout in CUTOUTS:
        height, width = photograph(cutout.file).shape[:2]
        assert cutout.outline_xy.min() >= 0
        assert (cutout.outline_xy.max(axis=0) <= (width, height)).all()


def test_a_missing_photograph_says_which_and_what_to_do() -> None:
    with pytest.raises(UserError, match=r"no_such\.png.*pip install"):
        photograph("no_such.png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height_px": 8}, "at least 32 x 32"),
        ({"frames": 0}, "at least 1 frame"),
        ({"objects": 0}, "1 to 64 objects"),
        ({"size_range": (0.5, 0.1)}, "low <= high"),
        ({"times": (1, 2)}, "expected 0, then later frames"),
        ({"times": (0, 4)}, "expected 0, then later frames"),
    ],
)
def test_a_config_that_cannot_be_drawn_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)  # type: ignore[arg-type]


@with_photographs
def test_the_demo_hides_one_object_for_two_to_three_seconds_and_keeps_the_other_in_view() -> None:
    clip = demo_clip()
    assert clip.frames.shape == (150, 480, 640, 3)
    assert clip.masks.shape == (150, 2, 480, 640)
    hidden = np.flatnonzero(~clip.visible[:, 1])
    assert 20 <= len(hidden) <= 30
    assert hidden[-1] - hidden[0] + 1 == len(hidden)  # one stretch
    assert hidden[0] >= 50
    assert hidden[-1] <= 100
    assert clip.visible[:, 0].all()
    for n in range(2):
        y, x = np.nonzero(clip.masks[0, n])
        assert 60 <= max(np.ptp(x), np.ptp(y)) <= 140
    before = np.argwhere(clip.masks[hidden[0] - 1, 1]).mean(0)
    after = np.argwhere(clip.masks[hidden[-1] + 1, 1]).mean(0)
    assert np.hypot(*(after - before)) < 200


@with_photographs
def test_the_first_frames_of_the_demo_are_those_of_the_whole_clip() -> None:
    few, more = demo_clip(frames=2), demo_clip(frames=5)
    assert np.array_equal(few.frames, more.frames[:2])
    assert np.array_equal(few.masks, more.masks[:2])
    assert len(more.frames) == 5
