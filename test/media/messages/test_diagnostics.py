# SPDX-License-Identifier: Apache-2.0
"""A node's statuses are found by its full name on a topic that all nodes share."""

from types import SimpleNamespace

from sam2_ros.media.messages.diagnostics import node_values


def message(**values_by_status):
    statuses = [
        SimpleNamespace(
            name=name, values=[SimpleNamespace(key=key, value=value) for key, value in values.items()]
        )
        for name, values in values_by_status.items()
    ]
    return SimpleNamespace(status=statuses)


LEFT = message(**{"/left/sam2: tracking": {"model": "nano"}, "/left/sam2: camera": {"publishers": "1"}})
RIGHT = message(**{"/right/sam2: tracking": {"model": "tiny"}})
DRIVER = message(
    **{"camera_driver: image publisher": {"model": "D435", "device": "usb"}, "disk": {"model": "x"}}
)


def test_a_node_is_distinguished_from_others_on_the_same_topic():
    messages = [LEFT, RIGHT, DRIVER]
    assert node_values(messages, "/left/sam2") == {"model": "nano", "publishers": "1"}
    assert node_values(messages, "/right/sam2") == {"model": "tiny"}


def test_the_newest_value_is_returned():
    again = message(**{"/left/sam2: tracking": {"model": "small"}})
    assert node_values([LEFT, again], "/left/sam2")["model"] == "small"


def test_the_only_tracker_is_used_if_no_name_matches_but_none_of_several():
    assert node_values([LEFT, DRIVER], "/elsewhere") == {"model": "nano", "publishers": "1"}
    assert node_values([message(**{"sam2: tracking": {"model": "nano"}})], "/sam2") == {"model": "nano"}
    assert node_values([LEFT, RIGHT], "/elsewhere") == {}
    assert node_values([DRIVER], "/sam2") == {}
    assert node_values([], "/sam2") == {}
