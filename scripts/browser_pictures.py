# SPDX-License-Identifier: Apache-2.0
"""Makes the pictures of docs/how-to/browser.md from the page: `python scripts/browser_pictures.py docs/pictures`.

Starts `sam2-ros ui` on the demo clip and shows its page in Chromium. Prompts are sent by the page's socket, as a second
tab would: the pixels of the clip are known, their places in the window are not.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page as Tab
from playwright.sync_api import sync_playwright
from ui_latency import TOKEN, Page

from sam2_ros.synthetic.render import demo_clip

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
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
    tab.locator("[name=background][value=original]").check()
    tab = browser.new_page(viewport=NARROW, color_scheme="dark", has_touch=True)
    show_clip(tab, address, 20)
    save(tab, folder / "browser-narrow.webp", work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where browser*.webp are written")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="default: the one in PATH")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        command = [sys.executable, "-m", "sam2_ros.cli", "ui", "--project", f"{work}/project", "--port", "0"]
        command += ["--no-open", "--token", TOKEN]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            with Page.open(int(address.split(":")[2].split("/")[0])) as page:
                prompt_and_track(page)
            browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
            take(browser, address, options.folder, Path(work))
            browser.close()
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main()
