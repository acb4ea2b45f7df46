# SPDX-License-Identifier: Apache-2.0
"""Downloads from a real HTTP server on this machine: whole, resumed, cut short, damaged, unreachable."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from random_models import random_model

from sam2_ros.engine.config import config_for
from sam2_ros.errors import CheckpointError
from sam2_ros.weights import fetch as download
from sam2_ros.weights.catalogue import ModelInfo, find_checkpoint, sha256
from sam2_ros.weights.fetch import adopt_file, fetch, fetch_from_hub
from sam2_ros.weights.load import save_model

pytestmark = pytest.mark.long

CONTENT = bytes(range(256)) * 12_000  # about three blocks


class Handler(BaseHTTPRequestHandler):
    """/whole ignores ranges, /ranges honours them, /cut announces more than it sends; /owner/... is a hub."""

    asked: list[str | None]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)  # type: ignore[attr-defined]
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0  # type: ignore[index]
        if self.path.startswith("/api/") or self.path in (
            "/missing",
            "/owner/gone/resolve/main/model.safetensors",
        ):
            self.send_error(404)
            return
        if self.path == "/ranges" and start >= len(CONTENT):
            self.send_error(416)
            return
        ranged = self.path == "/ranges" and wanted is not None
        body = CONTENT[start:] if ranged else CONTENT
        self.send_response(206 if ranged else 200)
        self._send_headers(len(body))
        self.wfile.write(body[: len(body) // 2] if self.path == "/cut" else body)

    def do_HEAD(self) -> None:
        if "/gone/" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self._send_headers(len(CONTENT))

    def _send_headers(self, length: int) -> None:
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", '"0123456789abcdef"')
        self.send_header("X-Repo-Commit", "a" * 40)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def model(server: ThreadingHTTPServer, path: str, sha256: str = "", size_bytes: int = 0) -> ModelInfo:
    return ModelInfo(
        "tiny",
        "2.1",
        1,
        "tiny.pt",
        address(server) + path,
        "Apache-2.0",
        sha256,
        None,
        "owner/tiny",
        size_bytes,
    )


def test_whole_file_with_progress_and_nothing_left_over(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    info = model(server, "/whole", hashlib.sha256(CONTENT).hexdigest())
    path = fetch(info, tmp_path / "new", lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["tiny.pt"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize(
    ("path", "start"), [("/ranges", 100_000), ("/whole", 100_000), ("/ranges", len(CONTENT))]
)
def test_interrupted_download_is_continued(
    path: str, start: int, server: ThreadingHTTPServer, tmp_path: Path
) -> None:
    (tmp_path / "tiny.pt.partial").write_bytes(CONTENT[:start])
    assert fetch(model(server, path), tmp_path).read_bytes() == CONTENT
    assert server.asked == [f"bytes={start}-"]  # type: ignore[attr-defined]


def test_file_that_is_there_is_not_asked_for_again(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / "tiny.pt").write_bytes(b"mine")
    assert fetch(model(server, "/whole"), tmp_path).read_bytes() == b"mine"
    assert server.asked == []  # type: ignore[attr-defined]


def test_a_cut_connection_keeps_the_partial_file_and_says_how_to_resume(
    server: ThreadingHTTPServer, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="run this again"):
        fetch(model(server, "/cut"), tmp_path)
    assert not (tmp_path / "tiny.pt").exists()
    assert (tmp_path / "tiny.pt.partial").read_bytes() == CONTENT[: len(CONTENT) // 2]
    assert fetch(model(server, "/ranges"), tmp_path).read_bytes() == CONTENT


def test_wrong_content_is_removed_and_named(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="SHA-256"):
        fetch(model(server, "/whole", "0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unreachable_server_gives_the_manual_step(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    info = ModelInfo("tiny", "2.1", 1, "tiny.pt", f"http://127.0.0.1:{port}/x", "Apache-2.0", "", None)
    with pytest.raises(CheckpointError, match=r"put it at .*tiny\.pt") as caught:
        fetch(info, tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_page_and_shipped_model(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Not Found"):
        fetch(model(server, "/missing"), tmp_path)
    with pytest.raises(CheckpointError, match="comes with sam2_ros"):
        fetch(ModelInfo("nano", "2.1", 1, "nano.safetensors", "", "Apache-2.0", "", None), tmp_path)


def test_another_size_than_published_is_not_taken(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"announces {len(CONTENT)} bytes, expected 17"):
        fetch(model(server, "/whole", size_bytes=17), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch(model(server, "/whole", size_bytes=len(CONTENT)), tmp_path).read_bytes() == CONTENT


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.usefixtures("hub_cache")
def test_a_hugging_face_model_is_found_by_its_id_once_it_was_fetched(server: ThreadingHTTPServer) -> None:
    with pytest.raises(CheckpointError, match="sam2-ros models fetch owner/name"):
        find_checkpoint("owner/name")
    path = fetch_from_hub("owner/name", endpoint=address(server))
    assert path.name == "model.safetensors"
    assert path.read_bytes() == CONTENT
    assert find_checkpoint("owner/name") == path


def test_of_an_official_hub_model_the_official_file_is_checked(
    server: ThreadingHTTPServer, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for digest, good in ((hashlib.sha256(CONTENT).hexdigest(), True), ("0" * 64, False)):
        monkeypatch.setattr(download, "list_models", lambda digest=digest: [model(server, "", digest)])
        if good:
            assert fetch_from_hub("owner/tiny", endpoint=address(server)).name == "tiny.pt"
        else:
            with pytest.raises(CheckpointError, match="SHA-256"):
                fetch_from_hub("owner/tiny", endpoint=address(server))
    assert not [path for path in hub_cache.rglob("tiny.pt") if path.exists()]


@pytest.mark.usefixtures("hub_cache")
def test_a_hub_model_that_is_not_there_gives_the_manual_step(server: ThreadingHTTPServer) -> None:
    with pytest.raises(CheckpointError, match=r"owner/gone.*give its path") as raised:
        fetch_from_hub("owner/gone", endpoint=address(server))
    assert "\n" not in str(raised.value)


def test_a_file_downloaded_by_hand_is_put_where_its_name_finds_it(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAM2_ROS_MODELS", str(tmp_path / "models"))
    by_hand = tmp_path / "from the browser.safetensors"
    save_model(random_model(config_for("nano")), by_hand)
    with pytest.raises(CheckpointError, match="none of the published files"):
        adopt_file(by_hand)
    monkeypatch.setattr(download, "list_models", lambda: [model(server, "", sha256(by_hand))])
    assert adopt_file(by_hand).name == "tiny"
    assert (tmp_path / "models" / "tiny.pt").read_bytes() == by_hand.read_bytes()
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny.pt"]


class Hostile(BaseHTTPRequestHandler):
    """A server that breaks the protocol in the way its path names."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        if self.path.startswith("/to-"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to-"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path == "/silent":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            self._drip(b"X-A: b\r\n")
            return
        self.send_response(206 if self.path == "/elsewhere" else 200)
        if self.path == "/endless":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    self.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            return
        announced = {"/letters": "abc", "/negative": "-5", "/huge": "9" * 5000, "/slow": str(len(CONTENT))}
        self.send_header("Content-Length", announced.get(self.path, "5"))
        if self.path == "/elsewhere":
            self.send_header("Content-Range", "bytes 999-1003/1004")
        self.end_headers()
        self._drip(b"x") if self.path == "/slow" else self.wfile.write(b"hello")

    def _drip(self, drop: bytes) -> None:
        with contextlib.suppress(OSError):
            for _ in range(100):
                self.wfile.write(drop)
                self.wfile.flush()
                time.sleep(0.1)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hostile() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/letters", "announces 'abc' bytes, expected a number"),
        ("/negative", "announces '-5' bytes, expected a number"),
        ("/huge", "announces '9{40}' bytes, expected a number"),
        ("/to-file:///etc/passwd", "cannot be downloaded"),
        ("/to-ftp://127.0.0.1:1/x", "redirects to 'ftp://127.0.0.1:1/x', an address in http expected"),
        ("/to-data:text/plain,hello", "cannot be downloaded"),
        ("/endless", "sends more than the expected 3072000 bytes"),
    ],
)
def test_a_response_that_breaks_the_protocol_is_one_line_and_leaves_nothing(
    path: str, said: str, hostile: ThreadingHTTPServer, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=said) as raised:
        fetch(model(hostile, path, size_bytes=len(CONTENT)), tmp_path)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "said"), [("/slow", "only [0-9]+ bytes came in"), ("/silent", "no answer within")]
)
def test_a_server_that_is_too_slow_is_an_error(
    path: str, said: str, hostile: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.6)
    began_s = time.monotonic()
    with pytest.raises(CheckpointError, match=f"{said}.*run this again"):
        fetch(model(hostile, path), tmp_path)
    assert time.monotonic() - began_s < 5


def test_a_part_that_begins_elsewhere_is_not_appended(hostile: ThreadingHTTPServer, tmp_path: Path) -> None:
    partial = tmp_path / "tiny.pt.partial"
    partial.write_bytes(CONTENT[:10])
    with pytest.raises(CheckpointError, match=r"resumes at byte 999, expected 10: remove .*\.partial"):
        fetch(model(hostile, "/elsewhere"), tmp_path)
    assert partial.read_bytes() == CONTENT[:10]
