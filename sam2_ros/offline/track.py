# SPDX-License-Identifier: Apache-2.0
"""One offline tracking run: a source and prompts in, a folder of results out.

Connects frames, tracker and files. Does not know how prompts are written or progress is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2_ros.engine import Prompt, Sam2Model, Tracker, TrackerConfig
from sam2_ros.engine.warm_up import warm_up
from sam2_ros.errors import UserError
from sam2_ros.media.frames import open_source
from sam2_ros.media.pixels.image_reader import ImageReader, PixelConfig
from sam2_ros.media.results import SAVE_KINDS, ResultWriter, RunInfo, track_result_names
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.state.identity import ModelIdentity
from sam2_ros.state.saved_state import SavedState
from sam2_ros.state.state_file import read_state
from sam2_ros.weights.open_model import ModelOptions, open_model

from .backward import EarlierObjects, track_backward
from .stream import check_prompts, track_frames


@dataclass(frozen=True)
class TrackConfig:
    """The source, the prompts, and where the results go."""

    source: Path
    out: Path
    prompts: Mapping[int, Sequence[Prompt]] = field(default_factory=dict)  # by frame index
    model_options: ModelOptions = field(default_factory=ModelOptions)
    topic: str | None = None
    glob: str | None = None  # for a folder: pattern of the file names to use
    fps: float | None = None  # for a folder: the frame rate of the stamps, instead of stamps from file names
    backward: bool = False  # also track before an object's first prompt
    save: tuple[str, ...] = SAVE_KINDS
    pixels: PixelConfig = field(default_factory=PixelConfig)
    overwrite: bool = False  # see `ResultFolder`
    prompt_files: tuple[Path, ...] = ()  # the files the prompts are from; results never replace them
    enrolled: tuple[Path, ...] = ()  # state files, whose objects are looked for from the first frame on
    policies: tuple[str, ...] = ()  # see `TrackerConfig`

    def __post_init__(self) -> None:
        unknown = sorted(set(self.save) - set(SAVE_KINDS))
        if unknown or not self.save:
            given = ", ".join(unknown) or "nothing"
            raise UserError(f"--save {given} given, any of {','.join(SAVE_KINDS)} expected")
        if self.enrolled and self.backward:
            raise UserError(
                "--enrolled and --backward: choose one; an enrolled object is looked for from the start"
            )


def run_track(
    config: TrackConfig, on_progress: Callable[[str, int, int | None], None] = lambda step, done, total: None
) -> dict[str, Any]:
    """Track every frame of the source; returns the content of summary.json.

    Source, prompts and output folder are checked before the model is loaded. Raises UserError; then nothing is left in
    the output folder.
    """
    folder = ResultFolder(
        config.out,
        "track",
        track_result_names(config.save),
        [
            ("the source", config.source),
            *(("the prompt file", path) for path in config.prompt_files),
            *(("the enrolled file", path) for path in config.enrolled),
        ],
        config.overwrite,
    )
    states = [(path, read_state(path)) for path in config.enrolled]
    images = ImageReader(config.pixels)
    with open_source(config.source, config.topic, images, config.glob, config.fps) as source, folder:
        if config.prompts or not states:
            check_prompts(source, config.prompts)
        compiled = config.model_options.compile != "off"
        on_progress("compiling the model" if compiled else "loading the model", 0, source.length)
        ids = {prompt.id for given in config.prompts.values() for prompt in given}
        ids.update(id for _, state in states for id in state.ids)
        settings = TrackerConfig(max_objects=max(len(ids), 1), policies=config.policies)
        model = open_model(config.model_options, settings)
        if compiled:
            warm_up(model, settings)  # a compiled model runs at full speed from the first frame
        info = RunInfo(
            source=str(config.source),
            source_fps=source.fps,
            model=model.config.name,
            device=str(model.device),
            precision=model.precision_name,
        )
        with ResultWriter(folder, info, config.save) as writer:
            frames = folder.scratch("backward")
            earlier = EarlierObjects(frames)
            if config.backward:
                tracker = Tracker(model, settings)
                earlier = track_backward(
                    tracker,
                    source,
                    config.prompts,
                    frames,
                    lambda done, total: on_progress("tracking backward", done, total),
                )
            forward = track_frames(_tracker(model, settings, states), source, config.prompts)
            for done, tracked in enumerate(forward, start=1):
                found = tracked.result.objects + earlier.at(tracked.frame.index)
                tracked.result.objects = sorted(found, key=lambda obj: obj.label)
                writer.add(tracked.frame, tracked.result)
                on_progress("tracking", done, source.length)
            writer.note_missing(source.missing, source.skipped)
        return writer.summary


def _tracker(model: Sam2Model, settings: TrackerConfig, states: Sequence[tuple[Path, SavedState]]) -> Tracker:
    """A tracker that looks for the objects of all states. Raises UserError."""
    tracker = Tracker(model, settings)
    identity = ModelIdentity.of(model) if states else None
    for path, state in states:
        assert identity is not None
        if twice := [id for id in state.ids if id in tracker.object_ids]:
            raise UserError(
                f"--enrolled {path}: '{twice[0]}' is in an earlier file as well; give one of them"
            )
        try:
            state.restore(tracker, identity, seek=True)
        except UserError as error:
            raise UserError(f"--enrolled {path}: {error}") from None
    return tracker
