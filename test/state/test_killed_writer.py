# SPDX-License-Identifier: Apache-2.0
"""A process killed by SIGKILL while it writes its state leaves the last state, or the one before; never none.

python -m pytest -m slow test/state/test_killed_writer.py       50 kills
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sam2_ros.state.state_file import read_state

pytestmark = pytest.mark.long

# Writes without a pause: every write gives one label more, and is announced before it begins and when it is done.
WRITER = """
import sys
from pathlib import Path
from dataclasses import replace
from sam2_ros.state.state_file import read_state, write_state
path = Path(sys.argv[1])
state = read_state(path)
print(f"read {state.next_label}", flush=True)
while True:
    label = state.next_label
    objects = tuple(replace(each, label=label - 1 - i) for i, each in enumerate(state.objects))
    state = replace(state, next_label=label + 1, objects=objects)
    print(f"begin {label + 1}", flush=True)
    write_state(path, state)
    print(f"done {label + 1}", flush=True)
"""


def kill_often(folder: Path, kills: int) -> dict[str, int]:
    """Kills a writer `kills` times; returns how often the last state and the one before it were found."""
    from matching_models import matching_model, moving_boxes

    from sam2_ros.engine import Prompt, Tracker, TrackerConfig
    from sam2_ros.state.identity import ModelIdentity
    from sam2_ros.state.saved_state import SavedState
    from sam2_ros.state.state_file import write_state

    model = matching_model(256)
    tracker = Tracker(model, TrackerConfig(max_objects=2))
    frame = moving_boxes(1, 256)[0][0]
    tracker.step(frame, [Prompt(id, box=(20.0, 20, 100, 100)) for id in "ab"])
    path = folder / "state.safetensors"
    write_state(path, SavedState.of(tracker, ModelIdentity.of(model)))
    rng, found, before = random.Random(0), {"last": 0, "the one before": 0}, 0
    for _ in range(kills):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert writer.stdout is not None
        lines = [writer.stdout.readline(), writer.stdout.readline()]
        assert lines[0].startswith("read"), lines
        time.sleep(rng.uniform(0.0, 0.05))
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.read().splitlines()
        assert writer.wait() == -signal.SIGKILL
        begun = max(int(line.split()[1]) for line in lines if line.startswith("begin"))
        done = max([int(line.split()[1]) for line in lines if line.startswith(("done", "read"))])
        state = read_state(path)  # raises if there is none, or half of one
        assert state.next_label in (begun, done)
        assert state.next_label >= before  # no label is given twice
        found["last" if state.next_label == begun else "the one before"] += 1
        before = state.next_label
        assert state.ids == ["a", "b"]
    assert {each.name for each in folder.iterdir()} <= {path.name, f".{path.name}.partial"}
    return found


def test_ten_kills_leave_the_last_state_or_the_one_before(tmp_path):
    assert sum(kill_often(tmp_path, 10).values()) == 10


@pytest.mark.slow
def test_fifty_kills_leave_the_last_state_or_the_one_before(tmp_path):
    found = kill_often(tmp_path, 50)
    print(found)
    assert all(found.values())  # the kills hit both: while it is written, and after the rename
