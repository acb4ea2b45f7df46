# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes a model on masks of an object that it gets wrong, and shows the mask before and after.

Without data it renders short clips of rings of beads: the model takes in the ground between the beads, until it has
seen masks that do not. With --steps 0 the clips are rendered and nothing is trained.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from sam2_ros.engine import ImageSegmenter
from sam2_ros.media.overlay import draw_masks, write_png
from sam2_ros.train.finetune.loop import finetune
from sam2_ros.train.train_config import FinetuneConfig
from sam2_ros.weights import load_model

OUT = Path("out/examples/08_fine_tune")
SIZE = 256


def ring(seed: int, time: int) -> tuple[np.ndarray, np.ndarray]:
    """A ring of eight beads at one moment of a clip: [S, S, 3] uint8 RGB and its mask, [S, S] uint8."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(60, 190, (SIZE // 16, SIZE // 16, 3), dtype=np.uint8)
    image, mask = cv2.resize(ground, (SIZE, SIZE)), np.zeros((SIZE, SIZE), np.uint8)
    middle, step = rng.uniform(0.35, 0.65, 2) * SIZE, rng.uniform(-3, 3, 2)
    angles = np.arange(8) * np.pi / 4 + rng.uniform(-0.06, 0.06) * time
    for bead, (c, s) in enumerate(zip(np.cos(angles), np.sin(angles), strict=True)):
        at = tuple(np.round(middle + step * time + SIZE * 0.19 * np.array([c, s])).astype(int).tolist())
        cv2.circle(image, at, round(SIZE * 0.06), (235, 200, 30) if bead % 2 else (40, 30, 120), -1)
        cv2.circle(mask, at, round(SIZE * 0.06), 1, -1)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8), mask


def write_clips(folder: Path, seeds: range, frames: int = 8) -> Path:
    """The layout that `sam2-ros train` and `eval` read: SEQUENCE/frames/*.jpg and SEQUENCE/masks/*.png."""
    for seed in seeds:
        for part in ("frames", "masks"):
            (folder / f"ring_{seed}" / part).mkdir(parents=True, exist_ok=True)
        for time in range(frames):
            image, mask = ring(seed, time)
            cv2.imwrite(str(folder / f"ring_{seed}" / "frames" / f"{time:05}.jpg"), image[..., ::-1])
            cv2.imwrite(str(folder / f"ring_{seed}" / "masks" / f"{time:05}.png"), mask)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=10, help="training steps, some seconds each on a CPU")
    args = parser.parse_args()
    data, held_out = write_clips(OUT / "data", range(4)), write_clips(OUT / "held_out", range(4, 7))
    if args.steps == 0:
        return
    rates = {"learning_rate": 3e-4, "encoder_rate": 2e-4}
    every = {"validate_every": args.steps, "picture_every": args.steps, "checkpoint_every": args.steps}
    config = FinetuneConfig(
        data=(str(data),), validation_data=(str(held_out),), validation_frames=3, out=str(OUT / "run"),
        image_size=SIZE, frames=3, steps=args.steps, warmup_steps=2, **rates, **every,
    )  # fmt: skip
    summary = finetune(config, tell=print, progress=lambda step, done, total: None)
    print(f"J&F of held-out rings: {summary['before']['JF']:.1f} before, {summary['best']['JF']:.1f} after")

    image, mask = ring(4, 0)
    x, y, width, height = cv2.boundingRect(mask)
    pictures = []
    for name, weights in (("before", "nano"), ("after", summary["weights"])):
        segmenter = ImageSegmenter(load_model(weights, image_size=SIZE))
        segmenter.set_image(image)
        found = segmenter.predict(box=(x, y, x + width, y + height), multimask=False)
        pictures.append(draw_masks(image, [found.masks[0]], [name]))
    write_png(OUT / "before_and_after.png", np.hstack(pictures))
    print(f"{summary['weights']} and {OUT / 'before_and_after.png'}")


if __name__ == "__main__":
    main()
