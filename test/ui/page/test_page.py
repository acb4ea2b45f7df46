# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: what it sends for what the user does, and what it says and shows of the server's answers.

Runs against `page_server.py`; knows nothing of the tracker.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs fastapi (extra ui)")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
from ui.page.page_server import HOSTILE_NAME  # noqa: E402
from ui.page.page_user import (  # noqa: E402
    CUP,
    Open,
    click_on,
    expect,
    sent,
    settle,
    shown_frame,
    until,
    with_objects,
)
from ui.page.stage_pixels import Mapping, canvas_pixels, wait_for_picture  # noqa: E402

pytestmark = pytest.mark.long


def test_the_token_leaves_the_address_and_names_are_shown_as_text(open_page: Open, server: Any) -> None:
    page = open_page(clip=False)
    assert "token" not in page.url
    expect(page.locator(".card-name").nth(1)).to_have_text(HOSTILE_NAME)
    page.locator(".card").nth(1).click()
    expect(page.locator("#title")).to_have_text(HOSTILE_NAME)
    page.keyboard.press("n")
    name = page.get_by_label("Name of object 1")
    name.fill("<img src=x onerror=alert(1)>")
    name.press("Enter")
    assert sent(server, page, "rename")[0]["name"] == "<img src=x onerror=alert(1)>"
    expect(name).to_have_value("<img src=x onerror=alert(1)>")
    assert page.locator("#title script, .object img").count() == 0
    assert page.title() == f"{HOSTILE_NAME} · sam2_ros"


@pytest.mark.parametrize(
    ("width", "height", "zooms", "ratio"),
    [(1280, 800, 0, 1), (1280, 800, 3, 1), (390, 844, 0, 2), (900, 700, 1, 2)],
)
def test_a_click_sends_the_pixel_under_the_pointer(
    open_page: Open, server: Any, width: int, height: int, zooms: int, ratio: int
) -> None:
    page = open_page(width, height, device_scale_factor=ratio)
    for _ in range(zooms):
        page.keyboard.press("+")
    settle(page)
    for count, (place, button, sign) in enumerate([((95, 165), "left", 1), ((180, 130), "right", -1)], 1):
        click_on(page, place, button=button)
        click = sent(server, page, "click", count=count)[-1]
        assert (click["x"], click["y"]) == pytest.approx(place, abs=1)
        assert (click["frame"], click["sign"]) == (0, sign)
        until(
            lambda number=count: page.locator("#undo").get_attribute("title").startswith("Undo click"),
            page,
            "undo",
        )


def test_a_drag_sends_a_box_and_a_click_on_a_point_takes_it_back(open_page: Open, server: Any) -> None:
    page = open_page()
    at = Mapping.find(page)
    page.mouse.move(*at.in_window(48, 138))
    page.mouse.down()
    page.mouse.move(*at.in_window(90, 180), steps=3)
    page.mouse.move(*at.in_window(112, 202))
    page.mouse.up()
    box = sent(server, page, "box")[0]
    assert [box[side] for side in ("x0", "y0", "x1", "y1")] == pytest.approx([48, 138, 113, 203], abs=2)
    expect(page.locator(".seen")).to_have_text("TRACKING")
    click_on(page, (90, 175))
    expect(page.locator("#undo")).to_have_attribute("title", "Undo click on object 1")
    settle(page)
    click_on(page, (90, 175))
    assert sent(server, page, "unclick")[0]["number"] == 0
    assert len(server.commands("click")) == 1


def test_brush_and_eraser_send_strokes_in_source_pixels(open_page: Open, server: Any) -> None:
    page = open_page()
    at = Mapping.find(page)
    for count, (key, erase) in enumerate([("b", False), ("x", True)], 1):
        page.keyboard.press(key)
        page.mouse.move(*at.in_window(60, 160))
        page.mouse.down()
        page.mouse.move(*at.in_window(100, 180), steps=4)
        page.mouse.up()
        stroke = sent(server, page, "stroke", count=count)[-1]
        assert stroke["erase"] is erase
        assert stroke["points"][0] == pytest.approx([60, 160], abs=1)
        assert stroke["points"][-1] == pytest.approx([100, 180], abs=1)
    assert server.commands("stroke")[0]["radius"] == 12


