# SPDX-License-Identifier: Apache-2.0
"""Makes messages with compressed images, and writes them to bags."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from rosbags.typesys.store import Typestore

from sam2_ros.media.bag.storage import BagWriter
from sam2_ros.media.messages.message_types import COMPRESSED_TYPE, header, standard_types


def compressed_message(types: Typestore, stamp_ns: int, frame_id: str, format: str, data: np.ndarray) -> Any:
    """A sensor_msgs/CompressedImage with encoded bytes, [n] uint8."""
    return types.types[COMPRESSED_TYPE](header=header(types, stamp_ns, frame_id), format=format, data=data)


def write_compressed(bag: BagWriter, topic: str, stamp_ns: int, frame_id: str, image_rgb: np.ndarray) -> None:
    """Writes [H, W, 3] uint8 RGB as a JPEG on a topic `.../compressed`."""
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    form = "rgb8; jpeg compressed bgr8"
    message = compressed_message(standard_types(), stamp_ns, frame_id, form, jpeg.reshape(-1))
    bag.write_raw(topic, COMPRESSED_TYPE, stamp_ns, message)
