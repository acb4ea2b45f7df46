# SPDX-License-Identifier: Apache-2.0
"""File names from names of users: whatever is given, the file stays in its folder.

Writes the files, as only the file system knows what it accepts.
"""

from __future__ import annotations

import pytest

from sam2_ros.result_folder.manifest import is_safe_name
from sam2_ros.ui.export.file_names import MOST_BYTES, safe_file_name, unique_file_names

HOSTILE = [
    "../../etc/passwd", "..", ".", "", "   ", "/", "\\", "C:\\x", "a/b", "a\\b", ".hidden", "nul", "CON.png", "com1",
    "cup\0.png", "cup\n", "\x7f\x1b[31m", "\u202egnp.exe", "x" * 5000, "\N{CAT FACE}", "\N{CAT FACE}" * 300, "ü" * 200,
    "\ud800", "a#2", "a?*<>|:\"b", "-rf", "~", "$HOME", "`id`", "a..b...c", "._.", "cup.", "\u2024\u2024/x",
    "%2e%2e%2f",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_gives_a_safe_file_name(tmp_path, text):
    name = safe_file_name(text)
    assert is_safe_name(name)
    assert len(name.encode()) <= MOST_BYTES + 1
    assert ".." not in name
    assert not set(name) & set('/\\#:*?"<>|\n\0 ')
    assert name.split(".")[0].lower() not in {"con", "nul", "com1"}
    (tmp_path / f"{name}.png").write_bytes(b"x")
    assert [path.parent for path in tmp_path.rglob("*.png")] == [tmp_path]


def test_a_simple_name_stays_as_it_is():
    for text in ("cup", "red-cup_2", "tasse", "コップ", "v1.2"):
        assert safe_file_name(text) == text
    assert safe_file_name("red cup") == "red_cup"


def test_no_two_objects_share_a_file(tmp_path):
    texts = ["cup", "cup", "Cup", "CUP-2", "cup/", "", "", *HOSTILE]
    names = unique_file_names(texts)
    assert len({name.casefold() for name in names}) == len(texts)
    assert names[:2] == ["cup", "cup-2"]
    for name in names:
        assert is_safe_name(name)
        (tmp_path / name).touch(exist_ok=False)
