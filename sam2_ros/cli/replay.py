# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros replay`: bags through the live node, the tracker or both, measured as a robot would see it.

Does not score anything; it reads arguments and hands them on to `eval.replay`.
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
    RangeOption,
    RayOption,
    UntypedOption,
    WorkersOption,
    opens_model,
)
from .replay_tables import print_bags, print_runs

if TYPE_CHECKING:  # the command line starts without loading what it does not run
    from sam2_ros.eval.replay.bag_list import ListedBag
    from sam2_ros.eval.replay.replay_config import ReplayConfig
    from sam2_ros.weights.open_model import ModelOptions


@opens_model
def replay(
    bag: Annotated[
        Path,
        typer.Argument(
            help="rosbag2 with images, raw or compressed (folder, .mcap, .db3); or a list of several, YAML or JSON: "
            "{bag, prompts, name, truth, truth_topic, truth_ids, topic, recorded, recorded_topic, rate} each."
        ),
    ],
    out: Annotated[Path, typer.Option(help=f"{OUT_HELP} Of a list, DIR/name for each bag.")],
    model_options: ModelOptions,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="JSON list of {id, frame, box, points [[x, y, 1 or 0]], mask, class_id, truth}. In a list of bags "
            "each entry names its own."
        ),
    ] = None,
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
    range: RangeOption = "full",
    untyped_encoding: UntypedOption = "bgr",
    workers: WorkersOption = 0,
    ray: RayOption = "",
    fresh: FreshOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> int:
    """Replay a rosbag and measure it as a robot sees it: masks, states, identities, latency, dropped images.

    Without --node, --direct or --recorded both of the first two, where ROS 2 is installed. --workers, --ray and --fresh
    are for a list. Leaves
    direct/tracked and node/tracked (rosbag2), node/node.log, report.html and summary.json. Of a list every bag leaves
    them in a folder of its own; one that fails costs itself only. The exit status is then 1, and 2 when all fail.
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
        raise UserError(f"--prompts is missing: a JSON file that says what to track in {bag} expected")
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
    """Several bags. `runs`: node and direct of each; `settings`: what they have in common. Returns the exit status."""
    from sam2_ros.eval.replay.many import ManyConfig, run_many

    configs, failed = {}, {}
    if ray:  # a path that means the same in every folder
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
    """What a file says to track, and the other fields as they are. Raises UserError."""
    from sam2_ros.eval.replay.replay_config import ReplayConfig
    from sam2_ros.live.player import fastdds_profile

    from .prompts import PromptBook

    book = PromptBook()
    book.add_file(prompts)
    for line in book.notes:
        show.note(line)
    return ReplayConfig(
        prompts=book.prompts(),
        prompts_file=str(prompts),
        prompt_files=tuple(book.files),
        truth_ids=truth_ids or book.truth_values,
        node_command=(sys.executable, "-m", "sam2_ros.node.node") if node else None,
        profiles_file=fastdds_profile() if node else None,
        direct=direct,
        **given,
    )


def _check_options(bag: Path, not_for_it: Mapping[str, Any], is_list: bool) -> None:
    """Raises UserError for an option that was given and says nothing to what `bag` is."""
    for option, value in not_for_it.items():
        if value:
            raise UserError(
                f"{option} is of a single bag, and {bag} is a list: say it in its entries"
                if is_list
                else f"{option} is of a list of bags, and {bag} is a single one: leave it out"
            )


def _default_runs(ray: str) -> tuple[bool, bool]:
    """Node and direct, where nobody asked for either; says which."""
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
