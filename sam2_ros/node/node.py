# SPDX-License-Identifier: Apache-2.0
"""The SAM 2 lifecycle node: connects topics, services and parameters with the mailbox, the worker and the outputs.

Does no arithmetic on images or tensors: the worker runs inference, the outputs publish, the prompt queue holds prompts,
the object registry knows which objects exist.

    python -m sam2_ros.node.node --ros-args -p model:=nano -r image_raw:=/camera/image_raw
"""

from __future__ import annotations

# Before the imports, which take seconds: Ctrl-C must end the process without a traceback meanwhile.
if __name__ == "__main__":
    import runpy

    runpy.run_module("sam2_ros.node.start", run_name="__main__")

import gc
import time
from typing import Any

import sam2_ros.node.interfaces  # noqa: F401  # isort: skip  (before all of ROS: it explains a missing package)
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from sam2_ros.engine import PromptError, Sam2Model
from sam2_ros.errors import one_line

from .actions.track_until import TrackUntilServer
from .assembly import Configured, assemble
from .camera import CameraSubscription
from .clicks import Clicks
from .convert import ImageDecoder
from .diagnostics import Statistics, camera_line, diagnostic_message, resident_mb, tracking_line
from .frame_history import FrameHistory, StampedImage
from .introspection import ServiceIntrospection
from .loading import free_device_memory, load, tracker_config
from .object_registry import ObjectRegistry
from .outputs.clouds import CloudService
from .outputs.prompt_events import PromptEvents
from .outputs.result_publisher import ResultPublisher
from .parameters.declared import DeclaredParameters
from .parameters.params import NodeParams
from .process import run_node
from .prompt_queue import PromptQueue
from .qos import check_overrides, unused_overrides
from .requests import Requests
from .segment_service import SegmentService
from .state.keeper import StateKeeper, StateOptions
from .state.service import StateService
from .worker import Worker

