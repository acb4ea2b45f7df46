# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros demo --ui`: the page shows the node tracking the clip, and Ctrl-C ends all of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy (extra ui)")
pytest.importorskip("alembic", reason="needs alembic (extra ui)")
pytest.importorskip("fastapi", reason="needs fastapi (extra ui)")
pytest.importorskip("uvicorn", reason="needs uvicorn (extra ui)")
pytest.importorskip("websockets", reason="needs websockets (extra ui)")
from live_pages import Watcher
from started_processes import WAIT_S, child_named
from ui_servers import HttpAndSocket

from sam2_ros.cli.main import run


@contextmanager
def started(tmp_path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "sam2_ros.cli", "demo", "--ui", "--no-open", "--port", "0", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_STATE_HOME": str(tmp_path)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    )
    try:
        yield process
    finally:
        process.kill()  # the kernel then ends the node
        process.communicate()


def address_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Port and token that it printed."""
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/#token=([\w-]+)\n", line)
    assert found, (line, process.communicate())
    return int(found[1]), found[2]


def test_the_demo_is_shown_and_ends_without_orphans(tmp_path: Path):
    with started(tmp_path, "--frames", "12") as process:
        port, token = address_of(process)
        node = psutil.Process(child_named(process.pid, "sam2_ros.node.node"))
        server = HttpAndSocket(port)
        with server.client(cookie=server.login(token)[1]) as client:
            page = Watcher(client)
            page.see(
                "both objects",
                lambda seen: seen.mask("cup") is not None and seen.mask("robot") is not None,
                90.0,
            )
            first = page.see("a picture").index
            page.see("the clip to begin again", lambda seen: seen.index > first + 30)
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, error
        assert out == ""
        assert "ROS_DOMAIN_ID=" in error
        assert "Traceback" not in error
        assert not node.is_running()
        assert not (tmp_path / "out").exists()  # nothing is scored


def test_a_node_that_dies_ends_the_demo_with_its_last_words(tmp_path: Path):
    with started(tmp_path, "--frames", "12") as process:
        address_of(process)
        node = psutil.Process(child_named(process.pid, "sam2_ros.node.node"))
        node.kill()
        _, error = process.communicate(timeout=WAIT_S)
        assert process.returncode == 1
        assert "the node ended with exit status -9" in error
        assert "Traceback" not in error


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--ui", "--direct"), "--ui shows the live node, and --direct was given"),
        (("--no-open",), "--port and --no-open are of the page: add --ui"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    assert run(["demo", "--out", str(tmp_path / "out"), *options]) in (1, 2)
    assert line in capsys.readouterr().err
