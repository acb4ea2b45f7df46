"""The SAM 2 lifecycle node: ties topics, services and parameters to the mailbox, the worker and the outputs.

Does no arithmetic on images or tensors: the worker infers, publish makes messages, prompts keeps what was
asked for.

    python -m sam2_ros.node.node --ros-args -p model:=nano -r image_raw:=/camera/image_raw
"""

from __future__ import annotations

# Before everything else is imported, which takes seconds: Ctrl-C must be quiet then.
if __name__ == "__main__":
    import runpy

    runpy.run_module("sam2_ros.node.start", run_name="__main__")

import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import numpy as np

import sam2_ros.node.interfaces  # noqa: F401  # isort: skip  (before all of ROS: it explains what is missing)
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from std_srvs.srv import SetBool

from sam2_ros.engine import FrameResult, PromptError, Sam2Model
from sam2_ros.host_memory import keep_freed_pages
from sam2_ros.media.pixels.image_reader import ImageReader, PixelConfig

from .camera import Camera
from .convert import message_to_rgb
from .detector.detector import Detector
from .diagnostics import Statistics, camera_line, diagnostic_message, resident_mb, tracking_line
from .frame_history import Arrival, FrameHistory
from .late_prompts import Carrier
from .loading import Loaded, free_device_memory, load, tracker_config
from .outputs.delivery import Delivery
from .outputs.publish import Outputs, RCLError
from .parameters.params import (
    ENTRIES,
    NodeParams,
    ParameterError,
    declare_parameters,
    fixed_reason,
    plain,
    read_parameters,
)
from .parameters.yaml_values import as_declared
from .prompt_queue import PromptDesk, Removals
from .requests import Requests
from .segment_service import SingleShot
from .shutdown import end_in_time, end_now
from .spatial.spatial import Spatial
from .worker import Worker

DIAGNOSTICS_PERIOD_S = 1.0
STOP_PATIENCE_S = 30.0  # for the image in work; a step of the largest model on a slow CPU ends well within it
END_PATIENCE_S = 1.5  # the same, when the process is to end
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@dataclass(frozen=True)
class Configured:
    """What exists from configure to cleanup."""

    loaded: Loaded
    history: FrameHistory
    desk: PromptDesk
    carrier: Carrier
    outputs: Outputs
    spatial: Spatial | None
    detector: Detector | None
    on_graph: contextlib.ExitStack  # closing it destroys what subscribes and publishes


