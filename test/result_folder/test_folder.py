# SPDX-License-Identifier: Apache-2.0
"""A result folder replaces only files of an earlier run, and switches from one result to the next as a whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sam2_ros.errors import UserError
from sam2_ros.result_folder.folder import ResultFolder

NAMES = ("masks/", "tracked/", "summary.json")
KILLED_AT_EVERY_STEP = """
import json, os, shutil, signal, sys
from pathlib import Path
from sam2_ros.result_folder.folder import ResultFolder

NAMES = ("masks/", "summary.json")
WATCHED = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open")

def write(out, what, count):
    with ResultFolder(out, "track", NAMES) as folder:
        for number in range(count):
            folder.stage(f"masks/{number:05d}.png").write_text(what)
        folder.stage("summary.json").write_text(what)

def found(out):
    files = (p for p in Path(out).rglob("*") if p.is_file() and p.name != ".sam2_ros.json")
    return {p.relative_to(out).as_posix(): p.read_text() for p in files}

root, ends = Path(sys.argv[1]), []
for step in range(1, 400):
    out = root / str(step)
    write(out, "earlier", 5)
    (out / "masks" / "notes.txt").write_text("mine")
    before = found(out)
    child = os.fork()
    if child == 0:
        seen = 0
        def kill_at(event, arguments):
            global seen
            if event in WATCHED:
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(kill_at)
        write(out, "new", 3)
        os._exit(0)
    killed = os.waitpid(child, 0)[1] != 0
    try:  # any next run, even one that fails at once
        with ResultFolder(out, "track", NAMES):
            raise InterruptedError
    except InterruptedError:
        pass
    after = found(out)
    new = {"masks/00000.png": "new", "masks/00001.png": "new", "masks/00002.png": "new", "summary.json": "new"}
    expected = {"earlier": before, "new": {**new, "masks/notes.txt": "mine"}}
    ends.append(next((name for name, files in expected.items() if files == after), json.dumps(after)))
    if not killed:
        break
print(json.dumps(ends))
"""


def write(out: Path, text: str, count: int = 2, **options: object) -> None:
    with ResultFolder(out, "track", NAMES, **options) as folder:  # type: ignore[arg-type]
        for number in range(count):
            folder.stage(f"masks/{number:05d}.png").write_text(text)
        folder.stage("summary.json").write_text(text)


def contents(folder: Path) -> dict[str, str]:
    """Return the content of every file except the manifest; of a link its target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[path.relative_to(folder).as_posix()] = f"-> {os.readlink(path)}"
        elif path.is_file() and path.name != ".sam2_ros.json":
            found[path.relative_to(folder).as_posix()] = path.read_text()
    return found


def refused(out: Path, **options: object) -> str:
    """Return the error message of a refused run; checks that no file has changed."""
    before = contents(out.parent)
    with pytest.raises(UserError) as error:
        write(out, "new", **options)
    assert contents(out.parent) == before
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_process_killed_at_any_step_leaves_the_earlier_result_or_the_new_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EVERY_STEP, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    assert len(ends) > 20
    assert set(ends) == {"earlier", "new"}
    assert ends == sorted(ends)  # earlier results first, then new ones
    assert ends[-1] == "new"


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out" / "masks").mkdir(parents=True)
    (tmp_path / "out" / "masks" / "00000.png").write_text("drawn by hand")
    said = refused(tmp_path / "out")
    assert "is not empty, and no earlier run wrote what is in it (masks): name a new or empty folder" in said
    assert "--overwrite" in said


def test_overwrite_writes_beside_and_replaces_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "frames").mkdir(parents=True)
    (out / "frames" / "00000.jpg").write_text("a frame")
    write(out, "first", overwrite=True)
    write(out, "second", 1)  # now that it is known, the option is not needed
    assert contents(out) == {
        "frames/00000.jpg": "a frame",
        "masks/00000.png": "second",
        "summary.json": "second",
    }


