# SPDX-License-Identifier: Apache-2.0
"""Segments everything in one image: prompts a grid of clicks, and keeps the good, stable and distinct masks.

Without an image it renders one. The thresholds are those that fit the model.
"""

import argparse
import json
from pathlib import Path

import cv2

from sam2_ros.engine import EverythingConfig, segment_everything
from sam2_ros.media.annotations import annotation
from sam2_ros.media.overlay import draw_masks, write_png
from sam2_ros.synthetic.render import demo_clip
from sam2_ros.weights import load_model

OUT = Path("out/examples/03_segment_everything")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("image", nargs="?", help="image file; default: a rendered one")
    parser.add_argument("--side", type=int, default=12, help="clicks along each side of the image")
    parser.add_argument(
        "--model", default="nano", help="nano, tiny, small, base_plus, large, or a file of weights"
    )
    args = parser.parse_args()
    image = demo_clip(frames=1).frames[0]
    if args.image is not None:
        image = cv2.cvtColor(cv2.imread(args.image), cv2.COLOR_BGR2RGB)

    masks = segment_everything(load_model(args.model), image, EverythingConfig(points_per_side=args.side))

    print(f"{len(masks)} masks of {args.side * args.side} clicks; the largest:")
    masks.sort(key=lambda mask: -mask.area)
    for mask in masks[:5]:
        print(f"  {mask.area:7} px, box {mask.box}, predicted IoU {mask.predicted_iou:.2f}")
    OUT.mkdir(parents=True, exist_ok=True)
    write_png(OUT / "everything.png", draw_masks(image, [mask.segmentation for mask in masks]))
    (OUT / "masks.json").write_text(json.dumps([annotation(mask) for mask in masks]))  # COCO run lengths
    print(f"{OUT / 'everything.png'} and {OUT / 'masks.json'}")


if __name__ == "__main__":
    main()
