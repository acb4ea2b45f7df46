# SPDX-License-Identifier: Apache-2.0
"""Settings of the effects: what happens to the background, what to the objects, and which objects are shown.

Knows the JSON form that the page sends. Does not know pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sam2_ros.errors import UserError
from sam2_ros.text import readable, text_problem

BACKGROUND_EFFECTS = ("original", "erase", "blur", "pixelate", "desaturate", "gradient")
OBJECT_EFFECTS = ("overlay", "cutout", "outline", "spotlight", "pixelate", "blur", "erase", "replace")
HIDING_EFFECTS = ("pixelate", "blur", "erase", "replace")
"""Object effects after which the object cannot be recognised."""
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_MAX_HIDDEN = 10_000
_MAX_EMOJI = 16  # code points; a flag or a family is a sequence of several
_MAX_PICTURE_NAME = 200

Colour = tuple[int, int, int]  # red, green, blue, 0..255


def rgb_of(colour: object) -> Colour:
    """Read "#rrggbb". Raises UserError."""
    if not isinstance(colour, str) or not _COLOUR.fullmatch(colour):
        raise UserError(f"colour {_shown(colour)} given, #rrggbb expected, such as #20c060")
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


@dataclass(frozen=True)
class BackgroundSettings:
    """The effect on everything that is not a shown object.

    Attributes:
        effect: one of `BACKGROUND_EFFECTS`. erase: a plain ground in the first colour; gradient: from the first colour
            at the top to the second at the bottom.
        strength: 0..1: radius of the blur, up to 1/40 of the frame's shorter side; size of the cells, up to 1/12 of
            it; share of the colour that is taken away; opacity of the gradient. erase does not use it.
        colours: two of "#rrggbb". The first one is also the ground of a cut-out in a file without transparency.
    """

    effect: str = "original"
    strength: float = 0.5
    colours: tuple[str, str] = ("#101820", "#3f6fb5")

    def __post_init__(self) -> None:
        _one_of("background effect", self.effect, BACKGROUND_EFFECTS)
        _share("strength of the background", self.strength)
        if not isinstance(self.colours, tuple) or len(self.colours) != 2:
            raise UserError(f"colours {_shown(self.colours)} given, two of #rrggbb expected")
        for colour in self.colours:
            rgb_of(colour)


@dataclass(frozen=True)
class ObjectSettings:
    """The effect on the shown objects.

    Attributes:
        effect: one of `OBJECT_EFFECTS`.
        strength: 0..1: width of the outline, darkness around a spotlight, coarseness of pixelate and blur. The others
            do not use it.
        emoji: drawn over the object by the effect replace, when there is no picture.
        picture: name of an uploaded picture, used by replace instead of the emoji; "" = none. Who calls the effects
            reads the file: see `replacement.read_picture`.
    """

    effect: str = "overlay"
    strength: float = 0.5
    emoji: str = "\N{SLIGHTLY SMILING FACE}"
    picture: str = ""

    def __post_init__(self) -> None:
        _one_of("object effect", self.effect, OBJECT_EFFECTS)
        _share("strength of the objects", self.strength)
        _text("emoji", self.emoji, _MAX_EMOJI)
        _text("picture", self.picture, _MAX_PICTURE_NAME)


@dataclass(frozen=True)
class EffectSettings:
    """All settings of the effects; the defaults are what a new project has.

    Attributes:
        background: see `BackgroundSettings`.
        object: see `ObjectSettings`.
        opacity: 0..1, of the overlay's colour.
        hidden: numbers of objects that count as background.
        solo: number of the only object that is shown; None = all that are not hidden.

    Raises:
        UserError: an unknown effect, a number out of range, a colour that is not "#rrggbb".
    """

    background: BackgroundSettings = field(default_factory=BackgroundSettings)
    object: ObjectSettings = field(default_factory=ObjectSettings)
    opacity: float = 0.5
    hidden: tuple[int, ...] = ()
    solo: int | None = None

    def __post_init__(self) -> None:
        _share("opacity", self.opacity)
        if not isinstance(self.hidden, tuple) or len(self.hidden) > _MAX_HIDDEN:
            raise UserError(f"hidden {_shown(self.hidden)} given, a list of numbers of objects expected")
        for number in (*self.hidden, *(() if self.solo is None else (self.solo,))):
            if type(number) is not int or number < 1:
                raise UserError(
                    f"object {_shown(number)} given in hidden or solo, a number of 1 or more expected"
                )

    @staticmethod
    def from_settings(given: Mapping[str, Any]) -> EffectSettings:
        """Read the JSON form: {"background": {...}, "object": {...}, "opacity", "hidden": [...], "solo"}.

        Keys that are missing have their default. Raises UserError for an unknown key or an unusable value.
        """
        values = _keys("settings", given, EffectSettings)
        background = _keys("background", values.pop("background", {}), BackgroundSettings)
        if isinstance(background.get("colours"), list):
            background["colours"] = tuple(background["colours"])
        if isinstance(values.get("hidden"), list):
            values["hidden"] = tuple(values["hidden"])
        return EffectSettings(
            background=BackgroundSettings(**background),
            object=ObjectSettings(**_keys("object", values.pop("object", {}), ObjectSettings)),
            **values,
        )

    def to_settings(self) -> dict[str, Any]:
        """The JSON form that `from_settings` reads."""
        return {
            "background": {
                "effect": self.background.effect,
                "strength": self.background.strength,
                "colours": list(self.background.colours),
            },
            "object": {
                "effect": self.object.effect,
                "strength": self.object.strength,
                "emoji": self.object.emoji,
                "picture": self.object.picture,
            },
            "opacity": self.opacity,
            "hidden": list(self.hidden),
            "solo": self.solo,
        }

    def shows(self, number: int) -> bool:
        """True if the effects apply to the object of this number."""
        return number == self.solo if self.solo is not None else number not in self.hidden


def _keys(what: str, given: object, form: type) -> dict[str, Any]:
    known = list(form.__dataclass_fields__)  # type: ignore[attr-defined]
    if not isinstance(given, Mapping):
        raise UserError(f"{what} {_shown(given)} given, an object with any of {', '.join(known)} expected")
    if unknown := [key for key in given if key not in known]:
        raise UserError(f"{what} has the key {_shown(unknown[0])}, any of {', '.join(known)} expected")
    return dict(given)


def _one_of(what: str, given: object, known: tuple[str, ...]) -> None:
    if not isinstance(given, str) or given not in known:
        raise UserError(f"{what} {_shown(given)} given, one of {', '.join(known)} expected")


def _share(what: str, given: object) -> None:
    if type(given) not in (int, float) or not math.isfinite(given) or not 0 <= given <= 1:  # type: ignore[arg-type,operator]
        raise UserError(f"{what} {_shown(given)} given, a number from 0 to 1 expected")


def _text(what: str, given: object, most: int) -> None:
    if problem := text_problem(given):
        raise UserError(f"{what} {_shown(given)} {problem}, text in UTF-8 expected")
    if len(str(given)) > most:
        raise UserError(f"{what} of {len(str(given))} characters given, at most {most} expected")


def _shown(given: object) -> str:
    text = readable(repr(given)[:200])
    return text if len(text) <= 60 else f"{text[:57]}..."
