"""`python -m sam2_ros.train --out DIR`: train nano on rendered clips, or resume."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import torch

from .config import TrainConfig
from .host_memory import keep_freed_pages
from .loop import train


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sam2_ros.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint.pt and log.jsonl")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    for field in fields(TrainConfig):
        kind = type(field.default)
        parser.add_argument(
            "--" + field.name.replace("_", "-"), type=kind, default=field.default, help=f"({field.default})"
        )
    options = vars(parser.parse_args())
    out_dir, precision = options.pop("out"), options.pop("precision")
    if not keep_freed_pages():
        print("no glibc here: freed memory goes back to the system, steps may take several times as long")
    train(TrainConfig(**options), out_dir, torch.bfloat16 if precision == "bf16" else torch.float32)


if __name__ == "__main__":
    main()
