# SPDX-License-Identifier: Apache-2.0
"""Reads the mask of one object from an image file of a drawing program, an annotation tool or a dataset.

Knows image files and values; does not know prompts, nor which of several objects is meant.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sam2_ros.engine.mask_values import LEAST_SOFT, edge_level, values_and_counts
from sam2_ros.errors import UserError
from sam2_ros.text import some

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
MAX_PIXELS = 1 << 27
IGNORED = (255, 65535)  # datasets mark undecided pixels with these
_HIGHEST_NUMBER = 128  # values below it, in a file that also has 255, are object numbers
_BACKGROUND = 0
_BRIGHTNESS = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class ReadMask:
    """A mask, ``[H, W]`` bool, and notes for the user on the assumptions made."""

    mask_hw: np.ndarray
    notes: tuple[str, ...] = ()


def read_mask(path: Path, value: str = "") -> ReadMask:
    """Read the object's pixels: those that are not black, or not transparent in a cut-out; soft edges are cut at half.

    Args:
        path: the image file.
        value: the value of the object if the file has several: a number; the index in a palette image; a colour such as
            ``ff0000`` in a coloured one.

    Raises:
        UserError: no such file, not an image, no background, several objects, a photograph, or no object.
    """
    image = _opened(path)
    notes: list[str] = []
    mask = None
    if not value and _is_transparent(image):
        mask = _of_transparency(path, image)
    if mask is not None:
        notes.append(f"{path} is a cut-out: its mask is the pixels that are not transparent")
    else:
        mask = _of_values(path, *_levels(image), value, notes)
    if not mask.any():
        raise UserError(
            f"{path} has no pixel of the object; expected black around it and another value on it"
        )
    if not value and mask.mean() > 0.5 and mask[[0, 0, -1, -1], [0, -1, 0, -1]].all():
        notes.append(f"{path} covers {mask.mean():.0%} of the image and its corners: is it inverted?")
    return ReadMask(mask, tuple(notes))


def _opened(path: Path) -> Image.Image:
    try:
        if not path.is_file():  # reading a pipe would block
            raise UserError(f"{path} is missing or not a file; expected a PNG, black = background")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the image's size, which is checked below
            image = Image.open(path, formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise UserError(
                    f"{path} announces {image.width} x {image.height} pixels; expected the size of the frames"
                )
            image.load()
            return ImageOps.exif_transpose(image)
    except UserError:
        raise
    except Exception as error:  # decoders raise many types, SyntaxError and struct.error too
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is not an image ({reason}); expected a PNG, black = background") from None


def _is_transparent(image: Image.Image) -> bool:
    """True if transparency may separate the object. A palette's does not: it marks the background, which is black."""
    return image.mode in ("LA", "La", "RGBA", "RGBa") or (
        image.mode in ("L", "RGB") and "transparency" in image.info
    )


def _of_transparency(path: Path, image: Image.Image) -> np.ndarray | None:
    """Return the opaque pixels; None if all are opaque."""
    alpha = np.asarray(image.convert("RGBA"))[:, :, 3]
    if alpha.min() == alpha.max() == 0:
        raise UserError(f"{path} is transparent everywhere; expected an opaque object")
    return None if alpha.min() > 127 else alpha > 127


def _levels(image: Image.Image) -> tuple[np.ndarray, list[str] | None, np.ndarray | None]:
    """Return the values, 0 = background; the name of each value, None for plain numbers; the colours, if coloured."""
    if image.mode == "P":
        indices = np.asarray(image)
        palette: np.ndarray = np.asarray(image.getpalette(), np.uint8).reshape(-1, 3)
        palette = np.pad(palette, ((0, 256 - len(palette)), (0, 0)))
        used: np.ndarray = np.unique(indices)
        shades, numbered = palette[used][:, 0], np.array_equal(palette[used][:, 0], used)
        if np.array_equal(palette[used], np.repeat(shades[:, None], 3, axis=1)) and not numbered:
            return palette[:, 0][indices], None, None  # a grey image, stored with a palette to save space
        black: np.ndarray = np.asarray(palette.sum(axis=1) == 0)
        background = black if black[used].any() else np.arange(256) == 0
        values = np.where(background, 0, np.arange(256) + 1)[indices]
        return values, ["the background", *(str(index) for index in range(256))], None
    if image.mode in ("1", "L") or image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        return values.astype(np.uint8) if values.dtype == bool else values, None, None
    if image.mode in ("LA", "La"):
        return np.asarray(image.convert("LA"))[:, :, 0], None, None
    colours = np.asarray(image.convert("RGB"))
    if np.array_equal(colours, np.repeat(colours[:, :, :1], 3, axis=2)):
        return colours[:, :, 0], None, None
    return colours.max(axis=2), None, colours


