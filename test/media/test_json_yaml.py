# SPDX-License-Identifier: Apache-2.0
"""JSON and YAML of any content are read, or raise a one-line error."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam2_ros.media.json_yaml import read_json, read_yaml

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_well_formed_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text('\ufeff[{"id": "カップ"}]', "utf-8")  # with the byte order mark of editors on Windows
    assert read_json(path) == read_yaml(path) == [{"id": "カップ"}]
    path.write_text("base: &base {size: 3}\nother: *base\n")
    assert read_yaml(path) == {"base": {"size": 3}, "other": {"size": 3}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "digits"),
        (b"\xff\xfe\x00", "utf-8"),
        ("x" * 2000, "longer than 1,000 bytes"),
    ],
)
@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_unreadable_content_is_a_one_line_error(tmp_path: Path, content, said, read) -> None:
    path = tmp_path / "a"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=said) as raised:
        read(path, 1000 if "longer" in said else 1 << 20)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        BOMB,
        "&a [*a]",
        "a: 2020-99-99",
        "!!python/object:os.system x",
        "!!timestamp x",
        "a: [",
        "? [a]\n: b",
        "\0",
    ],
)
def test_yaml_that_expands_too_much_or_is_invalid_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a").write_text(content)
    with pytest.raises(ValueError, match=r"\w") as raised:
        read_yaml(tmp_path / "a")
    assert "\n" not in str(raised.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=40) | st.text("[]{}:-*&!|>'\"#%@,? \n0a.", max_size=30).map(str.encode))
def test_no_content_raises_anything_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    for read in (read_json, read_yaml):
        with contextlib.suppress(ValueError):
            read(path)
