# SPDX-License-Identifier: Apache-2.0
"""Pictures that replace an object: an emoji from a font of this machine, or an uploaded file.

Knows fonts, picture files and pixels. Does not know where the picture is drawn.
"""

from __future__ import annotations

import functools
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from sam2_ros.errors import UserError
from sam2_ros.text import readable

MAX_PICTURE_BYTES = 8 << 20
MAX_PICTURE_PIXELS = 1 << 25
PICTURE_SIDE_PX = 512
"""The longer side of a picture after reading, and the side of an emoji."""
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_BITMAP_SIZES = (109, 160, 136, 128, 96, 64, 32)  # of emoji fonts that hold bitmaps: each has one size
_JOINING = frozenset("\N{ZERO WIDTH JOINER}\N{VARIATION SELECTOR-16}\N{VARIATION SELECTOR-15}")
_GROUND, _INK = (255, 205, 60, 255), (60, 40, 10, 255)


@dataclass(frozen=True)
class Replacement:
    """A picture with transparency, ``[h, w, 4]`` uint8 RGBA, and a note for the user ("" = none)."""

    picture_rgba: np.ndarray
    note: str = ""


@functools.lru_cache(8)
def emoji_picture(emoji: str) -> Replacement:
    """Draw an emoji: in colour where a font for that is installed, else as ink on a disc, else as a plain shape.

    The note says what was drawn if it is not the emoji in colour.
    """
    wanted = [character for character in emoji if character not in _JOINING]
    if not wanted or emoji.isspace():
        return Replacement(_plain_shape(), "no emoji was given: a plain shape is drawn")
    for path in _colour_fonts():
        picture = _in_colour(path, emoji) if _has_all(path, wanted) else None
        if picture is not None:
            return Replacement(picture)
    for path in _ink_fonts():
        if _has_all(path, wanted):
            note = "no font for emojis in colour is installed (`apt install fonts-noto-color-emoji`): drawn in ink"
            return Replacement(_on_disc("".join(wanted), path), note)
    return Replacement(
        _plain_shape(),
        f"no font of this machine has the emoji '{readable(emoji)}' (`apt install fonts-noto-color-emoji`): a plain "
        "shape is drawn",
    )


def read_picture(data: bytes, name: str = "picture") -> Replacement:
    """Read an uploaded picture, reduced to `PICTURE_SIDE_PX`.

    Raises UserError: more than `MAX_PICTURE_BYTES`, more than `MAX_PICTURE_PIXELS`, or not a PNG, JPEG, WebP, GIF or
    BMP.
    """
    shown = readable(name[:80])
    if len(data) > MAX_PICTURE_BYTES:
        raise UserError(
            f"picture '{shown}' has {len(data)} bytes, at most {MAX_PICTURE_BYTES} expected: reduce its size"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the size, which is checked here
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            if image.width * image.height > MAX_PICTURE_PIXELS:
                raise UserError(
                    f"picture '{shown}' has {image.width} x {image.height} pixels, at most {MAX_PICTURE_PIXELS} "
                    "in all expected: reduce its size"
                )
            picture = ImageOps.exif_transpose(image).convert("RGBA")
    except UserError:
        raise
    except Exception as error:  # decoders raise many types
        unknown = isinstance(error, UnidentifiedImageError)
        reason = (
            "its format is not known"
            if unknown
            else " ".join(str(error).split())[:120] or type(error).__name__
        )
        raise UserError(
            f"picture '{shown}' cannot be read ({readable(reason)}): a PNG, JPEG, WebP, GIF or BMP expected"
        ) from None
    picture.thumbnail((PICTURE_SIDE_PX, PICTURE_SIDE_PX), Image.Resampling.LANCZOS)
    return Replacement(np.array(picture))


def _in_colour(path: Path, emoji: str) -> np.ndarray | None:
    """Draw with a colour font; None if the font does not load or draws nothing."""
    for size in _BITMAP_SIZES:
        try:
            font = ImageFont.truetype(str(path), size)
        except OSError:
            continue
        image = Image.new("RGBA", (size * 4, size * 4), (0, 0, 0, 0))
        ImageDraw.Draw(image).text((size, size), emoji, font=font, embedded_color=True)
        drawn = image.getbbox()
        if drawn is None:
            return None
        return np.array(image.crop(drawn))
    return None


def _on_disc(text: str, path: Path) -> np.ndarray:
    """Draw text in ink on a disc, as a sticker: a glyph of lines alone is hard to see on an image."""
    is_face = all("\U0001f600" <= letter <= "\U0001f64f" for letter in text)  # it has a circle of its own
    disc, _, side = _disc(rim=not is_face)
    glyph = Image.new("L", (side * 4, side * 3))
    ImageDraw.Draw(glyph).text((side, side // 2), text, fill=255, font=ImageFont.truetype(str(path), side))
    glyph = glyph.crop(glyph.getbbox() or (0, 0, side, side))
    scale = (1.0 if is_face else 0.66) * side / max(glyph.size)
    size = (max(round(glyph.width * scale), 1), max(round(glyph.height * scale), 1))
    ink = glyph.resize(size, Image.Resampling.LANCZOS)
    disc.paste(_INK, ((side - size[0]) // 2, (side - size[1]) // 2), ink)
    return np.array(disc)


def _plain_shape() -> np.ndarray:
    """A disc with two eyes and a mouth."""
    image, pen, side = _disc()
    for x in (0.36, 0.64):
        pen.ellipse([side * (x - 0.05), side * 0.33, side * (x + 0.05), side * 0.47], fill=_INK)
    pen.arc([side * 0.26, side * 0.28, side * 0.74, side * 0.76], 25, 155, fill=_INK, width=side // 22)
    return np.array(image)


def _disc(rim: bool = True) -> tuple[Image.Image, ImageDraw.ImageDraw, int]:
    side = PICTURE_SIDE_PX
    image = Image.new("RGBA", (side, side), (*_GROUND[:3], 0))
    pen = ImageDraw.Draw(image)
    pen.ellipse([2, 2, side - 3, side - 3], fill=_GROUND, outline=_INK if rim else None, width=side // 48)
    return image, pen, side


@functools.cache
def _system_fonts() -> tuple[Path, ...]:
    from matplotlib import font_manager

    return tuple(Path(name) for name in sorted(font_manager.findSystemFonts()))


def _colour_fonts() -> tuple[Path, ...]:
    names = ("emoji", "seguiemj", "twemoji")
    return tuple(path for path in _system_fonts() if any(name in path.name.lower() for name in names))


def _ink_fonts() -> tuple[Path, ...]:
    """Fonts that may have symbols, the one of an installed package first."""
    import matplotlib

    own = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    names = ("symbol", "dejavusans.", "unifont", "emoji")
    return (own, *(path for path in _system_fonts() if any(name in path.name.lower() for name in names)))


@functools.lru_cache(32)
def _characters(path: Path) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(str(path)).get_charmap())
    except Exception:  # a font that does not load is one without the emoji
        return frozenset()


def _has_all(path: Path, characters: list[str]) -> bool:
    return all(ord(character) in _characters(path) for character in characters)
