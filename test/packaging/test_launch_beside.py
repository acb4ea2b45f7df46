# SPDX-License-Identifier: Apache-2.0
"""Launch files that start the tracker beside a detector with text, or beside FoundationPose.

Starts no process: test/ros/test_launch.py does. Packages that only have to be found are empty folders of the test.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("launch_ros", reason="needs launch_ros, which has no wheel: run in a ROS 2 installation")

from launch import LaunchContext
from launch_files import (
    add_package,
    context_of,
    load,
    parameters_of,
)


def with_text(packages: Path, **given: str) -> LaunchContext:
    """A context as text_detector.launch.py leaves it for the tracker and the detector."""
    context = context_of("text_detector", **{"text": "a cup, a red box", **given})
    for action in load("text_detector").fill_in(context):
        action.execute(context)
    return context_of("sam2", **context.launch_configurations)


def test_a_text_detector_that_is_installed_is_started_with_the_tracker_listening_to_it(
    packages: Path,
) -> None:
    add_package(packages, "ros2_nanoowl", "nano_owl_py")
    context = with_text(packages, image="/c/image", image_encoder_engine="/m/owl.engine", threshold="0.2")
    (detector,) = load("text_detector").start_detector(context)
    detector_parameters = parameters_of(detector, context)
    assert detector_parameters == {"image_encoder_engine": "/m/owl.engine", "thresholds": 0.2}
    assert set(detector.expanded_remapping_rules) == {
        ("input_image", "/c/image"),
        ("input_query", "/input_query"),
        ("output_detections", "/output_detections"),
    }
    (node,) = load("sam2").start_node(context)
    parameters = parameters_of(node, context)
    assert (parameters["detection_mode"], parameters["min_detection_score"]) == ("track_all", 0.0)
    assert ("~/detections", "/output_detections") in node.expanded_remapping_rules


@pytest.mark.parametrize(
    ("given", "detections", "min_score"),
    [
        ({"detector": "nanoowl"}, "/output_detections", 0.0),
        ({"detector": "sam3", "min_detection_score": "0.3"}, "/sam3_ros/object_boxes", 0.3),
        ({"detector": "other", "detections": "/boxes"}, "/boxes", 0.0),
    ],
)
def test_a_text_detector_that_runs_elsewhere_is_waited_for(
    packages: Path, given: dict[str, str], detections: str, min_score: float
) -> None:
    context = with_text(packages, **given)
    (line,) = load("text_detector").start_detector(context)
    assert detections in "".join(part.perform(context) for part in line.msg)
    (node,) = load("sam2").start_node(context)
    assert parameters_of(node, context)["min_detection_score"] == min_score
    assert ("~/detections", detections) in node.expanded_remapping_rules


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"text": " "}, "text: nothing was given"),
        ({"detector": "other"}, "detections: empty"),
        ({"detector": "grounding_dino"}, "install isaac_ros_grounding_dino"),
        ({"detector": "nanoowl"}, "image_encoder_engine: empty"),
        ({"detector": "sam3", "threshold": "low"}, "threshold: got low; expected a number"),
    ],
)
def test_a_text_detector_that_cannot_work_says_so_before_anything_is_started(
    given: dict[str, str], said: str, packages: Path
) -> None:
    add_package(packages, "ros2_nanoowl", "nano_owl_py")
    with pytest.raises(RuntimeError, match=said):
        with_text(packages, **given)


def test_the_text_goes_to_grounding_dino_by_service_until_it_is_taken_and_again_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launch_file = load("text_detector")
    client = SetPromptClient(replies=[False, True, True])
    monkeypatch.setattr(launch_file, "prompt_type", lambda: SetPromptClient)
    monkeypatch.setattr(launch_file, "get_ros_node", lambda context: client)
    steps: list[Any] = []
    monkeypatch.setattr(launch_file, "later", lambda function: steps.append(function) or [])
    context = LaunchContext()
    launch_file.by_service(context, "a cup.", "/set_prompt")
    for is_ready in (False, True, True, True, True, True, False, True, True, True):
        client.is_ready = is_ready
        steps.pop()(context)
        assert len(steps) == 1
    assert client.asked == ["a cup."] * 3


class SetPromptClient:
    """Isaac ROS's SetPrompt, a client of it, and the node that makes the client."""

    class Request:
        def __init__(self, prompt: str) -> None:
            self.prompt = prompt

    def __init__(self, replies: list[bool]) -> None:
        self.replies, self.asked, self.is_ready = replies, [], False

    def create_client(self, service_type: type, name: str) -> Any:
        assert name == "/set_prompt"
        return self

    def service_is_ready(self) -> bool:
        return self.is_ready

    def call_async(self, request: Any) -> Any:
        self.asked.append(request.prompt)
        success = self.replies[len(self.asked) - 1]
        return SimpleNamespace(done=lambda: True, result=lambda: SimpleNamespace(success=success))


def with_object(**given: str) -> LaunchContext:
    """A context as foundationpose.launch.py leaves it for the tracker and the estimator."""
    context = context_of("foundationpose", **given)
    for action in load("foundationpose").fill_in(context):
        action.execute(context)
    return context_of("sam2", **context.launch_configurations)


def text_of(line: Any, context: LaunchContext) -> str:
    return "".join(part.perform(context) for part in line.msg)


def test_foundationpose_gets_the_mask_of_the_object_from_the_tracker(packages: Path) -> None:
    add_package(packages, "isaac_ros_foundationpose")
    add_package(packages, "rclcpp_components", "component_container_mt")
    context = with_object(id="left gear", mesh="/m/gear.obj", image="/c/image", name="sam2", namespace="arm")
    (node,) = load("sam2").start_node(context)
    assert parameters_of(node, context)["mask_topics"] == ["left gear"]
    line, container = load("foundationpose").hand_over(context)
    assert "/arm/sam2/first_mask/left_gear (the first, latched)" in text_of(line, context)
    (estimator,) = container._ComposableNodeContainer__composable_node_descriptions
    remapped = {
        "".join(part.perform(context) for part in source): "".join(part.perform(context) for part in target)
        for source, target in estimator.remappings
    }
    assert remapped["pose_estimation/segmentation"] == "/arm/sam2/mask/left_gear"
    assert remapped["pose_estimation/image"] == "/c/image"


def test_without_a_mesh_only_the_tracker_is_started_and_the_topics_are_named(packages: Path) -> None:
    context = with_object(id="gear")
    (line,) = load("foundationpose").hand_over(context)
    assert "masks of 'gear': /sam2/mask/gear (every image)" in text_of(line, context)
    assert "no estimator is started here" in text_of(line, context)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "id: nothing was given"),
        ({"id": "gear", "mesh": "/m/gear.obj"}, "is not installed or not sourced"),
    ],
)
def test_a_hand_over_that_cannot_work_says_so_before_anything_is_started(
    given: dict[str, str], said: str, packages: Path
) -> None:
    with pytest.raises(RuntimeError, match=re.escape(said)):
        with_object(**given)
