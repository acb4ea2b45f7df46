# SPDX-License-Identifier: Apache-2.0
"""Scores a model on sequences with known masks: J, F and J&F of every object, as the DAVIS benchmark defines them.

Without a data set it renders two short clips and writes them as one.
"""

import argparse
from pathlib import Path

import cv2

from sam2_ros.eval.benchmark.eval_config import EvalConfig
from sam2_ros.eval.benchmark.evaluate import run_eval
from sam2_ros.synthetic.render import ClipConfig, render_clip
from sam2_ros.weights.open_model import ModelOptions

OUT = Path("out/examples/09_score_a_model")


def write_data_set(folder: Path) -> Path:
    """SEQUENCE/frames/*.jpg and SEQUENCE/masks/*.png, whose values are the objects' numbers."""
    for seed in (1, 2):
        clip = render_clip(seed, ClipConfig(frames=8, objects=2))
        for part in ("frames", "masks"):
            (folder / f"clip_{seed}" / part).mkdir(parents=True, exist_ok=True)
        for index, (image, masks) in enumerate(zip(clip.frames, clip.masks, strict=True)):
            cv2.imwrite(str(folder / f"clip_{seed}" / "frames" / f"{index:05}.jpg"), image[..., ::-1])
            labels = masks[0].astype("uint8") + 2 * masks[1].astype("uint8")
            cv2.imwrite(str(folder / f"clip_{seed}" / "masks" / f"{index:05}.png"), labels)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "dataset", nargs="?", type=Path, help="DAVIS, MOSE, ... or folders SEQUENCE/frames and masks"
    )
    parser.add_argument(
        "--prompt", default="box", help="on an object's first frame: mask, box, click1, click3, ..."
    )
    parser.add_argument(
        "--model", default="nano", help="nano, tiny, small, base_plus, large, or a file of weights"
    )
    args = parser.parse_args()
    dataset = args.dataset or write_data_set(OUT / "data")

    config = EvalConfig(
        dataset, args.prompt, ModelOptions(args.model), out=OUT / "scores", baselines=("flow",)
    )
    report = run_eval(config, on_note=print).report
    for name, scores in report["sequences"].items():
        print(f"{name}: J&F {scores['JF']:.1f}, J {scores['J']:.1f}, F {scores['F']:.1f}")
    flow = report["baselines"]["flow"]["JF"]
    print(f"mean over objects: {args.model} {report['JF']:.1f}, optical flow from the same start {flow:.1f}")
    print(f"{OUT / 'scores' / 'report.html'} shows the worst moments")


if __name__ == "__main__":
    main()
