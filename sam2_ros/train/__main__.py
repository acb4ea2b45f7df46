# SPDX-License-Identifier: Apache-2.0
"""`python -m sam2_ros.train --out DIR`: trains nano on rendered clips, or resumes an interrupted run."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from sam2_ros.errors import UserError
from sam2_ros.host_memory import RETURNED, keep_freed_pages

from .nano.loop import train_nano
from .nano.recipe import NANO_PHASES, NanoConfig, Phase


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sam2_ros.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, checkpoint and log")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16", help="default: bf16")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="default: cpu")
    parser.add_argument(
        "--phase",
        type=_phase,
        action="append",
        help="STEPS,IMAGE_SIZE,FRAMES,CLIPS,LEARNING_RATE[,decays][,memory_alone][,fresh]; repeat for each phase "
        "(default: the phases that trained nano)",
    )
    for field in fields(NanoConfig):
        if field.name == "sequences":
            help = "folders of stored sequences to mix with rendered clips (default: none)"
            parser.add_argument("--sequences", nargs="+", default=(), help=help)
        elif field.name != "phases":
            kind = type(field.default)
            parser.add_argument(
                "--" + field.name.replace("_", "-"),
                type=kind,
                default=field.default,
                help=f"default: {field.default}" if field.default != "" else "default: none",
            )
    options = vars(parser.parse_args())
    out_dir, precision, phases = options.pop("out"), options.pop("precision"), options.pop("phase")
    device = options.pop("device")
    if not keep_freed_pages():
        print(f"{RETURNED}: steps may take several times as long")
    options["sequences"] = tuple(options["sequences"])
    config = NanoConfig(phases=tuple(phases or NANO_PHASES), **options)
    try:
        train_nano(config, out_dir, torch.bfloat16 if precision == "bf16" else torch.float32, device)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None


def _phase(text: str) -> Phase:
    try:
        steps, size, frames, clips, rate, *words = text.split(",")
        return Phase(int(steps), int(size), int(frames), int(clips), float(rate), **_switches(words))
    except (ValueError, TypeError) as problem:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected STEPS,IMAGE_SIZE,FRAMES,CLIPS,LEARNING_RATE[,decays][,memory_alone][,fresh] "
            f"({problem})"
        ) from None


def _switches(words: list[str]) -> dict[str, Any]:
    for word in words:
        if word not in ("decays", "memory_alone", "fresh"):
            raise ValueError(f"unknown word {word!r}")
    return dict.fromkeys(words, True)


if __name__ == "__main__":
    main()
