# SPDX-License-Identifier: Apache-2.0
"""A new user in a real browser: from the printed address to exported masks, which are compared with the truth.

`sam2-ros ui` runs as a process with nano at 256 pixels; Chromium shows its page. Details are tested beside their parts.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy (extra ui)")
pytest.importorskip("alembic", reason="needs alembic (extra ui)")
pytest.importorskip("fastapi", reason="needs fastapi (extra ui)")
pytest.importorskip("uvicorn", reason="needs uvicorn (extra ui)")
pytest.importorskip("websockets", reason="needs websockets (extra ui)")
pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
from PIL import Image
from playwright import sync_api as playwright
from ui.page.stage_pixels import canvas_pixels, wait_for_picture
from ui_processes import TOKEN, server_of, started
from ui_servers import PageClient

from sam2_ros.synthetic.render import demo_clip

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.long,
    pytest.mark.alone,  # on a busy machine it takes minutes
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt install chromium)"),
]
expect = playwright.expect
HW = (480, 640)
CUP, ROBOT = 1, 2
BALL_FRAME, BALL = 138, (274, 314)  # the ball rolls behind the cup, and some of it joins the mask
TRACK_MS = 900_000


@contextmanager
def chromium(address: str) -> Iterator[Any]:
    """A page at an address. Fails if it wrote an error to the console."""
    errors: list[str] = []
    with playwright.sync_playwright() as started_playwright:
        browser = started_playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(120_000)
        expect.set_options(timeout=120_000)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        yield page
        browser.close()
    assert not errors


class User:
    """Acts on the page by mouse and keys, and knows pixels of the source."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def in_window(self, column: float, row: float) -> tuple[float, float]:
        """Where a pixel of the source is in the window, from the picture's edges on the canvas."""
        solid = canvas_pixels(self.page)[..., 3] == 255
        columns = np.flatnonzero(solid.mean(0) > 0.5 * solid.mean(0).max())
        rows = np.flatnonzero(solid.mean(1) > 0.5 * solid.mean(1).max())
        box = self.page.locator("#stage").bounding_box()
        x = columns[0] + (column + 0.5) * len(columns) / HW[1]
        y = rows[0] + (row + 0.5) * len(rows) / HW[0]
        return box["x"] + x, box["y"] + y

    def click(self, column: float, row: float, **options: Any) -> None:
        self.page.mouse.click(*self.in_window(column, row), **options)

    def drag(self, x0: float, y0: float, x1: float, y1: float) -> None:
        first, last = self.in_window(x0, y0), self.in_window(x1, y1)
        self.page.mouse.move(*first)
        self.page.mouse.down()
        self.page.mouse.move(*last, steps=5)
        self.page.mouse.up()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def name(self, number: int, name: str) -> None:
        field = self.page.get_by_label(f"Name of object {number}")
        field.fill(name)
        field.press("Enter")
        expect(self.page.locator("#undo")).to_have_attribute("title", re.compile("Undo rename"))
        self.page.locator("#stage").focus()

    def sees(self, locator: str, text: str, **options: Any) -> None:
        expect(self.page.locator(locator)).to_have_text(re.compile(text), **options)

    def go_to(self, frame: int) -> None:
        """By the timeline, then by keys."""
        box = self.page.locator("#timeline").bounding_box()
        self.page.mouse.click(box["x"] + 120 + (frame + 0.5) * (box["width"] - 120) / 150, box["y"] + 40)
        for _ in range(20):
            shown = int(self.page.locator("#position").inner_text().split("/")[0]) - 1
            if shown == frame:
                return
            self.press("d" if shown < frame else "a")
            self.page.wait_for_timeout(100)
        raise AssertionError(f"frame {shown} is shown, not {frame}")


def all_masks(other: PageClient) -> list[dict[int, np.ndarray]]:
    """The masks of every frame, as another tab gets them."""
    found = []
    for index in range(150):
        other.ask("masks", index=index)
        found.append(other.masks(HW, index))
    return found


def equal(one: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n]) for n in one)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 1.0


def middle(mask: np.ndarray) -> tuple[float, float]:
    """The pixel (x, y) of a mask that is farthest from its edge."""
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    row, column = np.unravel_index(distance.argmax(), distance.shape)
    return float(column), float(row)


