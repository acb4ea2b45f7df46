# SPDX-License-Identifier: Apache-2.0
"""Configuration and result of `sam2-ros eval`; options are checked before anything slow starts.

Does not know how the evaluation works.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2_ros.engine.tracker_config import NUMERICS
from sam2_ros.errors import UserError
from sam2_ros.eval.memory_options import MemoryOptions
from sam2_ros.weights.open_model import ModelOptions

from .baselines import BASELINES
from .prompting import PROMPT_KINDS


@dataclass(frozen=True)
class EvalConfig:
    """Model, dataset and options of an evaluation.

    Attributes:
        dataset: see `datasets`.
        prompt: one of `PROMPT_KINDS`.
        split, sequences: the part of the dataset to evaluate; empty = all.
        out: folder for predicted masks, overlays and summary.json; None = nothing is written.
        numerics: see `TrackerConfig`.
        baselines: names of `BASELINES` to score beside the model.
        memory: options of the tracker's memory.
        workers: number of processes, each with its own model; 0 = chosen by rule.
        ray: address of a Ray cluster, or `local` to start one; empty = without Ray, on this machine.
        fresh: evaluate again the sequences that an earlier run completed in `out`.
        overwrite: see `ResultFolder`.
    """

    dataset: Path
    prompt: str
    model_options: ModelOptions = field(default_factory=ModelOptions)
    split: str = ""
    sequences: tuple[str, ...] = ()
    out: Path | None = None
    numerics: str = "stream"
    baselines: tuple[str, ...] = ()
    memory: MemoryOptions = field(default_factory=MemoryOptions)
    workers: int = 0
    ray: str = ""
    fresh: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.prompt not in PROMPT_KINDS:
            raise UserError(f"--prompt {self.prompt} given, one of {', '.join(PROMPT_KINDS)} expected")
        if self.numerics not in NUMERICS:
            raise UserError(f"--numerics {self.numerics} given, one of {', '.join(NUMERICS)} expected")
        if unknown := sorted(set(self.baselines) - set(BASELINES)):
            raise UserError(f"--baseline {unknown[0]} given, one of {', '.join(BASELINES)} expected")
        if self.workers < 0:
            raise UserError(
                f"--workers {self.workers} given, 1 or more expected, or 0 to choose automatically"
            )
        if self.ray and self.out is None:
            raise UserError(
                f"--ray {self.ray} without --out: name a folder that every machine of the cluster can access"
            )
        if self.fresh and self.out is None:
            raise UserError("--fresh without --out: there are no earlier results, leave it out")
        if self.out is not None:
            if self.out.exists() and not self.out.is_dir():
                raise UserError(f"--out {self.out} is a file, a folder or a new name expected")
            out, dataset = self.out.resolve(), self.dataset.resolve()
            if out.is_relative_to(dataset) or dataset.is_relative_to(out):
                raise UserError(
                    f"--out {self.out} and the dataset {self.dataset} lie one inside the other: predicted masks could "
                    "replace true ones; choose another folder"
                )


@dataclass(frozen=True)
class EvalResult:
    """Result of an evaluation. `report`: what `--json` prints; `details`: each object of each sequence, by method."""

    report: dict[str, Any]
    details: dict[str, Any]
