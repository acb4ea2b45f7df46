# SPDX-License-Identifier: Apache-2.0
"""The services of the node that tests call, with their types."""

from __future__ import annotations


def services() -> list[tuple[type, str]]:
    """Services that are called once; the node must have matched their clients before."""
    from lifecycle_msgs.srv import ChangeState
    from rcl_interfaces.srv import SetParameters
    from sam2_ros_msgs import srv
    from std_srvs.srv import SetBool, Trigger

    by_name = {
        "add_objects": srv.AddObjects,
        "remove_objects": srv.RemoveObjects,
        "segment": srv.Segment,
        "reset": Trigger,
        "enable": SetBool,
        "change_state": ChangeState,
        "set_parameters": SetParameters,
        "cloud": srv.ObjectCloud,
        "publish_mask": srv.PublishMask,
        "save_state": srv.SaveState,
        "load_state": srv.LoadState,
        "enroll": srv.Enroll,
    }
    return [(kind, name) for name, kind in by_name.items()]
