# SPDX-License-Identifier: Apache-2.0
"""The socket against a running server with a real model: prompts, order, two tabs, limits, and attacks.

The model sees 128 pixels: its masks are coarse, but not beside the object.
"""

from __future__ import annotations

import base64
import http.client
import json
import struct
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="needs sqlalchemy (extra ui)")
pytest.importorskip("alembic", reason="needs alembic (extra ui)")
pytest.importorskip("fastapi", reason="needs fastapi (extra ui)")
pytest.importorskip("uvicorn", reason="needs uvicorn (extra ui)")
pytest.importorskip("websockets", reason="needs websockets (extra ui)")
from session_clips import HEIGHT, WIDTH, box_around, clip, clip_folder, inside, iou
from ui_servers import HttpAndSocket, PageClient, RunningServer, read_masks, running_server
from websockets.exceptions import ConnectionClosed

from sam2_ros.ui.server.config import Limits

pytestmark = pytest.mark.long
HW = (HEIGHT, WIDTH)
LIMITS = Limits(logins_per_s=1000, message_bytes=1 << 16, clients=6, in_flight=8)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with one clip, which is source 1, decoded."""
    source = clip_folder(tmp_path_factory.mktemp("clip") / "frames")
    with running_server(tmp_path_factory.mktemp("project"), source, limits=LIMITS) as running:
        with running.client(1) as page:
            page.wait_until_decoded()
        yield running


@pytest.fixture
def page(server: RunningServer):
    """A client that has the clip open, without objects."""
    with server.client(1) as client:
        for thing in client.ask("state")["objects"]:
            client.ask("lock", object=thing["object"], locked=False)
            client.ask("delete_object", object=thing["object"])
        yield client


def new_object(page: PageClient) -> int:
    return int(page.ask("add_object")["object"]["object"])


def box_on(page: PageClient, number: int, thing: int) -> None:
    """A box around a true object on frame 0."""
    x0, y0, x1, y1 = box_around(thing, 0)
    page.ask("box", frame=0, object=number, x0=x0, y0=y0, x1=x1, y1=y1)


def test_a_click_answers_with_the_mask_and_the_object(page: PageClient):
    assert page.ask("gallery")["sources"][0]["frames"] == 24
    number = new_object(page)
    x, y = inside(1, 0)
    result = page.ask("click", frame=0, object=number, x=x, y=y, sign=1)
    assert result["object"]["keyframes"] == [
        {"frame": 0, "points": [[x, y, 1]], "box": None, "mask": False, "accepted": False}
    ]
    assert iou(page.masks(HW, 0)[number], clip().masks[0, 0]) > 0.4
    box_on(page, number, 1)
    boxed = page.masks(HW)[number]
    assert iou(boxed, clip().masks[0, 0]) > 0.4
    page.ask("stroke", frame=0, object=number, points=[[5, 5], [25, 5]], radius=4, erase=False)
    drawn = page.masks(HW)[number]
    assert drawn[5, 5:25].all()
    assert page.ask("undo")["undone"].startswith("draw on")
    page.ask("masks", index=0)
    assert np.array_equal(page.masks(HW)[number], boxed)
    page.ask("clear", frame=0, object=number)
    assert page.masks(HW, 0) == {}


def test_frames_thumbnails_and_previews_come_before_their_answers(page: PageClient):
    page.ask("frame", index=3)
    kinds = [data[0] for data in page.binaries]
    assert kinds == [1, 2]
    image = cv2.imdecode(np.frombuffer(page.binaries[0], np.uint8, offset=12), cv2.IMREAD_COLOR)
    assert abs(cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(int) - clip().frames[3]).mean() < 4
    page.ask("strip", indices=[0, 5, 10], height=36)
    assert [struct.unpack_from("<III", data) for data in page.binaries] == [(3, 1, 0), (3, 1, 5), (3, 1, 10)]
    page.binaries = []
    answer = page.answer(page.send("strip", indices=[1, 99], height=36))
    assert "frame 99 given" in answer["error"]
    assert len(page.binaries) == 1
    x, y = inside(2, 0)
    page.ask("preview", frame=0, x=x, y=y, sign=1)
    (preview,) = page.binaries
    assert preview[0] == 4
    assert iou(read_masks(preview, HW)[0], clip().masks[0, 1]) > 0.4
    assert page.ask("state")["objects"] == []


def test_of_many_previews_every_one_is_answered(page: PageClient):
    x, y = inside(1, 0)
    page.ask("preview", frame=0, x=x, y=y, sign=1)
    page.binaries = []
    numbers = [page.send("preview", frame=0, x=x, y=y + n % 3, sign=1) for n in range(20)]
    answers = [page.answer(number) for number in numbers]
    assert all(answer["ok"] for answer in answers)
    assert 1 <= len(page.binaries) <= 20


def test_a_click_never_overtakes_another(page: PageClient):
    number = new_object(page)
    page.seqs = []
    places = [(inside(1, 0)[0] + n % 4, inside(1, 0)[1], n % 3 != 2) for n in range(12)]
    sent = [
        page.send("click", frame=0, object=number, x=x, y=y, sign=int(sign)) for x, y, sign in places
    ]  # more than may be in flight
    last = page.send("state")
    keyframe = page.answer(last)["result"]["objects"][0]["keyframes"][0]
    assert keyframe["points"] == [[x, y, int(sign)] for x, y, sign in places]
    assert page.seqs == [*sent, last]


def test_tracking_pushes_masks_progress_and_lanes(page: PageClient):
    number = new_object(page)
    box_on(page, number, 1)
    page.binaries = []
    page.ask("track", frame=0, direction="forward")
    ended = page.event("tracked")
    assert (ended["from"], ended["to"], ended["cancelled"]) == (0, 23, False)
    assert page.named("progress")[-1]["done"] >= 23
    pushed = {
        struct.unpack_from("<I", data, 8)[0]: read_masks(data, HW) for data in page.binaries if data[0] == 2
    }
    assert set(pushed) == set(range(1, 24))
    assert np.mean([iou(pushed[t][number], clip().masks[t, 0]) for t in pushed]) > 0.35
    page.event("state", lambda state: state["tracking"] is None)  # the end is told, as nobody asked for it
    page.ask("lanes")
    (lanes,) = [data for data in page.binaries if data[0] == 5]
    assert struct.unpack_from("<IIIII", lanes) == (5, 1, 1, number, 24)
    assert 255 not in lanes[20:44]
    assert isinstance(page.ask("doubt")["frames"], list)


def test_both_tabs_see_what_either_does(server: RunningServer, page: PageClient):
    with server.client(1) as other:
        number = new_object(page)
        other.event("state", lambda state: [one["object"] for one in state["objects"]] == [number])
        x, y = inside(2, 0)
        page.ask("click", frame=0, object=number, x=x, y=y, sign=1)
        other.event("state", lambda state: bool(state["objects"] and state["objects"][0]["keyframes"]))
        other.event("lanes")
        other.ask("rename", object=number, name="from the other tab")
        page.event("state", lambda state: state["objects"][0]["name"] == "from the other tab")
        assert other.ask("undo")["undone"].startswith("rename")
        page.event("state", lambda state: state["redo"].startswith("rename"))
        assert page.ask("state")["objects"] == other.ask("state")["objects"]
        own = [state for state in page.named("state") if state["undo"].startswith("click")]
        assert own == [] or all(state["redo"] for state in own)  # what it did itself it was not told
        page.events = []
        page.ask("settings", settings={"opacity": 0.25})
        other.event("state", lambda state: state["settings"]["opacity"] == 0.25)
        page.ask("state")
        assert not page.named("state")


def test_a_tab_that_is_loaded_anew_in_mid_track_gets_everything(server: RunningServer, page: PageClient):
    number = new_object(page)
    box_on(page, number, 2)
    page.ask("track", frame=0, direction="forward")
    page.event("progress", lambda event: event["what"] == "track")
    with server.client() as reloaded:
        state = reloaded.ask("open", source=1)
        page.socket.close()
        if state["tracking"] is not None:
            reloaded.event("tracked")
        reloaded.ask("masks", index=23)
        assert iou(reloaded.masks(HW, 23)[number], clip().masks[23, 1]) > 0.3
        assert reloaded.ask("state")["undo"].startswith("track")


def test_cancelling_keeps_what_is_tracked(page: PageClient):
    number = new_object(page)
    box_on(page, number, 1)
    page.ask("track", frame=0, direction="forward")
    page.ask("cancel")
    ended = page.event("tracked")
    assert ended["cancelled"]
    page.ask("masks", index=ended["to"])
    assert number in page.masks(HW)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"do": "fly"}, "command 'fly' given, one of gallery, open"),
        ({"do": "_carry_out"}, "command '_carry_out' given"),
        ({"do": "__class__"}, "command '__class__' given"),
        ({"do": "serve"}, "command 'serve' given"),
        ({"do": "open", "source": 99}, "source 99 given"),
        ({"do": "open", "source": "../../etc"}, "a whole number expected"),
        ({"do": "frame", "index": 24}, "frame 24 given"),
        ({"do": "frame", "index": -1}, "frame -1 given"),
        ({"do": "strip", "indices": list(range(300)), "height": 10}, "300 thumbnails asked for, at most 256"),
        ({"do": "strip", "indices": [{}], "height": 10}, "frame {} given"),
        ({"do": "click", "frame": 0, "object": 77, "x": 1, "y": 1, "sign": 1}, "object 77 given"),
        ({"do": "track", "frame": 0, "direction": "sideways"}, "direction 'sideways' given"),
        ({"do": "track", "frame": 0, "direction": "forward", "objects": [{}]}, "numbers of objects expected"),
        (
            {"do": "settings", "settings": {"background": {"effect": "explode"}}},
            "background effect 'explode'",
        ),
        ({"do": "settings", "settings": {"__proto__": 1}}, "__proto__"),
        ({"do": "export", "kind": "../mp4"}, "export '../mp4' given, one of mp4, masks, prompts, bag"),
        ({"do": "export", "kind": "masks", "with_source": 1}, "true or false expected"),
    ],
)
def test_a_wrong_command_is_answered_in_one_line(page: PageClient, fields, line):
    fields = dict(fields)
    assert line in page.refused(fields.pop("do"), **fields)
    assert page.ask("state")["source"]["number"] == 1


def test_a_clip_must_be_open(server: RunningServer):
    with server.client() as page:
        assert page.refused("state") == "state without a clip: send open first"
        assert page.refused("export", kind="masks") == "export without a clip: send open first"
        assert page.refused("open", source=9).startswith("source 9 given")
        assert page.refused("state") == "state without a clip: send open first"


@pytest.mark.parametrize("message", [b"\x00\x01binary", "{", "[]", "null", "\u0000", '{"seq": 1, "do": 1}'])
def test_what_is_no_command_is_answered_and_the_next_one_works(page: PageClient, message):
    page.socket.send(message)
    seq = 1 if isinstance(message, str) and "seq" in message else None
    answer = page.answer(seq)
    assert not answer["ok"]
    assert "\n" not in answer["error"]
    assert page.ask("state")["model"] == "nano"


def test_a_message_that_is_too_large_closes_the_socket_and_no_other(server: RunningServer, page: PageClient):
    with server.client(1) as attacker:
        attacker.socket.send("x" * (LIMITS.message_bytes + 1))
        with pytest.raises(ConnectionClosed):
            attacker.read(lambda: False)
    assert page.ask("state")["model"] == "nano"


def handshake(server: HttpAndSocket, **changes: str) -> int:
    """Status of the handshake of a socket; a header of the value "" is left out."""
    key = base64.b64encode(bytes(16)).decode()
    headers = {
        "Host": server.host, "Origin": server.origin, "Connection": "Upgrade", "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key, "Cookie": server.cookie(),
    }  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.putrequest("GET", "/socket", skip_host=True, skip_accept_encoding=True)
        for name, value in (headers | changes).items():
            if value:
                connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def test_only_the_page_itself_with_its_cookie_gets_a_socket(server: RunningServer):
    name, value = server.cookie().split("=", 1)
    assert handshake(server) == 101
    evil = f"evil.example:{server.port}"
    for changes in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": f"http://localhost:{server.port}"},  # this machine, but not the page of this address
        {"Host": evil, "Origin": f"http://{evil}"},  # DNS rebinding
        {"Cookie": ""},
        {"Cookie": f"{name}={value[:-1]}"},
        {"Cookie": f"{name}="},
        {"Cookie": f"other={value}"},
    ):
        assert handshake(server, **changes) == 403, changes


def test_only_so_many_pages_are_served(server: RunningServer):
    pages = []
    try:
        for _ in range(LIMITS.clients):
            pages.append(server.client())
            pages[-1].__enter__()
        with server.client() as refused:
            assert "too many pages" in refused.event("notice")["text"]
            with pytest.raises(ConnectionClosed):
                refused.read(lambda: False)
    finally:
        for page in pages:
            page.__exit__(None, None, None)
    ends = time.monotonic() + 30
    while server.service.is_full:
        assert time.monotonic() < ends
        time.sleep(0.01)
    with server.client(1) as page:
        assert page.ask("state")["model"] == "nano"


def test_a_flood_waits_and_does_not_hold_up_others(tmp_path: Path):
    source = clip_folder(tmp_path / "frames", 4)
    limits = Limits(logins_per_s=1000, commands_per_s=50, burst=10, in_flight=4)
    with running_server(tmp_path / "p", source, limits=limits) as running, running.client(1) as flood:
        started = time.monotonic()
        numbers = [flood.send("state") for _ in range(60)]
        with running.client(1) as page:
            asked = time.monotonic()
            page.ask("state")
            assert time.monotonic() - asked < 5
        assert all(flood.answer(number)["ok"] for number in numbers)
        assert time.monotonic() - started > 0.9  # 10 at once, 50 a second


def test_a_client_that_does_not_read_loses_masks_and_no_answer(tmp_path: Path):
    """It asks for pictures without reading: the server holds a few, drops masks, and serves the others."""
    noise = np.random.default_rng(0).integers(0, 255, (8, 480, 640, 3), np.uint8)
    folder = tmp_path / "noise"
    folder.mkdir()
    for index, image in enumerate(noise):
        cv2.imwrite(str(folder / f"{index:03d}.png"), image)
    limits = Limits(logins_per_s=1000, in_flight=8, pushed_bytes=1 << 18)
    with (
        running_server(tmp_path / "p", folder, limits=limits) as running,
        running.client(1) as slow,
        running.client(1) as page,
    ):
        page.wait_until_decoded()
        numbers = [slow.send("frame", index=n % 8) for n in range(200)]  # about 50 MB of noise
        number = new_object(page)
        page.ask("box", frame=0, object=number, x0=100, y0=100, x1=300, y1=300)
        outbox = next(one for one in running.service.hub.clients if one.outbox._waiting).outbox
        for t in range(400):
            data = b"\x02\0\0\0" + struct.pack("<III", 1, t, 0) + bytes(4096)
            running.service.hub._loop.call_soon_threadsafe(outbox.push, t, data)
        page.ask("state")
        assert outbox.dropped > 300
        assert outbox._bytes <= limits.pushed_bytes
        assert sum(map(len, (m for o in outbox._waiting.values() for m in o.messages))) < 8 << 20
        assert all(slow.answer(seq)["ok"] for seq in numbers)  # it reads after all


def test_what_is_written_is_not_the_page(server: RunningServer, page: PageClient):
    """Names are data: the server gives back what it was given, as JSON."""
    number = new_object(page)
    hostile = "</script><img src=x onerror=alert(1)>\u2028"
    assert page.ask("rename", object=number, name=hostile)["object"]["name"] == hostile.strip()
    assert json.loads(json.dumps(page.ask("state")))["objects"][0]["name"] == hostile.strip()


def test_a_frame_that_is_not_read_yet_is_refused_at_once_and_comes_later(tmp_path: Path):
    path = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (320, 240))
    for shade in range(600):
        writer.write(np.full((240, 320, 3), shade % 256, np.uint8))
    writer.release()
    with running_server(tmp_path / "p", path, limits=LIMITS) as running, running.client(1) as page:
        began = time.monotonic()
        answer = page.answer(page.send("frame", index=599))
        if not answer["ok"]:  # unless the machine was faster
            assert "frame 599 is not read yet" in answer["error"]
            assert time.monotonic() - began < 4  # it would have been waited for 5 s
            strip = page.answer(page.send("strip", indices=[0, 599], height=30))
            assert strip["ok"] or "not read yet" in strip["error"]
        page.wait_until_decoded()
        page.ask("frame", index=599)
        assert [data[0] for data in page.binaries] == [1, 2]
        assert page.event("progress", lambda event: event["what"] == "decode")["total"] == 600
