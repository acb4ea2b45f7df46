"""Everything a run needs to go on, in one file that is whole at any time; and the log that fits it.

Draws of clips and prompts follow from the seed and the step alone, so the step is all there is to keep of them.
Does not know what a step does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from sam2_ros.atomic_write import atomic_write
from sam2_ros.errors import UserError

from .train_config import FinetuneConfig

# What the tensors of a checkpoint depend on.
FIXED = ("model", "random_weights", "image_size", "freeze_encoder", "teacher")


class Learning(NamedTuple):
    """What changes from step to step."""

    model: nn.Module
    bridge: nn.Module | None
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


def save_checkpoint(
    path: Path, config: FinetuneConfig, step: int, learning: Learning, scores: Mapping[str, Any]
) -> None:
    """Written beside, brought to the disk and renamed: a run killed at any time finds this one or the one before."""
    state = {
        "config": asdict(config),
        "step": step,
        "scores": dict(scores),
        "model": learning.model.state_dict(),
        "bridge": None if learning.bridge is None else learning.bridge.state_dict(),
        "optimiser": learning.optimiser.state_dict(),
        "scaler": learning.scaler.state_dict(),
    }
    with atomic_write(path, durable=True) as partial:
        torch.save(state, partial)


def load_checkpoint(
    path: Path, config: FinetuneConfig, learning: Learning
) -> tuple[int, dict[str, Any], list[str]]:
    """Fill `learning`; the steps done, the scores so far, and which settings differ from those it was made with.

    Raises:
        UserError: not a checkpoint of such a run, or one of another model.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        saved = state["config"]
    except Exception as error:  # the unpickler stumbles over garbage in many ways
        raise UserError(
            f"checkpoint {path} cannot be read ({type(error).__name__}); remove it, or choose another `out`"
        ) from None
    now = asdict(config)
    differing = [name for name in now if _plain(now[name]) != _plain(saved.get(name)) and name != "out"]
    for name in FIXED:
        if name in differing:
            raise UserError(
                f"{path} was made with {name}: {saved.get(name)!r}, not {now[name]!r}; choose another `out`"
            )
    learning.model.load_state_dict(state["model"])
    if learning.bridge is not None:
        learning.bridge.load_state_dict(state["bridge"])
    learning.optimiser.load_state_dict(state["optimiser"])
    learning.scaler.load_state_dict(state["scaler"])
    return int(state["step"]), dict(state["scores"]), differing


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


class Log:
    """log.jsonl: one line per report."""

    def __init__(self, path: Path, staging: Path | None = None) -> None:
        """`staging`: where a shorter one is written before it takes its place."""
        self.path = path
        self._staging = staging or path.parent

    def lines(self) -> list[dict[str, Any]]:
        """All whole lines; a process killed while it wrote leaves half a line."""
        lines = []
        for text in self.path.read_text("utf-8").splitlines() if self.path.exists() else []:
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                continue
        return lines

    def keep_until(self, step: int) -> None:
        """Forget what came after a step that the run goes back to."""
        kept = [line for line in self.lines() if line["step"] <= step]
        with atomic_write(self.path, self._staging / f".{self.path.name}.partial") as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")

    def add(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