class Sam2Node(LifecycleNode):
    """unconfigured > inactive (model loaded and warmed up) > active (images are tracked)."""

    # rclpy calls destroy_node() on a node whose constructor failed half way, too.
    _configured: Configured | None = None
    _single_shot: SingleShot | None = None
    configuring = False  # a model is being loaded, which may take long
    hanging = False  # after destroy_node: a thread is still inside a model

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("sam2", **node_arguments)
        declare_parameters(self)
        self._params = read_parameters(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)

        pixels = PixelConfig(self._params.mono16_range, self._params.untyped_encoding)
        self._to_rgb = partial(message_to_rgb, images=ImageReader(pixels, self.get_logger().warning))

        self._state = "unconfigured"
        self._fault = ""
        self._worker: Worker | None = None
        self._delivery: Delivery | None = None
        self._numbering = (0, 0)  # labels and names given before the last cleanup
        self._statistics = Statistics()
        self._camera = Camera(self, self._statistics, self._params.image_transport)
        self._camera.enable(self._params.enable)
        self._last_arrival: Arrival | None = None  # of the last activation, to notice a jump between the two

        self._requests = Requests(self, self._statistics, self.desk, lambda: self._params.active_id)
        self._single_shot = SingleShot(self, self._model, lambda: self._params.limits, pixels, self._to_rgb)
        self.create_service(SetBool, "~/enable", self._on_enable)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", QoSProfile(depth=1))
        # Steady timers: with use_sim_time a paused simulation must not silence the diagnostics.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)
        self._gave_up = self.create_guard_condition(self._on_gave_up)
        if self._params.autostart:
            self._autostart_timer = self.create_timer(0.0, self._autostart, clock=steady)

    # Lifecycle. rclpy turns an exception in a transition into ERROR without a word: configure says which.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        params, log = self._params, self.get_logger()
        begun_s = time.monotonic()
        self.configuring = True
        try:
            loaded = load(params, self._numbering)
            self._configured = self._assembled(loaded)
        except Exception as error:  # a missing file, a broken checkpoint, an absent GPU: all end in one line
            reason = " ".join(str(error).split())  # rclpy and torch draw pictures of several lines
            self._fault = f"configure failed: {type(error).__name__}: {reason}"
            log.error(self._fault)
            return FAILURE
        except KeyboardInterrupt:
            if not self.context.ok():
                raise  # to the end: rclpy would say that it cannot tell anybody of a failed transition
            return FAILURE
        finally:
            self.configuring = False
        self._state, self._fault = "inactive", ""
        log.info(f"{loaded.summary} loaded and warmed up in {time.monotonic() - begun_s:.1f} s")
        return super().on_configure(state)

    def _assembled(self, loaded: Loaded) -> Configured:
        """Everything around a model, or nothing: what subscribes is destroyed when a later part cannot be made."""
        params = self._params
        history = FrameHistory(params.prompt_history, params.history_bytes)
        reserve_id = loaded.tracker.reserve_id
        desk = PromptDesk(params.max_objects, history, reserve_id, params.limits, self._on_removal)
        detector = spatial = None
        with contextlib.ExitStack() as made:
            if params.detection_mode != "off":
                detector = Detector(
                    self,
                    params.detection_mode,
                    lambda: self._params.min_detection_score,
                    params.max_objects,
                    lambda: self._params.prompt_history,
                    desk,
                    self._statistics,
                    active=lambda: self._state == "active",
                )
                made.callback(detector.destroy)
            if params.use_3d:
                # The name is what tells: image_proc calls what it has rectified image_rect, image_rect_color, ...
                rectified = "rect" in self.resolve_topic_name("image_raw").rpartition("/")[2]
                spatial = Spatial(
                    self, params.depth_image_units_divisor, params.depth_slop, params.target_frame, rectified
                )
                made.callback(spatial.destroy)
            outputs = Outputs(self, self._statistics, params.mask_topics, params.use_3d)
            made.callback(outputs.destroy)
            return Configured(
                loaded=loaded,
                history=history,
                desk=desk,
                carrier=Carrier(loaded.tracker, loaded.scout, history, self._to_rgb),
                outputs=outputs,
                spatial=spatial,
                detector=detector,
                on_graph=made.pop_all(),
            )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        configured, params = self._at_work(), self._params
        self._delivery = Delivery(
            configured.outputs,
            configured.spatial,
            self._statistics,
            params=lambda: self._params,
            now_ns=lambda: self.get_clock().now().nanoseconds,
            log=self.get_logger(),
        )
        self._worker = Worker(
            configured.loaded.tracker,
            configured.carrier,
            configured.history,
            configured.desk,
            self._camera.mailbox,
            self._statistics,
            to_rgb=self._to_rgb,
            deliver=self._deliver,
            on_break=self._on_break,
            give_up=self._give_up,
            log=self.get_logger(),
            last=self._last_arrival,
        )
        self._state, self._fault = "active", ""
        activated = super().on_activate(state)  # the publishers, before there is anything to publish
        self._camera.open(params.image_reliability, configured.history, configured.desk)
        self._worker.start()
        return activated

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop_work()
        self._state = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        self._state = "finalized"
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._fault = self._fault or f"a transition from {state.label} failed"
        self.get_logger().error(f"{self._fault}; back to unconfigured")
        self._release()
        return SUCCESS

    def destroy_node(self) -> None:
        """Ends within a few seconds; `hanging` says whether everything has ended then."""
        self.hanging = not self._stop_work(END_PATIENCE_S)
        if self._single_shot is not None:
            self.hanging |= not self._single_shot.destroy()
        super().destroy_node()

    def _autostart(self) -> None:
        self._autostart_timer.cancel()
        if self._state == "unconfigured" and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def _stop_work(self, patience_s: float = STOP_PATIENCE_S) -> bool:
        """Stop tracking; False when the image in work takes longer than that."""
        if self._configured is None:
            return True
        self._camera.close()
        stopped = True
        if self._worker is not None:
            stopped = self._worker.stop(patience_s)
            if not stopped and self.context.ok():
                self.get_logger().error("the image in work does not end; its result will be ignored")
            self._last_arrival = self._worker.last
        if self._delivery is not None:
            self._delivery.stop()
        self._worker = self._delivery = None
        return stopped

    def _release(self) -> None:
        self._stop_work()
        if self._configured is not None:
            self._numbering = self._configured.loaded.tracker.numbering
            self._configured.on_graph.close()
        self._configured = None
        self._last_arrival = None
        self._state = "unconfigured"
        gc.collect()
        free_device_memory()

    def _give_up(self, reason: str) -> None:
        """Called by the worker's thread: a transition belongs to the executor's."""
        self._fault = reason
        self._gave_up.trigger()

    def _on_gave_up(self) -> None:
        if self._state == "active":
            fault = self._fault
            self.get_logger().error(f"deactivated: {fault}; activate the node to try again")
            self.trigger_deactivate()
            self._fault = fault

    # Images in, results out.

    def _deliver(self, result: FrameResult, image_rgb: np.ndarray, arrival: Arrival) -> None:
        """Called by the worker's thread."""
        configured, delivery = self._configured, self._delivery
        if configured is None or delivery is None:
            return
        if configured.detector is not None:
            configured.detector.saw(result)
        delivery.deliver(result, image_rgb, arrival)

    def _on_break(self) -> None:
        """Called by the worker's thread."""
        if self._delivery is not None:
            self._delivery.discontinuity()
        if self._configured is not None and self._configured.spatial is not None:
            self._configured.spatial.discontinuity()

    def _on_removal(self, removals: Removals) -> None:
        if self._delivery is not None:
            self._delivery.forget(removals)

    # What the requests need.

    def desk(self) -> PromptDesk:
        """Where prompts go; PromptError says why there is none."""
        return self._at_work().desk

    def _model(self) -> tuple[Sam2Model, FrameHistory]:
        configured = self._at_work()
        return configured.loaded.model, configured.history

    def _at_work(self) -> Configured:
        if self._configured is None:
            raise PromptError(f"the node is {self._state}, expected inactive or active: configure it first")
        return self._configured

    def _on_enable(self, request: Any, response: Any) -> Any:
        result = self.set_parameters([Parameter("enable", value=bool(request.data))])[0]
        response.success, response.message = result.successful, result.reason
        return response

    # Parameters.

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """As rclpy's, but a read-only parameter is refused with the reason and the remedy."""
        for parameter in parameter_list:
            if parameter.name in ENTRIES and ENTRIES[parameter.name].read_only:
                return SetParametersResult(successful=False, reason=fixed_reason(parameter.name))
        try:  # `ros2 param set lost_after 3` says an integer
            parameter_list = [
                Parameter(each.name, value=as_declared(ENTRIES[each.name], each.value))
                if each.name in ENTRIES
                else each
                for each in parameter_list
            ]
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return super().set_parameters_atomically(parameter_list)

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            params = self._params.changed(
                {parameter.name: plain(parameter.value) for parameter in parameters}
            )
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._apply(params)
        return SetParametersResult(successful=True)

    def _apply(self, params: NodeParams) -> None:
        self._params = params
        self._camera.enable(params.enable)
        if self._configured is not None:
            self._configured.history.seconds = params.prompt_history
            self._configured.history.max_bytes = params.history_bytes
            self._configured.desk.limits = params.limits
            self._configured.loaded.tracker.config = tracker_config(params)

    # Diagnostics.

    def _publish_diagnostics(self) -> None:
        if self._diagnostics.get_subscription_count() == 0:
            return
        lines = [
            tracking_line(self._state, self._fault, self._statistics, self._values()),
            camera_line(self._camera.view(), self._params.camera_timeout),
        ]
        if self._configured is not None:
            parts = (self._configured.spatial, self._configured.detector)
            lines += [part.line() for part in parts if part is not None]
        self._diagnostics.publish(
            diagnostic_message(
                self.get_clock().now().to_msg(), self.get_fully_qualified_name(), self._camera.topic, lines
            )
        )

    def _values(self) -> dict[str, str]:
        """What the tracking status shows."""
        params, now_s = self._params, time.monotonic()
        known_ids: Sequence[str] = ()
        pending = 0
        values = {
            "topic": self._camera.topic,
            "state": self._state,
            "enable": str(params.enable).lower(),
            "model": params.model,
        }
        if self._configured is not None:
            values.update(self._configured.loaded.values())
            desk, history = self._configured.desk, self._configured.history
            known_ids, pending = desk.known_ids, desk.pending
            values["image_history_mb"] = f"{history.bytes / 1e6:.1f}"
            values["image_history_cut"] = str(history.cut)
        if (resident := resident_mb()) is not None:
            values["resident_mb"] = f"{resident:.1f}"
        values["rate_in_hz"] = f"{self._camera.rate.hz(now_s):.2f}"
        values["rate_out_hz"] = f"{self._statistics.rate.hz(now_s):.2f}"
        mailbox = self._camera.mailbox
        values["frames_out_of_order"] = str(self._camera.out_of_order)
        received = mailbox.received + self._camera.refused
        return {**values, **self._statistics.values(received, mailbox.dropped, known_ids, pending)}


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
