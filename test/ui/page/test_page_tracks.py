# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: playing, tracking, the timeline, history and effects.

Runs against `page_server.py`; knows nothing of the tracker.
"""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs fastapi (extra ui)")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
from ui.page.page_user import (  # noqa: E402
    Open,
    expect,
    next_picture,
    settle,
    shown_frame,
    until,
    with_objects,
)
from ui.page.stage_pixels import Mapping, canvas_pixels  # noqa: E402

pytestmark = pytest.mark.long


def test_space_plays_at_the_rate_of_the_clip_and_pans_when_held(open_page: Open, server: Any) -> None:
    page = open_page()
    started = time.monotonic()
    page.keyboard.press("Space")
    until(lambda: shown_frame(page) >= 9, page, "8 frames of playback")
    assert 0.7 < time.monotonic() - started < 10  # 10 frames a second, later where the machine is busy
    page.keyboard.press("Space")
    stopped = shown_frame(page)
    before = Mapping.find(page)
    page.keyboard.down("Space")
    page.mouse.move(400, 300)
    page.mouse.down()
    page.mouse.move(440, 320, steps=3)
    page.mouse.up()
    page.keyboard.up("Space")
    settle(page)
    assert Mapping.find(page).x == pytest.approx(before.x + 40, abs=2)
    assert shown_frame(page) == stopped
    assert not server.commands("click", "box")


def test_undo_and_redo_are_enabled_by_what_the_server_says(open_page: Open, server: Any) -> None:
    page = open_page()
    expect(page.locator("#undo")).to_be_disabled()
    expect(page.locator("#redo")).to_be_disabled()
    with_objects(page, server, 1)
    expect(page.locator("#undo")).to_have_attribute("title", "Undo click on object 1")
    page.locator("#undo").click()
    expect(page.locator(".seen")).to_have_text("not tracked here")
    expect(page.locator("#redo")).to_have_attribute("title", "Redo click on object 1")
    page.locator("#redo").click()
    expect(page.locator(".seen")).to_have_text("TRACKING")
    expect(page.locator("#redo")).to_be_disabled()


def test_tracking_is_followed_and_fills_the_lanes(open_page: Open, server: Any) -> None:
    page = open_page()
    with_objects(page, server)
    page.keyboard.press("t")
    expect(page.locator("#cancel")).to_be_visible()
    expect(page.locator("#status")).to_have_text(re.compile("Tracked frames 1 to 40"))
    assert shown_frame(page) > 30  # the playhead went with it
    expect(page.locator("#doubt")).to_have_text("1 doubtful")
    page.keyboard.press("j")
    expect(page.locator("#status")).to_have_text(re.compile("presence near 0"))
    hidden = [frame for frame in range(40) if not server.projects[1].clip.masks[frame, 1].any()]
    assert hidden
    colour = np.array([0x56, 0xB4, 0xE9]) * 0.45 + np.array([0xE6, 0xE9, 0xEE]) * 0.55

    def shares() -> dict[int, float]:
        lane = canvas_pixels(page, "timeline")[100:126]  # of the second object, the robot
        filled = abs(lane[:, :, :3].astype(int) - colour).max(-1) < 12
        places = {
            frame: 120 + int((frame + 0.5) * (lane.shape[1] - 120) / 40) for frame in (5, hidden[2], 38)
        }
        return {frame: filled[6:20, at - 6 : at + 6].mean() for frame, at in places.items()}

    until(lambda: shares()[5] > 0.5 and shares()[38] > 0.5, page, "bars where the robot is visible")
    assert shares()[hidden[2]] < 0.2


def test_the_timeline_is_scrubbed_and_its_dots_jump_to_prompts(open_page: Open, server: Any) -> None:
    page = open_page()
    with_objects(page, server, 1)
    box = page.locator("#timeline").bounding_box()
    frame_px = (box["width"] - 120) / 40
    page.mouse.click(box["x"] + 120 + 24.5 * frame_px, box["y"] + 40)
    expect(page.locator("#position")).to_have_text(re.compile("^25 /"))
    page.mouse.down()
    page.mouse.move(box["x"] + 120 + 9.5 * frame_px, box["y"] + 40, steps=4)
    page.mouse.up()
    expect(page.locator("#position")).to_have_text(re.compile("^10 /"))
    page.mouse.click(box["x"] + 120 + 0.5 * frame_px + 5, box["y"] + 68 + 14)
    expect(page.locator("#position")).to_have_text(re.compile("^1 /"))
    asked = {index for strip in server.commands("strip") for index in strip["indices"]}
    page.locator("#timeline-in").click()
    until(
        lambda: {index for strip in server.commands("strip") for index in strip["indices"]} > asked,
        page,
        "more thumbnails after zooming in",
    )
    page.mouse.click(box["x"] + 120 + 9.5 * frame_px * 1.6, box["y"] + 40)
    expect(page.locator("#position")).to_have_text(re.compile("^10 /"))


def test_playback_goes_on_while_tracking_and_cancel_keeps_what_was_tracked(
    open_page: Open, server: Any
) -> None:
    server.projects[1].delay_s = 0.5
    page = open_page()
    with_objects(page, server, 1)
    page.keyboard.press("t")
    expect(page.locator("#progress")).to_be_visible()
    until(lambda: shown_frame(page) >= 3, page, "three tracked frames")
    page.keyboard.press(
        "Home"
    )  # the user looks elsewhere: the playhead no longer follows, and playback goes on
    page.keyboard.press("Space")
    until(lambda: shown_frame(page) >= 3, page, "three frames played while tracking")
    page.keyboard.press("Space")
    expect(page.locator("#cancel")).to_be_visible()
    page.keyboard.press("Home")
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text(re.compile("Cancelled. What was tracked is kept"))
    expect(page.locator("#cancel")).to_be_hidden()
    expect(page.locator(".seen")).to_have_text("TRACKING")


def test_an_effect_on_the_background_leaves_the_object(open_page: Open, server: Any) -> None:
    server.projects[1].settings["object"] = {"effect": "cutout", "strength": 0.5}
    page = open_page()
    with_objects(page, server, 1)
    page.mouse.move(5, 5)
    settle(page)
    at, before = Mapping.find(page), canvas_pixels(page)
    page.keyboard.press("v")
    x, y = at.on_canvas(90, 190)  # inside the cup
    left, top = at.on_canvas(112, 20)
    right, bottom = at.on_canvas(316, 236)
    last = before
    for effect in ("erase", "blur", "pixelate", "desaturate", "gradient"):
        page.locator(f"[name=background][value={effect}]").check()
        last = next_picture(page, last)
        until(lambda name=effect: server.projects[1].settings["background"]["effect"] == name, page, effect)
        changes = abs(last[..., :3].astype(int) - before[..., :3]).max(-1)
        assert changes[y, x] < 6, effect
        assert (changes[top:bottom, left:right] > 8).mean() > 0.01, effect


def test_every_effect_on_objects_is_drawn(open_page: Open, server: Any) -> None:
    page = open_page()
    with_objects(page, server, 1)
    page.mouse.move(5, 5)
    settle(page)
    page.keyboard.press("v")
    pictures = [canvas_pixels(page)]  # overlay
    for effect in ("cutout", "outline", "spotlight", "pixelate", "blur", "erase", "replace"):
        page.locator(f"[name=object][value={effect}]").check()
        pictures.append(next_picture(page, pictures[-1]))
    for at, picture in enumerate(pictures):
        assert not [other for other in pictures[:at] if np.array_equal(other, picture)]
    x, y = Mapping.find(page).on_canvas(80, 185)
    erased = pictures[6][y, x, :3].astype(int)
    assert abs(erased - (138, 112, 135)).max() < 30  # the ground that surrounds the cup
