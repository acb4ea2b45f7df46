# SPDX-License-Identifier: Apache-2.0
"""Makes the animated picture of the README and of docs/index.md from the results of `sam2-ros demo`.

    python scripts/demo_picture.py out/demo docs/pictures/demo.webp

Shrinks overlay.mp4, keeps every second frame and writes an animated WebP that plays in real time. Does not draw.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
from PIL import Image

WIDTH_PX = 560
EVERY = 2
QUALITY = 55
LIMIT_BYTES = 2_000_000


def frames_of(video: Path) -> tuple[list[Image.Image], float]:
    """Every second frame, shrunk to WIDTH_PX, and the milliseconds for which each is shown."""
    capture = cv2.VideoCapture(str(video))
    rate = capture.get(cv2.CAP_PROP_FPS)
    frames = []
    index = 0
    while True:
        read, image_bgr = capture.read()
        if not read:
            break
        if index % EVERY == 0:
            height_px = round(image_bgr.shape[0] * WIDTH_PX / image_bgr.shape[1])
            small = cv2.resize(image_bgr, (WIDTH_PX, height_px), interpolation=cv2.INTER_AREA)
            frames.append(Image.fromarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB)))
        index += 1
    capture.release()
    if not frames:
        raise SystemExit(f"{video} has no frames: run `make demo` first, and give its folder")
    return frames, 1000 * EVERY / rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="folder that `sam2-ros demo` wrote")
    parser.add_argument("picture", type=Path, help="the .webp to write")
    args = parser.parse_args()
    frames, shown_ms = frames_of(args.demo / "overlay.mp4")
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(
        args.picture,
        save_all=True,
        append_images=frames[1:],
        duration=round(shown_ms),
        loop=0,
        quality=QUALITY,
        method=6,
    )
    size = args.picture.stat().st_size
    print(f"{args.picture}: {len(frames)} frames, {size / 1e6:.2f} MB")
    if size > LIMIT_BYTES:
        raise SystemExit(f"at most {LIMIT_BYTES / 1e6:.0f} MB expected: lower WIDTH_PX or QUALITY")


if __name__ == "__main__":
    main()
