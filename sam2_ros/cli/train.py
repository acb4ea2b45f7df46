# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros train`: fine-tunes a model on the user's own clips, or trains nano from scratch.

Does not train: reads arguments, shows progress and the paths of the results.
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
        Path, typer.Argument(help="YAML file with the settings of the run; see docs/how-to/train.md.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Fine-tune a model on your own clips; the same command resumes an interrupted run.

    CONFIG needs `data` (folders of SEQ/frames + SEQ/masks, or a dataset that
    `eval` reads) and `out`. Writes to `out`: best.safetensors,
    last.safetensors, checkpoint.pt, log.jsonl, curves.png, samples/ and
    summary.json. With several GPUs: torchrun --nproc-per-node N -m sam2_ros.cli
    train CONFIG.
    """
    from sam2_ros.train.run import run_training

    if os.environ.get("RANK", "0") != "0":  # of several processes only the first one prints
        run_training(config, lambda line: None, lambda step, done, total: None)
        return
    with show.progress_bar("opening") as bar:
        summary = run_training(config, show.note, bar.show)
    show.print_table("sam2-ros train", summary)
    show.print_json(as_json, summary)
