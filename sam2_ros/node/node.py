"""The SAM 2 lifecycle node: ties topics, services and parameters to the mailbox, the worker and the outputs.

Does no arithmetic on images or tensors: the worker infers, publish makes messages, prompts keeps what was
asked for.

    python -m sam2_ros.node.node --ros-args -p model:=nano -r image_raw:=/camera/image_raw
"""

from __future__ import annotations

import gc
import math
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from sam2_ros.engine import FrameResult, PromptError
from sam2_ros.node.convert import message_to_rgb, prompt_request, stamp_to_ns
from sam2_ros.node.diagnostics import CameraView, Statistics, camera_line, diagnostic_message, tracking_line
from sam2_ros.node.interfaces import AddObjects, PromptArray, RemoveObjects
from sam2_ros.node.loading import Loaded, free_device_memory, load, tracker_config
from sam2_ros.node.mailbox import Mailbox
from sam2_ros.node.params import (
    ENTRIES,
    NodeParams,
    ParameterError,
    declare_parameters,
    fixed_reason,
    plain,
    read_parameters,
)
from sam2_ros.node.prompts import PromptDesk
from sam2_ros.node.publish import Outputs, RCLError
from sam2_ros.node.worker import Arrival, Worker

import rclpy  # isort: skip  (interfaces explains a missing one)
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

DIAGNOSTICS_PERIOD_S = 1.0
PLAUSIBLE_AGE_S = 10.0  # an image older than this is from a bag, whose stamps say nothing about delay
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@dataclass(frozen=True)
class Configured:
    """What exists from configure to cleanup."""

    loaded: Loaded
    desk: PromptDesk
    outputs: Outputs


