# SPDX-License-Identifier: Apache-2.0
"""What clicks may change in a mask: the parts that they hit, and these always. Does not know the model or boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

MOST_TAKEN = 0.5  # share of a mask that one negative click may take away
DISK = 1 / 64  # radius of what a click changes when no part is found, share of the image's longer side

Clicks = Sequence[Sequence[float]]
"""Clicks (x, y, sign) in pixels; sign 1 = on the object, 0 = not on it."""


def changed_at_clicks(before_hw: np.ndarray, after_hw: np.ndarray, clicks: Clicks) -> np.ndarray:
    """The mask `before` with those connected parts of the change to `after` that hold a click of their sign.

    The decoder draws the whole object anew, without the memory that a tracked mask comes from: what is far from the
    clicks was better before.

    Args:
        before_hw: ``[H, W]`` bool.
        after_hw: ``[H, W]`` bool, decoded from `before_hw` and the clicks.
    """
    result = before_hw.copy()
    pixels = _pixels(clicks, before_hw.shape)
    for wanted in (False, True):
        changes = (after_hw & ~before_hw) if wanted else (before_hw & ~after_hw)
        _, parts = cv2.connectedComponents(changes.astype(np.uint8))
        hit = {
            int(parts[at]) for at, (_, _, sign) in zip(pixels, clicks, strict=True) if bool(sign) == wanted
        }
        result[np.isin(parts, list(hit - {0}))] = wanted
    return result


def follow_clicks(
    mask_hw: np.ndarray, clicks: Clicks, thing_at: Callable[[Clicks], np.ndarray]
) -> np.ndarray:
    """The mask, mended where it disagrees with a click.

    For a negative click inside the mask, the thing under the click is decoded as an object of its own and taken away;
    for a positive click outside, it is added. A small disk is used instead when the thing is more than half of the
    mask, misses the click or holds a click of the other sign. Later clicks win over earlier ones.

    Args:
        mask_hw: ``[H, W]`` bool.
        thing_at: decodes clicks on the image to a mask ``[H, W]`` bool.
    """
    result = mask_hw.copy()
    pixels = _pixels(clicks, mask_hw.shape)
    for at, (x, y, sign) in zip(pixels, clicks, strict=True):
        if result[at] == bool(sign):
            continue
        others = [pixel for pixel, click in zip(pixels, clicks, strict=True) if bool(click[2]) != bool(sign)]
        asked: list[Sequence[float]] = [(x, y, 1)]
        if sign:
            asked += [(column, row, 0) for row, column in others]
        elif result.any():
            asked.append((*inner_pixel(result, [(x, y)]), 0))
        part = _part_at(thing_at(asked) & (result != bool(sign)), at)
        too_much = not sign and part.sum() > MOST_TAKEN * result.sum()
        if too_much or not part[at] or any(part[other] for other in others):
            part = _disk(at, mask_hw.shape)
        result[part] = bool(sign)
    return result


def inner_pixel(mask_hw: np.ndarray, clicks: Clicks) -> tuple[float, float]:
    """The pixel (x, y) of a mask that is farthest from its edge and from the clicks."""
    inside = mask_hw.astype(np.uint8)
    for row, column in _pixels(clicks, mask_hw.shape):
        inside[row, column] = 0
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5)
    inner_row, inner_column = np.unravel_index(int(distance.argmax()), distance.shape)
    return float(inner_column), float(inner_row)


def _part_at(mask_hw: np.ndarray, at: tuple[int, int]) -> np.ndarray:
    _, parts = cv2.connectedComponents(mask_hw.astype(np.uint8))
    return (parts == parts[at]) & mask_hw


def _disk(at: tuple[int, int], hw: tuple[int, ...]) -> np.ndarray:
    disk = np.zeros(hw, np.uint8)
    cv2.circle(disk, (at[1], at[0]), max(1, round(DISK * max(hw))), 1, -1)
    return disk > 0


def _pixels(clicks: Clicks, hw: tuple[int, ...]) -> list[tuple[int, int]]:
    """(row, column) of each click."""
    return [(min(max(round(y), 0), hw[0] - 1), min(max(round(x), 0), hw[1] - 1)) for x, y, *_ in clicks]
