# SPDX-License-Identifier: Apache-2.0
"""Times image mode and the official implementation in one run: `python test/parity/compare_speed.py`.

Needs an environment with `sam2`, as `make_goldens.py` does, and this repository on PYTHONPATH. Both get the same random
weights and the same image, in turns. Prints the ratio official / ours, above 1 if sam2_ros is faster, and the
difference of their logits.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from parity.scene import moving_disc
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.build_sam import build_sam2
from sam2.sam2_image_predictor import SAM2ImagePredictor

from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine import EverythingConfig, ImageSegmenter, Sam2Model, config_for, segment_everything

BOX = np.array([300.0, 200.0, 700.0, 500.0])


def median_ms(official: Callable[[], object], ours: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Medians of both, in turns, after a warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for own, call in zip(times, (official, ours), strict=True):
            start = time.perf_counter()
            call()
            if turn:
                own.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times[0])), float(np.median(times[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--points-per-side", type=int, default=8)
    options = parser.parse_args()
    theirs = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu")
    state = fill_by_key(theirs.state_dict(), seed=2)
    theirs.load_state_dict(state, strict=True)
    model = Sam2Model(config_for("tiny")).eval().requires_grad_(False)
    model.load_state_dict(state, strict=True)
    image = moving_disc(1, 1024, seed=3)[0, 128:896]
    predictor, segmenter = SAM2ImagePredictor(theirs), ImageSegmenter(model)
    # With random weights nearly all candidates are good and none is stable: half of them are upsampled to image size.
    settings = {
        "points_per_side": options.points_per_side,
        "pred_iou_thresh": 0.8,
        "stability_score_thresh": 0.5,
    }
    generator = SAM2AutomaticMaskGenerator(theirs, **settings)
    config = EverythingConfig(**settings)
    calls = {
        "set_image": (lambda: predictor.set_image(image), lambda: segmenter.set_image(image)),
        "predict, a box": (
            lambda: predictor.predict(box=BOX, multimask_output=False),
            lambda: segmenter.predict(box=BOX, multimask=False),
        ),
        "everything": (
            lambda: generator.generate(image),
            lambda: segment_everything(model, image, config),
        ),
    }
    report: dict[str, object] = {"threads": torch.get_num_threads(), "image": list(image.shape[:2])}
    for name, (official, ours) in calls.items():
        official_ms, ours_ms = median_ms(official, ours, options.rounds)
        report[name] = {"official_ms": official_ms, "ours_ms": ours_ms, "ratio": official_ms / ours_ms}
        print(
            f"{name:16} official {official_ms:9.1f} ms, ours {ours_ms:9.1f} ms, ratio {official_ms / ours_ms:.2f}"
        )
    a = predictor.predict(box=BOX, multimask_output=False)[2][0]
    b = segmenter.predict(box=BOX, multimask=False).logits[0]
    report["logit_error"] = float(np.sqrt(((a - b) ** 2).mean() / (a**2).mean()))
    print(f"logits differ by {report['logit_error']:.1e} of their rms")
    print(json.dumps(report))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
