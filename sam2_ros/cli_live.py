"""The sub-commands of `sam2-ros` that are about a live ROS graph and nothing else.

Does not speak to the graph: it reads arguments, shows progress and results, and sets the exit status.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from sam2_ros import cli_show as show
from sam2_ros.cli_options import DeviceOption, JsonOption, ModelOption


def soak(
    minutes: Annotated[float, typer.Option(min=0.05, help="How long the camera runs.")] = 10.0,
    rate: Annotated[float, typer.Option(min=0.5, max=240.0, help="Images per second of the camera.")] = 15.0,
    size: Annotated[str, typer.Option(help="Size of the camera's images, WIDTHxHEIGHT.")] = "640x480",
    model: ModelOption = "nano",
    device: DeviceOption = "auto",
    objects: Annotated[int, typer.Option(min=1, max=64, help="Objects to track.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out/soak"),
    as_json: JsonOption = False,
) -> None:
    """Run the live ROS 2 node on a rendered camera for minutes, and watch its memory, rate and latency.

    Fails (exit status 1) when resident memory grows by more than 2 % from the second minute to the last, the rate
    falls by more than 5 %, or an output's stamp repeats or is no image's. Linux only. Leaves soak.json, soak.jsonl
    (one reading per second), soak.png and node.log.
    """
    from sam2_ros.eval.live_replay import fastdds_profile, missing_ros
    from sam2_ros.eval.soak import SoakConfig, SoakError, run_soak

    sides = size.split("x")
    if len(sides) != 2 or not all(re.fullmatch("[0-9]{2,5}", side) and int(side) >= 32 for side in sides):
        raise typer.BadParameter(
            f"--size '{size}' cannot be read: expected WIDTHxHEIGHT from 32x32 on, such as 640x480"
        )
    if (reason := missing_ros()) is not None:
        raise SoakError(f"there is no live ROS 2 graph to run in: {reason}")
    config = SoakConfig(
        out=out,
        node_command=(sys.executable, "-m", "sam2_ros.node.node"),
        minutes=minutes,
        rate_hz=rate,
        width_px=int(sides[0]),
        height_px=int(sides[1]),
        model=model,
        device=device,
        objects=objects,
        profiles_file=fastdds_profile(),
    )
    with show.progress_bar("starting") as bar:
        report = run_soak(config, bar.show)
    show.print_table("sam2-ros soak", {key: value for key, value in report.items() if key != "failures"})
    if not report["memory_judged"]:
        show.out.print("Shorter than 3 minutes: memory and rate over time cannot be judged.", highlight=False)
    for name in ("soak.png", "soak.jsonl", "soak.json", "node.log"):
        show.path(out / name)
    show.print_json(as_json, report)
    if report["failures"]:
        raise SoakError("; ".join(report["failures"]))
