# SPDX-License-Identifier: Apache-2.0
"""Draws text into images: ASCII with OpenCV's stroke font, every other script with the fonts of this machine.

Knows text, fonts and pixels; does not know what the text names. Any text is safe: line breaks and invalid characters
are escaped.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import re
import unicodedata
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sam2_ros.text import readable

STROKES = cv2.FONT_HERSHEY_SIMPLEX
_EM_PX = 29.0  # em size of a font whose capitals are as high as the stroke font's at scale 1
_MIN_EM_PX = 11  # below it, scripts other than Latin are not legible
_MAX_CHARACTERS = 80  # at most so many characters of a name are drawn
_PREFERRED = re.compile(r"cjk|gothic|unifont|fallback|nanum|wqy|wenquanyi|ipa|takao|notosans", re.IGNORECASE)
_MAX_FONTS = 400
_JOINERS = (
    "Mn",
    "Me",
    "Mc",
    "Cf",
)  # Unicode categories of accents and joiners: drawn with the letter before them

_log = logging.getLogger(__name__)


class TextSize(NamedTuple):
    """Size in pixels: width, height above the baseline, depth below it."""

    width: int
    above: int
    below: int


def text_size(text: str, scale: float) -> TextSize:
    """Return the size of the text as `put_text` draws it; `scale` is OpenCV's."""
    sizes = [_piece_size(piece, drawn, scale) for piece, drawn in _pieces(readable(text))]
    return TextSize(
        sum(size.width for size in sizes),
        max((size.above for size in sizes), default=0),
        max((size.below for size in sizes), default=0),
    )


def put_text(
    canvas: np.ndarray,
    text: str,
    at_xy: tuple[int, int],
    scale: float,
    colour: tuple[int, int, int],
    line_px: int,
) -> None:
    """Draw text on the [H, W, 3] uint8 canvas, with the left end of its baseline at (x, y); clipped at the border."""
    x, y = at_xy
    for piece, drawn in _pieces(readable(text)):
        if drawn:
            ink, above = _rendered(piece, _em_px(scale))
            _blend(canvas, ink, x, y - above, colour)
        else:
            cv2.putText(canvas, piece, (x, y), STROKES, scale, colour, line_px, cv2.LINE_AA)
        x += _piece_size(piece, drawn, scale).width


def _pieces(text: str) -> list[tuple[str, bool]]:
    """Split text into (piece, True if it needs a font). Non-ASCII words stay together: a script may reorder them."""
    if text.isascii():
        return [(text, False)]
    words = re.split(r"( )", text)
    foreign = [index for index, word in enumerate(words) if not word.isascii()]
    first, last = foreign[0], foreign[-1] + 1
    parts = ("".join(words[:first]), "".join(words[first:last]), "".join(words[last:]))
    return [(part, part is parts[1]) for part in parts if part]


def _piece_size(piece: str, drawn: bool, scale: float) -> TextSize:
    if drawn:
        ink, above = _rendered(piece, _em_px(scale))
        return TextSize(ink.shape[1], above, ink.shape[0] - above)
    (width, height), base = cv2.getTextSize(piece, STROKES, scale, 1)
    return TextSize(width, height, base)


def _em_px(scale: float) -> int:
    return max(_MIN_EM_PX, round(_EM_PX * scale))


def _blend(canvas: np.ndarray, ink: np.ndarray, x: int, y: int, colour: tuple[int, int, int]) -> None:
    """Blend the colour into the canvas; `ink` is the opacity, [h, w, 1] float32 in 0..1."""
    x0, y0 = max(x, 0), max(y, 0)
    window = canvas[y0 : max(y + ink.shape[0], 0), x0 : max(x + ink.shape[1], 0)]
    part = ink[y0 - y : y0 - y + window.shape[0], x0 - x : x0 - x + window.shape[1]]
    window[:] = (window + (np.array(colour, np.float32) - window) * part + 0.5).astype(np.uint8)


