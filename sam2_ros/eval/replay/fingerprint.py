"""Fingerprint of a replay: decides whether an earlier result can be reused.

Does not know how they are made, nor of other bags.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from sam2_ros.eval.fingerprint import files_print, kept_record, model_print, versions_print

from .replay_config import NODE, RECORDED, ReplayConfig

_UNSAID = {
    "model": "the model's file is another one",
    "bag": "the bag has changed",
    "prompts": "the prompts have changed",
    "truth": "the truth has changed",
    "recorded": "the recording has changed",
}


def fingerprint(config: ReplayConfig) -> dict[str, Any]:
    """By what it is called in messages; plain data. Raises CheckpointError where a model is needed."""
    known: dict[str, Any] = {**versions_print(), "runs": list(config.runs)}
    if set(config.runs) != {RECORDED}:
        known |= model_print(config.model, config.device, config.precision, config.image_size)
    if NODE in config.runs:
        known |= {"rate": config.rate, "ROS": os.environ.get("ROS_DISTRO")}
    files = {"bag": config.bag, "truth": config.truth, "recorded": config.recorded}
    return {
        **known,
        "pixels": vars(config.pixels),
        "topic": config.topic,
        "truth topic": config.truth_topic,
        "recorded topic": config.recorded_topic,
        "truth values": dict(config.truth_ids),
        **{key: None if path is None else files_print(path) for key, path in files.items()},
        "prompts": _prompts_print(config),
    }


def reusable_summary(config: ReplayConfig) -> tuple[dict[str, Any] | None, str]:
    """What `run_replay` would return, from an earlier one; else None and why. Raises CheckpointError."""
    return kept_record(config.out / "summary.json", fingerprint(config), _UNSAID)


def _prompts_print(config: ReplayConfig) -> str:
    """Of what is asked, not of the files that say so: masks have files of their own."""
    digest = hashlib.sha256()
    for image, prompts in sorted(config.prompts.items()):
        for one in prompts:
            digest.update(f"{image} {one.id!r} {one.box} {one.class_id!r} {one.replace}\n".encode())
            for array in (one.points, one.labels, one.mask):
                if array is not None:
                    values = np.ascontiguousarray(array)
                    digest.update(f"{values.dtype} {values.shape}\n".encode() + values.tobytes())
    return digest.hexdigest()
