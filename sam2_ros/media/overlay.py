# SPDX-License-Identifier: Apache-2.0
"""Draws results onto frames: masks, outlines, boxes, names and states; writes videos.

Knows pixels, masks and one FrameResult; knows no files except the PNG or video it writes.
"""

from __future__ import annotations

import colorsys
import errno
import logging
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from sam2_ros.engine.postprocess import measure_mask
from sam2_ros.engine.result import FrameResult, ObjectState
from sam2_ros.errors import UserError
from sam2_ros.text import readable, text_problem

from .label_text import put_text, text_size
from .opencv_log import quiet_opencv
from .video_pace import VideoPace

TINT = 0.45
_MIN_LIGHTNESS = 0.38
_PAGE = 4096  # bytes: with less free space the disk counts as full
Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]  # x0, y0, x1, y1 pixels, max exclusive

_log = logging.getLogger(__name__)


def _palette() -> np.ndarray:
    """Make the palette, [256, 3] uint8 RGB: black, then hues a golden ratio apart, so that successive labels differ."""
    golden = (5**0.5 - 1) / 2
    hues = (0.9 + golden * np.arange(1, 256)) % 1.0
    looks = ((0.85, 1.0), (0.55, 1.0), (0.9, 0.75))
    colours = np.zeros((256, 3))
    for label, hue in enumerate(hues, start=1):
        colours[label] = colorsys.hsv_to_rgb(hue, *looks[label // 12 % 3])
    # Pure blue and violet are hard to read on the dark text background and on dark images: add white.
    lightness = colours @ (0.299, 0.587, 0.114)
    white = (
        np.clip((_MIN_LIGHTNESS - lightness) / (1 - lightness), 0, 1)[:, None] * (np.arange(256) > 0)[:, None]
    )
    return np.round((colours * (1 - white) + white) * 255).astype(np.uint8)


PALETTE: np.ndarray = _palette()


def colour_of(label: int) -> Colour:
    """Return the RGB colour of a label; labels above 255 repeat the colours, never the background's."""
    red, green, blue = PALETTE[(label - 1) % 255 + 1]
    return int(red), int(green), int(blue)


def draw_overlay(image_rgb: np.ndarray, result: FrameResult) -> np.ndarray:
    """Copy the [H, W, 3] uint8 RGB frame, with every visible object drawn in its colour.

    Objects that are not visible are listed in the lower left corner, with the time since they were seen.
    Raises ValueError if the result is of another frame size.
    """
    if image_rgb.shape != (result.height_px, result.width_px, 3):
        raise ValueError(
            f"frame of shape {image_rgb.shape} does not fit a result of "
            f"{result.height_px}x{result.width_px}x3"
        )
    canvas = image_rgb.copy()
    pen = _Pen(canvas)
    shown = [obj for obj in result.objects if obj.visible]
    for obj in shown:
        _tint(canvas, obj.mask, obj.box, obj.label)
    for obj in shown:  # after all tints, so that no name is covered
        _outline(pen, obj.mask, obj.box, obj.label)
        x0, y0, x1, y1 = obj.box
        cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), colour_of(obj.label), 1)
        pen.text(f"{obj.id} {obj.state.name} {obj.score:.2f}", x0, y0 - 2, colour_of(obj.label))
    y_px = result.height_px - pen.margin_px
    for obj in reversed([obj for obj in result.objects if not obj.visible]):
        text = f"{obj.id} {obj.state.name}"
        if obj.state is not ObjectState.PENDING:
            text += f" {obj.age_s:.1f} s"
        y_px = pen.text(text, pen.margin_px, y_px, colour_of(obj.label)) - pen.margin_px
    return canvas


def draw_masks(image_rgb: np.ndarray, masks: Sequence[np.ndarray], names: Sequence[str] = ()) -> np.ndarray:
    """Copy the [H, W, 3] uint8 RGB image, with [H, W] bool masks drawn on it, the first in the colour of label 1.

    Later masks are drawn over earlier ones. `names` are drawn at the masks in the same order.
    """
    canvas = image_rgb.copy()
    pen = _Pen(canvas)
    boxes = [measure_mask(mask)[0] for mask in masks]
    for label, (mask, box) in enumerate(zip(masks, boxes, strict=True), start=1):
        _tint(canvas, mask, box, label)
    for label, (mask, box) in enumerate(zip(masks, boxes, strict=True), start=1):
        _outline(pen, mask, box, label)
    for label, (name, box) in enumerate(zip(names, boxes, strict=False), start=1):
        pen.text(name, box[0], box[1] - 2, colour_of(label))
    return canvas


def _tint(canvas: np.ndarray, mask_hw: np.ndarray, box: Box, label: int) -> None:
    x0, y0, x1, y1 = box
    window, mask = canvas[y0:y1, x0:x1], mask_hw[y0:y1, x0:x1]
    colour = np.array(colour_of(label), np.float32)
    window[mask] = (window[mask] * (1 - TINT) + colour * TINT).astype(np.uint8)


def _outline(pen: _Pen, mask_hw: np.ndarray, box: Box, label: int) -> None:
    x0, y0, x1, y1 = box
    crop = np.ascontiguousarray(mask_hw[y0:y1, x0:x1]).view(np.uint8)
    contours, _ = cv2.findContours(crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0))
    cv2.drawContours(pen.canvas, contours, -1, colour_of(label), pen.line_px, cv2.LINE_AA)


