# SPDX-License-Identifier: Apache-2.0
"""ROS message classes without a ROS installation: standard ones, sam2_ros_msgs, and those defined in a bag.

Knows only types (rosbags type stores), not files; `storage.py` uses them to read and write.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Literal

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.interfaces.typing import Typesdict
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from sam2_ros.engine.result import FrameResult, TrackedObject
from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.ros_image import ImageFields, mono_to_image_fields
from sam2_ros.share_folder import shared_folder

from .cdr_header import is_valid_stamp
from .tracked_object import cropped_mask, roi_of, state_fields

IMAGE_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
_FIXED_TYPES = {IMAGE_TYPE, COMPRESSED_TYPE, "std_msgs/msg/Header", "builtin_interfaces/msg/Time"}
OBJECTS_TYPE = "sam2_ros_msgs/msg/TrackedObjectArray"

_log = logging.getLogger(__name__)


def normalised_type(name: str) -> str:
    """Convert `sensor_msgs/Image`, as early ROS 2 and ROS 1 wrote it, to `sensor_msgs/msg/Image`."""
    package, _, rest = name.partition("/")
    return f"{package}/msg/{rest}" if rest and "/" not in rest else name


@lru_cache(maxsize=3)
def definitions(kind: Literal["msg", "srv", "action"] = "msg") -> dict[str, str]:
    """Read the definitions of sam2_ros_msgs: `sam2_ros_msgs/msg/Prompt` -> content of Prompt.msg. Raises UserError."""
    # Searched by *.msg: the generated Python package sam2_ros_msgs has a folder msg/, too, without definitions.
    folder = shared_folder("msgs", "msg/*.msg", in_clone="sam2_ros_msgs") / kind
    files = sorted(folder.glob(f"*.{kind}"))
    return {f"sam2_ros_msgs/{kind}/{path.stem}": path.read_text("utf-8") for path in files}


@lru_cache(maxsize=1)
def standard_types() -> Typestore:
    """Return the types of ROS 2 and sam2_ros_msgs. Image, Header and Time have the same bytes in every distribution."""
    store = get_typestore(Stores.ROS2_JAZZY)
    own: Typesdict = {}
    for name, text in definitions().items():
        own.update(get_types_from_msg(text, name))
    store.register(own)
    return store


def types_of_bag(connections: Iterable[Connection]) -> Typestore:
    """Return `standard_types`, overridden by the definitions stored in the bag."""
    stored: Typesdict = {}
    for connection in connections:
        if connection.msgdef.format == MessageDefinitionFormat.NONE:
            continue
        try:
            stored.update(_parsed(connection))
        except Exception as error:  # for a damaged definition rosbags raises any error of its parser
            _log.warning("definition of %s in the bag cannot be parsed: %s", connection.msgtype, _line(error))
    standard = standard_types().fielddefs
    if all(standard.get(name) == stored[name] for name in stored.keys() - _FIXED_TYPES):
        return standard_types()  # no second set of classes, which takes 0.3 s to make
    store = get_typestore(Stores.EMPTY)
    try:
        # Images have the same bytes in every distribution: they are read even if their definition is damaged.
        store.register({**standard, **stored, **{name: standard[name] for name in _FIXED_TYPES}})
    except Exception as error:
        _log.warning("definitions in the bag are left out, as they do not fit together: %s", _line(error))
        return standard_types()
    return store


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _parsed(connection: Connection) -> Typesdict:
    text = connection.msgdef.data
    if connection.msgdef.format == MessageDefinitionFormat.MSG:
        return get_types_from_msg(text, normalised_type(connection.msgtype))
    # Several IDL files in one text are separated by a line of 80 '=' and one "IDL: <type>".
    separator = "=" * 80 + "\n"
    parts = text.split(separator)[1:] if text.startswith(separator) else ["\n" + text]
    types: Typesdict = {}
    for part in parts:
        types.update(get_types_from_idl(part.partition("\n")[2]))
    return types


def header(types: Typestore, stamp_ns: int, frame_id: str) -> Any:
    """Make a std_msgs/Header from a stamp in nanoseconds. Raises SourceError if a message cannot hold the stamp."""
    if not is_valid_stamp(int(stamp_ns)):
        raise SourceError(
            f"stamp of {stamp_ns} ns does not fit into a message, expected one from 1970 to January 2038"
        )
    sec, nanosec = divmod(int(stamp_ns), 1_000_000_000)
    stamp = types.types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
    return types.types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


def recorded_image(types: Typestore, stamp_ns: int, frame_id: str, fields: ImageFields) -> Any:
    """Make a sensor_msgs/Image."""
    return types.types[IMAGE_TYPE](header=header(types, stamp_ns, frame_id), **fields._asdict())


def recorded_objects(types: Typestore, stamp_ns: int, frame_id: str, result: FrameResult) -> Any:
    """Make a sam2_ros_msgs/TrackedObjectArray of one frame; positions stay zero, as they need depth."""
    return types.types[OBJECTS_TYPE](
        header=header(types, stamp_ns, frame_id),
        position_frame_id=frame_id,
        image_height=result.height_px,
        image_width=result.width_px,
        objects=[_object_message(types, stamp_ns, frame_id, obj) for obj in result.objects],
    )


def _object_message(types: Typestore, stamp_ns: int, frame_id: str, obj: TrackedObject) -> Any:
    point, vector = types.types["geometry_msgs/msg/Point"], types.types["geometry_msgs/msg/Vector3"]
    return types.types["sam2_ros_msgs/msg/TrackedObject"](
        **state_fields(obj),
        roi=types.types["sensor_msgs/msg/RegionOfInterest"](**roi_of(obj)._asdict(), do_rectify=False),
        mask=recorded_image(types, stamp_ns, frame_id, mono_to_image_fields(cropped_mask(obj))),
        centroid=point(x=float(obj.centroid_xy[0]), y=float(obj.centroid_xy[1]), z=0.0),
        area=int(obj.area_px),
        has_position=False,
        position=point(x=0.0, y=0.0, z=0.0),
        size=vector(x=0.0, y=0.0, z=0.0),
        velocity=vector(x=0.0, y=0.0, z=0.0),
    )
