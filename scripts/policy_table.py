# SPDX-License-Identifier: Apache-2.0
"""Scores tracking policies against `official` on sequences: J&F of each, by sequence and by group, and time per frame.

All trackers take each frame in turn and share the image encoder, whose time is added to each. With mask prompts, one
thread. Usage: python scripts/policy_table.py OUT.json DATASET[,DATASET] [--every N] [--only NAME,NAME] POLICIES ...
DATASET: a folder as of `sam2-ros eval`, or rendered; POLICIES: names joined by commas, or official.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sam2_ros.datasets.layouts import open_dataset
from sam2_ros.datasets.rendered import is_rendered, rendered_sequences
from sam2_ros.datasets.sequence import VosSequence
from sam2_ros.engine import Sam2Model
from sam2_ros.engine.warm_up import warm_up
from sam2_ros.eval.benchmark.prompted_tracker import PromptedTracker
from sam2_ros.eval.benchmark.scores import SequenceScorer, disjoint
from sam2_ros.eval.memory_options import MemoryOptions
from sam2_ros.weights.open_model import ModelOptions, open_model


@dataclass
class SharedEncoder:
    """The image encoder of a model, run once for all trackers of a frame."""

    model: Sam2Model
    features: Any = None
    encode_ms: float = 0.0
    last_ms: float = 0.0  # spent by the last tracker

    def install(self) -> None:
        encode = self.model.encode_image

        def shared(image_b3hw: torch.Tensor) -> Any:
            start_s = time.perf_counter()
            if self.features is None:
                self.features = encode(image_b3hw)
                self.encode_ms = (time.perf_counter() - start_s) * 1e3
            self.last_ms = (time.perf_counter() - start_s) * 1e3
            return self.features

        self.model.encode_image = shared  # type: ignore[method-assign]


def sequences_of(dataset: str, only: set[str]) -> Iterator[VosSequence]:
    path = Path(dataset)
    found = rendered_sequences() if is_rendered(path) else open_dataset(path)
    for one in found:
        sequence = one[1] if isinstance(one, tuple) else one
        if not only or sequence.name in only or sequence.group in only:
            yield sequence


def score(
    sequence: VosSequence, encoder: SharedEncoder, settings: dict[str, MemoryOptions], every: int
) -> dict[str, Any]:
    """J&F of each object and milliseconds per frame, by policies."""
    trackers = {
        name: PromptedTracker(encoder.model, sequence, "mask", memory=memory)
        for name, memory in settings.items()
    }
    scorers = {name: SequenceScorer(sequence) for name in settings}
    times: dict[str, list[float]] = {name: [] for name in settings}
    start = min(sequence.first_frames.values())
    for index in range(start, len(sequence)):
        new = [name for name, first in sequence.first_frames.items() if first == index]
        if (index - start) % every and not new:
            continue
        image = sequence.image(index)
        truth = sequence.annotated(index, image)
        encoder.features = None
        for name, tracker in trackers.items():
            answer = tracker.step(index, image, new, truth)
            times[name].append(answer.step_ms - encoder.last_ms + encoder.encode_ms)
            if truth is not None:
                masks = answer.masks() if sequence.overlapping else disjoint(answer.masks())
                scorers[name].add(index, masks, truth, answer.result.objects)
    return {
        name: {
            "objects": [round(100 * one.jf, 3) for one in scorers[name].objects()],
            "ms": round(float(np.median(times[name][2:])), 2),
        }
        for name in settings
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("datasets")
    parser.add_argument("policies", nargs="+")
    parser.add_argument("--every", type=int, default=1, help="use every N-th frame")
    parser.add_argument("--only", default="", help="names of sequences or groups, joined by commas")
    parser.add_argument("--model", default="nano")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = open_model(ModelOptions(given.model))
    warm_up(model)
    encoder = SharedEncoder(model)
    encoder.install()
    names = list(dict.fromkeys(["official", *given.policies]))
    settings = {name: replace(MemoryOptions(), policies=tuple(name.split(","))) for name in names}
    results: dict[str, Any] = {}
    only = set(filter(None, given.only.split(",")))
    for dataset in given.datasets.split(","):
        for sequence in sequences_of(dataset, only):
            results[sequence.name] = {
                "group": sequence.group,
                **score(sequence, encoder, settings, given.every),
            }
            show(sequence.name, results[sequence.name], names)
            given.out.write_text(json.dumps(results))
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in results.values():
        groups.setdefault(one["group"] or "sequences", []).append(one)
    for group, members in groups.items():
        joined = {
            name: {
                "objects": [jf for one in members for jf in one[name]["objects"]],
                "ms": float(np.median([one[name]["ms"] for one in members])),
            }
            for name in names
        }
        show(f"mean of {group}", joined, names)


def show(title: str, scores: dict[str, Any], names: list[str]) -> None:
    base = float(np.mean(scores["official"]["objects"]))
    cells = [f"official {base:.1f} ({scores['official']['ms']:.0f} ms)"]
    for name in names[1:]:
        change = float(np.mean(scores[name]["objects"])) - base
        cells.append(f"{name} {change:+.1f} ({scores[name]['ms']:.0f})")
    print(f"{title}: {' | '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