DIAGNOSTICS_PERIOD_S = 1.0
STOP_PATIENCE_S = 30.0  # for the image in progress; enough for the largest model on a slow CPU
END_PATIENCE_S = 1.5  # the same, when the process has to end
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class Sam2Node(LifecycleNode):
    """Lifecycle states: unconfigured, inactive (model loaded and warmed up), active (images are tracked)."""

    # rclpy also calls destroy_node() on a node whose constructor failed half way.
    _configured: Configured | None = None
    _segment_service: SegmentService | None = None
    _cloud_service: CloudService | None = None
    _state_service: StateService | None = None
    _introspection: ServiceIntrospection | None = None
    _track_until: TrackUntilServer | None = None
    configuring = False  # a model is being loaded, which may take long
    hanging = False  # after destroy_node: a thread is still inside the model

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("sam2", **node_arguments)
        self._declared = DeclaredParameters(self, self._apply)
        check_overrides(self)
        self._state = "unconfigured"
        self._fault = ""
        self._worker: Worker | None = None
        self._results: ResultPublisher | None = None
        self._statistics = Statistics()
        self._camera = CameraSubscription(self, self._statistics, self._params.image_transport)
        self._camera.enable(self._params.enable)
        self._prompt_events = PromptEvents(self, self._statistics, self._newest)
        report = self._prompt_events.report
        self._objects = ObjectRegistry(self._params.max_objects, report)
        # The last image of the previous activation, to detect a jump of the stream between two activations.
        self._last_image: StampedImage | None = None

        self._requests = Requests(self, self._statistics, self._queue, self._declared, report)
        self._clicks = Clicks(
            self, self._requests, self._queue, lambda: self._at_work().projector, self._declared
        )
        self._track_until = TrackUntilServer(
            self, self._requests.submit_message, self._objects, self._declared, lambda: self._state
        )
        self._segment_service = SegmentService(self, self._model, self._declared)
        self._cloud_service = CloudService(self, self._declared)
        self._state_service = StateService(self, self._remembering, self._declared)
        self.create_service(SetBool, "~/enable", self._on_enable)
        others = [self._segment_service.node, self._cloud_service.node, self._state_service.node]
        self._introspection = ServiceIntrospection(self, others, [self._track_until.server])
        self._introspection.set(self._params.service_introspection)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        # Steady timers: diagnostics continue while a simulation (use_sim_time) is paused.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)
        self._gave_up = self.create_guard_condition(self._on_gave_up)
        if self._params.autostart:
            self._autostart_timer = self.create_timer(0.0, self._autostart, clock=steady)

    # Lifecycle. rclpy turns an exception in a transition into ERROR without a message, so configure logs it.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        params, log = self._params, self.get_logger()
        begun_s = time.monotonic()
        self.configuring = True
        try:
            loaded = load(params)
            self._configured = assemble(
                self,
                loaded,
                self._camera,
                self._objects,
                self._declared,
                self._statistics,
                is_active=self._is_active,
                state_options=self._state_options,
            )
        except Exception as error:  # a missing file, a broken checkpoint, an absent GPU: each is one line
            self._fault = f"configure failed: {one_line(error)}"
            log.error(self._fault)
            return FAILURE
        except KeyboardInterrupt:
            if not self.context.ok():
                raise  # out of spin: rclpy would only log that it cannot publish a failed transition
            return FAILURE
        finally:
            self.configuring = False
        self._declared.hold()
        for line in unused_overrides(self):
            log.warning(line)
        self._state, self._fault = "inactive", ""
        log.info(f"{loaded.summary} loaded and warmed up in {time.monotonic() - begun_s:.1f} s")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        configured, params = self._at_work(), self._params
        self._results = ResultPublisher(
            configured.outputs,
            configured.spatial,
            configured.detector,
            self._objects,
            self._statistics,
            settings=self._declared,
            clock=self.get_clock(),
            log=self.get_logger(),
            clouds=self._cloud_service,
            goals=self._track_until,
        )
        self._worker = Worker(
            configured.loaded.tracker,
            configured.late_prompts,
            configured.history,
            configured.queue,
            self._camera.mailbox,
            self._statistics,
            configured.decoder,
            results=self._results,
            give_up=self._give_up,
            log=self.get_logger(),
            last=self._last_image,
            turns=configured.keeper.turns,
        )
        configured.keeper.open()
        self._state, self._fault = "active", ""
        activated = super().on_activate(state)  # activates the publishers, before the first result
        self._camera.open(params.image_reliability, configured.history, configured.queue)
        self._worker.start()
        return activated

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop_work()
        self._abort_goals(self._fault or "the node was deactivated")
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
        """Stop everything within a few seconds; `hanging` is then True if a thread has not ended."""
        self.hanging = not self._stop_work(END_PATIENCE_S)
        if self._track_until is not None:
            self._prompt_events.flush()
            self._track_until.destroy()
        for service in (self._segment_service, self._cloud_service, self._state_service):
            if service is not None:
                self.hanging |= not service.destroy()
        super().destroy_node()

    def _autostart(self) -> None:
        self._autostart_timer.cancel()
        if self._state == "unconfigured" and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def _stop_work(self, patience_s: float = STOP_PATIENCE_S) -> bool:
        """Stop tracking; False if the image in progress takes longer than `patience_s`."""
        if self._configured is None:
            return True
        self._camera.close()
        stopped = True
        if self._worker is not None:
            stopped = self._worker.stop(patience_s)
            if not stopped and self.context.ok():
                self.get_logger().error("the image in progress does not finish; its result will be ignored")
            self._last_image = self._worker.last
        if self._results is not None:
            self._results.stop()
        self._worker = self._results = None
        self._configured.keeper.save_at_end()
        return stopped

    def _release(self) -> None:
        self._stop_work()
        self._abort_goals(self._fault or "the node was shut down")
        if self._configured is not None:
            self._configured.keeper.close()
        self._objects.clear()
        if self._configured is not None:
            self._configured.queue.close()
            self._configured.queue.drop_ended()
            self._configured.on_graph.close()
        self._configured = None
        self._declared.release()
        self._last_image = None
        self._state = "unconfigured"
        gc.collect()
        free_device_memory()

    def _give_up(self, reason: str) -> None:
        """Called by the worker's thread. The transition itself must run in the executor's thread."""
        self._fault = reason
        self._gave_up.trigger()

    def _on_gave_up(self) -> None:
        if self._state == "active":
            fault = self._fault
            self.get_logger().error(f"deactivated: {fault}; activate the node to try again")
            self.trigger_deactivate()
            self._fault = fault

    # Used by requests and detections.

    def _is_active(self) -> bool:
        """True while images are tracked."""
        return self._state == "active"

    def _newest(self) -> StampedImage | None:
        return self._configured.history.newest if self._configured is not None else None

    def _abort_goals(self, reason: str) -> None:
        if self._track_until is not None:
            self._track_until.abort_all(reason)

    def _queue(self) -> PromptQueue:
        """The prompt queue; PromptError if the node is not configured."""
        return self._at_work().queue

    def _model(self) -> tuple[Sam2Model, FrameHistory, ImageDecoder]:
        configured = self._at_work()
        return configured.loaded.model, configured.history, configured.decoder

    def _remembering(self) -> tuple[StateKeeper, FrameHistory, ImageDecoder]:
        configured = self._at_work()
        return configured.keeper, configured.history, configured.decoder

    def _state_options(self) -> StateOptions:
        return StateOptions(self._params.state_file, self._params.state_period)

    def _at_work(self) -> Configured:
        if self._configured is None:
            raise PromptError(f"the node is {self._state}, expected inactive or active: configure it first")
        return self._configured

    def _on_enable(self, request: Any, response: Any) -> Any:
        result = self.set_parameters([Parameter("enable", value=bool(request.data))])[0]
        response.success, response.message = result.successful, result.reason
        return response

    # Parameters.

    @property
    def _params(self) -> NodeParams:
        """The values in effect now."""
        return self._declared.used

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """As rclpy's, but converts YAML types, and gives a reason if a value takes effect later or never."""
        return self._declared.set(parameter_list, super().set_parameters_atomically)

    def _apply(self, params: NodeParams) -> None:
        """Raises UserError for values that cannot take effect; nothing has changed then."""
        if self._configured is not None:
            self._configured.outputs.follow(params)
        if self._introspection is not None:
            self._introspection.set(params.service_introspection)
        self._camera.enable(params.enable)
        if self._configured is not None:
            self._configured.history.seconds = params.prompt_history
            self._configured.history.max_bytes = params.history_bytes
            self._configured.queue.limits = params.limits
            self._configured.loaded.tracker.config = tracker_config(params)

    # Diagnostics.

    def _publish_diagnostics(self) -> None:
        if self._diagnostics.get_subscription_count() == 0:
            return
        lines = [
            tracking_line(self._state, self._fault, self._statistics, self._values()),
            camera_line(self._camera.status(), self._params.camera_timeout),
        ]
        if self._configured is not None:
            parts = (self._configured.spatial, self._configured.detector)
            lines += [part.line() for part in parts if part is not None]
            lines += filter(None, [self._configured.keeper.line()])
        self._diagnostics.publish(
            diagnostic_message(
                self.get_clock().now().to_msg(), self.get_fully_qualified_name(), self._camera.topic, lines
            )
        )

    def _values(self) -> dict[str, str]:
        """Key-value pairs of the status "tracking"."""
        params, now_s = self._params, time.monotonic()
        pending = 0
        values = {
            "topic": self._camera.topic,
            "state": self._state,
            "enable": str(params.enable).lower(),
            "model": params.model,
        }
        if self._configured is not None:
            values.update(self._configured.loaded.values())
            history, pending = self._configured.history, self._configured.queue.pending
            values["image_history_mb"] = f"{history.bytes / 1e6:.1f}"
            values["image_history_cut"] = str(history.cut)
        if waiting := self._declared.waiting:
            values["waiting_for_configure"] = ", ".join(waiting)
        if (resident := resident_mb()) is not None:
            values["resident_mb"] = f"{resident:.1f}"
        values["rate_in_hz"] = f"{self._camera.rate.hz(now_s):.2f}"
        values["rate_out_hz"] = f"{self._statistics.rate.hz(now_s):.2f}"
        mailbox = self._camera.mailbox
        values["frames_out_of_order"] = str(self._camera.out_of_order)
        received = mailbox.received + self._camera.refused
        return {
            **values,
            **self._statistics.values(received, mailbox.dropped, self._objects.states(), pending),
        }


def main(args: list[str] | None = None) -> int:
    """Run the node until it is interrupted. Returns the exit status: 1 if a parameter is invalid."""
    return run_node(Sam2Node, args)