@functools.lru_cache(128)  # names repeat in every frame
def _rendered(text: str, em_px: int) -> tuple[np.ndarray, int]:
    """Render the text as opacity, [h, w, 1] float32 in 0..1; also returns how many rows are above the baseline."""
    if len(text) > _MAX_CHARACTERS:
        text = f"{text[: _MAX_CHARACTERS - 1]}…"
    runs = _runs(text)
    fonts = [_font(path, em_px) for _, path in runs]
    widths = [font.getlength(run) for (run, _), font in zip(runs, fonts, strict=True)]
    above = max(font.getmetrics()[0] for font in fonts)
    below = max(font.getmetrics()[1] for font in fonts)
    image = Image.new("L", (max(1, round(sum(widths)) + 1), above + below))
    pen, x = ImageDraw.Draw(image), 0.0
    for (run, _), font, width in zip(runs, fonts, widths, strict=True):
        pen.text((x, above), run, fill=255, font=font, anchor="ls")
        x += width
    ink = np.asarray(image, np.float32)[:, :, None] / 255
    used = np.flatnonzero(ink.any(axis=(1, 2)))  # fonts leave room for letters that the text does not have
    top = min(int(used[0]), above) if len(used) else above - 1
    return ink[top : max(int(used[-1]) + 1, above) if len(used) else above], above - top


def _runs(text: str) -> list[tuple[str, Path]]:
    """Split the text into (run, font). Letters without a font become code points, such as ``<U+CEF5 U+C794>``."""
    shown: list[tuple[str, Path | None]] = []
    for character in text:
        joins = bool(shown) and unicodedata.category(character) in _JOINERS
        shown.append((character, shown[-1][1] if joins else _font_with(character)))
    runs: list[tuple[str, Path]] = []
    for path, group in groupby(shown, key=lambda one: one[1]):
        letters = "".join(character for character, _ in group)
        if path is None:
            _warn_missing_letters()
            letters = f"<{' '.join(f'U+{ord(letter):04X}' for letter in letters)}>"
        runs.append((letters, path or _own_fonts()[0]))
    return runs


@functools.cache
def _warn_missing_letters() -> None:
    _log.warning(
        "no font on this machine has all letters of the objects' names: these are drawn as code points such as "
        "<U+CEF5>; install a font that has them, for Korean and all of Chinese `apt install fonts-noto-cjk`"
    )


@functools.cache
def _own_fonts() -> tuple[Path, ...]:
    """List the fonts of installed packages.

    DejaVu Sans of matplotlib: Latin, Cyrillic, Greek, Arabic, Hebrew and many symbols. IPAex Gothic of
    matplotlib-fontja: Japanese, and the Chinese characters that Japanese uses.
    """
    import matplotlib

    fonts = [Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"]
    # Located without an import, which would change matplotlib's font.
    package = importlib.util.find_spec("matplotlib_fontja")
    for folder in (package and package.submodule_search_locations) or ():
        fonts.append(Path(folder) / "fonts" / "ipaexg.ttf")
    return tuple(path for path in fonts if path.is_file())


@functools.lru_cache(16)
def _font(path: Path, em_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), em_px)


@functools.lru_cache(1 << 14)
def _font_with(character: str) -> Path | None:
    """Find the first font with this character: first among `_own_fonts`, then among the machine's."""
    number = ord(character)
    for path in _own_fonts():
        if _has(path, number):
            return path
    return next(
        (path for path, blocks in _machine_fonts() if number >> 8 in blocks and _has(path, number)), None
    )


def _has(path: Path, number: int) -> bool:
    return _opened(path).get_char_index(number) != 0  # type: ignore[attr-defined, no-any-return]


@functools.lru_cache(8)
def _opened(path: Path) -> object:
    from matplotlib.ft2font import FT2Font

    return FT2Font(str(path))


@functools.cache
def _machine_fonts() -> list[tuple[Path, frozenset[int]]]:
    """List the fonts of the machine, each with the blocks of 256 code points in which it has characters."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    found = sorted(font_manager.findSystemFonts(), key=lambda name: (not _PREFERRED.search(name), name))
    fonts = []
    for name in found[:_MAX_FONTS]:
        try:
            characters = FT2Font(name).get_charmap()
            ImageFont.truetype(name, _MIN_EM_PX)  # fails for bitmap emoji fonts, which have one size only
        except Exception:
            continue
        fonts.append((Path(name), frozenset(number >> 8 for number in characters)))
    return fonts
