# SPDX-License-Identifier: Apache-2.0
"""Measures enrolment on annotated sequences: `python scripts/measure_enrolment.py DATASET [--images 1,3]`.

Every object is enrolled from the first half of its sequence, and looked for in the second half, and in all other
sequences, where it must not be found. Prints a table, then one JSON line. Trains nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sam2_ros.datasets.layouts import open_dataset
from sam2_ros.datasets.sequence import VosSequence
from sam2_ros.engine import ObjectState, Prompt, Sam2Model, TrackedObject, Tracker, TrackerConfig
from sam2_ros.eval.metrics import boundary_f, region_j
from sam2_ros.state.enroll import enroll
from sam2_ros.state.identity import ModelIdentity
from sam2_ros.state.saved_state import SavedState
from sam2_ros.weights.load import load_model

CONFIG = TrackerConfig(max_objects=1)


def enrolled(
    model: Sam2Model, identity: ModelIdentity, sequence: VosSequence, name: str, images: int
) -> SavedState:
    """The object by its masks on images spread evenly over the first half."""
    half = [
        i for i in sequence.truth.indices if i < len(sequence) // 2 and sequence.truth.at(i).mask(name).any()
    ]
    chosen = [half[round(at)] for at in np.linspace(0, len(half) - 1, images)]
    prompts = [Prompt(name, mask=sequence.truth.at(index).mask(name)) for index in chosen]
    return enroll(model, identity, [sequence.image(index) for index in chosen], prompts, name, CONFIG)


def sought(
    model: Sam2Model, state: SavedState, sequence: VosSequence, frames: Iterable[int]
) -> Iterable[tuple[int, TrackedObject]]:
    """Frame and result of a stream in which the object is looked for from the first frame on."""
    tracker = Tracker(model, CONFIG)
    state.restore(tracker, state.model, seek=True)
    for index in frames:
        found = tracker.step(sequence.image(index)).objects
        if not found:
            return  # hidden for longer than forget_after_s
        yield index, found[0]


def prompted(model: Sam2Model, sequence: VosSequence, name: str) -> Iterable[tuple[int, TrackedObject]]:
    """The same stream with the object prompted by its mask on the first frame of the second half, for comparison."""
    tracker, begin = Tracker(model, CONFIG), len(sequence) // 2
    for index in range(begin, len(sequence)):
        mask = sequence.truth.at(index).mask(name) if index == begin else None
        given = [Prompt(name, mask=mask)] if mask is not None and mask.any() else []
        for obj in tracker.step(sequence.image(index), given).objects:
            yield index, obj


def scores(
    sequence: VosSequence, name: str, results: Iterable[tuple[int, TrackedObject]]
) -> tuple[float, int | None, float]:
    """J&F in percent over the annotated frames of the second half but its first; frames until TRACKING; mean J then."""
    begin, both, found_at, after = len(sequence) // 2, [], None, []
    masks = dict(results)
    for index in range(begin, len(sequence)):
        obj = masks.get(index)
        if obj is not None and obj.state == ObjectState.TRACKING and found_at is None:
            found_at = index - begin
        if index == begin or index not in sequence.truth.indices:
            continue
        truth = sequence.truth.at(index).mask(name)
        mask = obj.mask if obj is not None else np.zeros_like(truth)
        j = region_j(mask, truth)
        both.append(100 * (j + boundary_f(mask, truth)) / 2)
        if found_at is not None:
            after.append(j)
    return float(np.mean(both)), found_at, float(np.mean(after)) if after else 0.0


def measure(model: Sam2Model, sequences: list[VosSequence], images: int) -> list[dict[str, Any]]:
    """One row per object."""
    identity, rows = ModelIdentity.of(model), []
    for sequence in sequences:
        for name in sequence.truth.at(sequence.truth.indices[0]).masks:
            state = enrolled(model, identity, sequence, name, images)
            half = range(len(sequence) // 2, len(sequence))
            jf, found_at, j_after = scores(sequence, name, sought(model, state, sequence, half))
            reference, _, _ = scores(sequence, name, prompted(model, sequence, name))
            false = [
                other.name
                for other in sequences
                if other is not sequence
                and any(
                    obj.state == ObjectState.TRACKING
                    for _, obj in sought(model, state, other, range(len(other)))
                )
            ]
            rows.append(
                {
                    "sequence": sequence.name,
                    "object": name,
                    "images": images,
                    "JF": round(jf, 1),
                    "JF_prompted": round(reference, 1),
                    "found_after": found_at,
                    "J_after": round(100 * j_after, 1),
                    "false_finds": false,
                }
            )
            print(
                f"{sequence.name:24s} {name:10s} {images} images: J&F {jf:5.1f} (prompted {reference:5.1f}), "
                f"found after {found_at} frames, false finds {len(false)} of {len(sequences) - 1} {false}",
                flush=True,
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--images", default="1,3", help="numbers of images to enrol from")
    arguments = parser.parse_args()
    model = load_model(arguments.model, "cpu", arguments.precision)
    sequences = open_dataset(arguments.dataset)
    rows: list[dict[str, Any]] = []
    for images in map(int, arguments.images.split(",")):
        rows += measure(model, sequences, images)
        mine = [row for row in rows if row["images"] == images]
        found = sum(row["found_after"] is not None for row in mine)
        false = sum(len(row["false_finds"]) for row in mine)
        ours, reference = (np.mean([row[key] for row in mine]) for key in ("JF", "JF_prompted"))
        print(
            f"{images} images: J&F {ours:.1f} (prompted {reference:.1f}), found {found} of {len(mine)}, false finds "
            f"{false} of {len(mine) * (len(sequences) - 1)}"
        )
    print(json.dumps({"model": arguments.model, "rows": rows}))


if __name__ == "__main__":
    main()
