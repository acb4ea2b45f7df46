# SPDX-License-Identifier: Apache-2.0
"""Cut-outs of photographs: which instances become objects, their edges, their changes of shape and colour.

Knows nothing of whole clips.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from own_photographs import BAR, CUT_OFF, DISC, PIECES, TINY, OwnPhotograph, own_records

from sam2_ros.errors import UserError
from sam2_ros.synthetic.deformation import Deformation, TurnedSurface
from sam2_ros.synthetic.photographs.bank import PhotographBank
from sam2_ros.synthetic.photographs.things import cutout_layer, photo_backdrop, relit
from sam2_ros.synthetic.scene import CameraMotion, Layer, Motion, Part, Scene, Wave, intersection, place
from sam2_ros.synthetic.warps import draw_warped, warped_bounds

GROUND = np.full((200, 200, 3), (20, 130, 30), np.uint8)


@pytest.fixture(scope="module")
def bank() -> PhotographBank:
    return PhotographBank(own_records(), "own")


def test_only_whole_instances_away_from_the_border_become_objects(bank: PhotographBank) -> None:
    numbers = {one.number for one in bank.objects}
    fronts = {one.number for one in bank.fronts}
    assert numbers == {DISC, BAR}
    assert fronts == {DISC, BAR, CUT_OFF}
    assert {TINY, PIECES}.isdisjoint(numbers | fronts)


def test_photographs_without_a_usable_instance_are_refused_in_one_line() -> None:
    class OnlyTiny(OwnPhotograph):
        def masks(self) -> list[np.ndarray]:
            return super().masks()[TINY : TINY + 1]

    with pytest.raises(UserError, match=r"photographs 'tiny' have no instance to cut out: .* 48 px") as error:
        PhotographBank([OnlyTiny(0)], "tiny")
    assert "\n" not in str(error.value)


def test_a_mask_of_another_size_is_refused_by_the_check() -> None:
    class Wrong(OwnPhotograph):
        def image(self) -> np.ndarray:
            return OwnPhotograph(0).image()

        def masks(self) -> list[np.ndarray]:
            return [mask[:-8] for mask in super().masks()]

    with pytest.raises(UserError, match=r"a mask of photograph 'own0' is 320 x 232 px, the 320 x 240 px"):
        PhotographBank([Wrong(0)], "wrong").check()


def test_a_cutout_shows_no_colour_of_its_background_not_even_at_its_soft_edge(bank: PhotographBank) -> None:
    for one in bank.fronts:
        sprite = bank.cutout(one).sprite.astype(int)
        assert (sprite[..., 0] > 140).all()  # red everywhere, also where alpha is 0
        assert (sprite[..., 1] < 100).all()
        alpha = sprite[..., 3]
        assert max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) == 0
        assert 0.8 * one.area_px < (alpha >= 128).sum() < one.area_px
        assert ((alpha > 0) & (alpha < 255)).sum() > 0


def test_another_instance_of_the_same_class_is_chosen_as_a_look_alike(bank: PhotographBank) -> None:
    rng = np.random.default_rng(0)
    for one in bank.objects:
        other = bank.choose(rng, 60.0, one.category, other_than=one)
        assert other.category == one.category
        assert other != one


def test_the_least_blurred_instances_are_chosen_and_rare_classes_more_often_than_by_chance() -> None:
    class Rare(OwnPhotograph):
        @property
        def categories(self) -> tuple[int, ...]:
            return (-1, -1, -1, -1, -1) if self.seed else (-1, 7, -1, -1, -1)

    bank, rng = PhotographBank([Rare(seed) for seed in range(5)], "rare"), np.random.default_rng(0)
    chosen = [bank.choose(rng, 60.0) for _ in range(300)]
    rare = np.mean([one.category == 7 for one in chosen])
    assert 0.12 < rare < 0.35  # by chance 1 of 10
    assert {bank.choose(rng, 250.0).number for _ in range(30)} == {BAR}  # the discs would be too blurred


def test_memory_for_decoded_photographs_is_bounded_and_the_pixels_stay_the_same() -> None:
    tight, wide = PhotographBank(own_records(6), "own", cache_mb=1), PhotographBank(own_records(6), "own")
    for number in (0, 1, 2, 3, 4, 5, 0):
        assert np.array_equal(tight.pixels(number).image, wide.pixels(number).image)
    assert sum(size for _, size in tight._pixels._values.values()) <= 1 << 20
    assert len(wide._pixels._values) == 6


@pytest.mark.parametrize("seed", range(8))
def test_a_deformed_cutout_stays_in_its_box_and_its_mask_is_its_pixels(
    bank: PhotographBank, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    motion = Motion((100.0, 100.0), 40.0, angle_rad=0.3)
    made = cutout_layer(rng, bank, bank.objects[seed % len(bank.objects)], motion, 12, label=0)
    layer = Layer(made.parts, motion, 0, warp=Deformation.random(rng, 12))
    scene = Scene(CameraMotion(200, 200), GROUND, (layer,))
    assert layer.warp is not None
    for t in (0, 5, 11):
        frame, owner = scene.draw(t)
        reddish = frame[..., 0].astype(int) > frame[..., 1]
        mask = owner == 1
        assert mask.sum() > 500
        assert (reddish & mask).sum() / (reddish | mask).sum() > 0.96
        placed = place(layer, scene.camera.matrix(t), t)
        whole = draw_warped(layer.parts[0].sprite, placed.matrices[0], (200, 200), layer.warp, t)[..., 3]
        assert (mask != (whole >= 128)).sum() <= 0.01 * mask.sum()  # interpolated between other nodes
        x0, y0, x1, y1 = intersection(placed.box, (0, 0, 200, 200))
        whole[y0:y1, x0:x1] = 0
        assert whole.max() == 0


def test_a_deformation_starts_from_the_photograph_then_changes_the_shape_and_does_not_fold_it() -> None:
    line = np.linspace(-0.9, 0.9, 61)
    x, y = np.meshgrid(line, line)
    changed = []
    for seed in range(30):
        warp = Deformation.random(np.random.default_rng(seed), 10)
        at_first = warp.source(x, y, 0)
        assert np.allclose(at_first[0], x)
        assert np.allclose(at_first[1], y)
        strongest = 0.0
        for t in (3, 6, 9):
            from_x, from_y = warp.source(x, y, t)
            strongest = max(strongest, float(np.hypot(from_x - x, from_y - y).mean()))
        dx_dy, dx_dx = np.gradient(from_x, line[1] - line[0])
        dy_dy, dy_dx = np.gradient(from_y, line[1] - line[0])
        assert (dx_dx * dy_dy - dx_dy * dy_dx > 0).mean() > 0.97
        changed.append(strongest)
    assert np.median(changed) > 0.08


def test_turning_away_makes_a_thing_narrower_and_its_near_side_taller() -> None:
    warp = Deformation(yaw=Wave(0.4, 0.25, -np.pi / 2))  # 0.4 rad at t = 1, 0.8 rad at t = 2
    for t, angle in ((1, 0.4), (2, 0.8)):
        x0, y0, x1, y1 = warped_bounds(warp, t)
        step = 4.4 / 32
        assert x1 - x0 == pytest.approx(2 * np.cos(angle) / (1 - (np.sin(angle) / 3) ** 2), abs=3.5 * step)
        assert y1 - y0 == pytest.approx(2 / (1 - np.sin(angle) / 3), abs=3.5 * step)


def test_a_bend_turns_one_side_of_the_joint_and_leaves_the_other() -> None:
    warp = Deformation(joint=Wave(0.3, 0.25, -np.pi / 2), joint_at=(0.0, 0.0), joint_angle_rad=np.pi / 2)
    x, y = warp.source(np.array([0.0, 0.0]), np.array([-0.8, 0.8]), 2)
    assert (x[0], y[0]) == (0.0, -0.8)
    assert np.arctan2(x[1], y[1]) == pytest.approx(0.6)
    assert np.hypot(x[1], y[1]) == pytest.approx(0.8)


def test_a_turned_surface_shows_more_of_one_side_within_a_fixed_outline() -> None:
    sprite = np.zeros((80, 80, 4), np.uint8)
    cv2.circle(sprite, (40, 40), 36, (0, 0, 0, 255), -1)
    sprite[:, :40, 0], sprite[:, 40:, 2] = 200, 200  # left half red, right half blue
    part = Part(sprite, surface=TurnedSurface(sprite, Wave(), spin=0.3))
    assert np.array_equal(part.picture(0), sprite)
    turned = part.picture(3)
    assert np.array_equal(turned[..., 3], sprite[..., 3])
    inside = sprite[..., 3] > 0
    blue = (turned[..., 2] > 100)[inside].mean()
    assert 0.75 < blue < 1.0
    assert (turned[..., 0].astype(int) + turned[..., 2] > 180)[inside].all()  # no other colour
    behind = part.picture(np.pi / 0.3)
    assert (behind[..., 2] > 100)[:, :36][inside[:, :36]].mean() > 0.95  # mirrored


def test_a_relit_cutout_comes_nearer_to_the_colour_behind_it_and_keeps_its_outline(
    bank: PhotographBank,
) -> None:
    sprite, behind = bank.cutout(bank.objects[0]).sprite, np.array([20.0, 200, 20])
    inside = sprite[..., 3] == 255
    apart = []
    for seed in range(40):
        alone, matched = (relit(np.random.default_rng(seed), sprite, under) for under in (None, behind))
        assert np.array_equal(matched[..., 3], sprite[..., 3])
        apart.append([np.linalg.norm(one[inside][:, :3].mean(axis=0) - behind) for one in (alone, matched)])
    before, after = np.array(apart).T
    nearer = after < 0.9 * before
    assert 0.2 < nearer.mean() < 0.6
    assert np.allclose(after[~nearer], before[~nearer])


def test_a_backdrop_is_a_piece_of_a_photograph_in_the_size_asked_for(bank: PhotographBank) -> None:
    for seed in range(6):
        image = photo_backdrop(np.random.default_rng(seed), bank, 90, 130)
        assert image.shape == (90, 130, 3)
        assert image.dtype == np.uint8
        assert (image[..., 1].astype(int) > image[..., 2]).mean() > 0.4  # the green of the photographs