@pytest.mark.parametrize("theirs", ["masks/00001.png", "masks/other.png", "summary.json", "tracked", "masks"])
def test_overwrite_refuses_to_replace_other_files(tmp_path: Path, theirs: str) -> None:
    path = tmp_path / "out" / theirs
    path.parent.mkdir(parents=True)
    path.write_text("theirs")
    assert "was written by no earlier run, and is not replaced" in refused(tmp_path / "out", overwrite=True)


def test_what_the_user_adds_stays_and_what_the_user_changes_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "first", 4)
    (out / "masks" / "99999.png").write_text("mine")
    (out / "notes.txt").write_text("mine")
    write(out, "second", 2)
    kept = {"masks/99999.png": "mine", "notes.txt": "mine"}
    assert contents(out) == kept | dict.fromkeys(
        ("masks/00000.png", "masks/00001.png", "summary.json"), "second"
    )
    (out / "masks" / "00001.png").write_text("a better mask")
    assert "00001.png' was changed since an earlier run wrote it, and is not replaced" in refused(out)
    (out / "masks" / "00001.png").unlink()
    write(out, "third", 2)
    assert contents(out)["masks/00001.png"] == "third"


def test_a_copied_result_is_still_a_result(tmp_path: Path) -> None:
    write(tmp_path / "out", "first")
    subprocess.run(["cp", "-r", tmp_path / "out", tmp_path / "copy"], check=True)  # other times, same bytes
    write(tmp_path / "copy", "second", 1)
    assert contents(tmp_path / "copy") == {"masks/00000.png": "second", "summary.json": "second"}


def test_a_changed_record_is_renamed(tmp_path: Path) -> None:
    for _ in range(2):
        write(tmp_path / "out", "ours", 0)
        (tmp_path / "out" / "summary.json").write_text("with a remark")
    write(tmp_path / "out", "ours", 0)
    assert contents(tmp_path / "out") == {
        "summary.json": "ours",
        "summary.json.changed": "with a remark",
        "summary.json.changed2": "with a remark",
    }


@pytest.mark.parametrize("name", ["masks", "summary.json", ".partial", ".sam2_ros.json", "tracked"])
def test_links_in_the_folder_are_not_followed(tmp_path: Path, name: str) -> None:
    """In a folder with a manifest, and with --overwrite."""
    away = tmp_path / "away"
    away.mkdir()
    (away / "00000.png").write_text("precious")
    known, strange = tmp_path / "known", tmp_path / "strange"
    write(known, "first")
    strange.mkdir()
    for out in (known, strange):
        path = out / name
        if path.is_dir():
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
        path.unlink(missing_ok=True)
        path.symlink_to(away if name != "summary.json" else away / "00000.png")
        refused(out, overwrite=True)
    assert contents(away) == {"00000.png": "precious"}


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    write(tmp_path / "out", "first")
    assert contents(tmp_path / "disk")["summary.json"] == "first"
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    assert "is a link to nothing" in refused(tmp_path / "nowhere")


def test_a_staging_folder_of_the_users_is_not_removed(tmp_path: Path) -> None:
    write(tmp_path / "out", "first")
    (tmp_path / "out" / ".partial").mkdir()
    (tmp_path / "out" / ".partial" / "mine.txt").write_text("precious")
    assert ".partial' was written by no earlier run" in refused(tmp_path / "out")


def test_a_result_in_the_place_of_staging_is_not_removed(tmp_path: Path) -> None:
    write(tmp_path / "out", "first")
    write(tmp_path / "out" / ".partial", "another")
    assert ".partial' was written by no earlier run" in refused(tmp_path / "out")


@pytest.mark.parametrize("place", ["out", "out/masks", "out/masks/00000.png", "link"])
def test_what_is_read_is_never_replaced(tmp_path: Path, place: str) -> None:
    write(tmp_path / "out", "first")
    (tmp_path / "link").symlink_to(tmp_path / "out" / "masks")
    said = refused(tmp_path / "out", inputs=[("the source", tmp_path / place)])
    assert "the source" in said


