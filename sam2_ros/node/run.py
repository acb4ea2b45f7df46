"""Runs the node from its arguments to the exit status: what ends it, and how it ends in order.

Does not know what the node does. `start.py` comes before it, while nothing is imported yet.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from types import FrameType

import sam2_ros.node.interfaces  # noqa: F401  # isort: skip  (before all of ROS: it explains what is missing)
import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation

from sam2_ros.host_memory import keep_freed_pages
from sam2_ros.node.ending import end_in_time, end_now
from sam2_ros.node.node import Sam2Node
from sam2_ros.node.params import ParameterError
from sam2_ros.node.publish import RCLError


def main(args: list[str] | None = None) -> int:
    """Run the node until it is interrupted; the exit status is 1 when its parameters are unusable."""
    node: Sam2Node | None = None

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        # rclpy puts its handler over this one and ends the spinning. An exception that may come up anywhere
        # would cut the tidy end short; it is of use only where the main thread may be busy for long.
        if node is None and not rclpy.ok():
            os._exit(0)  # rclpy's is not there yet, and nothing is to be tidied up
        if node is not None and node.configuring:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_interrupt)
    keep_freed_pages()
    try:
        rclpy.init(args=args)
    except RuntimeError as error:  # an argument or a file that ROS cannot read; its own log is not there yet
        said = str(error).partition(", at /")[0]  # what follows are places in ROS's source
        print(
            f"sam2: ROS cannot use the arguments: {said}. Expected --ros-args -p name:=value, -r from:=to, and "
            'parameter files such as those in config/ (an empty text is written "")',
            file=sys.stderr,
        )
        return 1
    threading.Thread(target=end_in_time, args=(rclpy.ok,), name="sam2-end", daemon=True).start()
    try:
        node = Sam2Node()
        rclpy.spin(node)
    except (ExternalShutdownException, KeyboardInterrupt):
        pass
    except (ParameterError, InvalidParameterTypeException, InvalidParameterValueException) as error:
        rclpy.logging.get_logger("sam2").fatal(str(error))
        return 1
    except RCLError:
        if rclpy.ok():
            raise  # otherwise interrupted while the node was being made
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        with contextlib.suppress(Exception):
            # After a signal try_shutdown leaves the log file to the end of Python, which the program does not await.
            rclpy_implementation.rclpy_logging_fini()
    if node is not None and node.hanging:
        end_now("the work in hand is not finished")
    return 0