def filled_share(page: Any, number: int) -> float:
    """Share of a lane of the timeline that has colour."""
    pixels = canvas_pixels(page, "timeline").astype(int)
    top = 68 + 30 * (number - 1)
    lane = pixels[top + 4 : top + 26, 124:]
    coloured = lane[..., :3].max(-1) - lane[..., :3].min(-1) > 40
    return float(coloured.any(0).mean())


def test_a_new_user_prompts_tracks_corrects_and_exports_masks_that_are_right(tmp_path: Path) -> None:
    truth = demo_clip().masks  # [150, 2, H, W]: cup, robot
    options = ("--project", tmp_path / "p", "--port", 0, "--no-open", "--token", TOKEN)
    with (
        started(*options, "--image-size", "256", "--device", "cpu") as (_, line),
        chromium(line) as page,
        server_of(line).client() as other,
    ):
        user = User(page)
        page.locator(".card", has_text="demo clip").click()
        user.sees("#position", "^1 / 150")
        wait_for_picture(page)
        other.ask("open", source=1)

        user.click(*middle(truth[0, 0]))
        user.sees(".object >> nth=0 >> .seen", "TRACKING")
        other.ask("masks", index=0)
        assert iou(other.masks(HW, 0)[CUP], truth[0, 0]) > 0.7
        user.name(CUP, "cup")

        user.press("n")
        expect(page.locator(".object")).to_have_count(2)
        rows, columns = np.nonzero(truth[0, 1])
        user.drag(columns.min(), rows.min(), columns.max(), rows.max())
        user.sees(".object >> nth=1 >> .seen", "TRACKING")
        user.name(ROBOT, "robot")
        other.ask("masks", index=0)
        assert iou(other.masks(HW, 0)[ROBOT], truth[0, 1]) > 0.6

        user.press("Home", "t")
        user.sees("#status", "Tracked frames 1 to 150", timeout=TRACK_MS)
        page.wait_for_timeout(1500)  # lanes are asked for again
        assert filled_share(page, CUP) > 0.9
        assert 0.5 < filled_share(page, ROBOT) < 0.95  # it is hidden for 27 frames

        before = all_masks(other)
        user.go_to(BALL_FRAME)
        user.press("1")
        page.wait_for_timeout(500)
        user.click(*BALL, button="right")
        expect(page.locator("#undo")).to_have_attribute("title", "Undo click on cup")
        other.ask("masks", index=BALL_FRAME)
        corrected = other.masks(HW, BALL_FRAME)[CUP]
        assert not corrected[BALL[1], BALL[0]]
        assert iou(corrected, truth[BALL_FRAME, 0]) > 0.7
        user.press("t")
        user.sees("#status", "Tracked frames 139 to 150", timeout=TRACK_MS)
        after = all_masks(other)
        assert all(
            equal(one, another) for one, another in zip(before[:BALL_FRAME], after[:BALL_FRAME], strict=True)
        )
        assert not all(equal(one, another) for one, another in zip(before[139:], after[139:], strict=True))

        user.press("Control+z")
        expect(page.locator("#redo")).to_have_attribute("title", re.compile("Redo track"))
        assert equal(all_masks(other)[145], before[145])
        user.press("Control+Shift+Z")
        expect(page.locator("#redo")).to_be_disabled()
        assert equal(all_masks(other)[145], after[145])

        user.press("v")
        plain = canvas_pixels(page)
        page.locator("[name=background][value=pixelate]").check()
        page.wait_for_timeout(1000)
        assert (abs(canvas_pixels(page).astype(int) - plain).max(-1) > 8).mean() > 0.05
        assert other.ask("state")["settings"]["background"]["effect"] == "pixelate"

        page.locator("#export-menu summary").click()
        page.locator("[data-export=masks]").click()
        expect(page.locator("#download")).to_be_visible(timeout=TRACK_MS)
        with page.expect_download() as download:
            page.locator("#download").click()
        download.value.save_as(tmp_path / "masks.zip")

    with zipfile.ZipFile(tmp_path / "masks.zip") as archive:
        archive.extractall(tmp_path / "masks")
    (top,) = (tmp_path / "masks").iterdir()
    labels = [np.asarray(Image.open(file)) for file in sorted((top / "masks").iterdir())]
    assert len(labels) == 150
    visible = truth.any((2, 3))
    scores = [
        np.mean(
            [iou(labels[t] == number, truth[t, number - 1]) for t in range(150) if visible[t, number - 1]]
        )
        for number in (CUP, ROBOT)
    ]
    assert scores[0] > 0.8, scores
    assert scores[1] > 0.55, scores
