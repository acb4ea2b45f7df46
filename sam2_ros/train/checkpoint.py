# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of training runs, written atomically, and the training log that belongs to them.

Random clips and prompts depend only on the seed and the step, so that storing the step is enough to resume. Does not
know what a step does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sam2_ros.atomic_write import atomic_write
from sam2_ros.errors import UserError


class Resumed(NamedTuple):
    """Content of a checkpoint besides the loaded state: steps done, scores, names of settings that differ."""

    step: int
    scores: dict[str, Any]
    differing: list[str]


def save_checkpoint(
    path: Path, config: Any, step: int, state: Mapping[str, Any], scores: Mapping[str, Any] | None = None
) -> None:
    """Writes a checkpoint to a temporary file, syncs it to disk and renames it.

    After a kill at any time, this checkpoint or the previous one is complete.

    Args:
        config: the settings, a dataclass.
        state: name -> a module, an optimiser, a list of these, or None.
    """
    content = {"config": asdict(config), "step": step, "scores": dict(scores or {})}
    content |= {name: _saved(part) for name, part in state.items()}
    with atomic_write(path, durable=True) as partial:
        torch.save(content, partial)


def load_checkpoint(path: Path, config: Any, fixed: Sequence[str], state: Mapping[str, Any]) -> Resumed:
    """Loads a checkpoint into `state`, see `save_checkpoint`.

    Args:
        fixed: fields of `config` that the tensors depend on.

    Raises UserError if the file is not a checkpoint of such a run, or is of another model.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        saved = content["config"]
        missing = [name for name in ("step", *state) if name not in content]
    except Exception as error:  # for garbage, the unpickler raises many types of exceptions
        raise UserError(
            f"checkpoint {path} cannot be read ({type(error).__name__}); remove it, or choose another `out`"
        ) from None
    if missing:
        raise UserError(
            f"checkpoint {path} is of another kind of run (no {', '.join(missing)}); choose another `out`"
        )
    now = asdict(config)
    differing = [name for name in now if _plain(now[name]) != _plain(saved.get(name)) and name != "out"]
    for name in fixed:
        if name in differing:
            raise UserError(
                f"{path} was made with {name}: {saved.get(name)!r}, not {now[name]!r}; choose another `out`"
            )
    for name, part in state.items():
        _load(part, content[name])
    return Resumed(int(content["step"]), dict(content.get("scores", {})), differing)


def _saved(part: Any) -> Any:
    if isinstance(part, list):
        return [_saved(one) for one in part]
    return None if part is None else part.state_dict()


def _load(part: Any, saved: Any) -> None:
    if isinstance(part, list):
        for one, its in zip(part, saved, strict=True):
            _load(one, its)
    elif part is not None:
        part.load_state_dict(saved)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


class TrainingLog:
    """log.jsonl: one line per report."""

    def __init__(self, path: Path, staging: Path | None = None) -> None:
        """`staging`: folder for the temporary file when the log is shortened."""
        self.path = path
        self._staging = staging or path.parent

    def lines(self) -> list[dict[str, Any]]:
        """All complete lines; a process that was killed while writing leaves an incomplete one."""
        lines = []
        for text in self.path.read_text("utf-8").splitlines() if self.path.exists() else []:
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                continue
        return lines

    def keep_until(self, step: int) -> None:
        """Removes the lines after `step`, from which the run resumes."""
        kept = [line for line in self.lines() if line["step"] <= step]
        with atomic_write(self.path, self._staging / f".{self.path.name}.partial") as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")

    def add(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
