# SPDX-License-Identifier: Apache-2.0
"""Requests by HTTP against a running server: the page, login, downloads and uploads, and attacks on each."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="needs sqlalchemy (extra ui)")
pytest.importorskip("alembic", reason="needs alembic (extra ui)")
pytest.importorskip("fastapi", reason="needs fastapi (extra ui)")
pytest.importorskip("uvicorn", reason="needs uvicorn (extra ui)")
pytest.importorskip("websockets", reason="needs websockets (extra ui)")
from ui_servers import TOKEN, RunningServer, running_server

from sam2_ros.ui.effects.replacement import MAX_PICTURE_BYTES
from sam2_ros.ui.server.app import PAGE
from sam2_ros.ui.server.config import Limits
from sam2_ros.ui.server.run import listen

pytestmark = pytest.mark.long
SECRET = "not for the network"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    project = tmp_path_factory.mktemp("project")
    with running_server(project) as running:
        exports = project / "exports"
        (exports / "clip-1").mkdir(parents=True)
        (exports / "clip-1" / "clip-1.mp4").write_bytes(bytes(range(256)) * 4)
        (exports / "clip-1" / "größer & kleiner #1.zip").write_bytes(b"zipped")
        (exports / "clip-1" / "prompts.json").write_text(SECRET)
        (exports / "clip-1" / ".hidden.zip").write_text(SECRET)
        (project / "secret.zip").write_text(SECRET)
        os.symlink(project / "secret.zip", exports / "clip-1" / "link.zip")
        os.symlink(project, exports / "linked")
        yield running


def test_the_page_and_its_files_are_served_with_a_strict_policy(server: RunningServer):
    for path in sorted(PAGE.iterdir()):
        status, headers, body = server.request("GET", f"/{path.name}", cookie=False)
        assert (status, body) == (200, path.read_bytes()), path
    status, headers, body = server.request("GET", "/", cookie=False)
    assert (status, body) == (200, (PAGE / "index.html").read_bytes())
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert server.request("GET", "/main.js")[1]["content-type"] == "text/javascript; charset=utf-8"
    assert server.request("GET", "/style.css")[1]["content-type"] == "text/css; charset=utf-8"
    assert "server" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/nothing.js", "/__init__.py", "/../session/session.py", "/%2e%2e/session/session.py", "/..%2fsession.py",
        "/main.js/", "/main.js%00", "//main.js", "/docs", "/openapi.json", "/redoc", "/page/main.js", "/%c0%ae/x",
    ],
)  # fmt: skip
def test_nothing_else_is_served(server: RunningServer, path: str):
    status, headers, body = server.request("GET", path)
    assert status in (307, 404, 405), (status, body)
    assert b"SPDX" not in body
    assert "content-security-policy" in headers


def test_the_token_is_exchanged_for_a_cookie_that_scripts_and_other_sites_do_not_get(server: RunningServer):
    body = json.dumps({"token": TOKEN}).encode()
    status, headers, _ = server.request("POST", "/login", body, cookie=False)
    assert status == 204
    parts = {part.strip().lower() for part in headers["set-cookie"].split(";")}
    assert {"httponly", "samesite=strict", "path=/"} <= parts
    assert TOKEN not in headers["set-cookie"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"token": "wrong"}', 403),
        (b'{"token": ["a-token-for-the-tests"]}', 403),
        (b"[]", 403),
        (b"", 400),
        (b"\xff\xfe", 400),
        (b"[" * 4000, 400),
        (b"x" * 5000, 413),
    ],
)
def test_anything_but_the_token_gives_no_cookie(server: RunningServer, body: bytes, status: int):
    found, headers, text = server.request("POST", "/login", body, cookie=False)
    assert found == status
    assert "set-cookie" not in headers
    assert len(text.splitlines()) == 1


def test_guessing_is_slow(tmp_path: Path):
    with running_server(tmp_path, limits=Limits(logins_per_s=3)) as running:
        found = [running.login("wrong")[0] for _ in range(6)]
        assert found[:3] == [403] * 3
        assert 429 in found[3:]


@pytest.mark.parametrize(
    "path", ["/", "/main.js", "/login", "/exports/clip-1/clip-1.mp4", "/pictures", "/nothing"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_under_another_name_or_from_another_site_is_refused(
    server: RunningServer, path: str, method: str
):
    body = b"{}" if method == "POST" else None
    attacks = [
        {"Host": "evil.example"},
        {
            "Host": f"evil.example:{server.port}",
            "Origin": f"http://evil.example:{server.port}",
        },  # DNS rebinding
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": ""},
    ]
    attacks += [{"Origin": ""}] if method == "POST" else []
    for headers in attacks:
        status, found, text = server.request(method, path, body, headers)
        assert status in (400, 403), headers
        assert b"SPDX" not in text
        assert "set-cookie" not in found


def test_small_messages_are_sent_at_once():
    """Without TCP_NODELAY, an answer after a binary message waits 40 ms for the client's acknowledgement."""

    async def accepted() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def on_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            own = writer.get_extra_info("socket")
            found.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listen("127.0.0.1", 0) as listening:
            server = await asyncio.start_server(on_client, sock=listening)
            await asyncio.open_connection(*listening.getsockname())
            result = await asyncio.wait_for(found, 30)
            server.close()
            return result

    assert asyncio.run(accepted())


def test_two_hosts_in_one_request_are_refused(server: RunningServer):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
        raw.sendall(f"GET / HTTP/1.1\r\nHost: evil.example\r\nHost: {server.host}\r\n\r\n".encode())
        assert raw.recv(100).split(b" ")[1] in (b"400", b"403")


