# SPDX-License-Identifier: Apache-2.0
"""One headless Chromium and one server for the tests of the page; a fresh project and a fresh page for each test.

Fails a test whose page wrote an error to the console: a refused style or script, an exception, a missing file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright (pip install playwright)"
    )
    if not CHROMIUM:
        pytest.skip("needs Chromium (apt install chromium)")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def server() -> Iterator[Any]:
    pytest.importorskip("fastapi", reason="needs fastapi (extra ui)")
    pytest.importorskip("uvicorn", reason="needs uvicorn (extra ui)")
    from ui.page.page_server import HOSTILE_NAME, PageServer, drawn_clip

    hostile = drawn_clip(frames=3)
    hostile.name = HOSTILE_NAME
    with PageServer([drawn_clip(), hostile]) as started:
        yield started


@pytest.fixture
def open_page(browser: Any, server: Any) -> Iterator[Callable[..., Any]]:
    """`open_page(1280, 800, clip=True)`: a page in a context of its own; keywords go to the context."""
    from ui.page.page_server import TOKEN
    from ui.page.stage_pixels import wait_for_picture

    contexts, errors = [], []

    def open_one(width: int = 1280, height: int = 800, clip: bool = True, **settings: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{server.address}#token={TOKEN}")
        page.locator(".card").first.wait_for()
        if clip:
            page.locator(".card").first.click()
            page.locator("body[data-view=clip]").wait_for()
            wait_for_picture(page)
        return page

    yield open_one
    for context in contexts:
        context.close()
    # A connection that a test drops is an error to the browser.
    assert not [error for error in errors if "WebSocket connection" not in error]
