# SPDX-License-Identifier: Apache-2.0
"""The live page in a headless Chromium, and a user who knows pixels of the camera's image.

Knows elements of the page, not the server.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from ui.page.stage_pixels import canvas_pixels

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAIT_MS = 60_000


@contextmanager
def live_page(address: str, width: int = 1280, **settings: Any) -> Iterator[LivePage]:
    """A page at an address; skips without Chromium. Fails if it wrote an error to the console."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright (pip install playwright)"
    )
    if not CHROMIUM:
        pytest.skip("needs Chromium (apt install chromium)")
    errors: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800}, **settings)
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        yield LivePage(page, playwright.expect)
        browser.close()
    assert not errors


class LivePage:
    """Acts by mouse and keys."""

    def __init__(self, page: Any, expect: Any) -> None:
        self.page, self._expect = page, expect

    def sees(self, selector: str, text: Any) -> None:
        self._expect(self.page.locator(selector)).to_have_text(text, timeout=WAIT_MS)

    def counts(self, selector: str, number: int) -> None:
        self._expect(self.page.locator(selector)).to_have_count(number, timeout=WAIT_MS)

    def picture(self) -> np.ndarray:
        """The camera's image as it is drawn, ``[H, W, 4]`` RGBA at the size of the canvas, without its margins."""
        pixels = self._wait_for_pixels()
        columns, rows = self._edges(pixels)
        return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]

    def click(self, x: float, y: float, size_hw: tuple[int, int], **options: Any) -> None:
        """Click on a pixel of the camera's image of this size."""
        columns, rows = self._edges(self._wait_for_pixels())
        box = self.page.locator("#stage").bounding_box()
        self.page.mouse.click(
            box["x"] + columns[0] + (x + 0.5) * len(columns) / size_hw[1],
            box["y"] + rows[0] + (y + 0.5) * len(rows) / size_hw[0],
            **options,
        )

    def _wait_for_pixels(self) -> np.ndarray:
        for _ in range(600):
            pixels = canvas_pixels(self.page)
            if (pixels[..., 3] == 255).mean() > 0.3:
                return pixels
            self.page.wait_for_timeout(50)
        raise AssertionError("the canvas stayed empty")

    @staticmethod
    def _edges(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        solid = pixels[..., 3] == 255
        columns = np.flatnonzero(solid.mean(0) > 0.5 * solid.mean(0).max())
        return columns, np.flatnonzero(solid.mean(1) > 0.5 * solid.mean(1).max())
