# SPDX-License-Identifier: Apache-2.0
"""Fingerprint of a replay: decides whether an earlier result can be reused.

Does not know how a replay works, nor other bags.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from sam2_ros.eval.fingerprint import code_fingerprint, files_fingerprint, model_fingerprint, reusable_record

from .replay_config import NODE, RECORDED, ReplayConfig


def fingerprint(config: ReplayConfig) -> dict[str, Any]:
    """The fingerprint as plain data; the keys are the words of messages. Raises CheckpointError for a missing model."""
    known: dict[str, Any] = {
        **code_fingerprint(),
        "runs": list(config.runs),
        "policies": list(config.policies),
    }
    if set(config.runs) != {RECORDED}:
        known |= model_fingerprint(config.model_options)
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
        **{key: None if path is None else files_fingerprint(path) for key, path in files.items()},
        "prompts": _prompts_fingerprint(config),
    }


def reusable_summary(config: ReplayConfig) -> tuple[dict[str, Any] | None, str]:
    """The summary of an earlier, equal replay; else None and the reason. Raises CheckpointError."""
    return reusable_record(config.out / "summary.json", fingerprint(config))


def _prompts_fingerprint(config: ReplayConfig) -> str:
    """Digest of the prompts themselves, including masks, not of the files that contain them."""
    digest = hashlib.sha256()
    for image, prompts in sorted(config.prompts.items()):
        for one in prompts:
            digest.update(f"{image} {one.id!r} {one.box} {one.class_id!r} {one.replace}\n".encode())
            for array in (one.points, one.labels, one.mask):
                if array is not None:
                    values = np.ascontiguousarray(array)
                    digest.update(f"{values.dtype} {values.shape}\n".encode() + values.tobytes())
    return digest.hexdigest()