@pytest.mark.parametrize("where", ["frames", "data/JPEGImages/frames"])
def test_pictures_that_are_links_to_results_are_not_replaced(tmp_path: Path, where: str) -> None:
    write(tmp_path / "out", "first")
    (tmp_path / where).mkdir(parents=True)
    (tmp_path / where / "a.png").symlink_to(tmp_path / "out" / "masks" / "00000.png")
    said = refused(tmp_path / "out", inputs=[("the source", tmp_path / where.partition("/")[0])])
    assert f"the source '{tmp_path / where / 'a.png'}' lies in" in said


@pytest.mark.parametrize("name", ["a\ud800", "a\0"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    assert "name of a folder expected" in refused(tmp_path / name)
    assert "that files can have" in refused(tmp_path / "out", inputs=[("the source", tmp_path / name)])


def test_inputs_beside_the_results_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "out" / "frames").mkdir(parents=True)
    for place in ("out/frames", "."):
        write(tmp_path / "out", "first", inputs=[("the source", tmp_path / place)], overwrite=True)


@pytest.mark.parametrize(
    "name", ["../escaped", "..", "/etc/escaped", "masks/../../escaped", "./x", "a//b", "", "a\0b"]
)
def test_names_never_leave_the_folder(tmp_path: Path, name: str) -> None:
    with ResultFolder(tmp_path / "out", "track") as folder, pytest.raises(UserError, match="inside"):
        folder.stage(name)


OF_NO_END = '{"sam2_ros": "results", "format": 1, "command": "track", "files": {"a": [1e999, 1, ""]}}'


def test_a_manifest_that_names_files_elsewhere_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "out", "first")
    (tmp_path / "precious.txt").write_text("precious")
    path = tmp_path / "out" / ".sam2_ros.json"
    record = json.loads(path.read_text())
    record["files"]["masks/../../precious.txt"] = None
    path.write_text(json.dumps(record))
    assert "cannot be read" in refused(tmp_path / "out")
    for text in (
        "",
        "[]",
        "{",
        '{"sam2_ros": "results", "format": 2, "files": {}}',
        "[" * 100_000,
        OF_NO_END,
    ):
        path.write_text(text)
        assert "cannot be read" in refused(tmp_path / "out")


def test_results_of_another_command_are_not_replaced(tmp_path: Path) -> None:
    with ResultFolder(tmp_path / "out", "eval", NAMES) as folder:
        folder.stage("summary.json").write_text("hours of work")
    assert "holds results of `sam2-ros eval`" in refused(tmp_path / "out")


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with ResultFolder(tmp_path / "out", "track", NAMES) as folder:
        folder.stage("summary.json").write_text("first")
        with pytest.raises(UserError, match=f"in use by another run \\(process {os.getpid()}\\)"):
            write(tmp_path / "out", "second")
    assert contents(tmp_path / "out") == {"summary.json": "first"}


def test_a_run_that_fails_leaves_no_trace(tmp_path: Path) -> None:
    def fail(out: Path, **options: object) -> None:
        with pytest.raises(InterruptedError), ResultFolder(out, "track", NAMES, **options) as folder:  # type: ignore[arg-type]  # noqa: PT012
            folder.stage("masks/00000.png").write_text("half")
            folder.scratch("frames").joinpath("0.png").write_text("temporary")
            raise InterruptedError

    fail(tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "notes.txt").write_text("mine")
    fail(tmp_path / "theirs", overwrite=True)
    assert [path.name for path in (tmp_path / "theirs").rglob("*")] == ["notes.txt"]


def test_a_hard_link_is_not_written_through(tmp_path: Path) -> None:
    write(tmp_path / "out", "first")
    os.link(tmp_path / "out" / "summary.json", tmp_path / "kept.json")
    with ResultFolder(tmp_path / "out", "track", NAMES) as folder:
        folder.live("node.log").write_text("log")
        os.link(tmp_path / "out" / "node.log", tmp_path / "kept.log")
    with ResultFolder(tmp_path / "out", "track", NAMES) as folder:
        folder.live("node.log").write_text("another")
        folder.stage("summary.json").write_text("second")
    assert (tmp_path / "kept.json").read_text() == "first"
    assert (tmp_path / "kept.log").read_text() == "log"
