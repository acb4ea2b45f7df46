# SPDX-License-Identifier: Apache-2.0
"""Workspaces: gallery, what is refused, what is there after a restart and after kill -9, the limit of the history."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("alembic")
from session_clips import (
    MODEL,
    Events,
    box_around,
    clip_folder,
    inside,
    mask_of,
    masks_of,
    tracked,
    workspace,
)

from sam2_ros.errors import UserError
from sam2_ros.ui.frames import SourceSpec
from sam2_ros.ui.session import MaskEvent, Workspace, WorkspaceConfig
from sam2_ros.weights.open_model import ModelOptions

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return clip_folder(tmp_path_factory.mktemp("clip") / "frames")


def test_the_gallery_has_the_demo_clip_and_the_sources_once(tmp_path, source):
    for _ in range(2):  # named twice: there once
        config = WorkspaceConfig(tmp_path / "p", (SourceSpec(source),), MODEL, demo_frames=6)
        opened = Workspace.open(config, Events())
        shown = opened.gallery()
        assert [(e["source"], e["kind"], e["name"], e["frames"], e["opened"]) for e in shown] == [
            (1, "demo", "demo clip", 6, False),
            (2, "folder", "frames", 24, False),
        ]
        session = opened.open_source(1)
        assert session.frame_jpeg(0)[:2] == b"\xff\xd8"
        assert opened.gallery()[0]["opened"]
        assert opened.open_source(1) is session
        opened.close()


def test_everything_is_there_after_a_restart(tmp_path, source):
    with workspace(tmp_path / "p", source) as (_, session, events):
        session.add_object("cup", "crockery")
        session.box(0, 1, *box_around(1, 0))
        tracked(session, events, 0, "forward")
        session.set_settings({"background": {"effect": "blur"}, "opacity": 0.8})
        state, masks = session.state(), masks_of(session, 1)
    with workspace(tmp_path / "p", source) as (opened, session, _):
        assert session.state() == state
        assert state["settings"]["background"]["effect"] == "blur"
        assert state["settings"]["object"]["effect"] == "overlay"
        assert opened.gallery()[0]["objects"] == 1
        assert all(np.array_equal(a, b) for a, b in zip(masks_of(session, 1), masks, strict=True))
        assert session.undo()["undone"] == "track cup forward"
        assert mask_of(session, 5, 1) is None


@pytest.mark.parametrize(
    ("case", "line"),
    [
        ("second server", "is open in another server"),
        ("no model", "no-such-model"),
        ("no source", "does not exist"),
        ("empty folder", "is empty"),
        ("broken video", "does not open as a video"),
    ],
)
def test_what_cannot_be_opened_is_refused_in_one_line(tmp_path, source, case, line):
    first = Workspace.open(WorkspaceConfig(tmp_path / "p", (), MODEL, demo_frames=0), Events())
    project, options, spec = tmp_path / "q", MODEL, SourceSpec(source)
    if case == "second server":
        project = tmp_path / "p"
    elif case == "no model":
        options = ModelOptions(model="no-such-model")
    elif case == "no source":
        spec = SourceSpec(tmp_path / "none.mp4")
    elif case == "empty folder":
        (tmp_path / "empty").mkdir()
        spec = SourceSpec(tmp_path / "empty")
    else:
        (tmp_path / "broken.mp4").write_bytes(b"no video")
        spec = SourceSpec(tmp_path / "broken.mp4")
    with pytest.raises(UserError, match=line) as raised:
        Workspace.open(WorkspaceConfig(project, (spec,), options, demo_frames=0), Events())
    assert "\n" not in str(raised.value)
    first.close()
    Workspace.open(WorkspaceConfig(tmp_path / "q", (), MODEL, demo_frames=0), Events()).close()


def test_a_source_that_is_gone_is_refused_when_it_is_opened(tmp_path, source):
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    with workspace(tmp_path / "p", copy):
        pass
    shutil.rmtree(copy)
    opened = Workspace.open(WorkspaceConfig(tmp_path / "p", (), MODEL, demo_frames=0), Events())
    with pytest.raises(UserError, match="is gone"):
        opened.open_source(1)
    with pytest.raises(UserError, match=r"source 9 given, a source of the gallery expected: \[1\]"):
        opened.open_source(9)
    opened.close()


def test_history_that_is_dropped_is_announced(tmp_path, source):
    with workspace(tmp_path / "p", source, history_bytes=600) as (_, session, events):
        session.add_object("cup")
        for index in range(20):
            session.stroke(index, 1, [[20, 20 + index]], 9, False)
        assert "can no longer be undone" in events.named("notice")[0]["text"]
        undone = 0
        while session.undo()["undone"]:
            undone += 1
        assert 1 < undone < 21


def test_objects_are_as_many_as_the_limit(tmp_path, source):
    with workspace(tmp_path / "p", source, max_objects=2) as (_, session, _events):
        session.add_object()
        session.add_object("cup")
        with pytest.raises(UserError, match="at most 2 expected"):
            session.add_object()
        with pytest.raises(UserError, match="another object is called 'cup'"):
            session.rename(1, "cup")
        session.delete_object(2)
        assert session.add_object()["object"]["name"] == "object 3"


def test_of_two_previews_at_once_the_older_one_is_dropped(tmp_path, source):
    from concurrent.futures import ThreadPoolExecutor

    with workspace(tmp_path / "p", source) as (opened, session, _events), ThreadPoolExecutor(8) as pool:
        session.preview(0, *inside(1, 0), 1)
        started = [pool.submit(session.preview, frame, 50, 50, 1) for frame in range(8)]
        found = [future.result() for future in started]
        assert 1 <= sum(one is not None for one in found) < 8
        assert opened.gallery()[0]["objects"] == 0


def test_a_source_that_fails_in_mid_track_ends_the_run_with_a_notice(tmp_path, source):
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    with workspace(tmp_path / "p", copy) as (_, session, events):
        session.add_object("cup")
        session.box(0, 1, *box_around(1, 0))
        (copy / "0010.png").unlink()
        tracked(session, events, 0, "forward")
        assert "frame 10 of" in events.named("notice")[0]["text"]
        assert mask_of(session, 9, 1) is not None
        assert mask_of(session, 10, 1) is None
        session.click(3, 1, *inside(1, 3), 1)  # the worker lives


ACTIONS = """
import sys
import time
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from session_clips import Events, box_around, inside, workspace
from sam2_ros.ui.session import MaskEvent
from threading import Event as Flag

