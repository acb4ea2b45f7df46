# SPDX-License-Identifier: Apache-2.0
"""Effects on one frame: what changes, what stays, and that a hidden object is really hidden.

Frames are textures with a disc as the object.
"""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from sam2_ros.errors import UserError
from sam2_ros.ui.effects.effects import MOST_CELLS, ObjectLayer, apply_effects, cut_out
from sam2_ros.ui.effects.settings import BACKGROUND_EFFECTS, OBJECT_EFFECTS, EffectSettings

SIZE = (240, 320)


def scene(seed: int = 0, hw: tuple[int, int] = SIZE) -> np.ndarray:
    """A textured frame, [H, W, 3] uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (hw[0] // 12, hw[1] // 12, 3), dtype=np.uint8)
    noise = rng.integers(-20, 21, (*hw, 3))
    return np.clip(cv2.resize(coarse, hw[::-1], interpolation=cv2.INTER_CUBIC) + noise, 0, 255).astype(
        np.uint8
    )


def disc(x: int, y: int, radius: int, hw: tuple[int, int] = SIZE) -> np.ndarray:
    rows, columns = np.mgrid[: hw[0], : hw[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def layer(number: int = 1, x: int = 150, y: int = 120, radius: int = 50) -> ObjectLayer:
    return ObjectLayer(number, disc(x, y, radius), (220, 40, 60))


def settings(object: str = "overlay", background: str = "original", **more: object) -> EffectSettings:
    strength = more.pop("strength", 0.5)
    return EffectSettings.from_settings(
        {"object": {"effect": object, "strength": strength}, "background": {"effect": background}, **more}
    )


def difference(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    return float(np.abs(a[where].astype(int) - b[where].astype(int)).mean())


@pytest.mark.parametrize("effect", OBJECT_EFFECTS)
@pytest.mark.parametrize("background", BACKGROUND_EFFECTS)
def test_every_effect_draws_a_frame_of_the_same_form_and_leaves_the_given_one(effect, background):
    frame, one = scene(), layer()
    before = frame.copy()
    drawn = apply_effects(frame, [one], settings(effect, background))
    assert (drawn.shape, drawn.dtype) == (frame.shape, np.uint8)
    np.testing.assert_array_equal(frame, before)


@pytest.mark.parametrize("effect", ["overlay", "outline", "pixelate", "blur", "erase", "replace"])
def test_an_object_effect_changes_the_object_and_not_what_is_far_from_it(effect):
    frame, one = scene(), layer()
    drawn = apply_effects(frame, [one], settings(effect))
    far = ~disc(150, 120, 80)
    np.testing.assert_array_equal(drawn[far], frame[far])
    assert difference(drawn, frame, one.mask) > 3


@pytest.mark.parametrize("background", BACKGROUND_EFFECTS[1:])
def test_a_background_effect_changes_the_background_and_not_the_object(background):
    frame, one = scene(), layer()
    drawn = apply_effects(frame, [one], settings("overlay", background, opacity=0))
    inside, outside = disc(150, 120, 46), ~disc(150, 120, 54)
    assert np.abs(drawn[inside].astype(int) - frame[inside].astype(int)).max() <= 1
    assert difference(drawn, frame, outside) > 3


def test_an_object_effect_without_objects_leaves_the_frame():
    frame = scene()
    empty = ObjectLayer(1, np.zeros(SIZE, bool), (1, 2, 3))
    for effect in ("overlay", "outline", "pixelate", "blur", "erase", "replace"):
        np.testing.assert_array_equal(apply_effects(frame, [empty], settings(effect)), frame)


def test_hidden_objects_belong_to_the_background():
    frame, first, second = scene(), layer(1, 80, 120, 30), layer(2, 240, 120, 30)
    drawn = apply_effects(frame, [first, second], settings("blur", hidden=[2]))
    np.testing.assert_array_equal(drawn[second.mask], frame[second.mask])
    assert difference(drawn, frame, first.mask) > 10
    ground = apply_effects(frame, [first, second], settings("cutout", solo=2))
    assert difference(ground, frame, disc(240, 120, 26)) < 1
    assert np.all(ground[first.mask] == ground[0, 0])


def test_the_overlay_has_the_colour_by_its_opacity():
    frame, one = np.full((*SIZE, 3), 100, np.uint8), layer()
    drawn = apply_effects(frame, [one], settings("overlay", opacity=0.5))
    np.testing.assert_allclose(drawn[120, 150], (160, 70, 80), atol=1)


def test_a_blurred_background_has_no_halo_of_the_object():
    frame = np.full((*SIZE, 3), 60, np.uint8)
    one = layer()
    frame[one.mask] = (255, 0, 0)
    drawn = apply_effects(frame, [one], settings("overlay", "blur", opacity=0))
    around = disc(150, 120, 60) & ~disc(150, 120, 53)
    assert np.abs(drawn[around].astype(int) - 60).max() <= 3


def test_a_cut_out_is_opaque_on_the_object_and_clear_elsewhere():
    frame, one = scene(), layer()
    drawn = cut_out(frame, [one], settings("cutout"))
    assert drawn.shape == (*SIZE, 4)
    assert (drawn[disc(150, 120, 46)][:, 3] == 255).all()
    assert (drawn[~disc(150, 120, 54)][:, 3] == 0).all()
    edge = drawn[..., 3][(drawn[..., 3] > 0) & (drawn[..., 3] < 255)]
    assert len(edge) > 100  # soft


def text_plate(text: str) -> np.ndarray:
    """A frame with a bright plate that has text on it; the plate is rows 90..150, columns 60..260."""
    frame = scene(3)
    frame[90:150, 60:260] = 235
    cv2.putText(frame, text, (68, 136), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (20, 20, 20), 4, cv2.LINE_AA)
    return frame


PLATE = np.zeros(SIZE, bool)
PLATE[90:150, 60:260] = True


@pytest.mark.parametrize("effect", ["pixelate", "blur"])
@pytest.mark.parametrize("strength", [0, 0.5, 1])
def test_two_texts_cannot_be_told_apart_after_hiding(effect, strength):
    one, other = text_plate("B 8371 X"), text_plate("R 6914 K")
    drawn = [
        apply_effects(frame, [ObjectLayer(1, PLATE, (0, 0, 0))], settings(effect, strength=strength))
        for frame in (one, other)
    ]
    before, after = difference(one, other, PLATE), difference(*drawn, PLATE)
    assert before > 20
    assert after < before / 4


@pytest.mark.parametrize("effect", ["pixelate", "blur"])
@pytest.mark.parametrize(("radius", "detail_px"), [(10, 1), (30, 2), (100, 6)])
def test_detail_within_a_cell_leaves_no_trace_whatever_the_size_of_the_object(effect, radius, detail_px):
    """A checkerboard and its inverse differ in every pixel by the whole range, and look the same when hidden."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] // detail_px
    board = ((rows + columns) % 2 * 255).astype(np.uint8)
    one = ObjectLayer(1, disc(160, 120, radius), (0, 0, 0))
    assert 2 * radius / MOST_CELLS > 2 * detail_px  # a cell has several squares, at the least strength
    drawn = []
    for values in (board, 255 - board):
        frame = np.full((*SIZE, 3), 128, np.uint8)
        frame[one.mask] = values[one.mask][:, None]
        drawn.append(apply_effects(frame, [one], settings(effect, strength=0)))
    assert difference(*drawn, one.mask) < 255 / 10
    assert np.abs(drawn[0][one.mask].astype(int) - 128).max() < 64


