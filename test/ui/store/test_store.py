# SPDX-License-Identifier: Apache-2.0
"""The store of a project: schema, lock, undo and redo of stored changes, their limit, a killed process."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("alembic")

from sam2_ros.errors import UserError
from sam2_ros.ui.store import DATABASE_NAME, MaskRow, ObjectRow, PromptRow, SourceRow, Store
from sam2_ros.ui.store.database import open_database
from sam2_ros.ui.store.run_lengths import area_and_centroid, pack, to_mask, to_runs, unpack

HEIGHT, WIDTH = 12, 20


def new_source(store: Store) -> int:
    return store.add_source(SourceRow("video", "clip", "clip.mp4", 10, 25.0, WIDTH, HEIGHT)).id


def cup(source: int, name: str = "cup") -> ObjectRow:
    return ObjectRow(source, 1, name, "", "#ff0000")


def mask_row(source: int, frame: int, side: int, run: int, keyframe: bool = False) -> MaskRow:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[2 : 2 + side, 3 : 3 + side] = True
    return MaskRow.of((source, 1, frame), to_runs(mask), WIDTH, (3.0, 0.5), 1, keyframe, run)


@pytest.mark.parametrize("fill", ["empty", "full", "random", "first", "last"])
def test_run_lengths_bring_back_the_mask(fill):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    if fill == "full":
        mask[:] = True
    elif fill == "random":
        mask = np.random.default_rng(0).random((HEIGHT, WIDTH)) > 0.6
    elif fill == "first":
        mask[0, 0] = True
    elif fill == "last":
        mask[-1, -1] = True
    runs = unpack(pack(to_runs(mask)))
    assert np.array_equal(to_mask(runs, HEIGHT, WIDTH), mask)
    assert runs.sum() == (HEIGHT * WIDTH if mask.any() else 0)
    area, x, y = area_and_centroid(runs, WIDTH)
    assert area == mask.sum()
    if area:
        assert (x, y) == pytest.approx((np.nonzero(mask)[1].mean(), np.nonzero(mask)[0].mean()))


def test_run_lengths_of_another_size_are_refused():
    with pytest.raises(ValueError, match="expected 7 x 9"):
        to_mask(to_runs(np.ones((3, 3), bool)), 9, 7)


def test_migrations_make_the_tables_that_the_code_uses(tmp_path):
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    from sam2_ros.ui.store.schema import metadata

    engine = open_database(tmp_path / DATABASE_NAME)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused_in_one_line(tmp_path):
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE_NAME) as connection:
        connection.execute("update alembic_version set version_num = '0002'")
    with pytest.raises(UserError, match=r"schema 0002, .* reads up to 0001: update sam2_ros"):
        Store.open(tmp_path)


@pytest.mark.parametrize("content", ["no database", "tables of another program"])
def test_a_file_that_is_no_project_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / DATABASE_NAME
    if content == "no database":
        path.write_bytes(b"this is not a database" * 100)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("create table theirs (id integer)")
    with pytest.raises(UserError, match="give another --project") as raised:
        Store.open(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_project_is_opened_once(tmp_path):
    store = Store.open(tmp_path)
    with pytest.raises(UserError, match="is open in another server"):
        Store.open(tmp_path)
    store.close()
    Store.open(tmp_path).close()


def test_undo_and_redo_bring_back_equal_rows_in_the_next_process(tmp_path):
    store = Store.open(tmp_path)
    source = new_source(store)
    with store.action(source, "add cup") as action:
        action.put([cup(source)])
    with store.action(source, "click on cup") as action:
        run = action.new_run("prompt", "nano")
        action.put([PromptRow(source, 1, 0, [["click", 1.5, 2.0, 1]], b"base")])
        action.put([mask_row(source, 0, 3, run, keyframe=True)])
    with store.action(source, "track cup") as action:
        entry, run = action.entry, action.new_run("track", "nano")
        action.put([mask_row(source, frame, 4, run) for frame in (1, 2)])
    with store.action(source, "", extends=entry) as action:
        action.put([mask_row(source, 2, 5, run), mask_row(source, 3, 5, run)])
    everything = [store.objects(source), store.prompts(source), store.masks_of(source, 1)]
    store.close()

    store = Store.open(tmp_path)
    assert store.titles(source) == ("track cup", "")
    assert store.undo(source) == "track cup"
    assert [row.frame for row in store.masks_of(source, 1)] == [0]
    assert store.undo(source) == "click on cup"
    assert store.undo(source) == "add cup"
    assert store.undo(source) == ""
    assert [store.objects(source), store.prompts(source), store.masks_of(source, 1)] == [[], [], []]
    store.close()

    store = Store.open(tmp_path)
    assert [store.redo(source) for _ in range(4)] == ["add cup", "click on cup", "track cup", ""]
    assert [store.objects(source), store.prompts(source), store.masks_of(source, 1)] == everything
    store.close()


def test_a_new_action_forgets_what_was_undone(tmp_path):
    store = Store.open(tmp_path)
    source = new_source(store)
    for name in ("cup", "mug"):
        with store.action(source, f"name it {name}") as action:
            action.put([cup(source, name)])
    store.undo(source)
    with store.action(source, "name it jar") as action:
        action.put([cup(source, "jar")])
    assert store.titles(source) == ("name it jar", "")
    store.undo(source)
    assert store.objects(source) == [cup(source)]
    store.close()


def test_an_action_that_fails_leaves_nothing(tmp_path):
    store = Store.open(tmp_path)
    source = new_source(store)

    def half() -> None:
        with store.action(source, "half") as action:
            action.put([cup(source)])
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        half()
    assert store.objects(source) == []
    assert store.titles(source) == ("", "")
    store.close()


def test_numbers_of_objects_are_not_used_again(tmp_path):
    store = Store.open(tmp_path)
    source = new_source(store)
    with store.action(source, "add") as action:
        assert action.new_object() == 1
    store.undo(source)
    with store.action(source, "add") as action:
        assert action.new_object() == 2
    store.close()


def test_old_history_is_dropped_at_its_limit_and_counted(tmp_path):
    store = Store.open(tmp_path, history_bytes=1000)
    source = new_source(store)
    dropped = 0
    for index in range(30):
        with store.action(source, f"name {index}") as action:
            action.put([cup(source, f"cup {index}")])
        dropped += action.dropped
    assert dropped > 0
    undone = 0
    while store.undo(source):
        undone += 1
    assert undone == 30 - dropped
    assert store.objects(source)[0].name == f"cup {dropped - 1}"
    store.close()


def test_a_full_disk_is_told_in_one_line_and_what_was_stored_stays(tmp_path, small_disk):
    Store.open(tmp_path / "project").close()
    shutil.copy(tmp_path / "project" / DATABASE_NAME, small_disk)
    store = Store.open(small_disk)
    source = new_source(store)
    stored = 0

    def fill() -> None:
        nonlocal stored
        noise = np.random.default_rng(0).random((HEIGHT, WIDTH)) > 0.5
        while stored < 5000:
            with store.action(source, f"mask {stored}") as action:
                run = action.new_run("track", "nano")
                key = (source, 1, stored)
                action.put([MaskRow.of(key, to_runs(noise), WIDTH, (1.0, 0.5), 1, False, run)])
            stored += 1

    with pytest.raises(UserError, match=r"cannot be written .*make room") as raised:
        fill()
    assert "\n" not in str(raised.value)
    assert [row.frame for row in store.masks_of(source, 1)] == list(range(stored))
    store.close()


WRITER = """
import sys
from pathlib import Path
from sam2_ros.ui.store import ObjectRow, SourceRow, Store
store = Store.open(Path(sys.argv[1]))
source = store.add_source(SourceRow("video", "clip", "clip.mp4", 10, 25.0, 20, 12)).id
for index in range(100000):
    with store.action(source, f"name {index}") as action:
        action.put([ObjectRow(source, 1, f"cup {index}", "", "#ff0000")])
    print(index, flush=True)
"""


@pytest.mark.parametrize("actions", [1, 7, 40])
def test_everything_up_to_the_last_finished_action_survives_kill_9(tmp_path, actions):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    last = -1
    for line in process.stdout:
        last = int(line)
        if last + 1 >= actions:
            break
    time.sleep(0.003)  # into the next action
    process.send_signal(signal.SIGKILL)
    printed = [int(line) for line in process.stdout]
    process.wait()
    last = max([last, *printed])
    store = Store.open(tmp_path)
    (source,) = store.sources()
    (found,) = store.objects(source.id)
    number = int(found.name.split()[1])
    assert last <= number <= last + 1  # the one in progress is there as a whole, or not at all
    assert store.titles(source.id)[0] == f"name {number}"
    store.undo(source.id)
    assert store.objects(source.id)[0].name == f"cup {number - 1}" if number else True
    store.close()
