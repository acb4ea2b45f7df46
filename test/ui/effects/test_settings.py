# SPDX-License-Identifier: Apache-2.0
"""Settings of the effects: the JSON form, its defaults, and what is refused.

Draws nothing.
"""

from __future__ import annotations

import json

import pytest

from sam2_ros.errors import UserError
from sam2_ros.ui.effects.settings import EffectSettings, rgb_of


def test_empty_settings_are_an_overlay_on_the_original_background():
    settings = EffectSettings.from_settings({})
    assert (settings.background.effect, settings.object.effect, settings.opacity) == (
        "original",
        "overlay",
        0.5,
    )
    assert settings == EffectSettings()


def test_settings_survive_json():
    given = {
        "background": {"effect": "gradient", "strength": 0.25, "colours": ["#102030", "#a0B0c0"]},
        "object": {"effect": "replace", "strength": 1, "emoji": "\N{CAT FACE}", "picture": "cat.png"},
        "opacity": 0,
        "hidden": [2, 5],
        "solo": 3,
    }
    settings = EffectSettings.from_settings(json.loads(json.dumps(given)))
    assert settings.to_settings() == given
    assert rgb_of(settings.background.colours[1]) == (0xA0, 0xB0, 0xC0)


def test_solo_shows_one_object_and_hidden_all_but_some():
    hidden = EffectSettings.from_settings({"hidden": [2]})
    assert [hidden.shows(number) for number in (1, 2, 3)] == [True, False, True]
    solo = EffectSettings.from_settings({"hidden": [2], "solo": 2})
    assert [solo.shows(number) for number in (1, 2, 3)] == [False, True, False]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"background": {"effect": "explode"}}, "one of original, erase, blur"),
        ({"object": {"effect": ["blur"]}}, "one of overlay, cutout"),
        ({"object": {"strength": 1.5}}, "from 0 to 1"),
        ({"object": {"strength": float("nan")}}, "from 0 to 1"),
        ({"opacity": True}, "from 0 to 1"),
        ({"opacity": "0.5"}, "from 0 to 1"),
        ({"background": {"colours": ["red", "#000000"]}}, "#rrggbb"),
        ({"background": {"colours": ["#000000"]}}, "two of"),
        ({"background": {"colours": "#000000"}}, "two of"),
        ({"background": []}, "an object with any of"),
        ({"hidden": [0]}, "1 or more"),
        ({"hidden": 1}, "a list"),
        ({"solo": "1"}, "1 or more"),
        ({"effect": "blur"}, "any of background, object"),
        ({"object": {"emoji": "x" * 17}}, "at most 16"),
        ({"object": {"emoji": 7}}, "text"),
        ({"object": {"emoji": "\ud800"}}, "UTF-8"),
        ({"object": {"picture": "a\0b"}}, "NUL"),
        ([], "an object with any of"),
    ],
)
def test_unusable_settings_are_refused_in_one_line(given, reason):
    with pytest.raises(UserError, match=reason) as refused:
        EffectSettings.from_settings(given)
    assert "\n" not in str(refused.value)
