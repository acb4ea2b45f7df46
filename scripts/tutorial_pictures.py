# SPDX-License-Identifier: Apache-2.0
"""Makes the pictures of docs/tutorials from what their commands write: `python scripts/tutorial_pictures.py FOLDER`.

FOLDER is where the commands ran, with `out/` and `my_objects/` in it. Runs no command itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np

from sam2_ros.eval.recording import read_results
from sam2_ros.media.files.video import VideoFrames
from sam2_ros.media.frames import open_source
from sam2_ros.media.overlay import draw_masks, draw_overlay
from sam2_ros.media.results import OBJECTS_TOPIC
from sam2_ros.synthetic.tabletop import Tabletop

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
QUALITY = 82  # of WebP


def write(name: str, image_rgb: np.ndarray) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    _, encoded = cv2.imencode(".webp", image_rgb[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    (PICTURES / name).write_bytes(encoded.tobytes())
    print(f"{PICTURES / name}: {len(encoded) / 1000:.0f} kB")


def grid(images: Iterable[np.ndarray], columns: int, width_px: int) -> np.ndarray:
    """Images of one size, `columns` in a row, each `width_px` wide, with a white line between them."""
    scaled = []
    for image in images:
        height_px = round(image.shape[0] * width_px / image.shape[1])
        small = cv2.resize(np.ascontiguousarray(image), (width_px, height_px), interpolation=cv2.INTER_AREA)
        scaled.append(cv2.copyMakeBorder(small, 0, 6, 0, 6, cv2.BORDER_CONSTANT, value=(255, 255, 255)))
    rows = [np.hstack(scaled[start : start + columns]) for start in range(0, len(scaled), columns)]
    return np.vstack(rows)[:-6, :-6]


def first_bag(folder: Path) -> None:
    frames = list(VideoFrames(folder / "out/first-bag/overlay.mp4"))
    write("first-bag.webp", grid([frames[index].image for index in (0, 40, 75, 130)], 2, 480))


def corrected(folder: Path) -> None:
    """One image, tracked from a click on the wheels, and with a later second click on the body."""
    with open_source(folder / "out/demo/camera") as source:
        images = {frame.index: frame for frame in source if frame.index < 40}
    by_stamp = {frame.stamp_ns: index for index, frame in images.items()}
    pictures = []
    index = 24
    for run in ("wheels", "corrected"):
        results = read_results(folder / f"out/{run}/direct/tracked", OBJECTS_TOPIC, by_stamp)
        (result,) = [each for each in results if each.frame_index == index]
        pictures.append(draw_overlay(images[index].image, result))
    write("correct-a-failure.webp", grid(pictures, 2, 480))


def depth_camera() -> None:
    pictures = []
    for time_s in (0.0, 3.5):
        view = Tabletop().view(time_s)
        near, far = 0.45, 1.3
        shade = np.clip((view.depth_m - near) / (far - near), 0, 1) * 255
        colours = cv2.applyColorMap(np.nan_to_num(shade).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
        pictures += [view.image, np.where(np.isnan(view.depth_m)[..., None], 0, colours)]
    write("depth-camera.webp", grid(pictures, 2, 480))


def grasp_error(folder: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    text = (folder / "out/examples/11_grasp_point/points.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    start_s = lines[0]["stamp"]
    figure, axes = pyplot.subplots(figsize=(9, 3), dpi=110)
    good = [(line["stamp"] - start_s, line["error_mm"]) for line in lines if "error_mm" in line]
    axes.plot(*zip(*good, strict=True), "o", markersize=4, color="tab:blue", label="grasp point")
    for word, colour in (("partly hidden", "tab:orange"), ("not seen", "tab:red")):
        waits = [line["stamp"] - start_s for line in lines if line.get("wait", "").startswith(word)]
        axes.plot(waits, [0] * len(waits), "|", markersize=16, color=colour, label=f"no point: {word}")
    axes.set(xlabel="time, s", ylabel="error in the plane of the table, mm", ylim=(-0.7, 5.5))
    axes.legend(loc="upper right", ncols=3, fontsize=8)
    figure.tight_layout()
    figure.canvas.draw()
    write("grasp-error.webp", np.asarray(figure.canvas.buffer_rgba())[..., :3])


def rings(folder: Path) -> None:
    """The drawn mask of frame 0, the tracked mask of frame 2, and a held-out ring before and after training."""
    clip = folder / "my_objects/ring_0"
    pictures = []
    for name, title in (("00000", "drawn"), ("00002", "tracked from it")):
        image = cv2.imread(str(clip / f"frames/{name}.jpg"))[..., ::-1]
        mask = cv2.imread(str(clip / f"masks/{name}.png"), cv2.IMREAD_GRAYSCALE) > 0
        pictures.append(draw_masks(np.ascontiguousarray(image), [mask], [title]))
    held_out = folder / "out/examples/08_fine_tune/held_out/ring_4"
    for run in ("before", "after"):
        image = cv2.imread(str(held_out / "frames/00004.jpg"))[..., ::-1]
        mask = cv2.imread(str(folder / f"out/{run}/ring_4/00004.png"), cv2.IMREAD_GRAYSCALE) > 0
        pictures.append(draw_masks(np.ascontiguousarray(image), [mask], [run]))
    write("rings.webp", grid(pictures, 4, 300))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the commands of the tutorials ran")
    folder = parser.parse_args().folder
    first_bag(folder)
    corrected(folder)
    depth_camera()
    grasp_error(folder)
    rings(folder)


if __name__ == "__main__":
    main()
