# SPDX-License-Identifier: Apache-2.0
"""Draws the effects on one frame: on its background and on its objects.

Pure functions of the frame, its masks and the settings. Does not know videos, files or how masks were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from sam2_ros.errors import UserError

from .pixels import (
    Box,
    blend,
    blurred_around,
    box_of,
    cell_means,
    desaturated,
    filled,
    grown,
    parts_of,
    pixelated,
    plain,
    soft,
    vertical_gradient,
)
from .replacement import Replacement, emoji_picture
from .settings import Colour, EffectSettings, rgb_of

MOST_CELLS, FEWEST_CELLS = 6, 3
"""Cells along the longer side of an object that is hidden, at strength 0 and 1: all that remains of its appearance."""
_REFERENCE_PX = 480  # shorter side of a frame on which an edge is one pixel soft


@dataclass(frozen=True)
class ObjectLayer:
    """One object of a frame: its number, its mask ``[H, W]`` bool, and its colour (red, green, blue)."""

    number: int
    mask: np.ndarray
    colour: Colour


def apply_effects(
    frame: np.ndarray,
    objects: Sequence[ObjectLayer],
    settings: EffectSettings,
    replacement: Replacement | None = None,
) -> np.ndarray:
    """Return the frame with all effects, ``[H, W, 3]`` uint8 RGB; the frame given is not changed.

    The background's effect is drawn first, then that of the objects, the largest first. An object that is not shown
    (`EffectSettings.shows`) belongs to the background.

    Args:
        frame: ``[H, W, 3]`` uint8 RGB.
        objects: objects of this frame, with masks of its size; one with an empty mask has no effect.
        settings: what is drawn.
        replacement: picture for the object effect replace; None = the settings' emoji.

    Raises:
        UserError: a frame or a mask of another shape or type.
    """
    shown = _shown(frame, objects, settings)
    background = settings.background.effect
    effect = settings.object.effect
    canvas = frame.copy()
    if background != "original" or effect in ("cutout", "spotlight"):
        everything = _union(frame, shown)
        canvas = _with_background(frame, everything, settings)
    if effect == "spotlight":
        return _spotlight(canvas, everything, settings.object.strength)
    shown.sort(
        key=lambda one: -int(np.count_nonzero(one.mask))
    )  # the smallest is drawn last, and stays whole
    for layer in shown:
        if effect == "overlay":
            _overlay(canvas, layer, settings.opacity)
        elif effect == "outline":
            _outline(canvas, layer, _outline_px(canvas, settings.object.strength))
        elif effect in ("pixelate", "blur"):
            _hide(canvas, layer.mask, settings.object.strength, smooth=effect == "blur")
    if effect in ("erase", "replace"):
        _erase(canvas, shown)
    if effect == "replace":
        picture = (replacement or emoji_picture(settings.object.emoji)).picture_rgba
        for layer in shown:
            _paste(canvas, layer.mask, picture)
    return canvas


def cut_out(frame: np.ndarray, objects: Sequence[ObjectLayer], settings: EffectSettings) -> np.ndarray:
    """Return the shown objects alone on a transparent ground, ``[H, W, 4]`` uint8 RGBA. Raises as `apply_effects`."""
    alpha = soft(_union(frame, _shown(frame, objects, settings)), _edge_px(frame))
    return np.dstack([frame, np.rint(alpha * 255).astype(np.uint8)])


def _shown(frame: np.ndarray, objects: Sequence[ObjectLayer], settings: EffectSettings) -> list[ObjectLayer]:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise UserError(
            f"frame of shape {frame.shape} and type {frame.dtype} given, [H, W, 3] uint8 expected"
        )
    for layer in objects:
        if layer.mask.shape != frame.shape[:2] or layer.mask.dtype != bool:
            raise UserError(
                f"mask of object {layer.number} has shape {layer.mask.shape} and type {layer.mask.dtype}, "
                f"{frame.shape[:2]} bool expected: the size of its frame"
            )
    return [layer for layer in objects if settings.shows(layer.number) and layer.mask.any()]


def _union(frame: np.ndarray, shown: Sequence[ObjectLayer]) -> np.ndarray:
    union = np.zeros(frame.shape[:2], bool)
    for layer in shown:
        union |= layer.mask
    return union


def _edge_px(frame: np.ndarray) -> int:
    """Half the width of a soft edge: one pixel in a small frame, more in a large one."""
    return max(1, round(min(frame.shape[:2]) / _REFERENCE_PX))


def _with_background(frame: np.ndarray, objects_hw: np.ndarray, settings: EffectSettings) -> np.ndarray:
    """Return the frame with the effect on all that is not an object."""
    chosen = settings.background
    short_px = min(frame.shape[:2])
    effect = chosen.effect
    if effect == "original":
        if settings.object.effect != "cutout":
            return frame.copy()
        effect = "erase"
    if effect == "erase":
        drawn = plain(frame, rgb_of(chosen.colours[0]))
    elif effect == "gradient":
        gradient = vertical_gradient(frame, *map(rgb_of, chosen.colours))
        drawn = cv2.addWeighted(gradient, chosen.strength, frame, 1 - chosen.strength, 0)
    elif effect == "blur":
        drawn = blurred_around(frame, objects_hw, max(1.0, short_px * chosen.strength / 40))
    elif effect == "pixelate":
        drawn = pixelated(frame, max(2, round(short_px * chosen.strength / 12)))
    else:
        drawn = desaturated(frame, chosen.strength)
    return blend(drawn, frame, soft(objects_hw, _edge_px(frame)))


def _window(
    canvas: np.ndarray, mask: np.ndarray, margin_px: int
) -> tuple[Box, np.ndarray, np.ndarray] | None:
    """Return the object's box with a margin, and the canvas and mask in it (views); None for an empty mask."""
    box = box_of(mask, margin_px)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    return box, canvas[y0:y1, x0:x1], mask[y0:y1, x0:x1]