def test_masks_are_drawn_where_their_run_lengths_say(open_page: Open, server: Any) -> None:
    page = open_page()
    at = Mapping.find(page)
    before = canvas_pixels(page)
    click_on(page, CUP)
    expect(page.locator(".seen")).to_have_text("TRACKING")
    page.mouse.move(5, 5)  # no preview
    truth = server.projects[1].clip.masks[0, 0]

    def wrong() -> list[tuple[int, int]]:
        after, found = canvas_pixels(page), []
        for row in range(138, 216, 7):  # below the number of the object, beside the point
            for column in range(30, 140, 7):
                around = truth[row - 3 : row + 4, column - 3 : column + 4]
                if around.any() != around.all() or np.hypot(column - CUP[0], row - CUP[1]) < 8:
                    continue
                x, y = at.on_canvas(column, row)
                if (abs(after[y, x].astype(int) - before[y, x]).max() > 25) != around.all():
                    found.append((column, row))
        return found

    until(lambda: not wrong(), page, "the mask on the canvas as in the truth")
    after = canvas_pixels(page)
    x, y = at.on_canvas(80, 190)
    half = (np.array([0xE6, 0x9F, 0x00]) + before[y, x, :3]) / 2  # the object's colour at opacity 0.5
    assert after[y, x, :3] == pytest.approx(half, abs=6)


def test_hovering_previews_the_mask_and_leaves_no_prompt(open_page: Open, server: Any) -> None:
    page = open_page()
    before = canvas_pixels(page)
    page.mouse.move(*Mapping.find(page).in_window(*CUP))
    preview = sent(server, page, "preview")[-1]
    assert (preview["x"], preview["y"]) == pytest.approx(CUP, abs=1)
    until(lambda: (canvas_pixels(page) != before).any(-1).sum() > 300, page, "stripes of the preview")
    assert not server.commands("click", "add_object")


def test_keys_do_what_the_help_says(open_page: Open, server: Any) -> None:
    page = open_page()
    for key, frame in [
        ("d", 2),
        ("ArrowRight", 3),
        ("a", 2),
        ("Shift+D", 12),
        ("Shift+ArrowLeft", 2),
        ("End", 40),
        ("Home", 1),
    ]:
        page.keyboard.press(key)
        expect(page.locator("#position")).to_have_text(re.compile(rf"^{frame} / 40"))
    with_objects(page, server)
    for key, tool in [("e", "remove"), ("b", "brush"), ("x", "eraser"), ("q", "add")]:
        page.keyboard.press(key)
        assert page.locator("[id^=tool-][aria-pressed=true]").get_attribute("id") == f"tool-{tool}"
    page.keyboard.press("]")
    larger = int(page.locator("#radius").input_value())
    page.keyboard.press("[")
    assert int(page.locator("#radius").input_value()) < larger
    page.keyboard.press("1")
    expect(page.locator(".object[data-selected] .number")).to_have_text("1")
    for key, command, given in [
        ("h", "settings", {"hidden": [1]}),
        ("m", "settings", {"opacity": 0.75}),
        ("s", "settings", {"solo": 1}),
        ("l", "lock", True),
    ]:
        count = len(server.commands(command)) + 1
        page.keyboard.press(key)
        last = sent(server, page, command, count=count)[-1]
        assert last.get("locked") is given if command == "lock" else given.items() <= last["settings"].items()
    scale = Mapping.find(page).scale
    page.keyboard.press("+")
    settle(page)
    assert Mapping.find(page).scale == pytest.approx(1.25 * scale, rel=0.03)
    page.keyboard.press("-")
    page.keyboard.press("Delete")
    assert sent(server, page, "delete_object")[0]["object"] == 1
    expect(page.locator(".object")).to_have_count(1)
    page.keyboard.press("Control+z")
    expect(page.locator(".object")).to_have_count(2)
    page.keyboard.press("Control+Shift+Z")
    expect(page.locator(".object")).to_have_count(1)
    page.keyboard.press("?")
    help_text = page.locator("#help-dialog[open]").inner_text()
    for shown in (
        "Space",
        "Home",
        "Shift T",
        "Ctrl Z",
        "Del",
        "1 – 9",
        "opacity",
        "crosshair",
        "Right click",
    ):
        assert shown in help_text
    page.keyboard.press("Escape")
    expect(page.locator("#help-dialog")).to_be_hidden()


def test_a_tap_adds_and_a_long_press_removes(open_page: Open, server: Any) -> None:
    page = open_page(390, 844, has_touch=True)
    touch = page.context.new_cdp_session(page)
    for count, (place, held_ms, sign) in enumerate([((95, 165), 30, 1), ((180, 130), 700, -1)], 1):
        x, y = Mapping.find(page).in_window(*place)
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        page.wait_for_timeout(held_ms)
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        click = sent(server, page, "click", count=count)[-1]
        assert (click["x"], click["y"]) == pytest.approx(place, abs=1.5)
        assert click["sign"] == sign
        expect(page.locator("#undo")).to_have_attribute("title", "Undo click on object 1")
    assert len(server.commands("click")) == 2


