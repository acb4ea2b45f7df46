# SPDX-License-Identifier: Apache-2.0
"""Declares the parameters of one ROS node, takes changes, and tracks which of them wait for the next configure.

Does not know what the values do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from sam2_ros.errors import UserError

from .params import PARAMETERS, NodeParams, fixed_reason
from .spec import ParameterSpec, When
from .yaml_values import as_declared, unknown_names

TAKES_EFFECT: dict[When, str] = {
    "now": "at once",
    "configure": "at the next configure (deactivate, cleanup, configure, activate)",
    "start": "in a new process",
}


class DeclaredParameters:
    """Parameter values as set and as in effect. A parameter read at configure keeps its value until cleanup.

    Args:
        node: the parameters are declared on it, with the description, type and range that `ros2 param describe`
            shows. Logs a warning for each given name that is not a parameter.
        on_change: called with the values in effect after each change; raises UserError to refuse it.

    Attributes:
        wanted: the values as set; what `ros2 param get` shows.
        used: the values in effect.

    Raises:
        UserError: a value from a file or the command line is invalid.
    """

    def __init__(self, node: Node, on_change: Callable[[NodeParams], None]) -> None:
        self._log = node.get_logger()
        self._on_change = on_change
        self._held = False
        # rclpy has no public access to the given values before declaration, and declaration requires the right type.
        given = {name: parameter.value for name, parameter in node._parameter_overrides.items()}
        for line in unknown_names([name for name in given if not node.has_parameter(name)], PARAMETERS):
            self._log.warning(line)
        self.wanted = NodeParams.given({name: value for name, value in given.items() if name in PARAMETERS})
        self.used = self.wanted
        for name, spec in PARAMETERS.items():
            value = getattr(self.wanted, name)
            stored = list(value) if isinstance(value, tuple) else value
            node.declare_parameter(name, stored, _descriptor(spec), ignore_override=True)
        node.add_on_set_parameters_callback(self._on_set)

    def hold(self) -> None:
        """Called at configure: parameters that are read at configure keep their values from now on."""
        self._held = True

    def release(self) -> None:
        """Called at cleanup: all values as set take effect."""
        self._held, self.used = False, self.wanted

    @property
    def waiting(self) -> list[str]:
        """Names of the parameters whose new value takes effect at the next configure."""
        return [name for name in PARAMETERS if getattr(self.wanted, name) != getattr(self.used, name)]

    def set(
        self,
        parameters: Sequence[Parameter[Any]],
        store: Callable[[list[Parameter[Any]]], SetParametersResult],
    ) -> SetParametersResult:
        """Convert the values to their declared types, and set them with `store` (rclpy's set_parameters_atomically).

        The result's reason says why a value was refused and what to do, or when an accepted value takes effect.
        """
        try:
            converted = [_converted(each) for each in parameters]
            self.wanted.changed(_own(converted))  # before rclpy, whose messages name no remedy
        except UserError as error:
            return SetParametersResult(successful=False, reason=str(error))
        result = store(converted)
        later = [each.name for each in converted if each.name in self.waiting]
        if result.successful and later:
            result.reason = f"{', '.join(later)}: takes effect {TAKES_EFFECT['configure']}"
            self._log.info(result.reason)
        return result

    def _on_set(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        own = _own(parameters)
        if not own:  # such as the QoS of a topic that is being made, from within on_change
            return SetParametersResult(successful=True)
        before = self.wanted, self.used
        try:
            self.wanted = self.wanted.changed(own)
            self.used = self.used.following(self.wanted) if self._held else self.wanted
            self._on_change(self.used)
        except UserError as error:
            self.wanted, self.used = before
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)


def _own(parameters: Sequence[Parameter[Any]]) -> dict[str, Any]:
    """Name -> value of this node's own parameters, without those of ROS."""
    return {each.name: each.value for each in parameters if each.name in PARAMETERS}


def _converted(parameter: Parameter[Any]) -> Parameter[Any]:
    """The parameter with its declared type: `ros2 param set lost_after 3` gives an integer. Raises UserError."""
    if parameter.name.startswith("qos_overrides."):
        raise UserError(fixed_reason(parameter.name))
    if parameter.name not in PARAMETERS:
        return parameter
    value = as_declared(PARAMETERS[parameter.name], parameter.value)
    return Parameter(parameter.name, value=list(value) if isinstance(value, tuple) else value)


def _descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=spec.description, read_only=spec.when == "start")
    allowed = [f"one of: {', '.join(spec.choices)}"] if spec.choices else []
    descriptor.additional_constraints = "; ".join([*allowed, f"takes effect {TAKES_EFFECT[spec.when]}"])
    if spec.range is not None:
        low, high = spec.range
        if isinstance(spec.default, float):
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high))
            ]
        else:
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=spec.step)]
    return descriptor
