# SPDX-License-Identifier: Apache-2.0
"""The topics and services of a node as they are on the graph, so that remapped ones are found, too.

Asks the graph. Does not subscribe or call.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
OBJECTS, DIAGNOSTICS = "sam2_ros_msgs/msg/TrackedObjectArray", "diagnostic_msgs/msg/DiagnosticArray"
ADD, REMOVE = "sam2_ros_msgs/srv/AddObjects", "sam2_ros_msgs/srv/RemoveObjects"
TRIGGER = "std_srvs/srv/Trigger"


@dataclass(frozen=True)
class NodeNames:
    """Resolved names; "" = not known yet.

    Attributes:
        image: the camera's topic; `compressed`: of CompressedImages.
        objects, diagnostics: topics of the node.
        add, remove, reset: services of the node.
    """

    image: str = ""
    compressed: bool = False
    objects: str = ""
    diagnostics: str = ""
    add: str = ""
    remove: str = ""
    reset: str = ""


def names_of(node: Any, name: str, namespace: str, camera: str, before: NodeNames) -> NodeNames:
    """Ask for the names of a node.

    Args:
        node: an rclpy node, which asks.
        name, namespace: of the node that is asked about.
        camera: its image topic by its diagnostics, "" if they have not come yet. It may subscribe to other images, such
            as depth, and has no subscription while it is inactive.
        before: what was known; names that are not offered now stay.
    """
    publishers = dict(node.get_publisher_names_and_types_by_node(name, namespace))
    subscribed = dict(node.get_subscriber_names_and_types_by_node(name, namespace))
    services = dict(node.get_service_names_and_types_by_node(name, namespace))
    images = {
        topic: COMPRESSED in types
        for topic, types in subscribed.items()
        if IMAGE in types or COMPRESSED in types
    }
    found = replace(
        before,
        objects=_first(publishers, OBJECTS) or before.objects,
        diagnostics=_first(publishers, DIAGNOSTICS) or before.diagnostics,
        add=_first(services, ADD) or before.add,
        remove=_first(services, REMOVE) or before.remove,
        reset=_first(services, TRIGGER, "reset") or before.reset,
    )
    if camera:
        return replace(found, image=camera, compressed=images.get(camera, camera.endswith("/compressed")))
    if len(images) == 1:
        ((topic, compressed),) = images.items()
        return replace(found, image=topic, compressed=compressed)
    return found


def nodes_that_track(node: Any, but: str) -> list[str]:
    """Other nodes that offer to add objects, by the default names of their services."""
    services = node.get_service_names_and_types()
    owners = {name.rpartition("/")[0] for name, types in services if ADD in types}
    return sorted(owners - {but, ""})


def _first(names: dict[str, list[str]], wanted: str, ending: str = "") -> str:
    """The first name of a type; one with the ending comes first."""
    fitting = sorted(name for name, types in names.items() if wanted in types)
    return next((name for name in fitting if name.endswith(ending)), fitting[0] if fitting else "")
