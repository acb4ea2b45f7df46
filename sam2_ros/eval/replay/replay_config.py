# SPDX-License-Identifier: Apache-2.0
"""Settings of a replay, checked before anything slow starts.

Does not open bags or models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sam2_ros.engine import Prompt
from sam2_ros.errors import UserError
from sam2_ros.media.bag.storage import is_bag
from sam2_ros.media.pixels.image_reader import PixelConfig
from sam2_ros.offline.stream import first_prompts
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.weights.open_model import ModelOptions

DIRECT, NODE, RECORDED = "direct", "node", "recorded"
"""The runs: the tracker on every image; the live node in real time; a recording made earlier."""

SUMMARIES = ("summary.json", "report.html")


@dataclass(frozen=True)
class ReplayConfig:
    """One bag, the prompts, and how to replay it.

    Attributes:
        bag: a rosbag2 with images.
        out: folder for the results.
        prompts: by index of the image in the bag, from 0.
        node_command: command that starts the node; ROS arguments are appended. None: no node is started.
        direct: also track every image in this process.
        recorded: a rosbag2 with a `~/objects` topic, recorded earlier while the bag was played.
        recorded_topic: that topic; required if the recording has several.
        topic: image topic; required if the bag has several.
        truth: a folder of label images, or a rosbag2 with a topic of them.
        truth_topic: that topic; required if there are several.
        truth_ids: object -> its value in the truth; empty: the objects are 1, 2, ... in the order of their prompts.
        rate: playback speed of the live run; 2 = twice as fast as recorded.
        pixels: conversion of images whose encoding does not define it.
        policies: see `TrackerConfig`.
        prompts_file, command, notes: only recorded in summary.json.
    """

    bag: Path
    out: Path
    prompts: Mapping[int, Sequence[Prompt]]
    node_command: tuple[str, ...] | None = None
    direct: bool = True
    recorded: Path | None = None
    recorded_topic: str | None = None
    topic: str | None = None
    truth: Path | None = None
    truth_topic: str | None = None
    truth_ids: Mapping[str, int] = field(default_factory=dict)
    rate: float = 1.0
    model_options: ModelOptions = field(default_factory=ModelOptions)
    profiles_file: Path | None = None  # Fast DDS XML: without it, large best-effort images get lost
    pixels: PixelConfig = field(default_factory=PixelConfig)
    prompts_file: str = ""
    command: str = ""
    notes: tuple[str, ...] = ()
    overwrite: bool = False  # see `ResultFolder`
    policies: tuple[str, ...] = ("default",)
    prompt_files: tuple[Path, ...] = ()  # the sources of the prompts; results never replace them

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise UserError(f"--rate {self.rate:g} given, a number above 0 expected: 1 plays as recorded")
        if not self.runs:
            raise UserError("nothing to replay: expected --direct, --node or --recorded BAG")
        for option, path in (("--truth", self.truth), ("--recorded", self.recorded)):
            if path is not None and not path.exists():
                raise UserError(f"{option} {path} does not exist: a rosbag2 or a folder expected")
        if self.truth_topic is not None and (self.truth is None or not is_bag(self.truth)):
            raise UserError(f"--truth-topic {self.truth_topic} needs --truth BAG, a rosbag2 with that topic")
        if self.recorded_topic is not None and self.recorded is None:
            raise UserError(f"--recorded-topic {self.recorded_topic} needs --recorded BAG")
        if unknown := sorted(set(self.truth_ids) - set(self.object_ids)):
            raise UserError(
                f"truth is given for {unknown}, but the prompted objects are {self.object_ids}: use one of these"
            )
        values = list(self.truth_ids.values())
        if min(values, default=1) < 1 or len(set(values)) < len(values):
            raise UserError(
                f"truth values {values} given, a different value above 0 (the background) for each object expected"
            )

    @property
    def runs(self) -> tuple[str, ...]:
        wanted = {
            DIRECT: self.direct,
            NODE: self.node_command is not None,
            RECORDED: self.recorded is not None,
        }
        return tuple(name for name, is_wanted in wanted.items() if is_wanted)

    @property
    def first_prompts(self) -> dict[str, int]:
        """See `offline.stream`."""
        return first_prompts(self.prompts)

    @property
    def object_ids(self) -> list[str]:
        return list(self.first_prompts)

    def recording(self, run: str) -> Path:
        """The bag with the results of a run."""
        if run == RECORDED:
            assert self.recorded is not None
            return self.recorded
        return self.out / run / "tracked"

    def folder(self) -> ResultFolder:
        """The result folder, checked and not yet opened. Raises UserError."""
        return ResultFolder(self.out, "replay", self.replaced, self.inputs, self.overwrite)

    @property
    def replaced(self) -> tuple[str, ...]:
        """The names of what is written to `out`."""
        return (*self.recordings(self.runs), *SUMMARIES)

    @property
    def inputs(self) -> list[tuple[str, Path]]:
        """The inputs: what messages call them, and their paths."""
        given = (("the bag", self.bag), ("the truth", self.truth), ("the recording", self.recorded))
        inputs = [(called, path) for called, path in given if path is not None]
        return inputs + [("the prompt file", path) for path in self.prompt_files]

    @staticmethod
    def recordings(runs: Iterable[str]) -> tuple[str, ...]:
        """The folders that these runs write, named for `ResultFolder`."""
        return tuple(f"{run}/tracked/" for run in runs if run != RECORDED)
