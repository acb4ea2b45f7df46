# SPDX-License-Identifier: Apache-2.0
"""Makes the pictures of docs/how-to/browser.md from the page: `python scripts/browser_pictures.py docs/pictures`.

Starts `sam2-ros ui` on the demo clip, then `sam2-ros demo --ui`, and shows their pages in Chromium. Prompts are sent by
the page's socket, as a second tab would: the pixels of the clip are known, their places in the window are not.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page as Tab
from playwright.sync_api import sync_playwright
from ui_latency import TOKEN, Page

from sam2_ros.synthetic.render import demo_clip

WIDE = {"width": 1280, "height": 800}
WITH_MASKS = 138  # the ball is behind the cup
QUALITY = 80


def prompt_and_track(page: Page) -> None:
    """The cup by a click, the robot by a box, both tracked; the ball, which joins the cup, taken away."""
    truth = demo_clip().masks[0]
    page.ask("open", source=1)
    page.wait_until_decoded()
    for name in ("cup", "robot"):
        page.ask("add_object", name=name)
    rows, columns = np.nonzero(truth[0])
    page.ask("click", frame=0, object=1, x=float(columns.mean()), y=float(rows.mean()), sign=1)
    rows, columns = np.nonzero(truth[1])
    corners = {"x0": columns.min(), "y0": rows.min(), "x1": columns.max() + 1, "y1": rows.max() + 1}
    page.ask("box", frame=0, object=2, **{key: int(value) for key, value in corners.items()})
    page.ask("track", frame=0, direction="forward")
    while page.ask("state")[0]["tracking"]:
        pass
    page.ask("click", frame=WITH_MASKS, object=1, x=274, y=314, sign=0)


def show_clip(tab: Tab, address: str, frame: int) -> None:
    tab.goto(address)
    tab.locator(".card", has_text="demo clip").click()
    tab.locator(".object").nth(1).wait_for()
    tab.locator("#stage").focus()
    tab.keyboard.press("Home")
    for _ in range(frame // 10):
        tab.keyboard.press("Shift+D")
    for _ in range(frame % 10):
        tab.keyboard.press("d")
    tab.wait_for_function(f"document.querySelector('#position').textContent.startsWith('{frame + 1} ')")
    tab.wait_for_timeout(1000)


def save(tab: Tab, path: Path, work: Path) -> None:
    file = work / "shown.png"
    tab.screenshot(path=str(file))
    Image.open(file).convert("RGB").save(path, quality=QUALITY, method=6)
    print(path)


def take(browser: Any, address: str, folder: Path, work: Path) -> None:
    tab = browser.new_page(viewport=WIDE)
    show_clip(tab, address, WITH_MASKS)
    save(tab, folder / "browser.webp", work)
    tab.keyboard.press("v")
    tab.locator("[name=background][value=pixelate]").check()
    for _ in range(9):
        tab.keyboard.press("Shift+A")
    tab.wait_for_timeout(1000)
    save(tab, folder / "browser-effects.webp", work)


def take_live(browser: Any, address: str, folder: Path, work: Path) -> None:
    tab = browser.new_page(viewport=WIDE, color_scheme="dark")
    tab.goto(address)
    tab.locator(".object").nth(1).wait_for()
    tab.wait_for_timeout(4000)  # rate and latency are medians
    save(tab, folder / "browser-live.webp", work)


@contextmanager
def started(*command: str) -> Iterator[str]:
    """In the block `sam2-ros` runs with these arguments; gives the address that it printed."""
    arguments = [sys.executable, "-m", "sam2_ros.cli", *command, "--port", "0", "--no-open"]
    server = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield next(word for line in server.stdout for word in line.split() if word.startswith("http"))
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where browser*.webp are written")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="default: the one in PATH")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        work = Path(folder)
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        with started("ui", "--project", str(work / "project"), "--token", TOKEN) as address:
            with Page.open(int(address.split(":")[2].split("/")[0])) as page:
                prompt_and_track(page)
            take(browser, address, options.folder, work)
        with started("demo", "--ui") as address:
            take_live(browser, address, options.folder, work)
        browser.close()


if __name__ == "__main__":
    main()
