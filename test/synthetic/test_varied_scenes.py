# SPDX-License-Identifier: Apache-2.0
"""Properties of real video in rendered clips: each option has its effect, and the masks stay exact.

Knows nothing of what a model learns from them.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from sam2_ros.synthetic.clip import SHARES, ClipConfig
from sam2_ros.synthetic.cuts import shot_at, with_cuts
from sam2_ros.synthetic.drawing.assemblies import KINDS, make_assembly
from sam2_ros.synthetic.drawing.canvas import Canvas
from sam2_ros.synthetic.drawing.clutter import cluttered, defocused
from sam2_ros.synthetic.drawing.textures import TextureBank
from sam2_ros.synthetic.drawing.things import Look
from sam2_ros.synthetic.hard_motions import approaching, crossing, fast_motion
from sam2_ros.synthetic.lighting import Band, Lighting
from sam2_ros.synthetic.random_scene import random_scene
from sam2_ros.synthetic.render import render_clip
from sam2_ros.synthetic.scene import CameraMotion, Layer, Motion, Part, Scene, Wave

PROCEDURAL = TextureBank(photographs=False)
PLAIN = ClipConfig(height_px=120, width_px=160, frames=12, textures=PROCEDURAL)
EVERYTHING = dataclasses.replace(PLAIN, **dict.fromkeys(SHARES, 1.0))
GROUND = np.full((160, 210, 3), 128, np.uint8)


def _look(seed: int, length_px: float = 80.0) -> Look:
    return Look(np.random.default_rng(seed), PROCEDURAL, length_px, 1.0, np.array([90.0, 110, 70]))


def _square(motion: Motion, camera: CameraMotion) -> Scene:
    sprite = np.zeros((64, 64, 4), np.uint8)
    sprite[..., :3] = 255
    sprite[4:60, 4:60, 3] = 255
    return Scene(camera, np.zeros((160, 210, 3), np.uint8), (Layer((Part(sprite),), motion, 0),))


@pytest.mark.parametrize("name", SHARES)
def test_each_share_changes_some_clips(name: str) -> None:
    needed = {"turning": {"assemblies": 1.0}}.get(name, {})
    base = dataclasses.replace(PLAIN, camera_motion=1.0, degrade=0.0, hide_probability=0.0, **needed)
    with_it = dataclasses.replace(base, **{name: 1.0})
    clips = [(render_clip(seed, base), render_clip(seed, with_it)) for seed in range(3)]
    assert any(not np.array_equal(a.frames, b.frames) for a, b in clips)


def test_an_invalid_share_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"cuts 1\.5: expected a share, 0 to 1"):
        ClipConfig(cuts=1.5)


@pytest.mark.parametrize("seed", range(8))
def test_with_all_shares_clips_are_reproducible_and_every_object_is_visible_at_first(seed: int) -> None:
    clip, again = render_clip(seed, EVERYTHING), render_clip(seed, EVERYTHING)
    assert np.array_equal(clip.frames, again.frames)
    assert np.array_equal(clip.masks, again.masks)
    assert clip.masks.sum(axis=1).max() <= 1
    assert clip.masks[0].sum(axis=(1, 2)).min() >= EVERYTHING.min_area_share * 120 * 160


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_thing_of_several_materials_has_several_colours_and_ends_inside_its_sprites(kind: object) -> None:
    spreads = []
    for seed in range(6):
        made = kind(np.random.default_rng(seed), _look(seed))  # type: ignore[operator]
        parts = (made.part(),) if isinstance(made, Canvas) else made
        for part in parts:
            alpha = part.sprite[..., 3]
            assert alpha.max() == 255
            assert max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) == 0
        scene = Scene(CameraMotion(120, 160), GROUND, (Layer(parts, Motion((80.0, 60.0), 50.0), 0),))
        frame, owner = scene.draw(0)
        assert (owner == 1).sum() > 150
        spreads.append(frame[owner == 1].astype(float).std(axis=0).max())
    assert np.median(spreads) > 25


@pytest.mark.parametrize("seed", range(6))
def test_taking_a_thing_of_many_parts_away_changes_its_mask_and_nothing_far_from_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = Layer(make_assembly(rng, _look(seed), turning=1.0), Motion((80.0, 60.0), 45.0), 0)
    scene = Scene(CameraMotion(120, 160), GROUND, (layer,))
    for t in (0, 9):
        frame, owner = scene.draw(t)
        changed = (frame != 128).any(axis=2)
        mask = owner == 1
        assert changed[mask].mean() > 0.9
        assert (changed & ~_grown(mask)).sum() <= 0.05 * mask.sum() + 12


def _grown(mask: np.ndarray) -> np.ndarray:
    """Dilate a mask by the pixels beside it, which the thing covers by less than half."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)


