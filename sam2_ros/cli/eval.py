# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros eval`: scores a model on a dataset and prints a table, and one JSON line with `--json`.

Does not score anything: prints what `eval.benchmark` reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from . import output as show
from .options import (
    FreshOption,
    JsonOption,
    MemoryEveryOption,
    MemoryFramesOption,
    MemoryPoolingOption,
    OverwriteOption,
    PoliciesOption,
    RayOption,
    WorkersOption,
    opens_model,
    policies_given,
)

if TYPE_CHECKING:  # imported only by the command that runs, so that start-up stays fast
    from sam2_ros.weights.open_model import ModelOptions


@opens_model
def evaluate(
    context: typer.Context,
    dataset: Annotated[
        Path,
        typer.Argument(
            help="Folder of SEQ/frames + SEQ/masks, one such sequence, DAVIS, MOSE, YouTube-VOS, LVOS, SA-V, "
            "photographs with instances.json, or the word rendered: a rendered test set, in groups by difficulty."
        ),
    ],
    prompt: Annotated[
        str,
        typer.Option(
            help="Prompt of each object on its first frame: mask, box, click1, click3, click5; or online: three "
            "clicks, and three more on every frame where its mask is poor."
        ),
    ],
    model_options: ModelOptions,
    split: Annotated[
        str,
        typer.Option(
            help="Part of the dataset: a list of ImageSets (val, 2017/val), a folder (valid) or a group of rendered "
            "(cut). Default: all."
        ),
    ] = "",
    sequence: Annotated[
        list[str] | None, typer.Option(help="Evaluate only this sequence. Repeatable. Default: all.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for predicted masks, overlay.mp4, report.html and summary.json: new, empty, or of an earlier "
            "eval. Default: no files are written."
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            help="Also score this baseline: flow (the first mask moved by optical flow) or grabcut (a box tracker, "
            "its box segmented by GrabCut). Repeatable. Default: none."
        ),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Also score every baseline that fits the dataset.")
    ] = False,
    numerics: Annotated[
        str,
        typer.Option(
            help="Arithmetic of the tracker: stream (as the node), or official_vos or official_video to compare with "
            "published numbers."
        ),
    ] = "stream",
    memory_frames: MemoryFramesOption = 7,
    memory_pooling: MemoryPoolingOption = 1,
    memory_every: MemoryEveryOption = 1,
    policies: PoliciesOption = "",
    workers: WorkersOption = 0,
    ray: RayOption = "",
    fresh: FreshOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> int:
    """Score a model on a dataset (J, F, J&F, frames per second, latency; of photographs mean IoU).

    Prompts are computed from the ground truth. With --out, writes masks,
    overlay.mp4, report.html and summary.json, and an interrupted run resumes. A
    sequence that cannot be evaluated is listed as failed, the others are
    scored, and the exit status is 1.
    """
    from sam2_ros.datasets.photographs import is_photographs
    from sam2_ros.eval.benchmark.baselines import BASELINES
    from sam2_ros.eval.benchmark.eval_config import EvalConfig
    from sam2_ros.eval.benchmark.evaluate import run_eval
    from sam2_ros.eval.benchmark.photographs import run_photographs
    from sam2_ros.eval.memory_options import MemoryOptions

    photographs = is_photographs(dataset)
    asked = tuple(baseline or ())
    if baselines:
        asked = ("grabcut",) if photographs else tuple(BASELINES)
    config = EvalConfig(
        dataset,
        prompt,
        model_options,
        split,
        tuple(sequence or ()),
        out,
        numerics,
        asked,
        MemoryOptions(
            memory_frames, memory_pooling, memory_every, policies_given(policies) if policies else ()
        ),
        workers,
        ray,
        fresh,
        overwrite,
    )
    with show.progress_bar("opening") as bar:
        if photographs:
            evaluation = run_photographs(config, bar.show, show.note)
        else:
            evaluation = run_eval(config, bar.show, show.note, ("sam2-ros", *context.obj))
    if photographs:
        _print_photographs(evaluation.report)
    else:
        _print_videos(evaluation.report, evaluation.details)
        if out is not None:
            show.path(out / "report.html")
    show.print_json(as_json, evaluation.report)
    return 1 if evaluation.report.get("failed") else 0


def _print_videos(report: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    """Prints a row per sequence, a row per object of sequences with several, and the means of groups and of all."""
    others = report.get("baselines", {})
    columns = ("sequence", "object", "J", "F", "J&F", "decay", "absent", "fps")
    table = show.columns(*columns, *(f"{name} J&F" for name in others))
    show.line(escape(_title(report, details)))
    for name, scores in report["sequences"].items():
        beside = [other["sequences"][name]["JF"] for other in others.values()]
        objects = details["objects"]["model"][name]
        table.add_row(escape(name), str(len(objects)), *_numbers(scores, beside, scores["fps"]))
        if len(objects) > 1:
            for key, one in objects.items():
                beside = [details["objects"][other][name][key]["JF"] for other in others]
                table.add_row("", f"id {escape(key)}", *_numbers(one, beside, None))
    beside = [other["JF"] for other in others.values()]
    for name in report["failed"]:
        table.add_row(escape(name), "failed")
    for name, scores in report.get("groups", {}).items():
        beside = [other["groups"][name]["JF"] for other in others.values()]
        table.add_row(f"[bold]mean of {escape(name)}", "", *_numbers(scores, beside, None))
    count = sum(len(objects) for objects in details["objects"]["model"].values())
    table.add_row("[bold]mean over objects", str(count), *_numbers(report, beside, report["fps"]))
    show.out.print(table)
    if details["calibration"] is not None:
        show.line(
            f"Presence: expected calibration error {details['calibration']['ece']:.3f}; TRACKING in "
            f"{report['false_presence']:.1f} % of the frames that do not show an object"
        )
    for name, one in {report["model"]: report, **others}.items():
        latency = one["latency_ms"]
        times = f"p50 {latency['p50']:.1f} ms, p95 {latency['p95']:.1f} ms"
        show.line(f"{escape(name)}: {one['fps']:.1f} frames per second, {times}")


def _print_photographs(report: Mapping[str, Any]) -> None:
    methods = {report["model"]: report, **report.get("baselines", {})}
    columns = ("method", "mean IoU", "up to 96 x 96 px", "larger")
    title = f"{report['prompt']} on {report['instances']} instances of {report['photographs']} photographs"
    table = show.columns(*columns)
    table.title, table.title_justify = escape(title), "left"
    for name, one in methods.items():
        table.add_row(escape(name), *(_number(one[key]) for key in ("IoU", "IoU_medium", "IoU_large")))
    show.out.print(table)
    image_ms, answer_ms = report["encode_ms"]["p50"], report["latency_ms"]["p50"]
    show.line(f"An image {image_ms:.1f} ms, an answer {answer_ms:.1f} ms (p50).")


def _title(report: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    from sam2_ros.eval.memory_options import MemoryOptions

    title = f"{report['model']}, prompt {report['prompt']}, {details['device']}, {details['precision']}"
    title += f", input {details['image_size']}"
    if details["workers"] > 1:
        title += f", {details['workers']} workers of {details['threads']} threads"
    if words := MemoryOptions(**details["memory"]).words():
        title += f", {words}"
    if report["prompt"] == "online":
        counts = [count for one in details["prompted_frames"].values() for count in one.values()]
        title += f", {sum(counts) / len(counts):.1f} frames prompted per object"
    return title


def _numbers(scores: Mapping[str, Any], beside: list[float | None], fps: float | None) -> list[str]:
    own = [scores[key] for key in ("J", "F", "JF", "decay", "absent")]
    return [_number(value) for value in (*own, fps, *beside)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
