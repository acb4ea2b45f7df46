# SPDX-License-Identifier: Apache-2.0
"""Runs the training that a configuration file describes: fine-tuning, or the recipe of nano.

Knows the keys that distinguish the two; does not know the command line.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from sam2_ros.errors import UserError
from sam2_ros.eval.jobs.job import OnNote, OnProgress
from sam2_ros.host_memory import RETURNED, keep_freed_pages

from .finetune.loop import finetune
from .nano.loop import train_nano
from .nano.recipe import NanoConfig
from .processes import join_processes
from .read_config import fill, read_config
from .train_config import FinetuneConfig

RECIPES = ("nano",)
RECIPE_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class RecipeConfig:
    """A recipe by name. The file's other keys are fields of `NanoConfig`, whose defaults are the recipe."""

    recipe: str
    out: str
    precision: str = "bf16"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise UserError(f"recipe: {self.recipe!r} given, one of {', '.join(RECIPES)} expected")
        if self.precision not in RECIPE_PRECISIONS:
            raise UserError(f"precision: {self.precision!r} given, fp32 or bf16 expected for a recipe")


def run_training(path: Path, tell: OnNote, progress: OnProgress) -> dict[str, Any]:
    """Trains with the settings of a YAML file: a `FinetuneConfig`, or with a key `recipe` a `RecipeConfig`.

    Returns:
        The summary of the run.

    Raises UserError for a problem with the file, its keys, its values, or its data.
    """
    values = read_config(path)
    try:
        if "recipe" in values:
            own = {f.name for f in fields(RecipeConfig)}
            recipe = fill(RecipeConfig, {key: value for key, value in values.items() if key in own})
            settings = fill(NanoConfig, {key: value for key, value in values.items() if key not in own})
        else:
            config = fill(FinetuneConfig, values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if "recipe" in values:
        return _train_recipe(recipe, settings, tell)
    keep_freed_pages()  # without glibc it has no effect, and steps take longer
    return finetune(config, tell, progress)


def _train_recipe(recipe: RecipeConfig, config: NanoConfig, tell: OnNote) -> dict[str, Any]:
    """Trains nano from scratch on rendered clips."""
    if not keep_freed_pages():
        tell(f"{RETURNED}: steps may take several times as long.")
    out = Path(recipe.out).expanduser()
    tell(
        f"Recipe {recipe.recipe}: {sum(phase.steps for phase in config.phases)} steps on rendered clips, into {out}."
    )
    with join_processes(recipe.device) as processes:
        train_nano(config, out, RECIPE_PRECISIONS[recipe.precision], processes.device)
    return {
        "recipe": recipe.recipe,
        "device": str(processes.device),
        "weights": str(out / "last.safetensors"),
    }
