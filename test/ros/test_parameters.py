# SPDX-License-Identifier: Apache-2.0
"""Parameters as users write them in files and on command lines, read by ROS into a real node."""

import subprocess
import sys

import pytest
from ros_domains import next_domain

from sam2_ros.errors import UserError

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

import rclpy
from rcl_interfaces.msg import ParameterType
from rclpy.parameter import Parameter

from sam2_ros.node.node import FAILURE, Sam2Node

from .conftest import START_TIMEOUT_S


@pytest.fixture
def make_node(monkeypatch, tmp_path):
    """Make a node without a model from lines of a parameter file and command line arguments."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=next_domain())
    made = []

    def make(*lines: str, section: str = "/**", arguments: tuple[str, ...] = ()) -> Sam2Node:
        path = tmp_path / f"{len(made)}.yaml"
        body = "\n".join(f"    {line}" for line in ("autostart: false", *lines))
        path.write_text(f"{section}:\n  ros__parameters:\n{body}\n")
        cli_args = ["--ros-args", "--params-file", str(path), *arguments]
        made.append(Sam2Node(context=context, cli_args=cli_args))
        return made[-1]

    yield make
    for node in made:
        node.destroy_node()
    context.try_shutdown()


def test_off_needs_no_quotes_and_a_whole_number_no_decimal_point(make_node):
    node = make_node(
        "detection_mode: off", "lost_after: 3", "max_objects: 4.0", arguments=("-p", "compile:=off")
    )
    values = {name: node.get_parameter(name).value for name in ("detection_mode", "lost_after", "compile")}
    assert values == {"detection_mode": "off", "lost_after": 3.0, "compile": "off"}
    assert node.get_parameter("max_objects").value == 4
    assert node.get_parameter("autostart").value is False  # and what is a boolean stays one


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("detection_mode: on", 'detection_mode: "reseed"'),
        ("active_id: 007", "the number 7, expected text"),
        ("target_frame: yes", "expected text"),
        ("mask_topics: [1, 2]", "a list of texts in quotes"),
        ("max_objects: 2.5", "a whole number"),
        ("image_size: 300", "a multiple of 32, such as 288"),
        ("lost_after: -1", "got -1.0, expected a value from 0.0"),
    ],
)
def test_a_value_of_a_wrong_type_gives_one_line_with_the_remedy(make_node, line, said):
    with pytest.raises(UserError) as error:
        make_node(line)
    assert str(error.value).startswith(f"parameter {line.partition(':')[0]}: got ")
    assert said in str(error.value)


def test_a_parameter_is_still_described_with_its_type_range_and_step(make_node):
    node = make_node("lost_after: 3", "compile: off")
    size, lost = node.describe_parameter("image_size"), node.describe_parameter("lost_after")
    assert size.type == ParameterType.PARAMETER_INTEGER
    assert (size.integer_range[0].from_value, size.integer_range[0].step) == (0, 32)
    assert "multiple of 32" in size.description
    assert lost.type == ParameterType.PARAMETER_DOUBLE
    assert lost.floating_point_range[0].to_value == 86_400.0
    assert node.describe_parameter("compile").type == ParameterType.PARAMETER_STRING
    assert node.describe_parameter("mask_topics").type == ParameterType.PARAMETER_STRING_ARRAY


def test_a_running_node_takes_a_whole_number_for_a_float_and_refuses_the_rest_in_words(make_node):
    node = make_node()
    assert node.set_parameters_atomically([Parameter("lost_after", value=5)]).successful
    assert node.get_parameter("lost_after").value == 5.0
    refused = node.set_parameters_atomically([Parameter("lost_after", value="soon")])
    assert not refused.successful
    assert "got the text 'soon', expected a number" in refused.reason
    assert node.get_parameter("lost_after").value == 5.0


def test_each_unknown_parameter_name_is_warned_about_once(make_node, capfd):
    make_node("max_object: 4", "use_sim_time: false", "qos_overrides: {/tf: {subscription: {depth: 5}}}")
    said = capfd.readouterr().err
    warnings = [line for line in said.splitlines() if "[WARN]" in line]
    assert len(warnings) == 1, said
    assert "parameter max_object: " in warnings[0]
    assert "did you mean max_objects?" in warnings[0]


@pytest.mark.parametrize(
    ("policy", "value", "said"),
    [
        ("reliability", "fast", "got 'fast', expected one of system_default, reliable, best_effort"),
        ("durability", "1", "got 1, expected one of"),
        ("depth", "deep", "got 'deep', expected a whole number from 1"),
    ],
)
def test_an_invalid_qos_override_is_refused_by_name(make_node, policy, value, said):
    with pytest.raises(UserError) as error:
        make_node(f"qos_overrides: {{/sam2/objects: {{publisher: {{{policy}: {value}}}}}}}")
    assert str(error.value).startswith(f"parameter qos_overrides./sam2/objects.publisher.{policy}: {said}")


def test_parameters_of_another_node_have_no_effect(make_node, capfd):
    node = make_node("max_object: 4", "max_objects: 4", section="somebody_else")
    assert node.get_parameter("max_objects").value == 8
    assert "max_object" not in capfd.readouterr().err


def test_two_ids_with_one_mask_topic_are_refused_when_the_node_is_configured(make_node, model):
    node = make_node(f"model: {model}", "image_size: 256", "mask_topics: ['a b', 'other', 'a_b']")
    before = [each.topic_name for each in node.publishers]
    assert node.trigger_configure() == FAILURE
    assert "'a b' and 'a_b'" in node._fault
    assert [each.topic_name for each in node.publishers] == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-p", "target_frame:="], "-p target_frame:="),
        (["-p", "max_objects"], "-p max_objects"),
        (["--params-file", "nowhere.yaml"], "nowhere.yaml"),
        (["--no-such-argument"], "--no-such-argument"),
    ],
)
def test_arguments_that_ros_cannot_read_give_one_line_and_no_traceback(arguments, said):
    command = [sys.executable, "-m", "sam2_ros.node.node", "--ros-args", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("sam2: ")]
    assert said in line
    assert "-p name:=value" in line
