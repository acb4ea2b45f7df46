# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros ui` as a process: its one line, its end by signals, kill -9 and restart, and what it refuses.

The model sees 128 pixels. What the server answers is tested in the files beside this one.
"""

from __future__ import annotations

import re
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy (extra ui)")
pytest.importorskip("alembic", reason="needs alembic (extra ui)")
pytest.importorskip("fastapi", reason="needs fastapi (extra ui)")
pytest.importorskip("uvicorn", reason="needs uvicorn (extra ui)")
pytest.importorskip("websockets", reason="needs websockets (extra ui)")
from session_clips import HEIGHT, WIDTH, box_around, clip_folder
from started_processes import WAIT_S
from ui_processes import QUICK, TOKEN, server_of, started
from ui_servers import PageClient

from sam2_ros.cli.main import run
from sam2_ros.media.bag.storage import BagWriter
from sam2_ros.media.messages.message_types import standard_types

pytestmark = pytest.mark.long
HW = (HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    return clip_folder(tmp_path_factory.mktemp("clip") / "frames", 24)


def test_it_prints_one_line_serves_and_ends_at_ctrl_c(frames: Path, tmp_path: Path):
    with started(frames, "--project", tmp_path / "p", "--port", 0) as (process, line):
        server = server_of(line)
        token = re.search("token=([^&]+)", line)[1]
        assert line.endswith("&source=2")  # the demo clip is source 1
        assert server.login("wrong-token-of-others")[0] == 403
        status, cookie = server.login(token)
        assert status == 204
        with server.client(2, cookie=cookie) as page:
            assert page.ask("state")["source"]["name"] == "frames"
            assert [row["kind"] for row in page.ask("gallery")["sources"]] == ["demo", "folder"]
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            out, error = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
        assert time.monotonic() - began < 20  # 2 s on a machine that is not busy
        assert out == ""
        first, second = error.splitlines()
        assert "no display: open the address in a browser" in first
        assert f"ssh -L {server.port}:127.0.0.1:{server.port}" in first
        assert second == "ended; everything is saved"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_it_ends_in_order_when_it_is_terminated(
    frames: Path, tmp_path: Path, number: signal.Signals, status: int
):
    options = (frames, "--project", tmp_path / "p", "--port", 0, "--token", TOKEN, "--no-open")
    with started(*options) as (process, line):
        with server_of(line).client(2) as page:
            page.wait_until_decoded()
            box_and_track(page)
            process.send_signal(number)
            _, error = process.communicate(timeout=WAIT_S)
        assert process.returncode == status
        assert error == ""
    with started(*options) as (process, line), server_of(line).client(2) as page:
        assert page.ask("state")["objects"][0]["keyframes"]


def box_and_track(page: PageClient) -> None:
    number = page.ask("add_object", name="cup")["object"]["object"]
    x0, y0, x1, y1 = box_around(1, 0)
    page.ask("box", frame=0, object=number, x0=x0, y0=y0, x1=x1, y1=y1)
    page.ask("track", frame=0, direction="forward")


def after_an_object(page: PageClient) -> None:
    page.ask("add_object", name="alone")


def after_a_box(page: PageClient) -> None:
    after_an_object(page)
    x0, y0, x1, y1 = box_around(1, 0)
    page.ask("box", frame=0, object=1, x0=x0, y0=y0, x1=x1, y1=y1)


def in_mid_track(page: PageClient) -> None:
    box_and_track(page)
    page.read(lambda: any(data[0] == 2 for data in page.binaries))


def after_a_correction(page: PageClient) -> None:
    box_and_track(page)
    page.event("tracked")
    page.ask("stroke", frame=7, object=1, points=[[10, 10], [40, 12]], radius=5, erase=False)


def after_an_undo(page: PageClient) -> None:
    after_a_correction(page)
    page.ask("undo")


@pytest.mark.parametrize(
    "moment",
    [after_an_object, after_a_box, in_mid_track, after_a_correction, after_an_undo],
    ids=lambda m: m.__name__,
)
def test_a_killed_server_has_everything_up_to_the_last_action(
    frames: Path, tmp_path: Path, moment: Callable[[PageClient], None]
):
    options = (frames, "--project", tmp_path / "p", "--port", 0, "--token", TOKEN, "--no-open")
    with started(*options) as (process, line), server_of(line).client(2) as page:
        page.wait_until_decoded()
        moment(page)
        pushed = {struct.unpack_from("<I", data, 8)[0] for data in page.binaries if data[0] == 2}
        known = page.ask("state")
        masks = masks_of(page, sorted(pushed))
        process.kill()
        process.wait(WAIT_S)
    with started(*options) as (process, line), server_of(line).client(2) as page:
        found = page.ask("state")
        assert found["objects"] == known["objects"]
        assert found["settings"] == known["settings"]
        assert found["tracking"] is None
        assert (found["undo"], found["redo"]) == (known["undo"], known["redo"]) or moment is in_mid_track
        for frame, before in masks.items():
            after = masks_of(page, [frame])[frame]
            assert before.keys() == after.keys()
            assert all(np.array_equal(before[number], after[number]) for number in before), frame
        if moment is in_mid_track:
            assert masks
            assert found["undo"] == "track cup forward"
            page.wait_until_decoded()
            assert page.track(0, "forward")["to"] == 23  # and it goes on


def masks_of(page: PageClient, indices: list[int]) -> dict[int, dict[int, Any]]:
    found = {}
    for index in indices:
        page.ask("masks", index=index)
        found[index] = page.masks(HW, index)
    return found


def test_the_browser_gets_another_token_that_works_once(frames: Path, tmp_path: Path):
    """Every user of a machine reads the command lines of others."""
    browser, opened = tmp_path / "browser.sh", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{opened}.partial" && mv "{opened}.partial" "{opened}"\n')
    browser.chmod(0o755)
    environment = {"DISPLAY": ":9", "BROWSER": f"{browser} %s"}
    with started(frames, "--project", tmp_path / "p", "--port", 0, **environment) as (_, line):
        server = server_of(line)
        ends = time.monotonic() + WAIT_S
        while not opened.exists():
            assert time.monotonic() < ends
            time.sleep(0.02)
        address = opened.read_text().strip()
        assert address != line
        token = re.search("token=([^&]+)", address)[1]
        assert token not in line
        assert server.login(token)[0] == 204
        assert server.login(token)[0] == 403


def test_a_second_server_takes_another_port_but_not_the_same_project(
    frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    project = ("--project", tmp_path / "p")
    with started(frames, *project, "--port", 0, "--no-open") as (_, line):
        port = server_of(line).port
        assert_refused(capsys, "is open in another server", "--project", tmp_path / "p", "--port", 0)
        assert_refused(capsys, f"--port {port} is in use", "--project", tmp_path / "q", "--port", port)
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind(("127.0.0.1", 8322))
                taken.listen()
            except OSError:
                pass  # in use by another: as good
            with started(frames, "--project", tmp_path / "q", "--no-open") as (_, other):
                assert server_of(other).port not in (port, 8322)


def assert_refused(
    capsys: pytest.CaptureFixture[str], line: str, *arguments: object, status: int = 2
) -> None:
    capsys.readouterr()
    model = () if "--live" in arguments else QUICK
    assert run(["ui", *map(str, arguments), *model]) == status
    found = capsys.readouterr()
    assert found.out == ""
    assert len(found.err.strip().splitlines()) == 1, found.err
    assert line in found.err


def bag_of(folder: Path, *topics: str) -> Path:
    """A bag with a text on each topic."""
    types = standard_types()
    text = types.serialize_cdr(types.types["std_msgs/msg/String"](data="text"), "std_msgs/msg/String")
    with BagWriter(folder) as writer:
        for topic in topics:
            writer.write_raw(topic, "std_msgs/msg/String", 1, bytes(text))
    return folder


def two_cameras(folder: Path) -> Path:
    with BagWriter(folder) as writer:
        for topic in ("/left", "/right"):
            writer.write_image(topic, 1_000_000_000, "camera", np.zeros((16, 16, 3), np.uint8))
    return folder


@pytest.mark.parametrize(
    ("case", "line"),
    [
        ("unreadable video", "does not open as a video"),
        ("no source", "does not exist"),
        ("empty folder", "is empty"),
        ("empty bag", "has no images, no topics at all"),
        ("bag without images", "has no images, only /chatter"),
        ("topic without images", "/chatter"),
        ("two cameras", "--topic"),
        ("topic without a bag", "--topic /x given without a bag"),
        ("other machines", "--host 0.0.0.0 lets other machines in"),
        ("short token", "--token of 5 characters given"),
        ("foreign address", "--host 203.0.113.1 cannot be listened on"),
        ("no address", "an address of this machine expected"),
        ("no model", "no-such-model"),
        ("project is a file", "expected a folder that can be written"),
        ("live and a source", "--live shows a running node, and "),
        ("live and a topic", "--topic /camera given with --live"),
        ("live and a model", "--live shows a node, which has its own model"),
        ("no name of a node", "--node 'sam2' given, a fully qualified name such as /sam2"),
        ("a node without live", "--node /arm/sam2 given without --live"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(
    tmp_path: Path, frames: Path, capsys: pytest.CaptureFixture[str], case: str, line: str
):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "empty").mkdir()
    given: dict[str, tuple[object, ...]] = {
        "unreadable video": (tmp_path / "broken.mp4",),
        "no source": (tmp_path / "none.mp4",),
        "empty folder": (tmp_path / "empty",),
        "topic without a bag": (frames, "--topic", "/x"),
        "other machines": ("--host", "0.0.0.0"),
        "short token": ("--token", "short"),
        "foreign address": ("--host", "203.0.113.1", "--token", TOKEN),
        "no address": ("--host", "no address", "--token", TOKEN),
        "no model": ("--model", "no-such-model"),
        "project is a file": ("--project", tmp_path / "broken.mp4"),
        "live and a source": ("--live", frames),
        "live and a topic": ("--live", "--topic", "/camera"),
        "live and a model": ("--live", "--model", "tiny"),
        "no name of a node": ("--live", "--node", "sam2"),
        "a node without live": ("--node", "/arm/sam2"),
    }
    if case == "empty bag":
        given[case] = (bag_of(tmp_path / "bag"),)
    elif case == "bag without images":
        given[case] = (bag_of(tmp_path / "bag", "/chatter"),)
    elif case == "topic without images":
        given[case] = (bag_of(tmp_path / "bag", "/chatter"), "--topic", "/chatter")
    elif case == "two cameras":
        given[case] = (two_cameras(tmp_path / "bag"),)
    project = () if "--project" in given[case] else ("--project", tmp_path / "p")
    assert_refused(capsys, line, *given[case], *project, "--port", 0)


def test_a_missing_package_is_named_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "fastapi", None)  # its import then fails
    assert_refused(capsys, "`pip install 'sam2_ros[ui]'`", "--project", tmp_path)


def test_without_ros_the_live_view_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "rclpy", None)
    assert_refused(capsys, "--live needs ROS 2, and rclpy cannot", "--live", "--project", tmp_path, status=1)


def test_the_project_of_the_user_is_below_the_state_folder_and_private(frames: Path, tmp_path: Path):
    with started(frames, "--port", 0, "--no-open", XDG_STATE_HOME=str(tmp_path / "state")):
        folder = tmp_path / "state" / "sam2_ros" / "ui"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert any(folder.iterdir())
