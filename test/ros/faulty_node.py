# SPDX-License-Identifier: Apache-2.0
"""The real node on a machine that fails in one way: `python faulty_node.py FAULT --ros-args ...`.

Only the place where the fault would enter is changed; the code that handles it is the node's own.
"""

import hashlib
import os
import sys

sys.path.insert(0, os.getcwd())  # as with `python -m`, which the other tests start the node with

import torch

from sam2_ros.engine import Tracker

ROOM = 2  # objects that fit into the memory of the full device
LABELS = 3  # in the node that runs out of them


def _device_lost() -> None:
    """An image whose first pixel is white makes the tracker raise, as with a lost device."""
    step = Tracker.step

    def faulty(self, image, *arguments, **keywords):
        if image[0, 0].min() == 255:
            raise RuntimeError("device lost")
        return step(self, image, *arguments, **keywords)

    Tracker.step = faulty


def _full_memory() -> None:
    """The device has room for two objects: encoding memories of more raises the exception of a full GPU."""
    remember = Tracker._write_memories

    def faulty(self, last, outputs, prompted):
        if len(outputs) > ROOM:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 MiB")
        remember(self, last, outputs, prompted)

    Tracker._write_memories = faulty


def _few_labels() -> None:
    from sam2_ros.node import object_registry

    object_registry.MAX_LABEL = LABELS


def _deaf_middleware() -> None:
    """Every message on ~/label_image fails, as with a full history of a reliable writer."""
    from rclpy.publisher import Publisher

    from sam2_ros.node.outputs.publish import RCLError

    publish = Publisher.publish

    def faulty(self, message):
        if self.topic_name.endswith("/label_image"):
            raise RCLError("Failed to publish: cannot publish data")
        publish(self, message)

    Publisher.publish = faulty


def _endless() -> None:
    """Never return and ignore signals, but let other threads run, as a hanging C function does."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def _hanging_image() -> None:
    """An image whose first pixel is white is never finished."""
    step = Tracker.step

    def faulty(self, image, *arguments, **keywords):
        if image[0, 0].min() == 255:
            _endless()
        return step(self, image, *arguments, **keywords)

    Tracker.step = faulty


def _hanging_load() -> None:
    """The warm-up never ends, as a compiler may hang."""
    from sam2_ros.node import loading

    loading.warm_up = lambda model, config: _endless()


FAULTS = {
    "hanging_image": _hanging_image,
    "hanging_load": _hanging_load,
    "device_lost": _device_lost,
    "full_memory": _full_memory,
    "few_labels": _few_labels,
    "deaf_middleware": _deaf_middleware,
}

if __name__ == "__main__":
    FAULTS[sys.argv.pop(1)]()
    from sam2_ros.node.node import main

    sys.exit(main())
