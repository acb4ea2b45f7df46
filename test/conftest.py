# SPDX-License-Identifier: Apache-2.0
"""Fixtures and settings for all tests: a ROS domain of their own, the folder of evaluation data, a small disk.

Sets the domain before anything else is imported. Knows nothing of the tests.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ros_domains import next_domain

with contextlib.suppress(ImportError):  # not in environments for a part of the tests
    import hypothesis

    # The same cases in every run; HYPOTHESIS_SEARCH=1 searches for new ones.
    hypothesis.settings.register_profile("repeatable", derandomize=True, database=None)
    if not os.environ.get("HYPOTHESIS_SEARCH"):
        hypothesis.settings.load_profile("repeatable")

# Makes a message field of the wrong type an error, in the tests and in the nodes that they start; without it an int in
# a float64 field is read as 5e-324. Generated messages check the variable when they are imported.
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(next_domain()))

# Parallel tests share the cores: with one thread each, they do not wait for each other.
if os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ.setdefault("OMP_NUM_THREADS", "1")


# Tests end commands by signals. Children would inherit signals that nohup or a background shell ignores.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks everything below test/ros and test/live as `live`."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in ("ros", "live"):
            item.add_marker(pytest.mark.live)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real bags, clips and photographs: $SAM2_ROS_DATA, else ../shared/data."""
    folder = Path(os.environ.get("SAM2_ROS_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"evaluation data not found in {folder} (set SAM2_ROS_DATA)")
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of 128 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"needs root, to mount a file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)  # lazily: a process may be writing