@pytest.mark.parametrize("seed", range(6))
def test_the_smaller_box_that_a_part_is_drawn_in_changes_no_pixel(seed: int) -> None:
    parts = make_assembly(np.random.default_rng(seed), _look(seed))
    whole = tuple(dataclasses.replace(part, extent=None) for part in parts)
    (frame, owner), (frame_whole, owner_whole) = (
        Scene(CameraMotion(120, 160), GROUND, (Layer(p, Motion((81.3, 60.8), 44.4, 0.3), 0),)).draw(5)
        for p in (parts, whole)
    )
    assert (owner != owner_whole).sum() <= 3  # OpenCV's rounding depends on the position in the box
    assert np.abs(frame.astype(int) - frame_whole).max() <= 12


def test_a_turning_surface_moves_within_a_fixed_outline() -> None:
    canvas = Canvas(np.random.default_rng(3), _look(3))
    canvas.add(np.array([[-0.8, -0.5], [0.8, -0.5], [0.8, 0.5], [-0.8, 0.5]]))
    canvas.mark(np.array([[-0.1, -0.3], [0.1, -0.3], [0.1, 0.3], [-0.1, 0.3]]))
    part = canvas.turning(0.02)
    scene = Scene(CameraMotion(120, 160), GROUND, (Layer((part,), Motion((80.0, 60.0), 45.0), 0),))
    (first, owner), (later, owner_later) = scene.draw(0), scene.draw(8)
    assert np.array_equal(owner, owner_later)
    assert (np.abs(first.astype(int) - later).max(axis=2)[owner == 1] > 8).mean() > 0.1
    assert np.array_equal(first[owner == 0][:200], later[owner == 0][:200])
    assert part.surface is not None
    assert np.array_equal(part.surface.at(0), part.surface.at(50))  # once around


def test_rolling_shutter_shears_image_and_mask_alike_by_the_speed_of_the_camera() -> None:
    pan = (Wave(40.0, 0.02),)  # about 5 px per frame
    camera = CameraMotion(120, 160, pan_x=pan)
    scene = _square(Motion((80.0, 60.0), 50.0), camera)
    rolling = dataclasses.replace(scene, camera=dataclasses.replace(camera, readout=1.0))
    _, owner = scene.draw(0)
    frame, sheared = rolling.draw(0)
    assert np.array_equal(sheared == 1, frame[..., 0] >= 128)
    speed = pan[0](0.5) - pan[0](-0.5)

    def middle(mask: np.ndarray, row: int) -> float:
        return float(np.flatnonzero(mask[row]).mean())

    for row in (25, 60, 95):
        shift = middle(sheared, row) - middle(owner, row)
        assert shift == pytest.approx(speed * (row - 59.5) / 120, abs=0.6)
    still = dataclasses.replace(scene, camera=CameraMotion(120, 160, readout=1.0))
    assert np.array_equal(
        still.draw(0)[1], _square(scene.layers[0].motion, CameraMotion(120, 160)).draw(0)[1]
    )


def test_an_approaching_thing_grows_or_shrinks_by_up_to_four() -> None:
    base = Motion((80.0, 60.0), 20.0)
    factors = []
    for seed in range(40):
        motion = approaching(np.random.default_rng(seed), PLAIN, base)
        sizes = [np.sqrt(np.linalg.det(motion.matrix(t)[:2, :2])) for t in (0, PLAIN.frames - 1)]
        factors.append(sizes[1] / sizes[0])
    assert 0.24 < min(factors) < 0.4
    assert 2.5 < max(factors) < 4.01
    assert not any(0.65 < factor < 1.5 for factor in factors)
    _, small = _square(Motion((80.0, 60.0), 15.0, approach=np.log(3) / 11), CameraMotion(120, 160)).draw(0)
    _, large = _square(Motion((80.0, 60.0), 15.0, approach=np.log(3) / 11), CameraMotion(120, 160)).draw(11)
    assert large.sum() / small.sum() == pytest.approx(9, rel=0.1)


def test_a_fast_thing_moves_by_a_large_part_of_its_size_per_frame() -> None:
    for seed in range(12):
        motion = fast_motion(np.random.default_rng(seed), PLAIN, Motion((80.0, 60.0), 10.0))
        path = np.array([motion.position(t) for t in np.arange(0, 60)])
        steps = np.hypot(*np.diff(path, axis=0).T)
        assert 3.0 < steps.max() < 30.0
        assert np.ptp(path, axis=0).max() < 200


def test_a_twin_starts_beside_its_double_meets_it_and_leaves_it() -> None:
    for seed in range(12):
        like = Motion((80.0, 60.0), 15.0, sway_x=(Wave(20.0, 0.03, 0.4),), velocity_xy=(0.5, 0.2))
        twin = crossing(np.random.default_rng(seed), PLAIN, like)
        times = np.arange(0, PLAIN.frames - 0.9, 0.1)
        apart = np.array([np.hypot(*np.subtract(twin.position(t), like.position(t))) for t in times])
        meeting = int(apart.argmin())
        assert apart[meeting] < 1.0
        assert 0 < meeting < len(times) - 1
        assert apart[0] > 0.8 * (like.half_size_px + twin.half_size_px)


