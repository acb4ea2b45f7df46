# SPDX-License-Identifier: Apache-2.0
"""Differences between bfloat16 and float32 in both implementations: `python test/parity/compare_precisions.py`.

Needs an environment with `sam2`, as `make_goldens.py` does, and this repository on PYTHONPATH. Tracks the boxes of
`sam2-ros bench` with the official predictor and with sam2_ros, in both precisions and with the same weights, and prints
the agreement of each pair of the four. Rounding limits the agreement that can be expected of two implementations.
"""

from __future__ import annotations

import argparse
import itertools

from sam2_ros.bench.against.open_reference import open_reference
from sam2_ros.bench.against.reference import TrackerOutput, logit_error, mask_agreement
from sam2_ros.bench.run import BenchConfig, bench_tracker_config, open_bench_model, render_stream
from sam2_ros.bench.timing import OwnTracker, time_in_turns
from sam2_ros.engine import Tracker
from sam2_ros.weights.open_model import ModelOptions


def follow(name: str, precision: str, image_size: int, objects: int, frames: int) -> dict[str, TrackerOutput]:
    config = BenchConfig(
        ModelOptions(name, precision=precision, image_size=image_size), (objects,), frames, against="official"
    )
    model, _ = open_bench_model(config)
    stream = render_stream(config)
    part = stream.of(objects)
    official = open_reference("official", model).follow(part.images, part.boxes)
    tracker = Tracker(model, bench_tracker_config(config, 1, objects))
    ours, theirs = time_in_turns([OwnTracker(tracker, part), official], len(part), lambda: None)
    return {f"ours {precision}": ours, f"official {precision}": theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="tiny: random weights here; nano: trained ones")
    parser.add_argument("--image-size", type=int, default=0, help="0: the model's own")
    parser.add_argument("--objects", type=int, default=2)
    parser.add_argument("--frames", type=int, default=8, help="after 20 in which the bank fills")
    args = parser.parse_args()
    answers = {}
    for precision in ("bf16", "fp32"):
        answers |= follow(args.model, precision, args.image_size, args.objects, args.frames)
    for one, other in itertools.combinations(answers, 2):
        pair = answers[other], answers[one]
        print(
            f"{one:13} | {other:13} | IoU {mask_agreement(*pair):.4f} | logits {logit_error(*pair):.1e} of rms"
        )


if __name__ == "__main__":
    main()
