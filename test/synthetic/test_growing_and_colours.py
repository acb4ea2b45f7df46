# SPDX-License-Identifier: Apache-2.0
"""Things that grow many times, and things of several colours that show more or less of each.

Knows nothing of photographs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sam2_ros.synthetic.clip import ClipConfig
from sam2_ros.synthetic.description import random_description
from sam2_ros.synthetic.drawing.multicoloured import make_multicoloured, palette
from sam2_ros.synthetic.drawing.textures import TextureBank
from sam2_ros.synthetic.drawing.things import Look
from sam2_ros.synthetic.hard_motions import growing
from sam2_ros.synthetic.random_scene import random_scene
from sam2_ros.synthetic.render import render_clip
from sam2_ros.synthetic.scene import CameraMotion, Layer, Motion, Scene

PROCEDURAL = TextureBank(photographs=False)
PLAIN = ClipConfig(height_px=120, width_px=160, frames=20, textures=PROCEDURAL)


def test_a_growing_thing_starts_small_and_becomes_three_to_ten_times_as_long_or_the_reverse() -> None:
    factors = []
    for seed in range(60):
        motion = growing(np.random.default_rng(seed), PLAIN, Motion((80.0, 60.0), 20.0))
        first, last = (np.sqrt(np.linalg.det(motion.matrix(t)[:2, :2])) for t in (0, PLAIN.frames - 1))
        factors.append(last / first)
        assert 2 * min(first, last) / 120 >= 0.08 * 0.999
        assert 2 * max(first, last) / 120 <= 1.6 * 1.001
        assert motion.largest_half_size_px(PLAIN.frames) == pytest.approx(max(first, last))
    grown = np.array([factor for factor in factors if factor > 1])
    shrunk = 1 / np.array([factor for factor in factors if factor < 1])
    for some in (grown, shrunk):
        assert len(some) > 10
        assert some.min() >= 2.999
        assert 7 < some.max() <= 10.001


def test_growing_objects_grow_in_the_masks() -> None:
    config = replace(
        PLAIN, objects=1, growing=1.0, hide_probability=0.0, camera_motion=0.0, occluders=0, distractors=0
    )
    ratios = []
    for seed in range(12):
        areas = render_clip(seed, config).masks[:, 0].sum(axis=(1, 2))
        ratios.append(max(areas[-1] / areas[0], areas[0] / max(1, areas[-1])))
    assert np.median(ratios) > 6  # some leave the image in part


def test_the_sprite_of_a_growing_thing_is_as_fine_as_its_largest_view() -> None:
    config = replace(PLAIN, objects=1, growing=1.0, hide_probability=0.0)
    for seed in range(6):
        scene = random_scene(np.random.default_rng(seed), config)
        (layer,) = (one for one in scene.layers if one.label == 0)
        largest = 2 * layer.motion.largest_half_size_px(PLAIN.frames)
        assert max(part.sprite.shape[0] / part.scale for part in layer.parts) > min(0.9 * largest, 300)


def test_the_colours_of_a_palette_are_clearly_apart() -> None:
    for seed in range(20):
        colours = palette(np.random.default_rng(seed), 5)
        apart = np.linalg.norm(colours[:, None] - colours, axis=2)[np.triu_indices(5, 1)]
        assert apart.min() > 60
        assert np.median(apart) > 110


def _colour_shares(frame: np.ndarray, mask: np.ndarray, colours: np.ndarray) -> np.ndarray:
    nearest = np.linalg.norm(frame[mask][:, None].astype(float) - colours, axis=2).argmin(axis=1)
    return np.bincount(nearest, minlength=len(colours)) / max(1, mask.sum())


def test_several_colours_of_a_multicoloured_thing_show_and_their_shares_change() -> None:
    shown, changes = [], []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        look = Look(rng, PROCEDURAL, 100.0, 1.0)
        parts = make_multicoloured(rng, look, 20)
        scene = Scene(
            CameraMotion(120, 160),
            np.full((160, 210, 3), 128, np.uint8),
            (Layer(parts, Motion((80.0, 60.0), 50.0), 0),),
        )
        shares = []
        for t in (0, 7, 14):
            frame, owner = scene.draw(t)
            assert look.palette is not None
            shares.append(_colour_shares(frame, owner == 1, look.palette))
        shown.append((np.max(shares, axis=0) > 0.04).sum())
        changes.append(np.abs(shares[0] - shares[2]).sum() / 2)
    assert np.mean(shown) > 2.5
    assert np.mean(np.array(shown) >= 2) > 0.9
    assert np.median(changes) > 0.04
    assert np.mean(np.array(changes) > 0.2) > 0.15  # some turn another side to the camera


@pytest.mark.parametrize(
    ("seed", "sizes_and_places", "layers", "next_draw"),
    [(1, 1012.27, 6, 0.954238), (2, 370.53, 4, 0.337255), (3, 708.77, 6, 0.337365)],
)
def test_without_the_new_shares_a_seed_draws_what_it_drew_before_they_existed(
    seed: int, sizes_and_places: float, layers: int, next_draw: float
) -> None:
    shares = {
        "assemblies": 0.6, "turning": 0.3, "approaching": 0.3, "fast": 0.2, "chasing": 0.35, "rolling_shutter": 0.3,
        "twins": 0.3, "lighting": 0.35, "clutter": 0.2, "defocus": 0.25, "cuts": 0.12,
    }  # fmt: skip
    config = ClipConfig(
        height_px=96, width_px=128, frames=12, textures=PROCEDURAL, size_range=(0.08, 0.75), hide_probability=0.8,
        distractors=3, occluders=1, **shares,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    description, _ = random_description(rng, config)
    scene = description.shots[0].scene
    total = sum(sum((*one.motion.start_xy, one.motion.half_size_px)) for one in scene.layers)
    assert len(scene.layers) == layers
    assert total == pytest.approx(sizes_and_places, abs=0.1)
    assert rng.random() == pytest.approx(next_draw, abs=1e-5)