def test_prompts_are_placed_with_the_keyboard_alone(open_page: Open, server: Any) -> None:
    page = open_page()
    page.keyboard.press("k")
    expect(page.locator("#stage")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("e")
    page.keyboard.press("Enter")
    click = sent(server, page, "click")[0]
    assert (click["x"], click["y"], click["sign"]) == (156.5, 119.5, -1)
    page.keyboard.press("r")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("r")
    box = sent(server, page, "box")[0]
    assert (box["x0"], box["y0"]) == (157, 120)
    assert box["x1"] > 158
    assert shown_frame(page) == 1  # the arrows did not move the playhead
    page.keyboard.press("k")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#position")).to_have_text(re.compile("^2 /"))


def test_a_lost_connection_is_reported_and_comes_back_with_its_source(open_page: Open, server: Any) -> None:
    page = open_page()
    server.drop_connections()
    expect(page.locator("#status")).to_have_text(re.compile("Connection lost"))
    until(lambda: len(server.commands("open")) == 2, page, "the source opened again")
    click_on(page, CUP)
    expect(page.locator(".seen")).to_have_text("TRACKING")
    page.reload()
    expect(page.locator("#title")).to_have_text("drawn clip")
    expect(page.locator(".seen")).to_have_text("TRACKING")


def test_an_error_of_the_server_is_one_line_in_the_status(open_page: Open, server: Any) -> None:
    page = open_page()
    with_objects(page, server, 1)
    server.projects[1].work.objects.clear()  # as if another tab had deleted it
    page.keyboard.press("l")
    expect(page.locator("#status[data-bad]")).to_have_text("object 1: there is none")
    expect(page.locator(".object")).to_have_count(0)
    click_on(page, CUP)
    expect(page.locator(".seen")).to_have_text("TRACKING")
    expect(page.locator("#status")).to_have_text("")  # what went wrong is over


def test_the_next_step_is_said_for_the_object_that_is_selected(open_page: Open, server: Any) -> None:
    page = open_page()
    hint, status = page.locator("#hint"), page.locator("#status[data-bad]")
    page.keyboard.press("t")
    expect(status).to_have_text(re.compile("^Nothing to track yet: click an object"))
    page.keyboard.press("7")
    expect(status).to_have_text("There is no object 7")
    page.keyboard.press("n")
    expect(hint).to_have_text("Click an object, or drag a box around it")
    expect(page.locator("#track-forward")).to_be_disabled()
    click_on(page, CUP)
    expect(hint).to_have_text(re.compile("^Click again to mend the mask"))
    page.keyboard.press("n")
    expect(hint).to_have_text("Click an object, or drag a box around it")
    assert not server.commands("track")


def test_a_frame_that_is_not_read_yet_shows_no_other_frame_to_click_on(open_page: Open, server: Any) -> None:
    page = open_page()
    progress = {"event": "progress", "source": 1, "what": "decode", "fps": 5.0, "total": 40}
    server.projects[1].read = 10
    server.push(progress | {"done": 10})
    expect(page.locator("#progress")).to_be_visible()
    place = Mapping.find(page).in_window(*CUP)
    page.keyboard.press("End")
    expect(page.locator("#hint")).to_have_text("This frame is not read yet")
    until(lambda: not canvas_pixels(page)[..., 3].any(), page, "an empty stage")
    page.mouse.click(*place)
    server.projects[1].read = 40
    server.push(progress | {"done": 40})
    wait_for_picture(page)
    expect(page.locator("#hint")).to_have_text("Click an object, or drag a box around it")
    assert shown_frame(page) == 40
    assert not server.commands("click", "add_object")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height", "least"), [(1280, 800, 24), (390, 844, 44)])
def test_the_page_fits_the_window_in_light_and_dark(
    open_page: Open, server: Any, width: int, height: int, least: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page = open_page(width, height, clip=False, color_scheme=scheme, has_touch=width < 700)

    def check(what: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= width, what
        results = axe.Axe().run(page).response["violations"]
        serious = [(found["id"], [node["html"] for node in found["nodes"]][:3]) for found in results
                   if found["impact"] in ("serious", "critical")]  # fmt: skip
        assert not serious, what

    check("gallery")
    page.locator(".card").first.click()
    wait_for_picture(page)
    with_objects(page, server)
    page.keyboard.press("v")
    page.locator("[name=object][value=replace]").check()
    page.locator("[name=background][value=gradient]").check()
    settle(page)
    check("clip")
    for button in page.locator("button:visible, summary:visible, input[type=text]:visible").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= least, button.evaluate("element => element.outerHTML")
    page.keyboard.press("?")
    check("help")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = max(map(int, re.findall(r"\d+", ground)[:3])) > 127
    assert light == (scheme == "light")


def test_the_canvas_is_reached_and_seen_by_the_tab_key(open_page: Open, server: Any) -> None:
    page = open_page()
    page.locator("#help").focus()
    page.keyboard.press("Tab")
    expect(page.locator("#stage")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
