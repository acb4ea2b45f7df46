# SPDX-License-Identifier: Apache-2.0
"""Pictures that replace objects: emojis with and without a font, uploaded files and their limits.

Uses the fonts that are installed with the package.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from sam2_ros.errors import UserError
from sam2_ros.ui.effects.effects import ObjectLayer, apply_effects
from sam2_ros.ui.effects.replacement import MAX_PICTURE_BYTES, PICTURE_SIDE_PX, emoji_picture, read_picture
from sam2_ros.ui.effects.settings import EffectSettings

REPLACE = EffectSettings.from_settings({"object": {"effect": "replace"}})


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    image.save(data, kind)
    return data.getvalue()


def test_an_emoji_of_an_installed_font_is_drawn_and_differs_from_another():
    smile, cat = emoji_picture("\N{GRINNING FACE}"), emoji_picture("\N{CAT FACE}")
    assert smile.picture_rgba.shape[2] == 4
    assert smile.picture_rgba[..., 3].max() == 255
    assert (
        smile.picture_rgba.shape != cat.picture_rgba.shape or (smile.picture_rgba != cat.picture_rgba).any()
    )


@pytest.mark.parametrize("emoji", ["", " ", "\U000f1234"])
def test_an_emoji_that_no_font_has_becomes_a_shape_and_is_announced(emoji):
    drawn = emoji_picture(emoji)
    assert "plain shape" in drawn.note
    assert "\n" not in drawn.note
    assert (drawn.picture_rgba[..., 3] > 0).mean() > 0.5


def test_an_uploaded_picture_is_drawn_on_the_object_with_its_transparency():
    picture = np.zeros((40, 80, 4), np.uint8)
    picture[:, :40] = (0, 0, 255, 255)  # the left half is blue, the right half clear
    replacement = read_picture(encoded(Image.fromarray(picture)))
    frame = np.full((200, 300, 3), 90, np.uint8)
    mask = np.zeros((200, 300), bool)
    mask[80:120, 100:180] = True
    frame[mask] = (255, 0, 0)
    drawn = apply_effects(frame, [ObjectLayer(1, mask, (0, 0, 0))], REPLACE, replacement)
    assert tuple(drawn[100, 120]) == (0, 0, 255)
    assert np.abs(drawn[100, 170].astype(int) - 90).max() < 6  # the object itself is gone


def test_a_picture_at_the_border_is_clipped():
    frame = np.full((100, 100, 3), 90, np.uint8)
    mask = np.zeros((100, 100), bool)
    mask[:30, :30] = True
    drawn = apply_effects(frame, [ObjectLayer(1, mask, (0, 0, 0))], REPLACE)
    assert (drawn[:30, :30] != 90).any()
    assert (drawn[60:, 60:] == 90).all()


def test_large_pictures_are_reduced_and_small_ones_kept():
    assert read_picture(encoded(Image.new("RGB", (1000, 700)))).picture_rgba.shape[1] == PICTURE_SIDE_PX
    assert read_picture(encoded(Image.new("L", (31, 17)), "JPEG")).picture_rgba.shape == (17, 31, 4)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cannot be read"),
        (b"<svg onload=alert(1)>", "a PNG, JPEG"),
        (encoded(Image.new("RGB", (9, 9)))[:45], "cannot be read"),
        (b"\0" * (MAX_PICTURE_BYTES + 1), "at most"),
        (encoded(Image.new("1", (9000, 9000))), "pixels, at most"),
    ],
)
def test_an_unusable_picture_is_refused_in_one_line(data, reason):
    with pytest.raises(UserError, match=reason) as refused:
        read_picture(data, "evil\nname\u202e.png")
    assert "\n" not in str(refused.value)
    assert "\u202e" not in str(refused.value)


def test_replacing_hides_what_was_there():
    frame = np.full((200, 200, 3), 120, np.uint8)
    mask = np.zeros((200, 200), bool)
    mask[40:160, 90:110] = True  # slim: the picture does not cover its ends
    frame[mask] = (255, 0, 0)
    drawn = apply_effects(frame, [ObjectLayer(1, mask, (0, 0, 0))], REPLACE)
    hue = cv2.cvtColor(drawn, cv2.COLOR_RGB2HSV)
    red = (hue[..., 0] < 4) & (hue[..., 1] > 200) & (hue[..., 2] > 200)
    assert not red.any()
