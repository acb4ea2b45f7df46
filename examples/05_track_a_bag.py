# SPDX-License-Identifier: Apache-2.0
"""Tracks an object through a rosbag2 into another rosbag2, with the stamps of the camera, without a ROS installation.

Without a bag it records one: two seconds of a rendered robot's camera.
"""

import argparse
from pathlib import Path

from sam2_ros.engine import Prompt, Tracker
from sam2_ros.media.bag.storage import BagReader, BagWriter
from sam2_ros.media.frames import open_source
from sam2_ros.media.results import ResultWriter, RunInfo
from sam2_ros.synthetic.render import demo_clip
from sam2_ros.weights import load_model

OUT = Path("out/examples/05_track_a_bag")
FIRST_STAMP_NS = 1_700_000_000_000_000_000


def record_bag(path: Path) -> Path:
    """Writes a bag as a camera's topic is recorded; an existing one stays."""
    if not path.exists():
        with BagWriter(path, storage="mcap") as bag:
            for index, frame in enumerate(demo_clip(frames=20).frames):
                bag.write_image("/camera/image_raw", FIRST_STAMP_NS + index * 100_000_000, "camera", frame)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "bag", nargs="?", type=Path, help="rosbag2 folder, .mcap or .db3; default: a rendered one"
    )
    parser.add_argument("--topic", help="image topic, where the bag has several")
    parser.add_argument(
        "--box", type=float, nargs=4, default=(68, 156, 157, 274), metavar=("X0", "Y0", "X1", "Y1")
    )
    parser.add_argument(
        "--model", default="nano", help="nano, tiny, small, base_plus, large, or a file of weights"
    )
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    path = args.bag or record_bag(OUT / "camera")

    tracker = Tracker(load_model(args.model))
    source = open_source(path, topic=args.topic)
    # Writes messages, and with "masks" and "video" in `save` label images and an overlay, too.
    with ResultWriter(OUT / "tracked", RunInfo(str(path), source.fps), save=("bag", "json")) as writer:
        for frame in source:
            prompts = [Prompt("object", box=args.box)] if frame.index == 0 else []
            writer.add(frame, tracker.step(frame.image, prompts, frame.stamp_s))
    source.close()

    with BagReader(OUT / "tracked" / "tracked") as bag:
        for topic in bag.topics():
            print(f"{topic.name}: {topic.count} x {topic.type}")
        for _, _, message in bag.messages(["/sam2_node/objects"]):
            last = message
    stamp = last.header.stamp
    for obj in last.objects:
        print(f"last image, {stamp.sec}.{stamp.nanosec:09}: {obj.id}, label {obj.label}, {obj.area} px")


if __name__ == "__main__":
    main()