def test_light_changes_pixels_and_no_mask_and_a_shadow_stays_where_it_is_in_the_world() -> None:
    dark = Lighting((0.0, 0.0, 0.0), 0.0, 0.0, Band(0.0, 30.0, 4.0, 12.0, 2.0, 0.5))
    scene = Scene(CameraMotion(120, 160), np.full((160, 210, 3), 200, np.uint8), (), dark)
    row = scene.draw(0)[0][60, :, 0]
    assert row[110] == pytest.approx(100, abs=4)  # 30 px right of the centre
    assert row[80] == 200
    assert row[140] == 200
    assert scene.draw(5)[0][60, 130, 0] == pytest.approx(100, abs=4)
    moved = dataclasses.replace(scene, camera=CameraMotion(120, 160, pan_x=(Wave(20.0, 0.25),)))
    assert moved.draw(1)[0][60, 134, 0] == pytest.approx(100, abs=4)  # + 20 by the camera, + 4 by the band
    warm = Lighting((0.3, 0.0, -0.3), 0.25, 0.0)
    lit = dataclasses.replace(scene, lighting=warm).draw(1)[0][60, 60]
    assert lit[0] > 250 > lit[1] == 200 > 150 > lit[2]
    square = _square(Motion((80.0, 60.0), 30.0), CameraMotion(120, 160))
    assert np.array_equal(square.draw(3)[1], dataclasses.replace(square, lighting=warm).draw(3)[1])


def _cut_clip(seed: int) -> tuple:
    config = dataclasses.replace(
        PLAIN, cuts=1.0, distractors=0, occluders=0, hide_probability=0.0, assemblies=1.0
    )
    rng = np.random.default_rng(seed)
    scene = random_scene(rng, config)
    return with_cuts(rng, config, scene)


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_changes_the_background_and_the_objects_are_the_same_things(seed: int) -> None:
    shots = _cut_clip(seed)
    assert len(shots) in (2, 3)
    first, second = shots[:2]
    assert 1 <= second.begin < PLAIN.frames
    assert shot_at(shots, second.begin - 1) is first
    assert shot_at(shots, second.begin) is second
    empty = [dataclasses.replace(shot.scene, layers=(), lighting=None) for shot in (first, second)]
    before, after = empty[0].draw(second.begin - 1)[0], empty[1].draw(0)[0]
    assert (before != after).any(axis=2).mean() > 0.5
    things = {layer.label: layer.parts for layer in first.scene.layers}
    for layer in second.scene.layers:
        if layer.label >= 0:
            assert layer.parts is things[layer.label]


@pytest.mark.parametrize("seed", range(4))
def test_after_a_cut_taking_an_object_away_changes_its_mask_and_little_else(seed: int) -> None:
    shot = _cut_clip(seed)[1]
    layers = tuple(
        dataclasses.replace(one, shadow_strength=0.0, motion_blur=False) for one in shot.scene.layers
    )
    scene = dataclasses.replace(shot.scene, layers=layers)
    frame, owner = scene.draw(1)
    without, _ = dataclasses.replace(scene, layers=layers[:-1]).draw(1)
    changed, mask = (frame != without).any(axis=2), owner == len(layers)
    assert (changed & ~_grown(mask)).sum() <= 0.05 * mask.sum() + 12
    if mask.sum() > 50:
        assert changed[mask].mean() > 0.85


def test_cuts_hide_some_objects_and_some_clips_return_to_their_first_shot() -> None:
    clips = [_cut_clip(seed) for seed in range(16)]
    assert any(len(shots) == 3 and shots[2].scene is shots[0].scene for shots in clips)
    assert any(sum(layer.label >= 0 for layer in shots[1].scene.layers) < PLAIN.objects for shots in clips)


def test_clutter_covers_much_of_a_backdrop_and_defocus_takes_its_detail() -> None:
    board = (np.indices((160, 208)).sum(0) // 8 % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    covered = [
        (cluttered(np.random.default_rng(seed), PROCEDURAL, board, 0.5) != board).any(axis=2).mean()
        for seed in range(8)
    ]
    assert min(covered) > 0.04
    assert np.mean(covered) > 0.1
    soft = defocused(np.random.default_rng(0), board, 320, 416)
    assert soft.shape == (320, 416, 3)

    def steepest(image: np.ndarray) -> int:
        return int(np.abs(np.diff(image.astype(int), axis=1)).max())

    assert steepest(soft) < 0.5 * steepest(board)
