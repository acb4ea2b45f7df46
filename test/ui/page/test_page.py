# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: what it sends for what the user does, and what it draws for what the server says.

Runs against `page_server.py`; knows nothing of the tracker.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs fastapi (extra ui)")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
from ui.page.page_server import HOSTILE_NAME  # noqa: E402
from ui.page.stage_pixels import Mapping, canvas_pixels, wait_for_picture  # noqa: E402

pytestmark = pytest.mark.long
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