def test_hiding_covers_the_border_of_the_object_too():
    frame = np.full((*SIZE, 3), 90, np.uint8)
    mask = disc(150, 120, 50)
    frame[disc(150, 120, 52) & ~mask] = (255, 255, 0)  # a rim that the mask missed
    for effect in ("pixelate", "blur"):
        drawn = apply_effects(frame, [ObjectLayer(1, mask, (0, 0, 0))], settings(effect))
        assert drawn[..., 0].max() < 200


def test_erasing_fills_with_what_is_around():
    rows = np.linspace(40, 200, SIZE[0]).astype(np.uint8)
    frame = np.repeat(np.repeat(rows[:, None, None], SIZE[1], axis=1), 3, axis=2)
    clean = frame.copy()
    one = layer()
    frame[one.mask] = (255, 0, 0)
    drawn = apply_effects(frame, [one], settings("erase"))
    assert difference(drawn, clean, one.mask) < 12
    assert difference(frame, clean, one.mask) > 80


def test_an_erased_object_is_not_filled_from_another_erased_one():
    frame = np.full((*SIZE, 3), 50, np.uint8)
    outer, inner = disc(150, 120, 60), disc(150, 120, 20)
    frame[outer] = (250, 250, 0)
    frame[inner] = (0, 0, 250)
    layers = [ObjectLayer(1, outer & ~inner, (0, 0, 0)), ObjectLayer(2, inner, (0, 0, 0))]
    drawn = apply_effects(frame, layers, settings("erase"))
    assert np.abs(drawn.astype(int) - 50).max() <= 4


def test_a_frame_that_is_all_object_is_drawn():
    frame = scene()
    whole = ObjectLayer(1, np.ones(SIZE, bool), (9, 9, 9))
    for effect in OBJECT_EFFECTS:
        for background in ("original", "blur"):
            assert apply_effects(frame, [whole], settings(effect, background)).shape == frame.shape
    erased = apply_effects(frame, [whole], settings("erase"))
    assert (erased == 128).all()


@pytest.mark.parametrize("hw", [(1, 1), (1, 40), (37, 3), (33, 31)])
def test_tiny_and_odd_frames_are_drawn(hw):
    frame = np.random.default_rng(0).integers(0, 256, (*hw, 3), dtype=np.uint8)
    mask = np.zeros(hw, bool)
    mask[: hw[0] // 2 + 1, : hw[1] // 2 + 1] = True
    for effect in OBJECT_EFFECTS:
        for background in BACKGROUND_EFFECTS:
            drawn = apply_effects(frame, [ObjectLayer(1, mask, (9, 9, 9))], settings(effect, background))
            assert drawn.shape == frame.shape


def test_a_mask_of_another_size_or_a_grey_frame_is_refused():
    with pytest.raises(UserError, match="the size of its frame"):
        apply_effects(scene(), [ObjectLayer(3, np.ones((10, 10), bool), (0, 0, 0))], settings())
    with pytest.raises(UserError, match=r"\[H, W, 3\] uint8"):
        apply_effects(np.zeros((10, 10), np.uint8), [], settings())


@pytest.mark.parametrize("effect", ["overlay", "pixelate", "blur"])
def test_a_frame_of_640_x_480_takes_a_few_milliseconds(effect):
    frame = scene(0, (480, 640))
    one = ObjectLayer(1, disc(300, 240, 90, (480, 640)), (9, 200, 9))
    chosen = settings(effect)
    times_s = []
    for _ in range(10):
        start_s = time.perf_counter()
        apply_effects(frame, [one], chosen)
        times_s.append(time.perf_counter() - start_s)
    assert min(times_s) < 0.02  # a few on an idle core; the best of ten on a busy one
