# SPDX-License-Identifier: Apache-2.0
"""What tests of the page do as a user, and wait for.

Knows the page's elements and `page_server.py`; asserts nothing about them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs fastapi (extra ui)")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
from ui.page.stage_pixels import Mapping, canvas_pixels  # noqa: E402

expect = playwright.expect
expect.set_options(timeout=30_000)  # a busy machine is slow, not wrong
CUP, ROBOT = (80, 170), (45, 80)  # source pixels inside the objects of frame 0
Open = Callable[..., Any]


def until(condition: Callable[[], Any], page: Any, what: str) -> Any:
    """Wait for a condition in this process, while the browser goes on."""
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        if found := condition():
            return found
        page.wait_for_timeout(20)
    raise AssertionError(f"not within 30 s: {what}")


def settle(page: Any) -> None:
    """Wait until what was asked for is drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def next_picture(page: Any, before: np.ndarray) -> np.ndarray:
    """The canvas as soon as it differs from `before`."""
    until(lambda: not np.array_equal(canvas_pixels(page), before), page, "another picture")
    return canvas_pixels(page)


def sent(server: Any, page: Any, *names: str, count: int = 1) -> list[dict[str, Any]]:
    until(lambda: len(server.commands(*names)) >= count, page, f"{count} x {names}")
    return list(server.commands(*names))


def click_on(page: Any, place: tuple[int, int], **options: Any) -> None:
    page.mouse.click(*Mapping.find(page).in_window(*place), **options)


def shown_frame(page: Any) -> int:
    return int(page.locator("#position").inner_text().split("/")[0])


def with_objects(page: Any, server: Any, count: int = 2) -> None:
    for number, place in enumerate((CUP, ROBOT)[:count], 1):
        if number > 1:
            page.keyboard.press("n")
            expect(page.locator(".object")).to_have_count(number)
        click_on(page, place)
        expect(page.locator(".seen").nth(number - 1)).to_have_text("TRACKING")
    page.wait_for_timeout(250)  # the worker draws