class Sam2Node(LifecycleNode):
    """unconfigured > inactive (model loaded and warmed up) > active (images are tracked)."""

    # rclpy calls destroy_node() on a node whose constructor failed half way, too.
    _worker: Worker | None = None
    _images: Any = None
    loading = False  # a model is being loaded, which may take long

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("sam2", **node_arguments)
        declare_parameters(self)
        self._params = read_parameters(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)

        self._state = "unconfigured"
        self._fault = ""
        self._configured: Configured | None = None
        self._mailbox: Mailbox[Arrival] = Mailbox()
        self._statistics = Statistics()
        self._last_arrival: Arrival | None = None  # of the last activation, to notice a jump between the two
        self._image_topic = ""
        self._last_image_s = -math.inf
        self._wanted_since_s = math.inf

        self.create_subscription(PromptArray, "~/prompts", self._on_prompts, QoSProfile(depth=10))
        self.create_service(AddObjects, "~/add_objects", self._on_add_objects)
        self.create_service(RemoveObjects, "~/remove_objects", self._on_remove_objects)
        self.create_service(Trigger, "~/reset", self._on_reset)
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
        for line in params.unavailable():
            log.warning(line)
        begun_s = time.monotonic()
        self.loading = True
        try:
            loaded = load(params)
        except Exception as error:  # a missing file, a broken checkpoint, an absent GPU: all end in one line
            self._fault = f"configure failed: {type(error).__name__}: {error}"
            log.error(self._fault)
            return FAILURE
        except KeyboardInterrupt:
            return FAILURE
        finally:
            self.loading = False
        desk = PromptDesk(params.max_objects, params.prompt_history, loaded.tracker.reserve_id)
        self._configured = Configured(loaded, desk, Outputs(self, self._statistics))
        self._state, self._fault = "inactive", ""
        log.info(f"{loaded.summary} loaded and warmed up in {time.monotonic() - begun_s:.1f} s")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._configured is not None
        self._mailbox.open()
        self._worker = Worker(
            self._configured.loaded.tracker,
            self._configured.desk,
            self._mailbox,
            self._statistics,
            to_rgb=message_to_rgb,
            deliver=self._deliver,
            give_up=self._give_up,
            log=self.get_logger(),
            last=self._last_arrival,
        )
        self._state, self._fault = "active", ""
        self._wanted_since_s = time.monotonic()
        activated = super().on_activate(state)  # the publishers, before there is anything to publish
        self._worker.start()
        self._subscribe_images()
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
        self._stop_work()
        super().destroy_node()

    def _autostart(self) -> None:
        self._autostart_timer.cancel()
        if self._state == "unconfigured" and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def _stop_work(self) -> None:
        if self._images is not None:
            self.destroy_subscription(self._images)
            self._images = None
        if self._worker is not None:
            if not self._worker.stop():
                self.get_logger().error("the image in work does not end; its result will be ignored")
            self._last_arrival = self._worker.last
        self._worker = None

    def _release(self) -> None:
        self._stop_work()
        if self._configured is not None:
            self._configured.outputs.destroy()
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

    def _subscribe_images(self) -> None:
        params = self._params
        topic = self.resolve_topic_name("image_raw")
        compressed = params.image_transport == "compressed"
        self._image_topic = f"{topic}/compressed" if compressed else topic
        reliable = params.image_reliability == "reliable"
        qos = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        )
        message_type = CompressedImage if compressed else Image
        self._images = self.create_subscription(message_type, self._image_topic, self._on_image, qos)
        self.get_logger().info(f"tracking on {self._image_topic} ({params.image_reliability})")

    def _on_image(self, message: Any) -> None:
        """Store and return: the worker converts and infers, and only if no newer image comes first."""
        if not self._params.enable or self._configured is None:
            return
        self._last_image_s = time.monotonic()
        arrival = Arrival(
            message, stamp_to_ns(message.header.stamp), message.header.frame_id, self._last_image_s
        )
        size_hw = (message.height, message.width) if isinstance(message, Image) else None
        desk = self._configured.desk
        desk.saw_image(arrival.stamp_ns, arrival.frame_id, size_hw if size_hw and all(size_hw) else None)
        self._mailbox.put(arrival, keep=desk.awaits(arrival.stamp_ns))

    def _deliver(self, result: FrameResult, image_rgb: np.ndarray, arrival: Arrival) -> None:
        """Called by the worker's thread."""
        configured = self._configured
        if configured is None:
            return
        configured.outputs.publish(result, image_rgb, arrival.message.header, self._params.use_debug)
        age_s = (self.get_clock().now().nanoseconds - arrival.stamp_ns) / 1e9
        if 0 <= age_s < PLAUSIBLE_AGE_S:
            self._statistics.aged(age_s * 1e3)

    # Requests.

    def _submit(self, messages: Sequence[Any], default_header: Any = None) -> tuple[list[str], list[str]]:
        """Hand prompts to the desk.

        Returns one id per prompt ("" = rejected) and the reasons of the rejected ones.
        """
        ids, reasons = [], []
        for number, message in enumerate(messages, start=1):
            try:
                if self._configured is None:
                    raise PromptError(
                        f"the node is {self._state}, expected inactive or active: configure it first"
                    )
                request = prompt_request(message, f"#{number}", default_header)
                ids.append(self._configured.desk.submit(request, time.monotonic()))
                self._statistics.prompts_accepted += 1
            except PromptError as error:
                ids.append("")
                reasons.append(str(error))
                self._statistics.prompts_rejected += 1
        return ids, reasons

    def _on_prompts(self, message: Any) -> None:
        for reason in self._submit(message.prompts, message.header)[1]:
            self.get_logger().warning(f"rejected: {reason}")

    def _on_add_objects(self, request: Any, response: Any) -> Any:
        response.ids, reasons = self._submit(request.prompts)
        response.success = not reasons
        response.message = "; ".join(reasons)
        for reason in reasons:
            self.get_logger().warning(f"rejected: {reason}")
        return response

    def _on_remove_objects(self, request: Any, response: Any) -> Any:
        if self._configured is None:
            response.success, response.message = False, f"the node is {self._state}: there are no objects"
            return response
        unknown, response.ids = self._configured.desk.remove(request.ids)
        response.success = not unknown
        response.message = f"not known: {', '.join(unknown)}" if unknown else ""
        return response

    def _on_reset(self, request: Any, response: Any) -> Any:
        count = self._configured.desk.reset() if self._configured is not None else 0
        response.success, response.message = True, f"{count} objects forgotten"
        return response

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
        before, self._params = self._params, params
        for line in params.unavailable():
            if line not in before.unavailable():
                self.get_logger().warning(line)
        if params.enable and not before.enable:
            self._wanted_since_s = time.monotonic()
        if not params.enable:
            self._mailbox.clear()
        if self._configured is not None:
            self._configured.desk.history_s = params.prompt_history
            self._configured.loaded.tracker.config = tracker_config(params)

    # Diagnostics.

    def _publish_diagnostics(self) -> None:
        if self._diagnostics.get_subscription_count() == 0:
            return
        wanted = self._state == "active" and self._params.enable
        camera = CameraView(
            topic=self._image_topic,
            wanted=wanted,
            silent_s=time.monotonic() - max(self._last_image_s, self._wanted_since_s) if wanted else math.inf,
            publishers=self.count_publishers(self._image_topic) if wanted else 0,
            any_image=self._last_image_s >= self._wanted_since_s,
        )
        values = {
            "state": self._state,
            "enable": str(self._params.enable).lower(),
            "model": self._params.model,
        }
        hardware_id = ""
        if self._configured is not None:
            hardware_id = self._configured.loaded.hardware_id
            values["device"] = str(self._configured.loaded.model.device)
            values["memory_bank_mb"] = f"{self._configured.loaded.tracker.bank_bytes / 1e6:.1f}"
        values.update(self._statistics.values(self._mailbox.received, self._mailbox.dropped))
        lines = [
            tracking_line(self._state, self._fault, self._statistics, values),
            camera_line(camera, self._params.camera_timeout),
        ]
        self._diagnostics.publish(
            diagnostic_message(self.get_clock().now().to_msg(), self.get_name(), hardware_id, lines)
        )


def main(args: list[str] | None = None) -> int:
    """Run the node until it is interrupted; the exit status is 1 when its parameters are unusable."""
    node: Sam2Node | None = None

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        # rclpy puts its handler over this one and ends the spinning. An exception that may come up anywhere
        # would cut the tidy end short; it is of use only where the main thread may be busy for long.
        if node is not None and node.loading:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_interrupt)
    rclpy.init(args=args)
    try:
        node = Sam2Node()
        rclpy.spin(node)
    except ExternalShutdownException:
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
