# SPDX-License-Identifier: Apache-2.0
"""Runs one node as a process: signals, ROS start-up, spinning, and an end within seconds even while a model runs.

Does not know what the node does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation

from sam2_ros.errors import UserError
from sam2_ros.host_memory import keep_freed_pages

END_WITHIN_S = 3.5  # of a signal; launch sends the next one after 5 s


def run_node(make_node: Callable[[], Any], args: list[str] | None = None) -> int:
    """Run a node until it is interrupted. Returns the exit status: 1 if a parameter is invalid.

    `make_node` makes an rclpy node with two more attributes: `configuring`, True while the main thread is busy for long
    and an interrupt must be an exception; `hanging`, True if a thread is still running after `destroy_node`.
    """
    node: Any = None

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        # rclpy installs its own handler over this one, which ends the spinning. An exception could come up anywhere and
        # cut the clean-up short, so it is raised only where the main thread may be busy for long.
        if node is None and not rclpy.ok():
            os._exit(0)  # rclpy's handler is not there yet, and there is nothing to clean up
        if node is not None and node.configuring:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_interrupt)
    keep_freed_pages()
    try:
        rclpy.init(args=args)
    except RuntimeError as error:  # an argument or a file that ROS cannot read; ROS cannot log it yet
        said = str(error).partition(", at /")[0]  # the rest are places in ROS's source
        print(
            f"sam2: ROS cannot use the arguments: {said}. Expected --ros-args -p name:=value, -r from:=to, and "
            'parameter files such as those in config/ (an empty string is written "")',
            file=sys.stderr,
        )
        return 1
    threading.Thread(target=end_in_time, args=(rclpy.ok,), name="sam2-end", daemon=True).start()
    try:
        node = make_node()
        rclpy.spin(node)
    except (ExternalShutdownException, KeyboardInterrupt):
        pass
    except (UserError, InvalidParameterTypeException, InvalidParameterValueException) as error:
        rclpy.logging.get_logger("sam2").fatal(str(error))
        return 1
    except rclpy_implementation.RCLError:
        if rclpy.ok():
            raise  # otherwise it was interrupted while the node was made
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        with contextlib.suppress(Exception):
            # After a signal, try_shutdown leaves the log file open until Python ends; this process ends by os._exit.
            rclpy_implementation.rclpy_logging_fini()
    if node is not None and node.hanging:
        end_now("a thread has not finished its work")
    return 0


def end_in_time(running: Callable[[], bool]) -> None:
    """End the process END_WITHIN_S after `running` becomes False. Runs in a thread of its own."""
    while running():
        time.sleep(0.1)
    time.sleep(END_WITHIN_S)
    end_now(f"the shutdown took longer than {END_WITHIN_S:g} s")


def end_now(reason: str) -> NoReturn:
    """End the process at once: a thread inside a model would crash it while Python shuts down."""
    sys.stderr.write(f"[sam2]: process ended at once: {reason}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
