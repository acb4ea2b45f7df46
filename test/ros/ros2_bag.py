# SPDX-License-Identifier: Apache-2.0
"""Replaces `ros2 bag play` and `ros2 bag record` where rosbag2 is missing, as far as replay.launch.py needs them.

Knows the options of both commands, not the tracker: plays the images of a bag, and counts received messages until
SIGINT.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import json
import re
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException

from sam2_ros.media.frames import open_source


def main() -> None:
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="noun", required=True).add_parser("bag").add_subparsers(dest="verb")
    play = verbs.add_parser("play")
    play.add_argument("bag", type=Path)
    play.add_argument("--clock", type=float, default=0)
    play.add_argument("--rate", type=float, default=1.0)
    play.add_argument("--delay", type=float, default=0.0)
    play.add_argument("--disable-keyboard-controls", action="store_true")
    record = verbs.add_parser("record")
    record.add_argument("--output", type=Path, required=True)
    record.add_argument("--regex", required=True)
    args = parser.parse_args()
    rclpy.init()
    if args.verb == "play":
        play_images(args)
    else:
        count_messages(args)


def play_images(args: argparse.Namespace) -> None:
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import Image

    node = rclpy.create_node("rosbag2_player")
    source = open_source(args.bag)
    images = node.create_publisher(Image, source.topic, 10)
    clock = node.create_publisher(Clock, "/clock", 10)
    time.sleep(args.delay)
    for frame in source:
        message = Image(height=frame.image.shape[0], width=frame.image.shape[1], encoding="rgb8")
        message.step = frame.image.strides[0]
        message.data = array.array("B", frame.image.tobytes())
        message.header.frame_id = frame.frame_id
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(frame.stamp_ns, 1_000_000_000)
        clock.publish(Clock(clock=message.header.stamp))
        images.publish(message)
        time.sleep(1 / source.fps / args.rate)


def count_messages(args: argparse.Namespace) -> None:
    from rosidl_runtime_py.utilities import get_message

    node = rclpy.create_node("rosbag2_recorder")
    heard: dict[str, list[Any]] = defaultdict(list)
    args.output.mkdir()
    subscribed = set()

    def discover() -> None:
        for topic, (type_name, *_) in node.get_topic_names_and_types():
            if re.search(args.regex, topic) and topic not in subscribed:
                subscribed.add(topic)
                node.create_subscription(
                    get_message(type_name),
                    topic,
                    lambda message, topic=topic: heard[topic].append(message),
                    10,
                )

    node.create_timer(0.1, discover)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)
    contents = {
        topic: [[obj.id for obj in getattr(message, "objects", [])] for message in messages]
        for topic, messages in heard.items()
    }
    (args.output / "heard.json").write_text(json.dumps(contents))  # a recorder that was killed leaves none


if __name__ == "__main__":
    sys.exit(main())
