"""`sam2-ros replay`: a bag through the live node, the tracker or both, measured as a robot would see it.

Does not score anything; it reads arguments and lays out what `eval.replay` reports, run beside run.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from sam2_ros import cli_show as show
from sam2_ros.cli_options import DeviceOption, ImageSizeOption, JsonOption, ModelOption, PrecisionOption


def replay(
    bag: Annotated[
        Path, typer.Argument(help="rosbag2 with images, raw or compressed (folder, .mcap, .db3).")
    ],
    prompts: Annotated[
        Path,
        typer.Option(help="JSON list of {id, frame, box, points [[x, y, 1 or 0]], mask, class_id, truth}."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    node: Annotated[
        bool, typer.Option("--node", help="The live ROS 2 node, in real time, drops and all.")
    ] = False,
    direct: Annotated[
        bool, typer.Option("--direct", help="Every image through the tracker, as `track`.")
    ] = False,
    recorded: Annotated[
        Path | None,
        typer.Option(
            help="Score this recording of a node's ~/objects, made while the bag was played elsewhere."
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="Folder of label images (by number or stamp, value = object), or a bag with such a topic."
        ),
    ] = None,
    truth_ids: Annotated[
        str,
        typer.Option(
            help="VALUE=ID,... of the truth. Default: 1, 2, ... in the order the objects are prompted."
        ),
    ] = "",
    topic: Annotated[str | None, typer.Option(help="Image topic of a bag with several.")] = None,
    truth_topic: Annotated[str | None, typer.Option(help="Label images of a truth bag with several.")] = None,
    recorded_topic: Annotated[
        str | None, typer.Option(help="Tracked objects of a recording with several.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Speed of the live run; 1 plays as recorded.")] = 1.0,
    model: ModelOption = "nano",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    image_size: ImageSizeOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Replay a rosbag and measure it as a robot sees it: masks, states, identities, latency, dropped images.

    Without --node, --direct or --recorded both of the first two, where ROS 2 is installed. Leaves
    direct/tracked and node/tracked (rosbag2), node/node.log and summary.json.
    """
    from sam2_ros.cli_prompts import PromptBook
    from sam2_ros.eval.live_replay import LiveReplayError, fastdds_profile, missing_ros
    from sam2_ros.eval.replay.config import ReplayConfig
    from sam2_ros.eval.replay.replay import run_replay

    if not (node or direct or recorded):
        reason = missing_ros()
        node, direct = reason is None, True
        said = "the live node and the tracker directly" if node else f"the tracker directly, as {reason}"
        show.err.print(f"Replaying through {escape(said)}.", highlight=False, soft_wrap=True)
    elif node and (reason := missing_ros()) is not None:
        raise LiveReplayError(f"--node needs a live ROS 2 graph, and {reason}")
    book = PromptBook()
    book.add_file(prompts)
    config = ReplayConfig(
        bag=bag,
        out=out,
        prompts=book.prompts(),
        node_command=(sys.executable, "-m", "sam2_ros.node.node") if node else None,
        direct=direct,
        recorded=recorded,
        recorded_topic=recorded_topic,
        topic=topic,
        truth=truth,
        truth_topic=truth_topic,
        truth_ids=_truth_ids(truth_ids) or book.truth_values,
        rate=rate,
        model=model,
        device=device,
        precision=precision,
        image_size=image_size,
        profiles_file=fastdds_profile() if node else None,
        prompts_file=str(prompts),
        command=shlex.join(["sam2-ros", *sys.argv[1:]]),
    )
    with show.progress_bar("opening") as bar:
        summary = run_replay(config, bar.show)
    _print(summary)
    for name in summary["runs"]:
        show.out.print(f"  {config.recording(name)}", highlight=False, soft_wrap=True)
    for name in ("report.html", "summary.json"):
        show.out.print(f"  {out / name}", highlight=False, soft_wrap=True)
    show.print_json(as_json, summary)


def _truth_ids(text: str) -> dict[str, int]:
    """`1=kite,2=person` -> {"kite": 1, "person": 2}"""
    found: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        value, given, object_id = part.partition("=")
        if not given or not value.strip().isdecimal() or not object_id or object_id in found:
            raise typer.BadParameter(
                f"--truth-ids '{text}' cannot be read at '{part}': expected VALUE=ID,... such as 1=cup,2=robot"
            )
        found[object_id] = int(value)
    return found


def _print(summary: Mapping[str, Any]) -> None:
    """The runs side by side: what they differ by is the price of real time."""
    runs = summary["runs"]
    show.out.print(
        f"{summary['bag']}, {summary['topic']} ({summary['transport']}): {summary['images']} images in "
        f"{summary['duration_s']:g} s; {summary['model']}, {summary['device']}, {summary['precision']}",
        highlight=False,
        soft_wrap=True,
    )
    for note in summary["notes"]:
        show.out.print(f"Note: {escape(note)}.", highlight=False, soft_wrap=True)
    table = Table("", *runs, box=None, header_style="bold")

    def row(name: str, cell: Callable[[Mapping[str, Any]], Any]) -> None:
        cells = [_cell(cell(one)) for one in runs.values()]
        if any(cells):  # nothing hid, or no truth: there is nothing to say
            table.add_row(name, *cells)

    for key in ("images_in", "processed", "skipped", "dropped"):
        row(key.replace("_", " "), lambda one, key=key: one[key])  # type: ignore[misc]
    row("longest gap, s", lambda one: one["longest_gap_s"])
    row("images a second", lambda one: one["fps"])
    for share in ("p50", "p95", "p99"):
        row(f"latency {share}, ms", lambda one, share=share: one["latency_ms"].get(share))  # type: ignore[misc]
    row("first mask after, s (mean)", lambda one: one["time_to_first_mask_s"]["mean"])
    if summary["truth"] is not None:
        for label, read in _ROWS.items():
            row(f"{label}, as a robot sees it", read)
            row("  processed images only", lambda one, read=read: read(one["processed_only"]))  # type: ignore[misc]
        if len(summary["prompts"]["objects"]) > 1:
            for object_id in summary["prompts"]["objects"]:
                row(f"J&F of {escape(object_id)}", lambda one, key=object_id: one["objects"][key]["JF"])  # type: ignore[misc]
    show.out.print(table)


_ROWS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "J&F": lambda one: one["JF"],
    "J": lambda one: one["J"],
    "F": lambda one: one["F"],
    "missed (share of visible)": lambda one: one["missed"],
    "false presence (share of hidden)": lambda one: one["false_presence"],
    "time to lost, s": lambda one: _times(one["time_to_lost_s"]),
    "time to recover, s": lambda one: _times(one["time_to_recover_s"]),
    "identity switches": lambda one: one["identity_switches"],
    "outline: answers - truth": lambda one: one["stability"]["difference"],
    "calibration error": lambda one: one["calibration"]["ece"],
}


def _times(spread: Mapping[str, Any]) -> str:
    """Of the stretches of all objects: the mean, and how often it never came."""
    if not spread["count"]:
        return ""
    mean = "never" if spread["mean"] is None else f"{spread['mean']:.2f}"
    return mean + (f" ({spread['never']} of {spread['count']} never)" if spread["never"] else "")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