def _of_values(
    path: Path,
    values: np.ndarray,
    names: list[str] | None,
    colours: np.ndarray | None,
    value: str,
    notes: list[str],
) -> np.ndarray:
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise UserError(f"{path} has floats beyond 0 to 1; expected a PNG, black = background")
        return values > 0.5
    if colours is not None and (value or (colour := _one_colour(colours, values)) is None):
        return _of_colours(path, colours, value)
    if colours is not None:  # by brightness: JPEG keeps it sharp, and averages the colour of four pixels
        values = np.clip((colours @ _BRIGHTNESS) * (255 / (colour @ _BRIGHTNESS)), 0, 255).astype(np.uint8)
    present, counts = values_and_counts(values)

    def called(number: int) -> str:
        return str(number) if names is None else names[number]

    if value:
        wanted = [number for number in present.tolist() if called(number) == value]
        if not wanted:
            raise UserError(f"{path} has no pixel of the value {value}; it has {some(map(called, present))}")
        return values == wanted[0]
    if len(present) == 1 and present[0] != _BACKGROUND:
        raise UserError(
            f"{path} covers the whole image: every pixel has the value {called(int(present[0]))}; expected black "
            f"around the object, or write {path.name}#{called(int(present[0]))} to use the whole image"
        )
    objects = [number for number in present.tolist() if number != _BACKGROUND]
    if len(objects) <= 1 and len(present) > len(objects):
        return values != _BACKGROUND
    if names is None and (edge := edge_level(values, present, counts)) is not None:
        return values > edge
    if present[0] != _BACKGROUND:
        raise UserError(
            f"{path} has no background: no pixel is black, the values are {some(map(called, present))}; make what is "
            f"not the object black, or say which value is the object, such as {path.name}#{called(objects[-1])}"
        )
    ignored = [number for number in objects if called(number) in map(str, IGNORED)]
    numbers = [number for number in objects if number not in ignored]
    if ignored and numbers and int(called(max(numbers))) < _HIGHEST_NUMBER and len(numbers) == 1:
        notes.append(
            f"{path}: the object is the value {called(numbers[0])}; {called(ignored[0])} is left out, as it marks "
            f"undecided pixels by convention (write {path.name}#{called(ignored[0])} to use it)"
        )
        return values == numbers[0]
    if names is None and len(objects) > _HIGHEST_NUMBER // 2 and present[-1] >= LEAST_SOFT:
        raise _photograph(path, len(objects))
    chosen = numbers[0] if numbers else objects[0]
    raise UserError(
        f"{path} holds several values beside black: {some(map(called, objects))}; say which one is the object, such "
        f"as {path.name}#{called(chosen)}"
    )


def _one_colour(colours: np.ndarray, levels: np.ndarray) -> np.ndarray | None:
    """Return the one colour of the bright pixels, ``[3]``; None if there are several."""
    bright = colours[levels >= 0.7 * levels.max()].astype(np.int16)
    colour = np.median(bright, axis=0)
    alike = (np.abs(bright - colour) > 48).any(axis=1).mean() < 0.05  # allowing for the noise of a JPEG
    return np.maximum(colour, 1) if alike else None


def _of_colours(path: Path, colours: np.ndarray, value: str) -> np.ndarray:
    packed = colours.astype(np.int32) @ (1 << 16, 1 << 8, 1)
    if value:
        try:
            wanted = int(value.removeprefix("#"), 16)
        except ValueError:
            raise UserError(
                f"{path} is coloured, '{value}' given for its object; expected a colour such as ff0000"
            ) from None
        if not (packed == wanted).any():
            raise UserError(f"{path} has no pixel of the colour {value}; it has {_colours(packed)}")
        return packed == wanted
    if len(found := np.unique(packed[packed != _BACKGROUND])) > _HIGHEST_NUMBER // 2:
        raise _photograph(path, len(found))
    raise UserError(
        f"{path} holds several colours beside black: {_colours(packed)}; say which one is the object, such "
        f"as {path.name}#{found[0]:06x}"
    )


def _photograph(path: Path, values: int) -> UserError:
    return UserError(
        f"{path} has {values} values and looks like a photograph; expected a mask, black = background, or a cut-out "
        "with a transparent background"
    )


def _colours(packed: np.ndarray) -> str:
    return some(f"{colour:06x}" for colour in np.unique(packed).tolist() if colour != _BACKGROUND)
