# SPDX-License-Identifier: Apache-2.0
"""The publishers of single objects, and of tf: made and destroyed while the node runs, as the parameters say.

Knows names and QoS; does not know what is published. The executor's thread makes and destroys them while the worker
publishes: a publisher is destroyed only after it has left the tables, and publishing on one that is gone raises
InvalidHandle, which the caller handles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, PointCloud2

from sam2_ros.errors import UserError, one_line
from sam2_ros.node.packages import require
from sam2_ros.node.parameters.params import NodeParams
from sam2_ros.node.qos import output_qos

from .topic_names import topic_names

TF_TOPIC = "/tf"
TF_DEPTH = 100  # as tf2's own broadcasters
KINDS: dict[str, Any] = {"mask": Image, "first_mask": Image, "pose": PoseStamped, "cloud": PointCloud2}


def object_topics(params: NodeParams, use_3d: bool) -> dict[tuple[str, str], str]:
    """(kind, object id) -> topic name of all that the parameters ask for. Raises UserError as `topic_names`."""
    masks = topic_names(params.mask_topics, "mask")
    wanted = {("mask", each): name for each, name in masks.items()}
    wanted |= {("first_mask", each): name.replace("/mask/", "/first_mask/") for each, name in masks.items()}
    for kind, ids in (("pose", params.pose_topics), ("cloud", params.cloud_topics)):
        names = topic_names(ids, kind)
        wanted |= {(kind, each): name for each, name in names.items() if use_3d}
    return wanted


def latched_qos() -> QoSProfile:
    """QoS of an output that late subscribers get, too."""
    return QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class ObjectTopics:
    """The publishers of one configured node that come and go.

    Args:
        make: makes a publisher of a type on a topic with a QoS.
        destroy: destroys it.
        use_3d: as configured; without it there are no poses, clouds and tf frames.
    """

    def __init__(
        self,
        make: Callable[[Any, str, QoSProfile], Any],
        destroy: Callable[[Any], None],
        use_3d: bool,
        log: Any,
    ) -> None:
        self._make, self._destroy = make, destroy
        self._use_3d = use_3d
        self._log = log
        self._publishers: dict[tuple[str, str], Any] = {}  # replaced as a whole, never changed
        self.tf: Any = None
        self._said: set[str] = set()

    def follow(self, params: NodeParams) -> None:
        """Make what is wanted and missing, and destroy what is not wanted any more; all or nothing.

        Raises UserError if a topic cannot be made: two ids of one name, or a name that ROS refuses.
        """
        wanted, made = object_topics(params, self._use_3d), {}
        for key, topic in wanted.items():
            if key in self._publishers:
                continue
            kind, object_id = key
            try:
                qos = latched_qos() if kind == "first_mask" else output_qos()
                made[key] = self._make(KINDS[kind], topic, qos)
            except Exception as error:  # such as an id that is too long for a topic
                for publisher in made.values():
                    self._destroy(publisher)
                parameter = "mask_topics" if kind == "first_mask" else f"{kind}_topics"
                raise UserError(
                    f"parameter {parameter}: '{object_id}' cannot have the topic {topic}: {one_line(error)}; leave it "
                    "out, or give the object a shorter id"
                ) from error
            if kind != "first_mask" and not topic.endswith(f"/{object_id}"):
                self._log.info(f"the {kind} of '{object_id}' is on {topic}")
        old = self._publishers
        self._publishers = {key: made[key] if key in made else old[key] for key in wanted}
        for key in old.keys() - wanted.keys():
            self._destroy(old[key])
        self._follow_tf(params.publish_tf)
        asked = {"pose_topics": params.pose_topics, "cloud_topics": params.cloud_topics}
        idle = [name for name, ids in asked.items() if any(ids)] + ["publish_tf"] * params.publish_tf
        if idle and not self._use_3d:
            self._warn(f"{', '.join(idle)}: no effect, use_3d is false; set it and configure again")

    def _follow_tf(self, wanted: bool) -> None:
        if not (wanted and self._use_3d):
            publisher, self.tf = self.tf, None
            if publisher is not None:
                self._destroy(publisher)
        elif self.tf is None:
            try:
                tf2 = require("tf2_msgs.msg", "tf2_msgs", "publish_tf")
            except UserError as error:
                self._warn(f"no tf frames: {error}")
                return
            self.tf = self._make(tf2.TFMessage, TF_TOPIC, QoSProfile(depth=TF_DEPTH))

    def _warn(self, line: str) -> None:
        """Once: this runs after every change of a parameter."""
        if line not in self._said:
            self._said.add(line)
            self._log.warning(line)

    def of(self, kind: str, object_id: str) -> Any:
        """The publisher, or None if there is none."""
        return self._publishers.get((kind, object_id))

    def ids(self, kind: str) -> list[str]:
        return [object_id for each, object_id in self._publishers if each == kind]

    def all(self, kind: str) -> list[Any]:
        return [publisher for (each, _), publisher in self._publishers.items() if each == kind]
