# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros bench`: times the tracker and prints a table, and one JSON line with `--json`.

Does not time anything: prints what `bench.run` reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from . import output as show
from .options import JsonOption, MemoryEveryOption, MemoryFramesOption, MemoryPoolingOption, opens_model

if TYPE_CHECKING:  # imported only by the command that runs, so that start-up stays fast
    from sam2_ros.weights.open_model import ModelOptions


_MOST = 1 << 16


@opens_model
def bench(
    model_options: ModelOptions,
    objects: Annotated[
        str, typer.Option(help="Numbers of tracked objects, separated by commas; one run for each.")
    ] = "1,4",
    frames: Annotated[
        int, typer.Option(min=2, help="Number of timed frames per run, after the memory bank is full.")
    ] = 50,
    camera: Annotated[
        str, typer.Option(help="Size of the camera images in pixels, WIDTHxHEIGHT.")
    ] = "640x480",
    conditioning: Annotated[
        str,
        typer.Option(
            help="Number of prompted frames in memory, beside the recent ones. 1,4: time both memory banks."
        ),
    ] = "1",
    memory_frames: MemoryFramesOption = 7,
    memory_pooling: MemoryPoolingOption = 1,
    memory_every: MemoryEveryOption = 1,
    against: Annotated[
        str,
        typer.Option(
            help="Also run a reference implementation on the same weights and frames, and compare: official or "
            "official-compiled (Meta's package), or transformers. Default: none."
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Time the tracker, frame in to masks out, on a rendered camera stream with a full memory bank.

    Prints the times of frames and stages, the share of the machine's peak, and
    the memory in use. Writes no files.
    """
    from sam2_ros.bench.run import BenchConfig, run_bench
    from sam2_ros.eval.memory_options import MemoryOptions

    counts = _numbers(objects, ",", "--objects", "numbers such as 1,4")
    size = _numbers(camera, "x", "--camera", "WIDTHxHEIGHT such as 640x480")
    if len(size) != 2:
        raise typer.BadParameter(f"--camera '{camera}' cannot be read: expected WIDTHxHEIGHT such as 640x480")
    config = BenchConfig(
        model_options=model_options,
        objects=tuple(counts),
        frames=frames,
        height_px=size[1],
        width_px=size[0],
        against=against,
        conditioning=tuple(_numbers(conditioning, ",", "--conditioning", "numbers such as 1,4")),
        memory=MemoryOptions(memory_frames, memory_pooling, memory_every),
    )
    with show.progress_bar("loading the model") as bar:
        report = run_bench(config, lambda done, total: bar.show("timing", done, total))
    _print(report)
    show.print_json(as_json, report)


def _numbers(text: str, separator: str, option: str, expected: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(separator)]
    except ValueError as error:
        raise typer.BadParameter(f"{option} '{text}' cannot be read: expected {expected}") from error
    if min(numbers) < 1 or max(numbers) > _MOST:
        raise typer.BadParameter(
            f"{option} '{text}': numbers from 1 to {_MOST} expected, such as {expected.split()[-1]}"
        )
    return numbers


def _print(report: Mapping[str, Any]) -> None:
    """Prints the report of `run_bench`: one table per memory bank, one column per object count."""
    show.line(
        f"{escape(report['model'])} on {report['device']}, {report['precision']}, input {report['image_size']}, "
        f"camera {report['camera']}, {report['frames']} frames, {report['threads']} threads, "
        f"matrix product peak {report['peak_gflops']:,.0f} GFLOP/s"
    )
    if report["weights"] == "random":
        show.line("The weights are not on this machine: timed with seeded random ones.")
    if "compile_s" in report:
        show.line(f"compile {report['compile']}: {report['compile_s']} s before the first frame.")
    memory = report["memory"]
    if memory["memory_pooling"] > 1 or memory["memory_every"] > 1:
        pooled, every = memory["memory_pooling"], memory["memory_every"]
        show.line(f"Not exact: memory pooling {pooled}, memory every {every}.")
    banks = {memory["conditioning"]: report["objects"], **report.get("objects_by_conditioning", {})}
    for conditioning, runs in banks.items():
        show.line(f"Memory of {conditioning} prompted and {memory['memory_frames'] - 1} recent frames:")
        show.out.print(_table(runs, report if runs is report["objects"] else {}))
    show.line(
        "Stages: medians in ms. The share of the peak counts the operations of the official arithmetic, the least "
        f"time those of the exact rewrites. Memory in use: {report['memory_bytes'] / 1e6:.0f} MB; growth: "
        f"{report['memory_growth_bytes_per_frame']} bytes per frame."
    )


def _table(runs: Mapping[str, Any], compared: Mapping[str, Any]) -> Table:
    """One table. `compared`: the report if a reference was timed with these runs, else empty."""
    table = show.columns("objects", *runs)

    def row(name: str, cell: Callable[[Any], str]) -> None:
        table.add_row(name, *(cell(timed) for timed in runs.values()))

    row("frames per second", lambda timed: f"{timed['fps']:.1f}")
    for key in ("p50", "p95", "p99"):
        row(f"frame {key} ms", lambda timed, key=key: f"{timed['frame_ms'][key]:.1f}")  # type: ignore[misc]
    for stage in next(iter(runs.values()))["stages_ms"]:
        row(f"{stage} ms", lambda timed, stage=stage: f"{timed['stages_ms'].get(stage, 0.0):.1f}")  # type: ignore[misc]
    row("GFLOP", lambda timed: f"{timed['gflop']['official']:.1f}")
    row("share of the peak", lambda timed: f"{100 * timed['peak_share']:.1f} %")
    row("least time at the peak ms", lambda timed: f"{timed['floor_ms']:.1f}")
    for counted in next(iter(runs.values())).get("launches", {}):
        row(f"{counted} a frame", lambda timed, counted=counted: str(timed["launches"][counted]))  # type: ignore[misc]
    row("memory bank MB per object", lambda timed: f"{timed['bank_bytes_per_object'] / 1e6:.2f}")
    if against := compared.get("against"):
        row(f"{against} p50 ms, in turns", lambda timed: f"{timed[against]['frame_ms']['p50']:.1f}")
        row("ours p50 ms, in turns", lambda timed: f"{timed[against]['own_frame_ms']['p50']:.1f}")
        table.add_row(f"{against} / ours", *(f"{ratio:.2f}" for ratio in compared["ratio"].values()))
        table.add_row("masks agree, IoU", *(f"{iou:.4f}" for iou in compared["agreement"].values()))
        row("logits differ by", lambda timed: f"{timed[against]['logit_error']:.1e} of rms")
    return table
