# SPDX-License-Identifier: Apache-2.0
"""A bag to replay: the part of the demo's clip in which the robot is hidden behind a box, with its truth as a topic."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from sam2_ros.engine.postprocess import tight_box
from sam2_ros.eval.demo import FRAME_ID, IMAGE_TOPIC, LABELS_TOPIC, OBJECT_IDS, label_image, stamp_ns
from sam2_ros.media.bag.storage import BagWriter
from sam2_ros.synthetic.render import demo_clip

FIRST, END = 56, 100  # of the clip's frames; the robot is hidden from HIDDEN[0] to HIDDEN[1] of these
HIDDEN = (8, 35)


@dataclass(frozen=True)
class DemoBag:
    path: Path
    boxes: dict[str, list[float]]  # on the first image

    def prompts(self, folder: Path, frame: int = 0) -> Path:
        path = folder / "prompts.json"
        entries = [{"id": name, "frame": frame, "box": box} for name, box in self.boxes.items()]
        path.write_text(json.dumps(entries))
        return path


@pytest.fixture(scope="session")
def demo_bag(tmp_path_factory: pytest.TempPathFactory) -> DemoBag:
    """44 raw images at 10 Hz, and their label images on another topic."""
    clip = demo_clip()
    path = tmp_path_factory.mktemp("demo") / "camera"
    with BagWriter(path) as writer:
        for frame, number in enumerate(range(FIRST, END)):
            labels = label_image(clip.masks[number])
            writer.write_image(IMAGE_TOPIC, stamp_ns(frame), FRAME_ID, clip.frames[number])
            writer.write_label_image(LABELS_TOPIC, stamp_ns(frame), FRAME_ID, labels)
    boxes = {name: list(tight_box(mask)) for name, mask in zip(OBJECT_IDS, clip.masks[FIRST], strict=True)}
    return DemoBag(path, boxes)
