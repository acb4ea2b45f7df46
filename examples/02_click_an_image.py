# SPDX-License-Identifier: Apache-2.0
"""Segments the object at a click in one image: a click can mean several things, so the model returns three masks.

Without an image it renders one, with a cup on a saucer.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from sam2_ros.engine import ImageSegmenter
from sam2_ros.media.overlay import draw_masks, write_png
from sam2_ros.synthetic.render import demo_clip
from sam2_ros.weights import load_model

OUT = Path("out/examples/02_click_an_image")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("image", nargs="?", help="image file; default: a rendered one")
    parser.add_argument(
        "--click", type=float, nargs=2, default=(437, 362), metavar=("X", "Y"), help="on the object"
    )
    parser.add_argument(
        "--not", type=float, nargs=2, dest="beside", metavar=("X", "Y"), help="beside the object"
    )
    parser.add_argument(
        "--model", default="nano", help="nano, tiny, small, base_plus, large, or a file of weights"
    )
    args = parser.parse_args()
    image = demo_clip(frames=1).frames[0]
    if args.image is not None:
        image = cv2.cvtColor(cv2.imread(args.image), cv2.COLOR_BGR2RGB)

    segmenter = ImageSegmenter(load_model(args.model))
    segmenter.set_image(image)  # encodes it once; each prompt after that is fast
    points = [args.click] if args.beside is None else [args.click, args.beside]
    labels = [1, 0][: len(points)]  # 1: on the object, 0: not the object
    found = segmenter.predict(points=np.array(points), labels=np.array(labels), multimask=True)

    pictures = []
    for mask, score in zip(found.masks, found.scores, strict=True):
        print(f"predicted IoU {score:.2f}: {mask.sum()} px")
        picture = draw_masks(image, [mask], [f"{score:.2f}"])
        for (x, y), label in zip(points, labels, strict=True):
            cv2.drawMarker(picture, (round(x), round(y)), (0, 255, 0) if label else (255, 0, 0), thickness=2)
        pictures.append(picture)
    OUT.mkdir(parents=True, exist_ok=True)
    write_png(OUT / "candidates.png", np.hstack(pictures))
    best = found.masks[found.scores.argmax()]
    cv2.imwrite(str(OUT / "best_mask.png"), best.astype(np.uint8) * 255)
    print(f"{OUT / 'candidates.png'} and {OUT / 'best_mask.png'}")


if __name__ == "__main__":
    main()
