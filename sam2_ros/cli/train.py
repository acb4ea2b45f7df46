# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros train`: fine-tunes a model on the user's own clips, or trains nano from scratch.

Does not train: it reads arguments, shows progress and where the results are.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from . import output as show
from .options import JsonOption


def train(
    config: Annotated[
        Path, typer.Argument(help="YAML file: what to train, on what; see docs/how-to/train.md.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Fine-tune a model on your own clips; the same command goes on with a run that was interrupted.

    CONFIG needs `data` (folders of SEQ/frames + SEQ/masks, or a data set as eval reads it) and `out`. Leaves
    best.safetensors, last.safetensors, checkpoint.pt, log.jsonl, curves.png, samples/ and summary.json. Several GPUs:
    torchrun --nproc-per-node N -m sam2_ros.cli train CONFIG.
    """
    from sam2_ros.train.run import run_training

    if os.environ.get("RANK", "0") != "0":  # one of several processes: the first one speaks for all
        run_training(config, lambda line: None, lambda step, done, total: None)
        return
    with show.progress_bar("opening") as bar:
        summary = run_training(config, show.note, bar.show)
    show.print_table("sam2-ros train", summary)
    show.print_json(as_json, summary)
