# SPDX-License-Identifier: Apache-2.0
"""Reads a summary.json of `eval` or `replay` for comparison: settings, speed, and scores of every object.

Knows the keys of the files; does not know what is compared or shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2_ros.errors import UserError
from sam2_ros.media.json_yaml import read_json

ObjectKey = tuple[str, str]
"""Sequence and object."""


@dataclass(frozen=True)
class RunSummary:
    """One run.

    Attributes:
        path: the file it was read from.
        kind: "eval", "photographs", "replay" (of one bag) or "bags" (of several).
        task: settings of the task, name -> text: if they differ, scores are not comparable.
        setup: settings of model and machine, name -> text: what a comparison may be about.
        scores: by sequence and object, metric name -> value; None if there was nothing to count.
        groups: sequence -> group, if the dataset has groups.
        speed: "fps", "latency p50 ms", ... as far as measured.
        failed: sequences without scores -> the reason.
    """

    path: Path
    kind: str
    task: Mapping[str, str]
    setup: Mapping[str, str]
    scores: Mapping[ObjectKey, Mapping[str, float | None]]
    groups: Mapping[str, str] = field(default_factory=dict)
    speed: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


TASK = ("dataset", "split", "prompt", "image_size", "bag", "topic", "transport", "prompts", "truth", "rate")
SETUP = (
    "model",
    "precision",
    "numerics",
    "memory",
    "backend",
    "compile",
    "device",
    "threads",
    "workers",
    "versions",
)
RUNS = ("node", "recorded", "direct")
"""The runs of a replay, by preference: what a robot would receive comes first."""
_SHARES = ("missed", "false_presence", "identity_wrong")  # 0..1 in a replay, compared in percent


def read_summary(path: Path, run: str = "") -> RunSummary:
    """Reads a summary. `path`: the file or its folder. `run`: the run of a replay, see `runs_of`. Raises UserError."""
    file, content = _open(path)
    kind = _kind(content)
    if kind is None:
        raise UserError(
            f"'{file}' has no scores of objects: expected a summary.json of `sam2-ros eval` or `sam2-ros replay`"
        )
    try:
        if kind == "replay":
            summary = _replay(file, content, run)
        elif kind == "bags":
            summary = _bags(file, content, run)
        else:
            summary = _photographs(file, content) if kind == "photographs" else _eval(file, content)
        return _checked(summary)
    except UserError:
        raise
    except (KeyError, StopIteration, OSError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"'{file}' is not complete ({error!r}): write it again with `sam2-ros "
            f"{'replay' if kind in ('replay', 'bags') else 'eval'} --out`"
        ) from error


def _checked(summary: RunSummary) -> RunSummary:
    """Returns the summary unchanged. Raises TypeError for a score or speed that is not a finite number, or a failure
    without a text.
    """
    numbers = [number for one in summary.scores.values() for number in one.values()] + [
        *summary.speed.values()
    ]
    for number in numbers:
        if number is not None and (type(number) not in (int, float) or not math.isfinite(number)):
            raise TypeError(f"{str(number)[:40]!r} is not a finite number")
    if not all(isinstance(why, str) for why in dict(summary.failed).values()):
        raise TypeError("a sequence failed without a reason")
    return summary


def runs_of(path: Path) -> tuple[str, ...]:
    """The runs in a summary of `replay`, in the order of `RUNS`; empty for any other. Raises UserError."""
    _, content = _open(path)
    kind = _kind(content)
    runs = content["runs"] if kind == "replay" else content["means"] if kind == "bags" else {}
    return tuple(name for name in RUNS if isinstance(runs, Mapping) and name in runs)


def _open(path: Path) -> tuple[Path, Any]:
    file = path / "summary.json" if path.is_dir() else path
    try:
        content = read_json(file)
    except OSError as error:
        raise UserError(
            f"'{file}' cannot be read ({error.strerror}): expected the summary.json that `sam2-ros eval --out` writes"
        ) from error
    except ValueError as error:
        raise UserError(
            f"'{file}' is not JSON ({error}): expected a summary.json of `sam2-ros eval`"
        ) from error
    return file, content


def _kind(content: Any) -> str | None:
    if not isinstance(content, Mapping):
        return None
    if "of_instances" in content:
        return "photographs"
    if "runs" in content:
        return "replay"
    if "bags" in content and "means" in content:
        return "bags"
    return "eval" if "sequences" in content and "objects" in content else None


def _eval(file: Path, content: Mapping[str, Any]) -> RunSummary:
    scores = {
        (sequence, key): dict(one)
        for sequence, objects in content["objects"]["model"].items()
        for key, one in objects.items()
    }
    groups = {name: name.partition("/")[0] for name in content["sequences"]} if "groups" in content else {}
    failed = content.get("failed", {})
    return _summary(file, "eval", content, scores, groups=groups, speed=_speed(content), failed=failed)


def _photographs(file: Path, content: Mapping[str, Any]) -> RunSummary:
    """Instances have no names: each is identified by its number within its photograph, the same in both runs."""
    scores: dict[ObjectKey, dict[str, float | None]] = {}
    count: dict[str, int] = {}
    for one in content["of_instances"]:
        name = one["photograph"]
        count[name] = count.get(name, 0) + 1
        scores[name, str(count[name])] = {"IoU": one["IoU"]["model"]}
    return _summary(file, "photographs", content, scores, speed=_speed(content))


def _replay(file: Path, content: Mapping[str, Any], run: str) -> RunSummary:
    runs = content["runs"]
    _has(file, runs, run)
    scores = {(run, key): _in_percent(one) for key, one in runs[run]["objects"].items()}
    return _summary(file, "replay", content, scores, speed=_speed(runs[run]) | _dropped(runs[run]))


def _bags(file: Path, content: Mapping[str, Any], run: str) -> RunSummary:
    """Each bag is a sequence. Task and set-up are read from the summary of the first bag, in its own folder."""
    _has(file, content["means"], run)
    of_run = {name: runs[run] for name, runs in content["bags"].items() if run in runs}
    of_one = _open(file.parent / next(iter(of_run)))[1]
    task = {**_texts(of_one, TASK), "bag": ", ".join(of_run)}
    for own in ("topic", "transport", "prompts", "truth"):  # these belong to the first bag only
        task.pop(own, None)
    return RunSummary(
        file,
        "bags",
        task,
        _texts(of_one, SETUP),
        {
            (name, key): _in_percent(one)
            for name, made in of_run.items()
            for key, one in made["objects"].items()
        },
        speed=_dropped(content["means"][run]),
        failed=content["failed"],
    )


def _summary(
    file: Path, kind: str, content: Mapping[str, Any], scores: Mapping[ObjectKey, Any], **more: Any
) -> RunSummary:
    return RunSummary(file, kind, _texts(content, TASK), _texts(content, SETUP), scores, **more)


def _has(file: Path, runs: Mapping[str, Any], run: str) -> None:
    if run not in runs:
        raise UserError(f"'{file}' has no run '{run}', one of {', '.join(runs)} expected: see --run")


def _in_percent(scores: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        name: 100 * value if name in _SHARES and value is not None else value
        for name, value in scores.items()
        if value is None or isinstance(value, (int, float))
    }


def _dropped(run: Mapping[str, Any]) -> dict[str, float]:
    return {"dropped per image": run["dropped"] / run["images_in"]} if run["images_in"] else {}


def _texts(content: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    return {name: _text(content[name]) for name in names if name in content}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(one)}" for key, one in value.items())
    return "none" if value in (None, "") else str(value)


def _speed(content: Mapping[str, Any]) -> dict[str, float]:
    speed = {f"latency {name} ms": value for name, value in content.get("latency_ms", {}).items()}
    return ({"fps": content["fps"]} if "fps" in content else {}) | speed
