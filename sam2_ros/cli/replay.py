# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros replay`: plays bags through the live node, the tracker or both, and measures what a robot would receive.

Does not score anything: reads arguments and passes them to `eval.replay`.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sam2_ros.errors import UserError

from . import output as show
from .options import (
    OUT_HELP,
    FreshOption,
    JsonOption,
    OverwriteOption,
    PoliciesOption,
    RangeOption,
    RayOption,
    UntypedOption,
    WorkersOption,
    opens_model,
    policies_given,
)
from .replay_tables import print_bags, print_runs

if TYPE_CHECKING:  # imported only by the command that runs, so that start-up stays fast
    from sam2_ros.eval.replay.bag_list import ListedBag
    from sam2_ros.eval.replay.replay_config import ReplayConfig
    from sam2_ros.weights.open_model import ModelOptions


@opens_model
def replay(
    bag: Annotated[
        Path,
        typer.Argument(
            help="rosbag2 with raw or compressed images (folder, .mcap, .db3); or a list of bags, YAML or JSON, with "
            "{bag, prompts, name, truth, truth_topic, truth_ids, topic, recorded, recorded_topic, rate} for each."
        ),
    ],
    out: Annotated[Path, typer.Option(help=f"{OUT_HELP} Of a list: DIR/name for each bag.")],
    model_options: ModelOptions,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="JSON list of prompts: {id, frame or stamp_ns, box, points [[180, 150, 1], ...], mask, class_id, "
            "truth}; of a point, 1: on the object, 0: off it. Or a bag with a node's ~/prompt_events: its prompts, on "
            "their images. Required for a single bag; in a list of bags each entry names its own."
        ),
    ] = None,
    node: Annotated[
        bool,
        typer.Option(
            "--node", help="Play the bag to the live ROS 2 node in real time; images may be dropped."
        ),
    ] = False,
    direct: Annotated[
        bool, typer.Option("--direct", help="Run the tracker on every image, without ROS, as `track` does.")
    ] = False,
    recorded: Annotated[
        Path | None,
        typer.Option(
            help="Score this recording of a node's ~/objects, made earlier while the bag was played. Default: none."
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="Ground truth: folder of label images (named by number or stamp, value = object), or a bag with such "
            "a topic. Default: none, and no quality is measured."
        ),
    ] = None,
    truth_ids: Annotated[
        str,
        typer.Option(
            help="Object of each value in the truth: VALUE=ID,... Default: 1, 2, ... in the order in which the objects "
            "are prompted."
        ),
    ] = "",
    topic: Annotated[
        str | None, typer.Option(help="Image topic. Required if the bag has several image topics.")
    ] = None,
    truth_topic: Annotated[
        str | None,
        typer.Option(help="Topic of the label images. Required if the truth bag has several."),
    ] = None,
    recorded_topic: Annotated[
        str | None,
        typer.Option(help="Topic of the tracked objects. Required if the recording has several."),
    ] = None,
    rate: Annotated[
        float, typer.Option(help="Playback speed of the live run, as a factor. 1: as recorded.")
    ] = 1.0,
    range: RangeOption = "full",
    untyped_encoding: UntypedOption = "bgr",
    policies: PoliciesOption = "default",
    workers: WorkersOption = 0,
    ray: RayOption = "",
    fresh: FreshOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> int:
    """Replay a rosbag and measure what a robot receives: masks, states, identities, latency, dropped images.

    Writes to --out: direct/tracked and node/tracked (rosbag2), node/node.log,
    report.html and summary.json; for a list of bags, the same into one folder
    per bag. Without --node, --direct and --recorded, runs both --node and
    --direct if ROS 2 is installed, else --direct. --workers, --ray and --fresh
    apply to a list only. In a list, a bag that fails is skipped; the exit
    status is then 1, or 2 if all fail.
    """
    from sam2_ros.eval.replay.bag_list import is_bag_list, read_bag_list
    from sam2_ros.eval.replay.replay import run_replay
    from sam2_ros.live.player import missing_ros
    from sam2_ros.media.pixels.image_reader import PixelConfig

    of_one = {
        "--prompts": prompts, "--recorded": recorded, "--truth": truth, "--truth-ids": truth_ids, "--topic": topic,
        "--truth-topic": truth_topic, "--recorded-topic": recorded_topic,
    }  # fmt: skip
    of_list = {"--workers": workers, "--ray": ray, "--fresh": fresh}
    listed = read_bag_list(bag) if is_bag_list(bag) else None
    _check_options(bag, of_list if listed is None else of_one, listed is not None)
    if listed is None and prompts is None:
        raise UserError(
            f"--prompts is missing: expected a JSON file with the objects to track in {bag}, or a bag with prompt "
            "events"
        )
    without = recorded is None if listed is None else any(one.recorded is None for one in listed)
    if node and (reason := missing_ros()) is not None:
        raise UserError(f"--node needs a live ROS 2 graph, and {reason}", status=1)
    default_runs = (node, direct)
    if without and not (node or direct):
        default_runs = _default_runs(ray)
    settings: dict[str, Any] = {
        "model_options": model_options.in_any_folder() if ray else model_options,
        "pixels": PixelConfig(range, untyped_encoding),
        "overwrite": overwrite,
        "policies": policies_given(policies),
        "command": shlex.join(["sam2-ros", *sys.argv[1:]]),
    }
    if listed is not None:
        runs = {one.name: (node, direct) if one.recorded else default_runs for one in listed}
        return _replay_list(listed, runs, out, {"rate": rate, **settings}, workers, ray, fresh, as_json)
    assert prompts is not None
    config = _config(
        *default_runs,
        prompts,
        _truth_ids(truth_ids),
        bag=bag,
        out=out,
        recorded=recorded,
        recorded_topic=recorded_topic,
        topic=topic,
        truth=truth,
        truth_topic=truth_topic,
        rate=rate,
        **settings,
    )
    with show.progress_bar("opening") as bar:
        summary = run_replay(config, bar.show)
    print_runs(summary)
    for name in summary["runs"]:
        show.path(config.recording(name))
    for name in ("report.html", "summary.json"):
        show.path(out / name)
    show.print_json(as_json, summary)
    return 0


