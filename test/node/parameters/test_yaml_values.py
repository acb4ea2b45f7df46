# SPDX-License-Identifier: Apache-2.0
"""Values as YAML reads them: converted where the meaning is clear, otherwise refused with the right spelling."""

import pytest

from sam2_ros.errors import UserError
from sam2_ros.node.parameters.params import PARAMETERS, NodeParams
from sam2_ros.node.parameters.yaml_values import as_declared, unknown_names


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("compile", False, "off"),
        ("detection_mode", False, "off"),
        ("detection_mode", "track_all", "track_all"),
        ("lost_after", 3, 3.0),
        ("present_off", -2, -2.0),
        ("max_objects", 4.0, 4),
        ("use_3d", True, True),
        ("active_id", "5", "5"),
        ("mask_topics", ["cup", "5"], ("cup", "5")),
        ("mask_topics", [], ("",)),
        ("mask_topics", None, ("",)),
    ],
)
def test_an_unambiguous_value_is_converted(name, given, meant):
    made = as_declared(PARAMETERS[name], given)
    assert made == meant
    assert type(made) is type(meant)
    assert getattr(NodeParams.given({name: given}), name) == meant


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("detection_mode", True, ["the boolean true", "off, reseed, track_all", 'detection_mode: "reseed"']),
        ("precision", False, ["the boolean false", "auto, bf16", 'precision: "auto"']),
        ("active_id", False, ["the boolean false", "expected text", 'active_id: "no"', "active_id:='no'"]),
        ("active_id", 5, ["the number 5", "expected text", 'active_id: "5"', "active_id:='5'"]),
        ("device", 0, ["the number 0", "expected text", 'device: "0"']),
        ("max_objects", 3.5, ["the number 3.5", "a whole number"]),
        ("max_objects", "4", ["the text '4'", "a whole number, without quotes"]),
        ("max_objects", True, ["the boolean true", "a whole number"]),
        ("max_objects", float("inf"), ["inf", "a whole number"]),
        ("max_objects", 10**30, ["from 1 to 256"]),
        ("lost_after", "1,5", ["the text '1,5'", "a number, without quotes: lost_after: 1.0"]),
        ("lost_after", None, ["no value", "a number"]),
        ("lost_after", [1.0], ["the list [1.0]", "a number"]),
        ("lost_after", float("nan"), ["got nan", "from 0.0"]),
        ("use_3d", "false", ["the text 'false'", "without quotes: use_3d: false"]),
        ("use_3d", 1, ["the number 1", "true or false"]),
        ("mask_topics", "cup", ["the text 'cup'", "a list of texts in quotes"]),
        ("mask_topics", 5, ["the number 5", "a list of texts in quotes"]),
        ("mask_topics", True, ["the boolean true", "a list of texts in quotes"]),
        ("mask_topics", [1, 2], ["the list [1, 2]", 'mask_topics: ["cup", "5"]']),
        ("image_size", 130, ["got 130", "a multiple of 32, such as 128"]),
        ("image_size", 8, ["got 8", "a multiple of 32, such as 32"]),
    ],
)
def test_any_other_value_gives_one_line_with_the_name_the_value_and_the_remedy(name, given, said):
    with pytest.raises(UserError) as error:
        NodeParams.given({name: given})
    line = str(error.value)
    assert line.startswith(f"parameter {name}: got ")
    assert "\n" not in line
    for words in said:
        assert words in line


@pytest.mark.parametrize("spec", PARAMETERS.values(), ids=lambda spec: spec.name)
def test_a_parameter_takes_its_own_default(spec):
    assert as_declared(spec, spec.default) == spec.default


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("max_object", "did you mean max_objects?"),
        ("Use_3D", "did you mean use_3d?"),
        ("camera-timeout", "did you mean camera_timeout?"),
        ("zzzzzz", "`ros2 param list` shows the names it has"),
    ],
)
def test_an_unknown_name_is_reported_with_the_most_similar_one(name, said):
    (line,) = unknown_names([name], PARAMETERS)
    assert line.startswith(f"parameter {name}: ")
    assert "no effect" in line
    assert said in line


def test_the_names_of_this_node_and_of_ros_itself_are_not_unknown():
    own = ["use_sim_time", "start_type_description_service", "qos_overrides./tf.subscription.depth"]
    assert unknown_names([*PARAMETERS, *own], PARAMETERS) == []
