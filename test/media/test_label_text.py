# SPDX-License-Identifier: Apache-2.0
"""Names in any script are drawn legibly into images; no text can abort the process."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_ros.media import label_text
from sam2_ros.media.label_text import STROKES, put_text, text_size
from sam2_ros.media.overlay import draw_masks

MASK = np.zeros((80, 200), bool)
MASK[30:60, 10:40] = True


def drawn(text: str, scale: float = 0.6) -> np.ndarray:
    canvas = np.zeros((60, 600, 3), np.uint8)
    put_text(canvas, text, (5, 40), scale, (255, 255, 255), 1)
    return canvas


def test_ascii_looks_as_opencv_draws_it() -> None:
    expected = np.zeros((60, 600, 3), np.uint8)
    cv2.putText(expected, "cup TRACKING 0.93", (5, 40), STROKES, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
    np.testing.assert_array_equal(drawn("cup TRACKING 0.93"), expected)
    (width, height), base = cv2.getTextSize("cup TRACKING 0.93", STROKES, 0.6, 1)
    assert text_size("cup TRACKING 0.93", 0.6) == (width, height, base)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("кружка", "стакан"),
        ("καφές", "νερό"),
        ("Käse", "Köse"),
        ("カップ", "コップ"),
        ("컵", "잔"),
        ("🦖", "🦕"),
    ],
)
def test_different_names_look_different_and_fit_their_text_size(one: str, other: str) -> None:
    assert (drawn(one) != drawn(other)).any()
    assert (drawn(one) != drawn("?" * len(one))).any()
    for name in (one, other):
        rows, columns = np.nonzero(drawn(name).any(axis=2))
        size = text_size(name, 0.6)
        assert columns.min() + 2 >= 5
        assert columns.max() <= 5 + size.width
        assert 40 - size.above <= rows.min()
        assert rows.max() < 40 + max(size.below, 1)
        assert drawn(name).max() > 200


def test_a_cyrillic_name_is_drawn_in_letters_of_a_font_and_the_rest_in_strokes() -> None:
    name = text_size("кружка ", 0.6)
    both, state = drawn("кружка LOST"), np.zeros((60, 600, 3), np.uint8)
    put_text(
        state,
        "LOST",
        (5 + text_size("кружка", 0.6).width + text_size(" ", 0.6).width, 40),
        0.6,
        (255,) * 3,
        1,
    )
    after = 5 + name.width
    assert both[:, after:].any()
    assert both[:, :after].any()
    assert iou(both[:, after:] > 100, state[:, after:] > 100) > 0.2


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_letter_without_a_font_is_drawn_as_its_number() -> None:
    unassigned = "\U000e1234"  # no font has it
    np.testing.assert_array_equal(drawn(unassigned), drawn_in_font("<U+E1234>"))


def test_japanese_is_drawn_in_letters_on_a_machine_without_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_text, "_machine_fonts", list)
    for cached in (label_text._font_with, label_text._rendered):
        cached.cache_clear()
    for name in ("カップ", "青い箱"):
        numbers = " ".join(f"U+{ord(letter):04X}" for letter in name)
        assert text_size(name, 0.6).width < text_size(f"<{numbers}>", 0.6).width / 3
        assert (drawn(name) != drawn("?" * len(name))).any()


def drawn_in_font(text: str) -> np.ndarray:
    from sam2_ros.media.label_text import _blend, _em_px, _rendered

    canvas = np.zeros((60, 600, 3), np.uint8)
    ink, above = _rendered(text, _em_px(0.6))
    _blend(canvas, ink, 5, 40 - above, (255, 255, 255))
    return canvas


@pytest.mark.parametrize(
    "name", ["a\ud800", "c\udcff", "a\0b", "a\nb", "\u202ecup", "", " ", "x" * 5000, "я" * 5000]
)
def test_no_name_aborts_the_process(name: str) -> None:
    picture = draw_masks(np.zeros((80, 200, 3), np.uint8), [MASK], [name])
    assert picture.shape == (80, 200, 3)
    assert picture[45, 25].any()
    assert draw_masks(np.zeros((1, 1, 3), np.uint8), [np.ones((1, 1), bool)], [name]).any()


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec=None), max_size=12), st.integers(-50, 250), st.integers(-50, 130))
def test_any_text_can_be_drawn_anywhere(text: str, x: int, y: int) -> None:
    canvas = np.zeros((80, 200, 3), np.uint8)
    put_text(canvas, text, (x, y), 0.5, (255, 128, 0), 1)
    assert canvas.shape == (80, 200, 3)


def test_names_of_a_video_are_rendered_once() -> None:
    names = ["кружка", "чайник", "стол"]
    image = np.zeros((80, 200, 3), np.uint8)
    draw_masks(image, [MASK] * 3, names)
    began_s = time.perf_counter()
    for _ in range(50):
        draw_masks(image, [MASK] * 3, names)
    assert (time.perf_counter() - began_s) / 50 < 0.02
