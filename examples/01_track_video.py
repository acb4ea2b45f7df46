# SPDX-License-Identifier: Apache-2.0
"""Tracks one object through a video: a box on the first frame, then the object's mask in every frame.

Without a source it renders a short clip of a robot's camera, in which the box is around a toy robot.
"""

import argparse
from pathlib import Path

from sam2_ros.engine import Prompt, Tracker
from sam2_ros.media.frames import open_source
from sam2_ros.media.overlay import VideoWriter, draw_overlay
from sam2_ros.synthetic.render import demo_clip
from sam2_ros.weights import load_model

OUT = Path("out/examples/01_track_video")


def render_clip(path: Path) -> Path:
    """Writes three seconds of the demo's clip as a video."""
    video = VideoWriter(path, fps=10)
    for frame in demo_clip(frames=30).frames:
        video.write(frame)
    video.close()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "source", nargs="?", help="video file, folder of images or rosbag2; default: a rendered clip"
    )
    parser.add_argument(
        "--box", type=float, nargs=4, default=(68, 156, 157, 274), metavar=("X0", "Y0", "X1", "Y1")
    )
    parser.add_argument(
        "--model", default="nano", help="nano, tiny, small, base_plus, large, or a file of weights"
    )
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)

    tracker = Tracker(load_model(args.model))
    with open_source(args.source or render_clip(OUT / "clip.mp4")) as source:
        video = VideoWriter(OUT / "overlay.mp4", source.fps)
        for frame in source:
            prompts = [Prompt("object", box=args.box)] if frame.index == 0 else []
            result = tracker.step(frame.image, prompts, frame.stamp_s)
            video.write(draw_overlay(frame.image, result), frame.stamp_s)
            for obj in result.objects:
                if frame.index % 10 == 0:
                    print(
                        f"{frame.stamp_s:5.2f} s  {obj.id} {obj.state.name}, box {obj.box}, {obj.area_px} px"
                    )
        video.close()
    print(f"{tracker.frame_index} frames: {OUT / 'overlay.mp4'}")


if __name__ == "__main__":
    main()