def _overlay(canvas: np.ndarray, layer: ObjectLayer, opacity: float) -> None:
    edge_px = _edge_px(canvas)
    found = _window(canvas, layer.mask, 2 * edge_px)
    if found is not None and opacity > 0:
        _, view, mask = found
        view[:] = blend(view, plain(view, layer.colour), soft(mask, edge_px) * np.float32(opacity))
        _outline(canvas, layer, edge_px)


def _outline_px(canvas: np.ndarray, strength: float) -> int:
    return max(1, round(min(canvas.shape[:2]) * (0.003 + 0.012 * strength)))


def _outline(canvas: np.ndarray, layer: ObjectLayer, width_px: int) -> None:
    found = _window(canvas, layer.mask, 1)
    if found is None:
        return
    (x0, y0, _, _), _, mask = found
    crop = np.ascontiguousarray(mask).view(np.uint8)
    contours, _ = cv2.findContours(crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0))
    cv2.drawContours(canvas, contours, -1, layer.colour, width_px, cv2.LINE_AA)


def _spotlight(canvas: np.ndarray, objects_hw: np.ndarray, strength: float) -> np.ndarray:
    """Return the canvas dark around the objects, with a soft border outside them."""
    height, width = objects_hw.shape
    factor = max(1, round(min(height, width) / 240))
    small = (max(width // factor, 1), max(height // factor, 1))
    reach = max(1, round(min(small) / 40))
    lit = cv2.resize(objects_hw.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    lit = cv2.GaussianBlur(cv2.dilate(lit, disc), (2 * reach + 1, 2 * reach + 1), 0)
    lit = np.maximum(cv2.resize(lit, (width, height), interpolation=cv2.INTER_LINEAR), objects_hw)
    return blend(np.zeros_like(canvas), canvas, lit + (1 - lit) * np.float32(0.75 - 0.65 * strength))


def _hide(canvas: np.ndarray, mask: np.ndarray, strength: float, smooth: bool) -> None:
    """Replace the object, and a border around it, by a few mean colours.

    A blur with a small radius can be undone, and so can many small cells: here at most `MOST_CELLS` cells along the
    longer side remain, whatever the size of the object. The cells move with the object, so that the frames of a video
    do not add up to finer ones.
    """
    tight = box_of(mask)
    if tight is None:
        return
    side_px = max(tight[2] - tight[0], tight[3] - tight[1])
    margin_px, soft_px = max(2, round(side_px * 0.04)), max(1, round(side_px * 0.02))
    found = _window(canvas, mask, margin_px + 2 * soft_px)
    if found is None:
        return
    (x0, y0, x1, y1), view, _ = found
    cells = cell_means(view, round(MOST_CELLS + (FEWEST_CELLS - MOST_CELLS) * strength))
    if smooth:
        cells = cv2.resize(cells, (48, 48), interpolation=cv2.INTER_CUBIC)
        cells = cv2.GaussianBlur(cells, (0, 0), 3)
    drawn = cv2.resize(
        cells, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    )
    # Soft outside the border alone: every pixel of the object is replaced wholly.
    covered = grown(mask[y0:y1, x0:x1], margin_px + soft_px)
    view[:] = blend(view, drawn, soft(covered, soft_px))


def _erase(canvas: np.ndarray, shown: Sequence[ObjectLayer]) -> None:
    """Fill all objects from around them; objects that touch are filled as one, so that none is filled from another."""
    hole = np.zeros(canvas.shape[:2], bool)
    for layer in shown:
        x0, y0, x1, y1 = box_of(layer.mask) or (0, 0, 0, 0)
        rim_px = max(3, round(max(x1 - x0, y1 - y0) * 0.03))  # its rim must not colour what is filled in
        found = _window(canvas, layer.mask, rim_px)
        if found is not None:
            (x0, y0, x1, y1), _, inside = found
            hole[y0:y1, x0:x1] |= grown(inside, rim_px)
    edge_px = 2 * _edge_px(canvas)
    for box in parts_of(hole, margin_px=lambda side_px: max(16, side_px // 5)):
        x0, y0, x1, y1 = box
        view, part = canvas[y0:y1, x0:x1], hole[y0:y1, x0:x1]
        # Soft outside the hole alone.
        view[:] = blend(view, filled(view, grown(part, edge_px)), soft(grown(part, edge_px), edge_px))


def _paste(canvas: np.ndarray, mask: np.ndarray, picture_rgba: np.ndarray) -> None:
    """Draw the picture over the object: on the middle of its box, with about the area of its box."""
    box = box_of(mask)
    if box is None:
        return
    x0, y0, x1, y1 = box
    height, width = picture_rgba.shape[:2]
    scale = 1.1 * (((x1 - x0) * (y1 - y0)) / (width * height)) ** 0.5
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    drawn = cv2.resize(picture_rgba, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = round((x0 + x1 - size[0]) / 2), round((y0 + y1 - size[1]) / 2)
    rows = slice(max(top, 0), min(top + size[1], canvas.shape[0]))
    columns = slice(max(left, 0), min(left + size[0], canvas.shape[1]))
    part = drawn[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    view = canvas[rows, columns]
    alpha = part[..., 3].astype(np.float32) / 255
    view[:] = blend(view, np.ascontiguousarray(part[..., :3]), alpha)
