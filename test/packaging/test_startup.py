# SPDX-License-Identifier: Apache-2.0
"""Programs start quickly: they import slow modules, and make slow objects, only when needed.

Measures no times, which depend on the load of the machine; checks what was imported and made.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sam2_ros.media.bag.storage import BagReader, BagWriter
from sam2_ros.media.messages.message_types import standard_types, types_of_bag

ROOT = Path(__file__).resolve().parents[2]
TRACK = """
import sys
import numpy as np
from sam2_ros.engine import Prompt, Tracker
from sam2_ros.weights import load_model

tracker = Tracker(load_model("nano", "cpu"))
image = np.zeros((64, 64, 3), np.uint8)
tracker.step(image, [Prompt("it", box=(8, 8, 40, 40))])
tracker.step(image)
"""
HEAVY = "print([name for name in ('torch._dynamo', 'sympy', 'matplotlib', 'scipy', 'onnx') if name in sys.modules])"


def imported_by(program: str) -> str:
    command = [sys.executable, "-c", program + "\n" + HEAVY]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


@pytest.mark.long
def test_tracking_starts_without_pytorchs_compiler_and_without_plots() -> None:
    """torch._dynamo alone takes as long to import as the rest of PyTorch."""
    assert imported_by(TRACK) == "[]"
    assert imported_by("import sys, torch._dynamo") != "[]"  # the check works


def test_a_bag_of_known_types_needs_no_message_classes_of_its_own(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag", storage="mcap") as writer:
        for index in range(2):
            writer.write_image("/camera", index * 10**8 + 10**9, "cam", np.zeros((4, 6, 3), np.uint8))
    reader = BagReader(tmp_path / "bag")
    connections = list(reader.connections())
    assert connections
    assert all(connection.msgdef.data for connection in connections)  # the definitions are in the bag
    assert types_of_bag(connections) is standard_types()
    raw = next(iter(reader.raw_messages(["/camera"])))
    assert reader.decode(raw).height == 4
