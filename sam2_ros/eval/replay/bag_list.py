# SPDX-License-Identifier: Apache-2.0
"""Reads a list of bags to replay, YAML or JSON: checked entries with unique names and absolute paths.

Does not check whether the files exist: a bag that cannot be used is skipped later.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2_ros.errors import UserError
from sam2_ros.media.bag.storage import STORAGE_SUFFIXES
from sam2_ros.media.json_yaml import read_yaml
from sam2_ros.result_folder.manifest import is_safe_name
from sam2_ros.text import text_problem

SUFFIXES = (".yaml", ".yml", ".json")
_PATHS = ("bag", "prompts", "truth", "recorded")
_TEXTS = ("name", "topic", "truth_topic", "recorded_topic")
_KEYS = (*_PATHS, *_TEXTS, "truth_ids", "rate")
_NEEDED = ("bag", "prompts")


@dataclass(frozen=True)
class ListedBag:
    """One entry of the list. The fields are those of `ReplayConfig`; paths are absolute.

    Attributes:
        name: name of the bag's result folder, unique in the list.
        prompts: path of the JSON file, or of a bag with prompt events.
        rate: None if the entry gives none.
    """

    name: str
    bag: Path
    prompts: Path
    truth: Path | None = None
    recorded: Path | None = None
    topic: str | None = None
    truth_topic: str | None = None
    recorded_topic: str | None = None
    truth_ids: dict[str, int] = field(default_factory=dict)
    rate: float | None = None


def is_bag_list(path: Path) -> bool:
    """True if the path is read as a list of bags, False if as a bag."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def read_bag_list(path: Path) -> list[ListedBag]:
    """The entries of a file, in order. Raises UserError, which names the entry."""
    try:
        entries = read_yaml(path, 1 << 24)
    except OSError as error:
        raise UserError(
            f"list of bags '{path}' cannot be read ({error.strerror}): a YAML or JSON file expected"
        ) from None
    except ValueError as error:
        raise UserError(f"'{path}' is neither YAML nor JSON: {' '.join(str(error).split())}") from None
    if not isinstance(entries, list) or not entries:
        raise UserError(
            f"'{path}' is not a list of bags: entries such as `- {{bag: run1, prompts: run1.json, truth: run1_masks}}` "
            "expected"
        )
    bags: list[ListedBag] = []
    for number, entry in enumerate(entries, start=1):
        try:
            one = _listed(entry, path.absolute().parent)
            if other := next((known for known in bags if known.name.lower() == one.name.lower()), None):
                raise UserError(f"the name '{one.name}' is also used for {other.bag}: give it a `name:`")
        except UserError as error:
            raise UserError(f"'{path}', entry {number}{_called(entry)}: {error}") from None
        bags.append(one)
    return bags


def _called(entry: Any) -> str:
    called = entry.get("name") or entry.get("bag") if isinstance(entry, dict) else None
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(called))
    return f" ({shown})" if called else ""


def _listed(entry: Any, folder: Path) -> ListedBag:
    if not isinstance(entry, dict):
        raise UserError(f"{entry!r} given, `bag: ...` and `prompts: ...` expected")
    for key in entry:
        if key not in _KEYS:
            close = difflib.get_close_matches(str(key), _KEYS, 1)
            hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(_KEYS)}"
            raise UserError(f"unknown key '{key}'; {hint}")
    given = {key: value for key, value in entry.items() if value is not None}
    if missing := [key for key in _NEEDED if key not in given]:
        raise UserError(f"`{missing[0]}:` is missing")
    for key in (*_PATHS, *_TEXTS):
        if key in given and (not isinstance(given[key], str) or not given[key]):
            raise UserError(f"{key} {given[key]!r} given, text expected: put it in quotes")
        if problem := text_problem(given.get(key, "")):
            raise UserError(f"{key} {given[key]!r} {problem}: text in UTF-8 expected")
    paths = {key: folder / Path(given[key]).expanduser() for key in _PATHS if key in given}
    rate = given.get("rate")
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, (int, float)) or not rate > 0):
        raise UserError(f"rate {rate!r} given, a number above 0 expected: 1 plays as recorded")
    name, truth_ids = _name(given.get("name"), paths["bag"]), _truth_ids(given.get("truth_ids"))
    return ListedBag(**{**given, **paths, "name": name, "truth_ids": truth_ids})


def _name(given: str | None, bag: Path) -> str:
    place = bag.resolve()
    name = given or (place.stem if place.suffix.lower() in STORAGE_SUFFIXES else place.name)
    if not is_safe_name(name) or name == "summary.json":
        raise UserError(f"name {name!r} given, a valid folder name expected that does not start with a dot")
    return name


def _truth_ids(given: Any) -> dict[str, int]:
    """`{4: cup}`, the order of --truth-ids -> {"cup": 4}"""
    if given is None:
        return {}
    found: dict[str, int] = {}
    for value, object_id in given.items() if isinstance(given, dict) else [(given, None)]:
        if not str(value).isdecimal() or not isinstance(object_id, str) or object_id in found:
            raise UserError(
                f"truth_ids {given!r} given, the object of each value expected, such as {{1: cup, 2: robot}}"
            )
        found[object_id] = int(value)
    return found
