# SPDX-License-Identifier: Apache-2.0
"""The page beside a running node: pictures with masks come, and clicks, boxes, removals and the recording work.

A real node with nano at 256 pixels, fed with the demo's rendered frames, and clients of the page's socket.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy (extra ui)")
pytest.importorskip("alembic", reason="needs alembic (extra ui)")
pytest.importorskip("fastapi", reason="needs fastapi (extra ui)")
pytest.importorskip("uvicorn", reason="needs uvicorn (extra ui)")
pytest.importorskip("websockets", reason="needs websockets (extra ui)")
from live_chromium import live_page
from live_pages import Camera, Seen, Watcher, index_of, live_server
from ros.conftest import Robot
from ros_domains import next_domain
from ui_servers import TOKEN, HttpAndSocket

from sam2_ros.cli.main import run
from sam2_ros.cli.prompts import PromptBook, stamps_of
from sam2_ros.live.ros_messages import camera_image
from sam2_ros.media.bag.storage import BagWriter
from sam2_ros.synthetic.render import demo_clip
from sam2_ros.ui.live.config import LiveConfig
from sam2_ros.ui.live.node_link import message_of
from sam2_ros.ui.live.recording import LivePrompt

FRAMES, RATE_HZ = 30, 8.0
CUP, ROBOT = 0, 1  # of the clip's masks


@pytest.fixture(scope="module")
def clip() -> Any:
    return demo_clip(FRAMES)


@pytest.fixture(scope="module")
def robot(make_robot: Any) -> Robot:
    return make_robot(prompt_history=10.0)


@pytest.fixture(scope="module")
def camera(robot: Robot, clip: Any) -> Iterator[Camera]:
    with Camera(partial(send_to, robot), clip.frames, RATE_HZ) as camera:
        yield camera


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def server(robot: Robot, camera: Camera, project: Path) -> Iterator[HttpAndSocket]:
    with in_domain(robot.domain_id), live_server(project, LiveConfig("/sam2")) as server:
        yield server


@pytest.fixture
def page(server: HttpAndSocket, camera: Camera) -> Iterator[Watcher]:
    """A client that sees the first image of the clip and no objects."""
    camera.shown, camera.moving = 0, False
    with server.client() as client:
        page = Watcher(client)
        page.see("the first image", lambda seen: seen.event["result"] and camera.image_of(seen) == 0, 60.0)
        client.ask("reset")
        page.see("no objects", lambda seen: not seen.event["objects"])
        yield page


def send_to(robot: Robot, image: np.ndarray, stamp_ns: int) -> None:
    robot.send_image(image, stamp_ns=stamp_ns)


@contextmanager
def in_domain(number: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("ROS_DOMAIN_ID", str(number))
        yield


def iou(one: np.ndarray | None, other: np.ndarray) -> float:
    return 0.0 if one is None else float((one & other).sum() / (one | other).sum())


def middle(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(np.median(columns)), float(np.median(rows))


def click(page: Watcher, seen: Seen, x: float, y: float, object: int = 0, sign: int = 1) -> str:
    """The id of the object that the node answered with."""
    answer = page.client.ask("click", frame=seen.index, object=object, x=x, y=y, sign=sign)
    assert "accepted" in answer["text"]
    return str(answer["id"])


def test_a_click_becomes_an_object_whose_mask_comes_back(page: Watcher, clip: Any):
    x, y = middle(clip.masks[0][CUP])
    id = click(page, page.see("a picture"), x, y)
    seen = page.see("the cup", lambda seen: seen.mask(id) is not None)
    assert iou(seen.mask(id), clip.masks[0][CUP]) > 0.7
    assert abs(seen.image.astype(int) - clip.frames[0]).mean() < 6  # the camera's own image, as a JPEG
    assert seen.event["latency_from"] == "stamp"
    assert 0 < seen.event["latency_ms"] < 5000
    page.see("the rate of results", lambda seen: seen.event["results_hz"] > RATE_HZ / 2)
    page.see("the node's own counts", lambda seen: seen.event["images"] and seen.event["dropped"] is not None)


def test_a_negative_click_corrects_the_selected_object(page: Watcher, robot: Robot, clip: Any):
    x, y = middle(clip.masks[0][CUP])
    id = click(page, page.see("a picture"), x, y)
    seen = page.see("the cup", lambda seen: seen.mask(id) is not None)
    applied = int(robot.diagnostics()["prompts_applied"])
    bx, by = middle(clip.masks[0][ROBOT])
    assert click(page, page.see("a picture"), bx, by, seen.object(id)["object"], -1) == id
    robot.wait_for("the click", lambda: int(robot.diagnostics()["prompts_applied"]) == applied + 1)
    seen = page.see("the cup", lambda seen: seen.mask(id) is not None)
    assert len(seen.event["objects"]) == 1
    assert iou(seen.mask(id), clip.masks[0][CUP]) > 0.7
    (point,) = message_of(LivePrompt(id, 5, "camera", point=(bx, by, False))).points
    assert (point.positive, round(point.x), round(point.y)) == (False, round(bx), round(by))
    assert "select one first" in page.client.refused("click", frame=seen.index, object=0, x=x, y=y, sign=-1)


def test_a_box_becomes_an_object_and_it_can_be_removed(page: Watcher, clip: Any):
    rows, columns = np.nonzero(clip.masks[0][ROBOT])
    box = {"x0": columns.min(), "y0": rows.min(), "x1": columns.max() + 1, "y1": rows.max() + 1}
    seen = page.see("a picture")
    fields = {name: int(edge) for name, edge in box.items()}
    id = page.client.ask("box", frame=seen.index, object=0, **fields)["id"]
    seen = page.see("the robot", lambda seen: seen.mask(id) is not None)
    assert iou(seen.mask(id), clip.masks[0][ROBOT]) > 0.7
    assert page.client.ask("remove", object=seen.object(id)["object"])["text"] == f"removed {id}"
    page.see("no robot", lambda seen: seen.object(id) is None)
    assert "no object" in page.client.refused("remove", object=seen.object(id)["object"])


def test_what_the_node_refuses_is_said_in_its_words(page: Watcher, robot: Robot):
    seen = page.see("a picture")
    line = page.client.refused("box", frame=seen.index, object=0, x0=5, y0=5, x1=5, y1=5)
    assert line.startswith("/sam2 refused: prompt ")
    assert "box" in line
    assert "too old" in page.client.refused("click", frame=10**6, object=0, x=1, y=1, sign=1)
    assert "expected" in page.client.refused("track", frame=0, direction="forward")
    robot.send_prompts(robot.prompt("nothing"))  # of somebody else: the node says it in its log alone
    page.client.event("notice", lambda event: event["text"].startswith("/sam2: rejected: prompt 'nothing'"))


def test_a_node_computes_nothing_for_a_page_that_nobody_looks_at(robot: Robot, server: HttpAndSocket):
    def subscribers() -> int:
        return len(robot.node.get_subscriptions_info_by_topic("/sam2/objects"))

    robot.wait_for("the end of the subscription", lambda: subscribers() == 0)
    with server.client() as client:
        Watcher(client).see("a result", lambda seen: seen.event["result"])
        robot.wait_for("the subscription", lambda: subscribers() == 1)
    robot.wait_for("the end of the subscription", lambda: subscribers() == 0)


def test_a_click_on_an_older_picture_finds_the_object_where_it_is_now(
    page: Watcher, camera: Camera, clip: Any
):
    old = page.see("the first image", lambda seen: camera.image_of(seen) == 0)
    camera.moving = True
    page.see("a later image", lambda seen: camera.image_of(seen) >= 5)
    id = click(page, old, *middle(clip.masks[0][CUP]))
    seen = page.see("the cup", lambda seen: seen.mask(id) is not None)
    image = camera.image_of(seen)
    assert image >= 5
    assert iou(seen.mask(id), clip.masks[image][CUP]) > 0.6


def test_recorded_prompts_are_read_by_replay(
    page: Watcher, server: HttpAndSocket, camera: Camera, clip: Any, project: Path, tmp_path: Path
):
    assert page.client.ask("record", on=True) == {"on": True, "prompts": 0, "file": "", "url": ""}
    camera.moving = True
    first = page.see("a picture", lambda seen: camera.image_of(seen) >= 2)
    at = camera.image_of(first)
    id = click(page, first, *middle(clip.masks[at][CUP]))
    seen = page.see("the cup", lambda seen: seen.mask(id) is not None)
    click(page, seen, 3, 4, seen.object(id)["object"], -1)
    told = page.client.event("live_state", lambda event: event["recording"]["prompts"] == 2)["recording"]
    recorded = page.client.ask("record", on=False)
    assert recorded == {**told, "on": False}
    file = Path(recorded["file"])
    assert file.parent.parent == project / "exports"
    assert "sam2-ros replay" in (file.parent / "README.txt").read_text()
    stamps = [stamp_ns for stamp_ns, image in sorted(camera.stamps.items()) if image >= at]
    with BagWriter(tmp_path / "bag", storage="mcap") as writer:
        for stamp_ns in stamps:
            writer.write_image("/camera/image_raw", stamp_ns, "camera", clip.frames[camera.stamps[stamp_ns]])
    options = "--direct", "--image-size", "128", "--out", str(tmp_path / "replayed")
    assert run(["replay", str(tmp_path / "bag"), "--prompts", str(file), *options]) == 0
    book = PromptBook()
    book.add_file(file)
    prompts = book.prompts(stamps_of(tmp_path / "bag", None, file))
    assert [camera.stamps[stamps[frame]] for frame in prompts] == [at, camera.image_of(seen)]
    one, two = (given for (given,) in prompts.values())
    assert (one.id, two.id) == (id, id)
    assert np.allclose(one.points, [middle(clip.masks[at][CUP])], atol=0.01)
    assert (list(one.labels), list(two.labels)) == ([1], [0])
    assert server.request("GET", recorded["url"], cookie=False)[0] == 403
    status, headers, body = server.request("GET", recorded["url"])
    assert (status, json.loads(body)) == (200, json.loads(file.read_text()))
    assert headers["content-disposition"].startswith("attachment")
    assert server.request("GET", recorded["url"].replace("prompts.json", "README.txt"))[0] == 404


def test_a_client_that_shows_nothing_gets_a_few_pictures_and_slows_no_other(
    page: Watcher, server: HttpAndSocket
):
    with server.client() as slow:
        slow.ask("live")
        before = page.see("a picture").index
        page.see("many pictures", lambda seen: seen.index >= before + 12)
        slow.ask("gallery")
        assert 1 <= len(slow.named("live")) <= 3
        newest = slow.named("live")[-1]["index"]
        slow.ask("shown", index=newest)
        slow.event("live", lambda event: event["index"] > newest + 5)  # the newest, none of those between
        assert len({index_of(data) for data in slow.binaries}) <= 3


def test_a_user_clicks_the_cup_in_a_browser(page: Watcher, server: HttpAndSocket, camera: Camera, clip: Any):
    with live_page(f"{server.origin}/#token={TOKEN}") as user:
        user.sees("#title", "/sam2 live")
        before = user.picture()
        camera.moving = True
        page.see("the last image", lambda seen: camera.image_of(seen) == FRAMES - 1)
        user.page.wait_for_timeout(300)
        still = user.picture()
        assert (abs(still.astype(int) - before)[..., :3].max(-1) > 40).mean() > 0.01  # the camera has moved
        user.click(*middle(clip.masks[-1][CUP]), (480, 640))
        user.counts("#live-objects .object", 1)
        id = user.page.locator("#live-objects .name").inner_text()
        user.sees("#live-objects .seen", "TRACKING")
        user.page.locator("#live-objects .object[data-selected]").wait_for()  # the next click corrects it
        rows, columns = np.nonzero(clip.masks[-1][CUP])
        scale = still.shape[0] / 480
        region = np.s_[
            int(rows.min() * scale) : int(rows.max() * scale),
            int(columns.min() * scale) : int(columns.max() * scale),
        ]
        coloured = abs(user.picture()[region].astype(int) - still[region])[..., :3].max(-1) > 20
        assert coloured.mean() > 0.3
        user.page.get_by_label(f"Hide {id}").click()
        user.page.wait_for_timeout(300)
        assert (abs(user.picture()[region].astype(int) - still[region])[..., :3].max(-1) > 20).mean() < 0.05
        user.page.locator("#record").click()
        user.click(20, 20, (480, 640), button="right")
        user.sees("#record span", "Recording (1)")
        with user.page.expect_download() as download:
            user.page.locator("#download").click()
        assert json.loads(download.value.path().read_text())[0]["points"][0][2] == 0
        user.page.keyboard.press("r")
        user.sees("#record span", "Record prompts")
        user.page.keyboard.press("Delete")
        user.counts("#live-objects .object", 0)


def test_the_keyboard_alone_prompts_and_resets(page: Watcher, server: HttpAndSocket):
    with live_page(f"{server.origin}/#token={TOKEN}", width=390) as user:
        user.picture()
        user.page.keyboard.press("k")
        user.sees("#hint", re.compile("Arrows move"))
        user.page.keyboard.press("r")
        for key in [*["ArrowRight"] * 5, *["ArrowDown"] * 5]:
            user.page.keyboard.press(key)
        user.page.keyboard.press("r")
        user.counts("#live-objects .object", 1)
        user.page.keyboard.press("Escape")
        user.page.locator("#reset").press("Enter")
        user.page.keyboard.press("Escape")  # the question is not answered: nothing is removed
        user.page.wait_for_timeout(300)
        user.counts("#live-objects .object", 1)
        user.page.locator("#reset").press("Enter")
        user.page.locator("#reset-all").press("Enter")
        user.counts("#live-objects .object", 0)
        user.sees("#status", "1 objects forgotten")
        assert user.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_page_has_no_serious_finding_of_accessibility(page: Watcher, server: HttpAndSocket, clip: Any):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    click(page, page.see("a picture"), *middle(clip.masks[0][CUP]))
    for width, scheme in ((1280, "light"), (390, "dark")):
        with live_page(f"{server.origin}/#token={TOKEN}", width, color_scheme=scheme) as user:
            user.counts("#live-objects .object", 1)
            found = axe.Axe().run(user.page).response["violations"]
            assert not [one for one in found if one["impact"] in ("serious", "critical")]


def test_positions_are_told_with_their_distance_whatever_the_topics_are_called(clip: Any, tmp_path: Path):
    domain_id = next_domain()
    with (
        in_domain(domain_id),
        published_positions(domain_id, clip.frames[0]),
        live_server(tmp_path, LiveConfig("/arm/eye")) as server,
        server.client() as client,
    ):
        seen = Watcher(client).see("both objects", lambda seen: len(seen.event["objects"]) == 2, 60.0)
        cup, box = seen.event["objects"]
        assert (cup["position"], cup["distance_m"], cup["position_frame"]) == ([1, 2, 2], 3, "base")
        assert "position" not in box
        assert cup["iou"] == 0  # it was not a number
        assert client.ask("live")["topic"] == "/left/image"
        rows, columns = np.nonzero(seen.masks[3])
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 29, 10, 14)
        assert not seen.masks[4].any()
        with live_page(f"{server.origin}/#token={TOKEN}") as user:
            user.counts("#live-objects .object", 2)
            user.sees("#live-objects li:first-child .place", "3.00 m away · 1.00, 2.00, 2.00 m in base")


@contextmanager
def published_positions(domain_id: int, image: np.ndarray) -> Iterator[None]:
    """A node /arm/eye that publishes a result with positions five times a second, on remapped topics."""
    import rclpy
    from geometry_msgs.msg import Point
    from rclpy.executors import SingleThreadedExecutor
    from sam2_ros_msgs.msg import TrackedObject, TrackedObjectArray
    from sensor_msgs.msg import Image, RegionOfInterest

    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain_id)
    node = rclpy.create_node("eye", namespace="/arm", context=context)
    images = node.create_publisher(Image, "/left/image", 1)
    node.create_subscription(Image, "/left/image", lambda message: None, 1)  # as a tracker does
    results = node.create_publisher(TrackedObjectArray, "/found", 1)
    picture = camera_image(image, "left")
    mask = Image(height=10, width=5, step=5, encoding="mono8", data=bytes([255] * 50))
    roi = RegionOfInterest(x_offset=10, y_offset=20, width=5, height=10)
    cup = TrackedObject(id="cup", label=3, state=1, has_position=True, score=float("nan"), roi=roi, mask=mask)
    cup.position = Point(x=1.0, y=2.0, z=2.0)
    found = TrackedObjectArray(position_frame_id="base", objects=[cup, TrackedObject(id="box", label=4)])
    found.image_height, found.image_width = image.shape[:2]

    def publish() -> None:
        picture.header.stamp = found.header.stamp = node.get_clock().now().to_msg()
        images.publish(picture)
        results.publish(found)

    node.create_timer(0.2, publish)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    spinner = threading.Thread(target=executor.spin, daemon=True)
    spinner.start()
    yield
    executor.shutdown(timeout_sec=2.0)
    context.try_shutdown()
    spinner.join(5.0)


def is_result_since(begun_s: float, seen: Seen) -> bool:
    return bool(seen.event["result"]) and float(seen.event["stamp"]) > begun_s


def test_a_node_that_is_absent_is_said_and_one_that_comes_back_is_found(
    tmp_path: Path, model: str, clip: Any
):
    domain_id = next_domain()
    line = "no node /late yet: start one with `ros2 launch sam2_ros sam2.launch.py image:=/your/camera/topic "
    line += "name:=late`"
    with (
        in_domain(domain_id),
        live_server(tmp_path, LiveConfig("/late")) as server,
        server.client() as client,
    ):
        page = Watcher(client)
        client.event("live_state", lambda event: event["problem"].startswith(line))
        assert line in client.ask("live")["problem"]
        assert line in client.refused("reset")
        for start in ("first", "second"):
            node = Robot(tmp_path / f"{start}.log", {"model": model}, name="late")
            node.domain_id = domain_id
            client.events.clear()
            begun_s = time.time()
            with node, Camera(partial(send_to, node), clip.frames, RATE_HZ):
                seen = page.see("its result", partial(is_result_since, begun_s), 90.0)
                id = click(page, seen, *middle(clip.masks[0][CUP]))
                page.see("the cup", lambda seen, id=id: seen.mask(id) is not None)
            if start == "first":
                client.event("live_state", lambda event: bool(event["problem"]))