class _Pen:
    """Draws text; line width and text size follow the size of the frame."""

    def __init__(self, canvas: np.ndarray) -> None:
        self.canvas = canvas
        short_px = min(canvas.shape[:2])
        self.line_px = max(1, round(short_px / 360))
        self.margin_px = max(2, round(short_px / 120))
        self._scale = max(0.3, short_px / 1000)

    def text(self, text: str, x_px: int, y_px: int, colour: Colour) -> int:
        """Draw text on a dark background with lower left corner (x, y), kept in the frame; returns its top, y px."""
        width, height, base = text_size(text, self._scale)
        full_height = height + base + 2
        x = max(0, min(x_px, self.canvas.shape[1] - width - 4))
        bottom = max(full_height, min(y_px, self.canvas.shape[0]))
        top = bottom - full_height
        plate = self.canvas[top:bottom, x : x + width + 4]
        plate[:] = plate // 4
        put_text(self.canvas, text, (x + 2, bottom - base), self._scale, colour, self.line_px)
        return top


def write_png(path: Path, image_rgb: np.ndarray, compression: int = 3) -> None:
    """Write [H, W, 3] uint8 RGB as a PNG file. Raises OSError.

    OpenCV encodes and Python writes, because a file name that is not UTF-8 aborts the process in OpenCV.
    """
    image_bgr = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".png", image_bgr, [cv2.IMWRITE_PNG_COMPRESSION, compression])
    path.write_bytes(encoded.tobytes())


def container_fps(fps: float) -> float:
    """Return the nearest rate that MPEG-4 can store: its time base has 16 bits, and 66.667 would need 17.

    Stamps with jitter can give a bag an absurd estimated rate: it is limited to 0.01 .. 240, with a warning.
    """
    limited = min(max(fps, 0.01), 240.0)
    if limited != fps:
        _log.warning("video at %g frames per second: written at %g", fps, limited)
    return round(limited, 3 if limited < 60 else 2)


class VideoWriter:
    """Writes RGB frames of one size as MPEG-4 in an .mp4; a frame of another size is scaled to the first's.

    The encoder accepts even sizes only: an odd one loses its last row or column. The file gets its final name in
    `close`, when it is complete. Raises UserError.
    """

    def __init__(self, path: str | Path, fps: float, fourcc: str = "mp4v") -> None:
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"video at {fps} frames per second, expected more than 0")
        if problem := text_problem(str(path)):  # such a name aborts the process in OpenCV
            raise UserError(
                f"video '{readable(str(path))}': its name {problem}; expected text in UTF-8", status=1
            )
        self.path = Path(path)
        self.frames = 0
        self._fps = container_fps(fps)
        self._fourcc = fourcc
        self._partial = self.path.with_name(f".{self.path.stem}.partial{self.path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._size: tuple[int, int] = (0, 0)
        self._pace = VideoPace(self._fps)
        self._last_bgr: np.ndarray = np.zeros((1, 1, 3), np.uint8)

    def write(self, image_rgb: np.ndarray, stamp_s: float | None = None) -> None:
        """Append [H, W, 3] uint8 RGB.

        With a stamp in seconds the frame is shown at that time: the frame before it is repeated until then, for 10 s at
        most, and a frame that comes too soon for the rate is left out.
        """
        size = (image_rgb.shape[1], image_rgb.shape[0])
        if self._writer is None:
            self._writer = self._open(size)
        image_bgr = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)
        if size != self._size:  # OpenCV would drop the frame silently
            image_bgr = cv2.resize(image_bgr, self._size, interpolation=cv2.INTER_AREA)
        repeats = 0 if stamp_s is None else self._pace.repeats(stamp_s)
        if repeats < 0:
            self._last_bgr = image_bgr  # repeated if a pause follows
            return
        with quiet_opencv():  # `close` notices a frame that could not be written
            for _ in range(repeats):
                self._writer.write(self._last_bgr)
            self._writer.write(image_bgr)
        self._last_bgr = image_bgr
        self.frames += repeats + 1

    def close(self) -> None:
        """Complete the file; without a frame there is none.

        Raises UserError if frames are missing in it, OSError if the disk is full.
        """
        if self._writer is None:
            return
        with quiet_opencv():
            self._writer.release()
            self._writer = None
            written = int(cv2.VideoCapture(str(self._partial)).get(cv2.CAP_PROP_FRAME_COUNT))
        if written >= self.frames:
            self._partial.replace(self.path)
            return
        free = shutil.disk_usage(self.path.parent).free  # OpenCV does not report why it failed
        self._partial.unlink(missing_ok=True)
        if free < _PAGE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        raise self._failed(f"{written} of {self.frames} frames are in it")

    def abort(self) -> None:
        """Remove the file written so far."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            self._partial.unlink(missing_ok=True)

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        with quiet_opencv():
            fourcc = cv2.VideoWriter.fourcc(*self._fourcc)
            self._size = (max(size[0], 2), max(size[1], 2))  # the encoder's minimum: a single row is doubled
            writer = cv2.VideoWriter(str(self._partial), fourcc, self._fps, self._size)
        if not writer.isOpened():
            self._partial.unlink(missing_ok=True)
            raise self._failed(
                "OpenCV opened no encoder; is the folder writable and the codec in this build?"
            )
        return writer

    def _failed(self, reason: str) -> UserError:
        return UserError(
            f"video '{self.path}' ({self._fourcc}, {self._fps:g} fps) cannot be written: {reason}", status=1
        )
