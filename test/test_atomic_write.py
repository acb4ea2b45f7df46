# SPDX-License-Identifier: Apache-2.0
"""A file is always either the complete earlier one or the complete new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2_ros.atomic_write import atomic_write, write_json


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_takes_its_place_when_the_block_ends(durable: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with atomic_write(path, durable=durable) as partial:
        partial.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_block_that_fails_leaves_the_earlier_file_and_no_half_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as partial:  # noqa: PT012
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_links_are_replaced_and_never_written_through(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for name in ("a.json", ".a.json.partial"):
        (tmp_path / name).symlink_to(precious)
    write_json(tmp_path / "a.json", {"b": 1}, indent=None)
    assert precious.read_text() == "mine"
    assert (tmp_path / "a.json").read_text() == '{"b": 1}\n'
    assert not (tmp_path / "a.json").is_symlink()


def test_the_temporary_file_may_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "staging").mkdir()
    with atomic_write(tmp_path / "a.txt", tmp_path / "staging" / "b") as partial:
        partial.write_text("c")
        assert [entry.name for entry in tmp_path.iterdir()] == ["staging"]
    assert (tmp_path / "a.txt").read_text() == "c"


def test_json_that_no_parser_takes_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"share": float("nan")})
    assert not list(tmp_path.iterdir())
