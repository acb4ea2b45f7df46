# SPDX-License-Identifier: Apache-2.0
"""Stands in for ros2_nanoowl's node: text on input_query, images on input_image, boxes on output_detections.

Its topics, its class numbers and its missing scores are those of NVIDIA's node; what it finds is the largest patch of
a colour that the text names.
"""

import contextlib

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

COLOURS = {"red": 0, "green": 1, "blue": 2}
BRIGHTER_BY = 60  # than both other channels


class TextDetector(Node):
    def __init__(self) -> None:
        super().__init__("nano_owl_subscriber")
        self.declare_parameter("image_encoder_engine", "")
        self.declare_parameter("thresholds", 0.1)
        self.texts: list[str] = []
        self.create_subscription(String, "input_query", self.on_text, 10)
        self.create_subscription(Image, "input_image", self.on_image, 10)
        self.boxes = self.create_publisher(Detection2DArray, "output_detections", 10)

    def on_text(self, message: String) -> None:
        self.texts = message.data.split(",")
        self.get_logger().info(f"query: {self.texts}")

    def on_image(self, message: Image) -> None:
        image = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3).astype(int)
        array = Detection2DArray(header=message.header)
        for number, text in enumerate(self.texts):
            for colour, channel in COLOURS.items():
                others = np.delete(image, channel, axis=2).max(axis=2)
                rows, columns = np.nonzero(image[..., channel] > others + BRIGHTER_BY)
                if colour in text and len(rows):
                    array.detections.append(detection(number, rows, columns, message.header))
        self.boxes.publish(array)


def detection(number: int, rows: np.ndarray, columns: np.ndarray, header: object) -> Detection2D:
    found = Detection2D(header=header)
    found.bbox.center.position.x = (columns.min() + columns.max() + 1) / 2
    found.bbox.center.position.y = (rows.min() + rows.max() + 1) / 2
    found.bbox.size_x = float(np.ptp(columns) + 1)
    found.bbox.size_y = float(np.ptp(rows) + 1)
    found.results.append(ObjectHypothesisWithPose())
    found.results[0].hypothesis.class_id = str(number)
    return found


def main() -> None:
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(TextDetector())


if __name__ == "__main__":
    main()