def _replay_list(
    listed: Sequence[ListedBag],
    runs: Mapping[str, tuple[bool, bool]],
    out: Path,
    settings: Mapping[str, Any],
    workers: int,
    ray: str,
    fresh: bool,
    as_json: bool,
) -> int:
    """Replays several bags. `runs`: node and direct of each; `settings`: shared by all. Returns the exit status."""
    from sam2_ros.eval.replay.many import ManyConfig, run_many

    configs, failed = {}, {}
    if ray:  # the workers run in other folders
        out = out.absolute()
    for one in listed:
        given = {key: value for key, value in vars(one).items() if value is not None}
        name, prompts, truth_ids = (given.pop(key) for key in ("name", "prompts", "truth_ids"))
        try:
            configs[name] = _config(
                *runs[name], prompts, truth_ids, **{**settings, **given, "out": out / name}
            )
        except UserError as error:
            failed[name] = str(error)
    config = ManyConfig(
        out, configs, failed, workers, ray, fresh, str(settings["command"]), bool(settings["overwrite"])
    )
    with show.progress_bar("opening") as bar:
        summary = run_many(config, bar.show, show.note)
    print_bags(summary)
    show.path(out / "summary.json")
    show.print_json(as_json, summary)
    if not summary["bags"]:
        return 2
    return 1 if summary["failed"] else 0


def _config(
    node: bool, direct: bool, prompts: Path, truth_ids: Mapping[str, int], **given: Any
) -> ReplayConfig:
    """Settings of one replay: prompts read from the file or the bag, the other fields as given. Raises UserError."""
    from sam2_ros.eval.replay.replay_config import ReplayConfig
    from sam2_ros.live.player import fastdds_profile
    from sam2_ros.media.bag.prompt_events import recorded_prompts
    from sam2_ros.media.bag.storage import is_bag
    from sam2_ros.media.bag.timeline import read_timeline

    from .prompts import PromptBook, stamps_of

    book = PromptBook()
    if is_bag(prompts):
        by_image, notes = recorded_prompts(prompts, read_timeline(given["bag"], given.get("topic")))
        book.files.append(prompts)
    else:
        book.add_file(prompts)
        stamps = stamps_of(given["bag"], given.get("topic"), prompts) if book.has_stamps else None
        by_image, notes = book.prompts(stamps), book.notes
    for line in notes:
        show.note(line)
    return ReplayConfig(
        prompts=by_image,
        prompts_file=str(prompts),
        prompt_files=tuple(book.files),
        truth_ids=truth_ids or book.truth_values,
        node_command=(sys.executable, "-m", "sam2_ros.node.node") if node else None,
        profiles_file=fastdds_profile() if node else None,
        direct=direct,
        **given,
    )


def _check_options(bag: Path, not_for_it: Mapping[str, Any], is_list: bool) -> None:
    """Raises UserError for an option that was given and does not apply to a list, or to a single bag."""
    for option, value in not_for_it.items():
        if value:
            raise UserError(
                f"{option} applies to a single bag, and {bag} is a list: set it in the entries of the list"
                if is_list
                else f"{option} applies to a list of bags, and {bag} is a single one: leave it out"
            )


def _default_runs(ray: str) -> tuple[bool, bool]:
    """Values of --node and --direct if neither was given. Prints the choice."""
    from sam2_ros.live.player import missing_ros

    reason = "a cluster has no live graph" if ray else missing_ros()
    said = (
        "the live node and the tracker directly" if reason is None else f"the tracker directly, as {reason}"
    )
    show.note(f"Replaying through {said}.")
    return reason is None, True


def _truth_ids(text: str) -> dict[str, int]:
    """`1=kite,2=person` -> {"kite": 1, "person": 2}"""
    found: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        value, given, object_id = part.partition("=")
        number = re.fullmatch(r"\s*[0-9]{1,9}\s*", value)
        if not given or number is None or not object_id or object_id in found:
            raise typer.BadParameter(
                f"--truth-ids '{text}' cannot be read at '{part}': expected VALUE=ID,... such as 1=cup,2=robot"
            )
        found[object_id] = int(value)
    return found
