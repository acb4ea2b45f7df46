# SPDX-License-Identifier: Apache-2.0
"""Commands as they come: what is read, and what is refused in one line."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy (extra ui)")
pytest.importorskip("alembic", reason="needs alembic (extra ui)")
from sam2_ros.errors import UserError
from sam2_ros.ui.server.commands import (
    BESIDE,
    OF_CLIP,
    OF_SERVER,
    Command,
    MalformedError,
    checked_fields,
    parse,
)

CLICK = {"frame": 0, "object": 1, "x": 1.5, "y": 2, "sign": 1}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"seq": 1, "do": "click", "x": NaN}', "NaN is not a number"),
        ('{"seq": 1, "do": "click", "x": 1' + "0" * 5000 + "}", "not JSON"),
        ("7", "a int given"),
        ("[]", "a list given"),
        ('{"do": "state"}', "without a number `seq`"),
        ('{"seq": true, "do": "state"}', "without a number `seq`"),
        ('{"seq": -1, "do": "state"}', "without a number `seq`"),
        ('{"seq": "1", "do": "state"}', "without a number `seq`"),
        (f'{{"seq": {1 << 60}, "do": "state"}}', "without a number `seq`"),
        ('{"seq": 1}', "without its name `do`"),
        ('{"seq": 1, "do": ["state"]}', "without its name `do`"),
    ],
)
def test_a_message_that_is_no_command_is_refused(text, line):
    with pytest.raises(MalformedError, match=line) as raised:
        parse(text)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 200


def test_a_command_is_read():
    assert parse(json.dumps({"seq": 7, "do": "click", **CLICK})) == Command(7, "click", CLICK)
    with pytest.raises(MalformedError) as raised:
        parse('{"seq": 7}')
    assert raised.value.seq == 7


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"frame": None}, "frame None given, a whole number expected"),
        ({"frame": 0.5}, "frame 0.5 given"),
        ({"frame": True}, "frame True given"),
        ({"frame": 10**400}, "a whole number expected"),
        ({"x": "1"}, "x '1' given, a number expected"),
        ({"x": float("inf")}, "x inf given"),
        ({"x": 1e300}, "x 1e\\+300 given"),
        ({"y": [[[]]]}, "y"),
        ({"sign": {}}, "sign"),
        ({"also": 1}, "click has a field also, any of frame, object, x, y, sign expected"),
        ({"session": 1}, "click has a field session"),
        ({"__class__": 1}, "__class__"),
    ],
)
def test_a_field_of_another_kind_is_refused(change, line):
    with pytest.raises(UserError, match=line) as raised:
        checked_fields(Command(1, "click", CLICK | change), OF_CLIP["click"])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("missing", list(CLICK))
def test_a_missing_field_is_named(missing):
    given = {name: value for name, value in CLICK.items() if name != missing}
    with pytest.raises(UserError, match=f"click without {missing}, "):
        checked_fields(Command(1, "click", given), OF_CLIP["click"])


def test_fields_become_arguments():
    assert checked_fields(Command(1, "click", CLICK), OF_CLIP["click"]) == CLICK
    given = {"object": 1, "class": "cup"}
    assert checked_fields(Command(1, "set_class", given), OF_CLIP["set_class"]) == {
        "object": 1,
        "class_": "cup",
    }
    assert checked_fields(Command(1, "add_object", {}), OF_CLIP["add_object"]) == {}
    track = {"frame": 3, "direction": "both"}
    for objects in ([1], None):
        assert (
            checked_fields(Command(1, "track", track | {"objects": objects}), OF_CLIP["track"])["objects"]
            == objects
        )


def test_commands_that_run_beside_others_change_nothing():
    changing = {
        "add_object", "rename", "set_class", "lock", "delete_object", "click", "unclick", "box", "stroke", "clear",
        "track", "cancel", "undo", "redo", "settings", "open", "export",
    }  # fmt: skip
    assert changing <= set(OF_CLIP) | set(OF_SERVER)
    assert not changing & BESIDE
    assert set(OF_CLIP) >= BESIDE
