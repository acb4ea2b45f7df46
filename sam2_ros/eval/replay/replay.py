# SPDX-License-Identifier: Apache-2.0
"""Replays one bag: executes the runs one after the other, and scores each against the ground truth.

Does not know the command line. Returns the content of summary.json.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sam2_ros.atomic_write import write_json
from sam2_ros.eval.fingerprint import made_with
from sam2_ros.eval.metrics import spread
from sam2_ros.eval.recording import read_results
from sam2_ros.eval.report.data import read_replay
from sam2_ros.eval.report.replay_page import write_replay_page
from sam2_ros.media.bag.timeline import BagTimeline, read_timeline
from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.frames import open_source
from sam2_ros.media.pixels.image_reader import ImageReader
from sam2_ros.offline.stream import check_prompts
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.weights.open_model import open_model

from .fingerprint import fingerprint
from .measures import longest_gap_s
from .replay_config import RECORDED, SUMMARIES, ReplayConfig
from .report_frames import read_frames
from .runs import OpenModel, Progress, RunOutput, make_run
from .score import score_run
from .summary import summarize
from .truth import ReplayTruth, find_truth


def run_replay(
    config: ReplayConfig,
    on_progress: Progress = lambda step, done, total: None,
    open_model: OpenModel = open_model,
) -> dict[str, Any]:
    """Executes and scores every requested run; returns the content of summary.json.

    Bag, prompts, truth and folder are checked before a model is loaded. If a run fails, the runs before it are kept:
    their recordings, and their numbers in summary.json, which has a `fingerprint` only if all runs are complete. An
    interrupted replay leaves an earlier result unchanged. `open_model`: same signature as that of `weights`. Raises
    UserError.
    """
    with config.folder() as folder:
        done: list[str] = []
        try:
            return replay_into(folder, config, on_progress, open_model, done.append)
        except BaseException as error:
            if done and (isinstance(error, Exception) or not folder.has_file("summary.json")):
                folder.drop_staged((*config.recordings(done), "summary.json"))
                folder.commit((*config.recordings(done), *SUMMARIES))
            raise


def replay_into(
    folder: ResultFolder,
    config: ReplayConfig,
    on_progress: Progress,
    open_model: OpenModel = open_model,
    on_done: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """`run_replay` into an open folder. `on_done` is called for each run when it is in the staged summary.json.

    Bag and truth may be in staging too: summary.json then gives their final paths.
    """
    on_progress("reading the bag", 0, 1)
    timeline = read_timeline(config.bag, config.topic)
    with open_source(config.bag, timeline.topic, ImageReader(config.pixels)) as source:
        image_hw = check_prompts(source, config.prompts)
    made_with = fingerprint(config)  # reports a wrong model at once, before a node fails to configure
    on_progress("reading the truth", 0, 1)
    known = find_truth(config, timeline, image_hw)
    summary = _heading(config, folder, timeline, known)
    runs: dict[str, RunOutput] = {}
    for name in config.runs:
        made = runs[name] = make_run(name, config, folder, timeline, on_progress, open_model)
        on_progress(f"scoring {name}", 0, 1)
        summary["runs"][name] = _scored(name, made, config, timeline, known, summary["notes"])
        for key in ("model", "device", "precision", "image_size"):
            if summary[key] is None and key in made.model_info:
                summary[key] = made.model_info[key]
        write_json(folder.stage("summary.json"), summary)
        on_done(name)
    on_progress("writing the report", 0, 1)
    try:
        frames = partial(
            read_frames, bag=config.bag, timeline=timeline, known=known, runs=runs, pixels=config.pixels
        )
        write_replay_page(folder.staging / "report.html", read_replay(folder.staging), frames)
    except (OSError, SourceError) as error:  # the summary is already written
        summary["notes"].append(f"'{config.out / 'report.html'}' is not written: {error}")
    else:
        summary["fingerprint"] = made_with  # last: marks the replay as complete
        write_json(folder.stage("summary.json"), summary)
    return summary


def _heading(
    config: ReplayConfig, folder: ResultFolder, timeline: BagTimeline, known: ReplayTruth | None
) -> dict[str, Any]:
    stamps_s = timeline.stamps_s
    values = {} if known is None else known.values
    # The runs fill in the fields that are None here.
    return {
        "kind": "replay",
        "bag": _final(config.bag, folder),
        "topic": timeline.topic,
        "transport": "compressed" if timeline.compressed else "raw",
        "images": len(timeline.images),
        "duration_s": round(timeline.duration_s, 4),
        "model": None,
        "device": None,
        "precision": None,
        "image_size": config.model_options.image_size or None,
        "prompts": {
            "file": config.prompts_file,
            "objects": {
                object_id: {
                    "frame": frame,
                    "stamp_s": round(stamps_s[frame], 4),
                    "truth": int(values[object_id]) if object_id in values else None,
                }
                for object_id, frame in config.first_prompts.items()
            },
        },
        "truth": None
        if known is None
        else {
            "source": _final(Path(known.source), folder),
            "topic": known.topic,
            "images": len(known.truth.indices),
        },
        "rate": config.rate,
        "runs": {},
        "notes": [*config.notes, *timeline.notes, *(known.notes if known is not None else ())],
        "command": config.command,
        **replayed_with(),
    }


def _final(path: Path, folder: ResultFolder) -> str:
    """The final path of a file that may still be in staging."""
    staged = path.is_relative_to(folder.staging)
    return str(folder.path / path.relative_to(folder.staging) if staged else path)


def replayed_with() -> dict[str, Any]:
    """See `made_with`; the ROS version is None without ROS."""
    return made_with(numpy=np.__version__, ros=os.environ.get("ROS_DISTRO"))


def _scored(
    name: str,
    made: RunOutput,
    config: ReplayConfig,
    timeline: BagTimeline,
    known: ReplayTruth | None,
    notes: list[str],
) -> dict[str, Any]:
    results = read_results(made.recording, made.objects_topic, made.index_by_stamp)
    stamps_s = timeline.stamps_s
    tracks = score_run(stamps_s, results, config.first_prompts, known)
    processed = tracks[0].processed
    images, done, skipped = len(timeline.images), sum(processed), made.skipped
    for track in tracks:
        if not any(answer.state is not None for answer in track.answers):
            notes.append(f"{name}: '{track.id}' is in no result; its prompt did not arrive or was rejected")
    own = name != RECORDED
    return {
        "recording": f"{name}/tracked" if own else str(made.recording.resolve()),
        "images_in": images,
        "processed": done,
        "skipped": skipped,
        "dropped": images - done - (skipped or 0),
        "longest_gap_s": round(longest_gap_s(stamps_s, processed), 4),
        "fps": None if made.fps is None else round(made.fps, 2),
        "latency_ms": spread(made.latency_ms.values()).as_dict(),
        "latencies_ms": [round(ms, 2) for ms in made.latency_ms.values()],
        "latency_meaning": made.latency_meaning,
        **made.extra,
        **summarize(tracks, made.latency_ms),
    }
