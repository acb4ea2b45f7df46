# SPDX-License-Identifier: Apache-2.0
"""Launch files turn their arguments into processes, parameters, remappings and errors.

Starts no process: test/ros/test_launch.py does. Packages that only have to be found are empty folders of the test.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("launch_ros", reason="needs launch_ros, which has no wheel: run in a ROS 2 installation")

from launch import LaunchContext
from launch.launch_description_sources import get_launch_description_from_python_launch_file
from launch_files import (
    CONFIG,
    LAUNCH,
    PROFILE_VARIABLES,
    add_package,
    context_of,
    load,
    parameters_of,
    words_of,
)

from sam2_ros.node.parameters.params import PARAMETERS


@pytest.mark.parametrize("name", ["sam2", "replay", "realsense_detector", "text_detector", "foundationpose"])
def test_launch_accepts_a_launch_file_and_every_argument_is_described(name: str) -> None:
    description = get_launch_description_from_python_launch_file(str(LAUNCH / f"{name}.launch.py"))
    arguments = description.get_launch_arguments()
    assert {"image", "camera_info", "depth_image", "detections", "model", "rviz"} <= {
        a.name for a in arguments
    }
    for argument in arguments:
        assert argument.description
        assert argument.description != "no description given"


def test_the_commands_in_the_documents_use_arguments_that_exist() -> None:
    root = LAUNCH.parent
    pages = [root / "README.md", *(root / "docs").rglob("*.md"), *(root / "docker").glob("*.Dockerfile")]
    commands = [
        command
        for page in pages
        for command in re.findall(
            r"ros2 launch sam2_ros (\w+)\.launch\.py((?:[^\n`\\]|\\\n)*)",
            page.read_text("utf-8").replace("\\\n#", "\\\n"),
        )
    ]
    assert {name for name, _ in commands} == {
        "sam2",
        "replay",
        "realsense_detector",
        "text_detector",
        "foundationpose",
    }
    for name, rest in commands:
        path = str(LAUNCH / f"{name}.launch.py")
        known = {a.name for a in get_launch_description_from_python_launch_file(path).get_launch_arguments()}
        assert set(re.findall(r"(\w+):=", rest)) <= known, rest


@pytest.mark.parametrize(("distro", "used"), [("humble", 1), ("jazzy", 1), ("kilted", 0), ("rolling", 0)])
def test_the_fast_dds_profile_goes_by_the_name_that_the_distribution_reads(
    distro: str, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in PROFILE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("ROS_DISTRO", distro)
    (action,) = load("sam2").fast_dds_profile()
    context = LaunchContext()
    action.execute(context)
    assert Path(context.environment[PROFILE_VARIABLES[used]]).samefile(CONFIG / "fastdds.xml")
    assert PROFILE_VARIABLES[1 - used] not in context.environment


def test_a_profile_of_the_users_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROFILE_VARIABLES[1], "/mine.xml")
    assert load("sam2").fast_dds_profile() == []


def test_an_argument_for_a_parameter_offers_what_the_node_takes() -> None:
    for name, argument in load("sam2").OVERRIDES.items():
        entry = PARAMETERS[name]
        assert argument.default == ""
        if isinstance(entry.default, bool):
            assert set(argument.choices) == {"", "true", "false", "True", "False"}
        elif argument.choices:
            assert argument.choices == ("", *entry.choices)


def test_without_arguments_the_node_has_what_its_file_says(packages: Path) -> None:
    context = context_of("sam2")
    (node,) = load("sam2").start_node(context)
    parameters = parameters_of(node, context)
    assert (parameters["model"], parameters["detection_mode"]) == ("nano", "off")
    assert (parameters["use_debug"], parameters["use_sim_time"]) == (False, False)
    assert "~/detections:=" not in " ".join(words_of(node, context))


def test_arguments_go_before_the_file_with_the_types_that_the_node_declares(packages: Path) -> None:
    given = {
        "model": "1",
        "use_3d": "True",
        "autostart": "false",
        "detection_mode": "off",
        "target_frame": "base",
        "min_detection_score": "0",
        "mask_topics": "cup, 5",
    }
    context = context_of("sam2", rviz="true", params_file=str(CONFIG / "cpu.yaml"), **given)
    (node,) = load("sam2").start_node(context)
    parameters = parameters_of(node, context)
    expected = {
        "model": "1",
        "use_3d": True,
        "autostart": False,
        "detection_mode": "off",
        "target_frame": "base",
        "min_detection_score": 0.0,
        "mask_topics": ["cup", "5"],
    }
    assert {name: parameters[name] for name in expected} == expected
    assert isinstance(parameters["min_detection_score"], float)  # the node takes no other type
    assert parameters["use_debug"] is True  # or RViz would show no picture
    assert parameters["max_objects"] == 4  # of cpu.yaml


def test_topics_are_chosen_by_remapping(packages: Path) -> None:
    topics = {
        "image": "/c/image",
        "camera_info": "/c/info",
        "depth_image": "/c/depth",
        "detections": "/boxes",
    }
    context = context_of("sam2", **topics)
    (node,) = load("sam2").start_node(context)
    node._perform_substitutions(context)
    assert set(node.expanded_remapping_rules) == {
        ("image_raw", "/c/image"),
        ("camera_info", "/c/info"),
        ("depth_image", "/c/depth"),
        ("~/detections", "/boxes"),
    }


def test_a_parameter_file_that_is_not_there_is_an_error(packages: Path) -> None:
    with pytest.raises(RuntimeError, match=r"params_file: nowhere\.yaml is not a file"):
        load("sam2").start_node(context_of("sam2", params_file="nowhere.yaml"))


def test_a_score_that_is_no_number_is_an_error(packages: Path) -> None:
    with pytest.raises(RuntimeError, match="min_detection_score: got high; expected a number"):
        load("sam2").start_node(context_of("sam2", min_detection_score="high"))


def test_a_value_that_is_no_choice_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"use_3d.*yes.*not valid"):
        context_of("sam2", use_3d="yes")


def test_rviz_is_started_only_when_asked_for_and_only_where_it_is_installed(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load("sam2").start_rviz(context_of("sam2")) == []
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(packages))
    with pytest.raises(RuntimeError, match="apt install ros-<distro>-rviz2"):
        load("sam2").start_rviz(context_of("sam2", rviz="true"))


@pytest.mark.parametrize(
    ("namespace", "name", "expected"),
    [("", "sam2", None), ("robot", "sam2", "/robot/sam2"), ("/a/b/", "eye", "/a/b/eye")],
)
def test_rviz_looks_at_the_node_wherever_it_is(
    packages: Path, namespace: str, name: str, expected: str | None
) -> None:
    add_package(packages, "rviz2", "rviz2")
    context = context_of("sam2", rviz="true", namespace=namespace, name=name, target_frame="base_link")
    (rviz,) = load("sam2").start_rviz(context)
    words = words_of(rviz, context)
    assert words[words.index("-d") + 1] == str(CONFIG / "sam2.rviz")
    assert words[words.index("-f") + 1] == "base_link"
    topics = ("debug_image", "label_image", "markers", "object_cloud", "clicked_point")
    rules = {(f"/sam2/{topic}", f"{expected}/{topic}") for topic in topics} if expected else set()
    assert set(rviz.expanded_remapping_rules or ()) == rules


def test_the_camera_is_started_with_depth_registered_to_its_colour_images(packages: Path) -> None:
    driver = add_package(packages, "realsense2_camera") / "launch" / "rs_launch.py"
    driver.parent.mkdir()
    driver.write_text("from launch import LaunchDescription as generate_launch_description\n")
    context = context_of("realsense_detector", color_profile="1280x720x15")
    (camera,) = load("realsense_detector").start_camera(context)
    given = dict(camera.launch_arguments)
    assert given["align_depth.enable"] == "true"
    assert given["rgb_camera.color_profile"] == "1280x720x15"
    camera.launch_description_source.get_launch_description(context)
    assert camera.launch_description_source.location == str(driver)


def test_a_missing_camera_driver_is_named(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(packages))
    with pytest.raises(RuntimeError, match="apt install ros-<distro>-realsense2-camera"):
        load("realsense_detector").start_camera(context_of("realsense_detector"))


def test_the_realsense_example_tracks_what_is_detected_in_3d(packages: Path) -> None:
    context = context_of("realsense_detector")
    context_with_rest = context_of("sam2", **context.launch_configurations)
    (node,) = load("sam2").start_node(context_with_rest)
    parameters = parameters_of(node, context_with_rest)
    assert (parameters["use_3d"], parameters["detection_mode"]) == (True, "track_all")
    assert ("~/detections", "/detections") in node.expanded_remapping_rules
    assert ("image_raw", "/camera/camera/color/image_raw") in node.expanded_remapping_rules


def test_the_player_and_the_recorder_get_what_was_said() -> None:
    replay = load("replay")
    given = {
        "bag": "my bag",
        "rate": "0.5",
        "delay": "3.0",
        "play_args": '--remap "/a:=/b" /c:=/d',
        "out": "tracked",
    }
    given["record"] = "~/objects /diagnostics"
    words = ["ros2", "bag", "play", "my bag", "--clock", "100", "--rate", "0.5", "--delay", "3.0"]
    words += ["--disable-keyboard-controls", "--remap", "/a:=/b", "/c:=/d"]
    assert replay.play_command(given) == words
    assert "--delay" not in replay.play_command({**given, "delay": "0"})  # the player takes no zero
    command = replay.record_command(given, "/robot/eye")
    topics = "^(/robot/eye/objects|/diagnostics)$"
    assert command == ["ros2", "bag", "record", "--output", "tracked", "--regex", topics]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bag": "nowhere"}, "bag: nowhere does not exist"),
        ({"out": "."}, "out: . exists"),
        ({"record": " "}, "record: got no topic"),
        ({"prompts": "cup"}, "prompts: cup cannot be read.*expected a list of prompts"),
        ({"prompts": "[{id: cup, rectangle: [1, 2, 3, 4]}]"}, "prompts: .*rectangle"),
        ({"prompts": "[{id: cup, box: [1, 2"}, "prompts: .*cannot be read"),
    ],
)
def test_a_replay_that_cannot_work_says_so_before_anything_is_started(
    given: dict[str, str], said: str, packages: Path
) -> None:
    add_package(packages, "ros2bag")
    usual = {"bag": str(packages), "out": str(packages / "out"), "record": "~/objects", "prompts": ""}
    load("replay").check(usual)
    with pytest.raises(RuntimeError, match=said):
        load("replay").check({**usual, **given})


def test_prompts_are_read_from_yaml_from_json_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prompts.json"
    file.write_text('[{"id": "cup", "box": [1, 2, 30, 40], "points": [{"x": 5, "y": 6, "positive": true}]}]')
    for given in (
        file.read_text(),
        str(file),
        "[{id: cup, box: [1, 2, 30, 40], points: [{x: 5, y: 6, positive: true}]}]",
    ):
        (prompt,) = load("replay").prompt_request(given).prompts
        assert (prompt.id, list(prompt.box)) == ("cup", [1.0, 2.0, 30.0, 40.0])
        assert (prompt.points[0].x, prompt.points[0].y, prompt.points[0].positive) == (5.0, 6.0, True)
