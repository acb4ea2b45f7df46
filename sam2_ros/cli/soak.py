# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros soak`: endurance test of the live node, or of the tracker alone.

Does not run either: reads arguments, shows progress and results, and sets the exit status.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sam2_ros.errors import UserError

from . import output as show
from .options import OUT_HELP, JsonOption, OverwriteOption, PoliciesOption, opens_model, policies_given

if TYPE_CHECKING:  # imported only by the command that runs, so that start-up stays fast
    from sam2_ros.weights.open_model import ModelOptions


@opens_model
def soak(
    model_options: ModelOptions,
    minutes: Annotated[float, typer.Option(min=0.05, help="Duration of the test in minutes.")] = 10.0,
    rate: Annotated[float, typer.Option(min=0.5, max=240.0, help="Camera rate in images per second.")] = 15.0,
    size: Annotated[str, typer.Option(help="Size of the camera images in pixels, WIDTHxHEIGHT.")] = "640x480",
    objects: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="Number of tracked objects. Default: 2. With --direct: most objects at once. Default: 4.",
        ),
    ] = None,
    direct: Annotated[
        bool,
        typer.Option(
            "--direct",
            help="Test the tracker alone, without ROS, while objects are added, refined and removed at random.",
        ),
    ] = False,
    frames: Annotated[int, typer.Option(min=1, help="With --direct: number of frames.")] = 10_000,
    guests: Annotated[
        int,
        typer.Option(
            min=0,
            max=64,
            help="Live node only: number of further objects, added, refined and removed at random, one change per "
            "second.",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random changes.")] = 0,
    policies: PoliciesOption = "default",
    out: Annotated[Path, typer.Option(help=OUT_HELP)] = Path("out/soak"),
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the live ROS 2 node on a rendered camera for minutes, and watch its memory, rate and latency.

    Writes to --out: soak.json, soak.jsonl (one reading per second), soak.png
    and node.log. Fails (exit status 1) if resident memory grows by more than 2
    % from the second minute to the last, if the rate falls by more than 5 %
    (not judged with --guests), or if the stamp of an output repeats or belongs
    to no image. Linux only.

    With --direct, runs the tracker on --frames frames without ROS, as fast as
    possible, while objects are added, refined, taken back and removed at
    random. Fails if resident memory grows by more than 2 % in the last half of
    the frames, if an object is missing from a result, or if a label is used
    twice.
    """
    width_px, height_px = _size(size)
    where: dict[str, Any] = {
        "width_px": width_px,
        "height_px": height_px,
        "model_options": model_options,
        "overwrite": overwrite,
    }
    if direct:
        alone = {**where, "frames": frames, "seed": seed, "policies": policies_given(policies)}
        report = _direct(out, alone, objects or 4)
        too_short = "Shorter than 2,000 frames: memory cannot be judged."
    else:
        if policies != "default":
            raise UserError("--policies belongs to --direct: add it, or leave --policies out")
        live = {**where, "minutes": minutes, "rate_hz": rate, "guests": guests, "seed": seed}
        report = _live(out, live, objects or 2)
        too_short = "Shorter than 3 minutes: memory and rate over time cannot be judged."
    show.print_table("sam2-ros soak", {key: value for key, value in report.items() if key != "failures"})
    if not report["memory_judged"]:
        show.line(too_short)
    for name in ("soak.png", "soak.jsonl", "soak.json", *(() if direct else ("node.log",))):
        show.path(out / name)
    show.print_json(as_json, report)
    if report["failures"]:
        raise UserError("; ".join(report["failures"]), status=1)


def _direct(out: Path, settings: dict[str, Any], objects: int) -> dict[str, Any]:
    from sam2_ros.bench.direct_soak import DirectSoakConfig, run_direct_soak

    with show.progress_bar("loading the model") as bar:
        return run_direct_soak(DirectSoakConfig(out=out, objects=objects, **settings), bar.show)


def _live(out: Path, settings: dict[str, Any], objects: int) -> dict[str, Any]:
    from sam2_ros.bench.soak import SoakConfig, run_soak
    from sam2_ros.live.player import fastdds_profile, missing_ros

    if (reason := missing_ros()) is not None:
        raise UserError(f"there is no live ROS 2 graph to run in: {reason}; --direct needs none", status=1)
    config = SoakConfig(
        out=out,
        node_command=(sys.executable, "-m", "sam2_ros.node.node"),
        objects=objects,
        profiles_file=fastdds_profile(),
        **settings,
    )
    with show.progress_bar("starting") as bar:
        return run_soak(config, bar.show)


def _size(size: str) -> tuple[int, int]:
    """Width and height, pixels."""
    sides = size.split("x")
    if len(sides) != 2 or not all(re.fullmatch("[0-9]{2,5}", side) and int(side) >= 32 for side in sides):
        raise typer.BadParameter(
            f"--size '{size}' cannot be read: expected WIDTHxHEIGHT from 32x32 on, such as 640x480"
        )
    return int(sides[0]), int(sides[1])