def say(line):
    print(line, flush=True)
    if line == sys.argv[4] and not line.startswith("tracked"):
        time.sleep(100)  # until it is killed: nothing more may happen

with workspace(Path(sys.argv[1]), Path(sys.argv[2])) as (_, session, events):
    session.add_object("cup")
    session.box(0, 1, *box_around(1, 0))
    say("box")
    session.click(0, 1, *inside(1, 0), 1)
    say("click")
    events.on_event = lambda e: say(f"tracked {e.frame}") if isinstance(e, MaskEvent) else None
    session.track(0, "forward")
    events.wait(lambda: bool(events.named("tracked")))
    say("all")
    session.stroke(5, 1, [[20, 20]], 6, False)
    say("stroke")
    session.undo()
    say("undo")
    session.undo()
    say("undo")
"""


@pytest.mark.parametrize("moment", ["box", "click", "tracked 8", "stroke", "undo"])
def test_everything_up_to_the_last_action_survives_kill_9(tmp_path, source, moment):
    here = str(Path(__file__).parents[2] / "support")
    command = [sys.executable, "-c", ACTIONS, str(tmp_path / "p"), str(source), here, moment]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line.strip())
        if said[-1] == moment:
            process.send_signal(signal.SIGKILL)
            break
    said += [line.strip() for line in process.stdout]
    process.wait()
    assert said[-1] != "all"
    with workspace(tmp_path / "p", source) as (_, session, events):
        state = session.state()
        (key,) = [key for key in state["objects"][0]["keyframes"] if key["frame"] == 0]
        assert key["box"] is not None
        assert len(key["points"]) >= (moment != "box")
        done = [int(line.split()[1]) for line in said if line.startswith("tracked")]
        for frame in done:
            if moment != "undo":
                assert mask_of(session, frame, 1) is not None
        if moment == "stroke":
            assert state["undo"] == "draw on cup"
        if moment == "tracked 8":
            assert state["undo"] == "track cup forward"
            tracked(session, events, max(done), "forward")
            assert all(mask is not None for mask in masks_of(session, 1))
        while session.undo()["undone"]:
            pass
        assert session.state()["objects"] == []
        assert not any(isinstance(event, MaskEvent) for event in events.all[-1:])
