# SPDX-License-Identifier: Apache-2.0
"""The parameters: complete, described, validated, and when a new value takes effect."""

import dataclasses

import pytest

from sam2_ros.errors import UserError
from sam2_ros.node.parameters.params import PARAMETERS, NodeParams

INTERFACE = [
    "model",
    "device",
    "precision",
    "image_size",
    "compile",
    "backend",
    "max_objects",
    "memory_frames",
    "max_conditioning_frames",
    "memory_policy",
    "policies",
    "image_transport",
    "image_reliability",
    "mono16_range",
    "untyped_encoding",
    "camera_timeout",
    "use_3d",
    "depth_image_units_divisor",
    "depth_slop",
    "target_frame",
    "tf_timeout",
    "detection_mode",
    "min_detection_score",
    "prompt_history",
    "active_id",
    "present_on",
    "present_off",
    "lost_after",
    "forget_after",
    "state_file",
    "state_period",
    "mask_topics",
    "pose_topics",
    "cloud_topics",
    "publish_tf",
    "tf_prefix",
    "use_debug",
    "enable",
    "autostart",
    "stable_within",
    "service_introspection",
    "history_bytes",
    "max_points",
    "max_message_prompts",
    "max_pending_prompts",
    "max_pending_bytes",
    "max_goals",
    "max_id_bytes",
]


def test_the_table_holds_the_parameters_of_the_interface_and_no_other():
    assert list(PARAMETERS) == INTERFACE


def test_the_table_and_node_params_have_the_same_names_and_defaults():
    assert dataclasses.asdict(NodeParams()) == {spec.name: spec.default for spec in PARAMETERS.values()}


@pytest.mark.parametrize("spec", PARAMETERS.values(), ids=lambda spec: spec.name)
def test_every_parameter_is_explained_and_its_default_is_allowed(spec):
    assert len(spec.description) > 20
    assert spec.description.endswith(".")
    assert spec.problem(spec.default) is None
    if isinstance(spec.default, (int, float)) and not isinstance(spec.default, bool):
        assert spec.range is not None
        assert spec.problem(spec.range[1] + 1) is not None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"precision": "int4"}, "parameter precision: got 'int4', expected one of auto, bf16, fp16, fp32"),
        ({"max_objects": 0}, "parameter max_objects: got 0, expected a value from 1"),
        ({"present_off": 2.0}, "parameter present_off: got 2.0, expected at most present_on = 1.0"),
        (
            {"mono16_range": "9000,7000"},
            "parameter mono16_range: range '9000,7000' cannot be read: expected full",
        ),
        ({"untyped_encoding": "hsv"}, "parameter untyped_encoding: got 'hsv', expected one of bgr, rgb"),
        (
            {"policies": ("quality", "cup:samurai")},
            "parameter policies: policies = 'cup:samurai': expected one of",
        ),
        ({"camera_timeout": float("nan")}, "parameter camera_timeout: got nan"),
    ],
)
def test_an_unusable_value_is_refused_by_name(values, said):
    with pytest.raises(UserError, match=said):
        NodeParams(**values)


def test_a_change_makes_new_params_and_keeps_the_original():
    params = NodeParams()
    changed = params.changed({"present_on": 2.0, "use_debug": True})
    assert (changed.present_on, changed.use_debug) == (2.0, True)
    assert params == NodeParams()


@pytest.mark.parametrize("name", [spec.name for spec in PARAMETERS.values() if spec.when == "start"])
def test_a_change_of_a_start_only_parameter_is_refused_with_the_reason(name):
    with pytest.raises(UserError, match=f"parameter {name} is read once.*restart"):
        NodeParams().changed({name: PARAMETERS[name].default})


def test_only_autostart_needs_a_new_process():
    assert [spec.name for spec in PARAMETERS.values() if spec.when == "start"] == ["autostart"]


@pytest.mark.parametrize("spec", PARAMETERS.values(), ids=lambda spec: spec.name)
def test_only_parameters_declared_now_take_effect_at_once(spec):
    other = {int: 1, float: 0.25, str: "other", tuple: ("other:official",)}
    value = not spec.default if isinstance(spec.default, bool) else other[type(spec.default)]
    if spec.choices:
        value = spec.choices[-1] if spec.choices[-1] != spec.default else spec.choices[0]
    if spec.name in ("image_size", "mono16_range", "max_pending_bytes", "history_bytes"):
        value = {"image_size": 64, "mono16_range": "0,9"}.get(spec.name, 2_000_000)
    wanted = dataclasses.replace(NodeParams(), **{spec.name: value})
    assert wanted != NodeParams()
    assert (NodeParams().following(wanted) == wanted) == (spec.when == "now")
