# SPDX-License-Identifier: Apache-2.0
"""Node processes that end, hang or are killed leave no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sam2_ros.errors import UserError
from sam2_ros.live import node_process
from sam2_ros.live.node_process import NodeProcess

POLITE = """
import signal, sys, time
def end(number, frame):
    print("bye", flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, end)
print("ready", flush=True)
time.sleep(60)
"""
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("child", child.pid, flush=True)
time.sleep(60)
"""


def wait_for(word: str, log: Path) -> None:
    deadline_s = time.monotonic() + 20
    while word not in log.read_text() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert word in log.read_text()


def check_for(process: NodeProcess, patience_s: float) -> None:
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        process.check()
        time.sleep(0.02)


def fail_inside(process: NodeProcess) -> None:
    with process:
        wait_for("ready", process.log_path)
        raise ZeroDivisionError


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_sigint_lets_the_node_end_in_order(tmp_path: Path) -> None:
    with NodeProcess([sys.executable, "-c", POLITE], tmp_path / "node.log", {}) as process:
        wait_for("ready", process.log_path)
        assert process.stop() == 0
    assert (tmp_path / "node.log").read_text().split() == ["ready", "bye"]


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc to look at processes")
def test_a_node_that_ignores_signals_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        node_process, "STOP_SIGNALS", tuple((number, 0.3) for number, _ in node_process.STOP_SIGNALS)
    )
    with NodeProcess([sys.executable, "-c", STUBBORN], tmp_path / "node.log", {}) as process:
        wait_for("child", process.log_path)
        child = int(process.log_path.read_text().split()[1])
    deadline_s = time.monotonic() + 5
    while is_running(child) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert not is_running(child)


def test_a_node_that_died_is_reported_with_its_last_words(tmp_path: Path) -> None:
    code = "import sys; print('no such model'); sys.exit(3)"
    with NodeProcess([sys.executable, "-c", code], tmp_path / "node.log", {}) as process:
        wait_for("no such model", process.log_path)
        with pytest.raises(UserError, match=r"(?s)exit status 3.*no such model"):
            check_for(process, 20)


def test_the_node_ends_when_its_owner_fails(tmp_path: Path) -> None:
    process = NodeProcess([sys.executable, "-c", POLITE], tmp_path / "node.log", {})
    with pytest.raises(ZeroDivisionError):
        fail_inside(process)
    with pytest.raises(UserError, match="exit status"):
        process.check()


OWNER = """
import sys, time
from pathlib import Path
from sam2_ros.live.node_process import NodeProcess
with NodeProcess([sys.executable, "-c", sys.argv[1]], Path(sys.argv[2]), {}) as process:
    print(process.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, whose kernel tells of a parent's death")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_the_node_ends_when_its_owner_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "node.log"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, POLITE, str(log)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    node = int(owner.stdout.readline())
    wait_for("ready", log)
    assert is_running(node)
    owner.send_signal(number)
    owner.communicate()
    deadline_s = time.monotonic() + 5
    while is_running(node) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert not is_running(node)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, whose kernel tells of a parent's death")
def test_a_command_whose_owner_died_before_it_began_does_not_begin(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    code = f"open({str(begun)!r}, 'w')"
    nobody = 2**22 + 1  # beyond the largest process id
    script = Path(node_process.__file__).with_name("end_with_parent.py")
    done = subprocess.run([sys.executable, str(script), str(nobody), sys.executable, "-c", code], timeout=20)
    assert done.returncode == 1
    assert not begun.exists()


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        NodeProcess(["/nowhere/sam2_node"], tmp_path / "node.log", {}) as process,
        pytest.raises(UserError, match="/nowhere/sam2_node"),
    ):
        check_for(process, 20)