def test_an_export_is_downloaded_in_parts(server: RunningServer):
    status, headers, body = server.request("GET", "/exports/clip-1/clip-1.mp4")
    assert (status, len(body)) == (200, 1024)
    assert headers["content-disposition"].startswith("attachment")
    assert headers["content-type"] == "video/mp4"
    status, headers, body = server.request(
        "GET", "/exports/clip-1/clip-1.mp4", headers={"Range": "bytes=250-259"}
    )
    assert (status, body) == (206, bytes([250, 251, 252, 253, 254, 255, 0, 1, 2, 3]))
    assert headers["content-range"] == "bytes 250-259/1024"
    assert server.request("GET", "/exports/clip-1/clip-1.mp4", headers={"Range": "bytes=5000-"})[0] == 416
    assert server.request("GET", "/exports/clip-1/gr%C3%B6%C3%9Fer%20&%20kleiner%20%231.zip")[2] == b"zipped"
    assert server.request("HEAD", "/exports/clip-1/clip-1.mp4")[1]["content-length"] == "1024"


@pytest.mark.parametrize(
    "path",
    [
        "/exports/clip-1/../../secret.zip", "/exports/..%2f/secret.zip", "/exports/%2e%2e/secret.zip",
        "/exports/../secret.zip", "/exports/clip-1/..%2f..%2fsecret.zip", "/exports//secret.zip",
        "/exports/clip-1/link.zip", "/exports/linked/secret.zip", "/exports/clip-1/.hidden.zip",
        "/exports/clip-1/prompts.json", "/exports/clip-1/%2fetc%2fpasswd", "/exports/clip-1/secret.zip%00.zip",
        "/exports/clip-1/", "/exports/", "/exports/%5c..%5c/secret.zip", "/pictures/..%2fsecret.zip",
        "/pictures/..%2fproject.db", "/pictures/.", "/pictures/..",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_exports(server: RunningServer, path: str):
    status, _, body = server.request("GET", path)
    assert status in (307, 404, 405), (status, body)
    assert SECRET.encode() not in body
    assert len(body.splitlines()) <= 1


def test_downloads_and_uploads_need_the_cookie(server: RunningServer):
    for method, path in (
        ("GET", "/exports/clip-1/clip-1.mp4"),
        ("GET", "/pictures/x.png"),
        ("POST", "/pictures"),
    ):
        status, _, body = server.request(method, path, b"x" if method == "POST" else None, cookie=False)
        assert (status, body) == (403, b"not logged in: open the address that the server printed\n")


def uploaded(server: RunningServer, data: bytes, name: str) -> tuple[int, str]:
    status, _, body = server.request("POST", f"/pictures?name={name}", data)
    return status, json.loads(body)["picture"] if status == 200 else body.decode()


def test_a_picture_is_written_anew_and_kept_below_the_project(server: RunningServer, tmp_path: Path):
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, :30] = (10, 20, 200)  # BGR
    _, encoded = cv2.imencode(".png", picture)
    hidden = encoded.tobytes() + b"<script>alert(1)</script>"  # after the end of the picture
    folder = server.service.exports.parent / "pictures"
    names = set()
    for name in ("cat.png", "..%2F..%2Fcat.sh", "%2Fetc%2Fpasswd", "", "%00", "con", "a%0Ab", "x" * 300):
        status, kept = uploaded(server, hidden, name)
        assert status == 200, kept
        assert (folder / kept).parent == folder
        assert kept.endswith(".png")
        assert b"script" not in (folder / kept).read_bytes()
        names.add(kept)
        status, headers, body = server.request("GET", f"/pictures/{kept}")
        assert (status, headers["content-type"]) == (200, "image/png")
        shown = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
        assert shown.shape == (40, 60, 4)
        assert tuple(shown[5, 5]) == (10, 20, 200, 255)
    assert {path.name for path in folder.iterdir()} == names
    assert sorted(path.name for path in server.service.exports.parent.iterdir() if path.suffix == ".sh") == []
    assert uploaded(server, hidden, "cat.png")[1] in names  # the same again is the same


@pytest.mark.parametrize(
    ("data", "status", "line"),
    [
        (b"", 400, "cannot be read"),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
            400,
            "a PNG, JPEG, WebP, GIF or BMP expected",
        ),
        (b"MZ executable", 400, "cannot be read"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 400, "cannot be read"),
        (bytes(MAX_PICTURE_BYTES + 1), 413, "reduce its size"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(
    server: RunningServer, data: bytes, status: int, line: str
):
    found, text = uploaded(server, data, "x.png")
    assert found == status
    assert line in text
    assert len(text.splitlines()) == 1


def test_a_body_that_says_it_is_small_and_is_not_is_cut_off(server: RunningServer):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
        head = (
            f"POST /pictures HTTP/1.1\r\nHost: {server.host}\r\nOrigin: {server.origin}\r\n"
            f"Cookie: {server.cookie()}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        raw.sendall(head.encode())
        part = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        answer = b""
        raw.settimeout(0.01)
        for _ in range(2 * MAX_PICTURE_BYTES // 0x10000):
            try:
                raw.sendall(part)
                answer += raw.recv(100)
            except TimeoutError:
                continue
            except OSError:
                break
            if answer:
                break
        assert b" 413 " in answer


def test_only_so_many_pictures_are_kept(tmp_path: Path):
    with running_server(tmp_path, limits=Limits(pictures=2, logins_per_s=100)) as running:
        found = []
        for shade in (10, 20, 30):
            _, encoded = cv2.imencode(".png", np.full((8, 8, 3), shade, np.uint8))
            found.append(uploaded(running, encoded.tobytes(), "x.png"))
        assert [status for status, _ in found] == [200, 200, 400]
        assert "2 pictures are in" in found[2][1]
