# SPDX-License-Identifier: Apache-2.0
"""Where source pixels of the drawn clip are in the window, found from the colours on the canvas; and their colours.

Knows nothing of the page's zoom: what the page sends is compared with what the user sees.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np

POST, SIGN = (70, 60, 60), (240, 240, 240)
POST_LEFT, POST_RIGHT = 150, 215  # columns of the source, from test/ui/page/page_server.py
SIGN_COLUMN, SIGN_TOP = 180, 113


def canvas_pixels(page: Any, canvas: str = "stage") -> np.ndarray:
    """The canvas as ``[H, W, 4]`` uint8 RGBA at the device's resolution."""
    found = page.evaluate(
        """(name) => {
        const canvas = document.getElementById(name);
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        let text = "";
        for (let at = 0; at < data.length; at += 32768)
            text += String.fromCharCode(...data.subarray(at, at + 32768));
        return [canvas.width, canvas.height, btoa(text)];
    }""",
        canvas,
    )
    width, height, text = found
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)


def near(pixels: np.ndarray, colour: tuple[int, int, int], tolerance: int = 14) -> np.ndarray:
    return np.asarray(
        (abs(pixels[..., :3].astype(int) - colour).max(-1) <= tolerance) & (pixels[..., 3] > 250)
    )


@dataclass(frozen=True)
class Mapping:
    """Source pixel (column, row) > canvas pixel: ``at * scale + offset``; then / ratio + corner = window."""

    scale: float
    x: float
    y: float
    ratio: float
    left: float
    top: float

    @staticmethod
    def find(page: Any) -> Mapping:
        pixels = canvas_pixels(page)
        ratio = page.evaluate("devicePixelRatio")
        box = page.locator("#stage").bounding_box()
        post = near(pixels, POST, 32) | near(pixels, SIGN)
        columns = np.flatnonzero(post.mean(0) > 0.5 * post.mean(0).max())
        scale = (columns[-1] + 1 - columns[0]) / (POST_RIGHT - POST_LEFT)
        x = columns[0] - POST_LEFT * scale
        rows = np.flatnonzero(near(pixels, SIGN, 70)[:, int((SIGN_COLUMN + 0.5) * scale + x)])
        return Mapping(scale, x, rows[0] - SIGN_TOP * scale, ratio, box["x"], box["y"])

    def on_canvas(self, column: float, row: float) -> tuple[int, int]:
        return int((column + 0.5) * self.scale + self.x), int((row + 0.5) * self.scale + self.y)

    def in_window(self, column: float, row: float) -> tuple[float, float]:
        x, y = (column + 0.5) * self.scale + self.x, (row + 0.5) * self.scale + self.y
        return x / self.ratio + self.left, y / self.ratio + self.top


def wait_for_picture(page: Any) -> None:
    """Until the post of the drawn clip is on the canvas."""
    for _ in range(200):
        if page.evaluate(
            """() => {
            const canvas = document.getElementById("stage");
            const data = canvas.getContext("2d").getImageData(0, canvas.height / 2, canvas.width, 1).data;
            return data.some((value, at) => at % 4 === 3 && value === 255);
        }"""
        ):
            return
        page.wait_for_timeout(25)
    raise AssertionError("the canvas stayed empty")
