# SPDX-License-Identifier: Apache-2.0
"""The next process removes temporary folders of a killed process, but no others and none in use."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sam2_ros.result_folder.scratch import scratch_folder

HOLD = """
import time
from sam2_ros.result_folder.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "weights").write_text("temporary")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_only_folders_of_killed_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "sam2_ros-mine").mkdir()
    (tmp_path / "sam2_ros-mine" / "notes.txt").write_text("mine")
    running, killed = (
        subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) for _ in range(2)
    )
    try:
        for process in (running, killed):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert len(list(tmp_path.iterdir())) == 3
        with scratch_folder() as folder:
            left = set(tmp_path.iterdir()) - {folder}
        assert not folder.exists()
    finally:
        running.kill()
        running.communicate()
    assert len(left) == 2
    assert tmp_path / "sam2_ros-mine" in left
    assert (tmp_path / "sam2_ros-mine" / "notes.txt").read_text() == "mine"
    (other,) = left - {tmp_path / "sam2_ros-mine"}
    assert (other / "weights").read_text() == "temporary"
