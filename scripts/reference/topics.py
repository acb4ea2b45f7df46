# SPDX-License-Identifier: Apache-2.0
"""Generates docs/reference/topics-and-services.md: topics, services, actions as the node's code has them; messages.

Reads sources only: it needs neither ROS nor the message packages.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .markdown import REFERENCE, ROOT, plain, table, with_generated

PAGE = REFERENCE / "topics-and-services.md"
NODE, MESSAGES = ROOT / "sam2_ros" / "node", ROOT / "sam2_ros_msgs"
PACKAGES = {
    "interfaces": "sam2_ros_msgs",
    "messages": "vision_msgs",
    "foxglove": "foxglove_msgs",
}  # the node imports them under these names
RELIABLE, BEST_EFFORT = "reliable", "best effort"


@dataclass(frozen=True)
class Endpoint:
    """A topic, a service or an action of the node."""

    kind: str  # "in", "out", "service" or "action"
    name: str
    type: str
    qos: str = ""


# Topics without a literal name in the code.
COMPUTED = [
    Endpoint("in", "image_raw", "sensor_msgs/Image", "reliability: `image_reliability`, depth 1"),
    Endpoint(
        "in",
        "image_raw/compressed",
        "sensor_msgs/CompressedImage",
        "reliability: `image_reliability`, depth 1",
    ),
    Endpoint("in", "/tf, /tf_static", "tf2_msgs/TFMessage", "the QoS of tf2"),
    Endpoint("out", "~/mask/<id>", "sensor_msgs/Image", f"{RELIABLE}, depth 1"),
    Endpoint("out", "~/first_mask/<id>", "sensor_msgs/Image", f"{RELIABLE}, depth 1, transient local"),
    Endpoint("out", "~/pose/<id>", "geometry_msgs/PoseStamped", f"{RELIABLE}, depth 1"),
    Endpoint("out", "~/cloud/<id>", "sensor_msgs/PointCloud2", f"{RELIABLE}, depth 1"),
    Endpoint("out", "/tf", "tf2_msgs/TFMessage", f"{RELIABLE}, depth 100"),
]
MEANINGS = {
    "image_raw": "The camera's images, with `image_transport: raw` (the default). [Encodings](images.md#encodings).",
    "image_raw/compressed": "The same with `image_transport: compressed`: JPEG or PNG.",
    "depth_image": "With `use_3d`: depth, registered to the colour image; 16UC1 or 32FC1.",
    "camera_info": "With `use_3d`, and from the first click in metres: the camera's intrinsics. A transient local "
    "message from before is received, too.",
    "/tf, /tf_static": "With `use_3d` and `target_frame`, and from the first click in metres: where the camera is.",
    "~/prompts": "Objects to create or refine: points, a box, a mask, or a mix, on the image of the header.",
    "~/clicked_pixel": "A click as rqt_image_view sends it: x and y in pixels, for the next image. A new object, or a "
    "refinement of the object that the parameter `active_id` names.",
    "~/clicked_point": "A click with a header. Pixels, where `frame_id` is empty, or the image's with z = 0: for the "
    "image of that stamp. Else metres in that frame, as RViz's Publish Point sends them: "
    "[click in RViz and Foxglove](../how-to/click-in-rviz-and-foxglove.md).",
    "~/detections": "With `detection_mode`: boxes of a detector. `reseed` brings hidden objects back, `track_all` also "
    "starts an object for each box that fits none.",
    "~/objects": "Id, label, state, scores, box, mask and position of every object: one message per processed image, "
    "under the image's own header.",
    "~/status": "The same without pixels, for `ros2 topic echo`, logs and plots.",
    "~/label_image": "mono16: 0 is background, else the label of the object.",
    "~/mask/<id>": "For the ids in `mask_topics`: the object's mask, mono8 at full size.",
    "~/first_mask/<id>": "For the ids in `mask_topics`: the mask of the first image that shows the object after it was "
    "created, or after it came back from LOST. Late subscribers get it, too.",
    "~/debug_image": "With `use_debug`: the image with masks, ids and states drawn in.",
    "~/detections_2d": "Boxes of the visible objects; needs vision_msgs.",
    "~/detections_3d": "With `use_3d`: poses, oriented boxes, covariances of the visible objects; needs vision_msgs.",
    "~/annotations": "Outlines, boxes, names and states for Foxglove's image panel; needs foxglove_msgs.",
    "~/object_cloud": "With `use_3d`: the points of the visible objects, coloured.",
    "~/pose/<id>": "With `use_3d`, for the ids in `pose_topics`: position and orientation of the object, in the frame "
    "of the positions, for each image in which it is visible and located.",
    "~/cloud/<id>": "With `use_3d`, for the ids in `cloud_topics`: every point of the object in the newest image.",
    "/tf": "With `use_3d` and `publish_tf`: the frame `<tf_prefix><id>` (`sam2/cup`) of each visible and located "
    "object, in the frame of the positions, under the image's stamp. None while it is hidden: look-ups then fail.",
    "~/markers": "With `use_3d`: positions for RViz.",
    "~/prompt_events": "What became of each prompt, whoever sent it: applied, late, or rejected with the reason; and "
    "the end of each object. A late subscriber gets the last hundred.",
    "/diagnostics": "Stage times, rates, drops, prompts, objects by state, memory; once a second.",
    "~/track_until": "",
    "~/add_objects": "",
    "~/remove_objects": "",
    "~/segment": "",
    "~/cloud": "",
    "~/publish_mask": "",
    "~/save_state": "",
    "~/load_state": "",
    "~/enroll": "",
    "~/reset": "Forgets all objects. Labels are not reused.",
    "~/enable": "Switches the processing of images on or off, as the parameter `enable` does.",
}


def generated_files() -> dict[Path, str]:
    return {PAGE: with_generated(PAGE.read_text("utf-8"), "\n\n".join(blocks()))}


def blocks() -> Iterator[str]:
    found = endpoints()
    for kind, heading in (
        ("in", "Topics in"),
        ("out", "Topics out"),
        ("service", "Services"),
        ("action", "Actions"),
    ):
        of_kind = {each.name: each for each in found if each.kind == kind}
        head = (
            (kind, "type and meaning")
            if kind in ("service", "action")
            else ("topic", "type, QoS and meaning")
        )
        rows = [row(of_kind[name]) for name in MEANINGS if name in of_kind]
        yield f"## {heading}\n\n{table(head, rows)}"
    yield "## Messages\n\nOf the package `sam2_ros_msgs`."
    for path in sorted((MESSAGES / "msg").glob("*.msg")):
        yield from interface(path)
    yield "## Service types"
    for path in sorted((MESSAGES / "srv").glob("*.srv")):
        yield from interface(path)
    yield "## Action types"
    for path in sorted((MESSAGES / "action").glob("*.action")):
        yield from interface(path)


def row(endpoint: Endpoint) -> tuple[str, str]:
    package, _, name = endpoint.type.partition("/")
    own = package == "sam2_ros_msgs"
    shown = f"[`{endpoint.type}`](#{name.lower()})" if own else f"`{endpoint.type}`"
    folder = "action" if endpoint.kind == "action" else "srv"
    meaning = MEANINGS[endpoint.name] or head_comment(MESSAGES / folder / f"{name}.{folder}")
    return f"`{endpoint.name}`", "<br>".join(
        filter(None, (f"{shown}{endpoint.qos and ', '}{endpoint.qos}", meaning))
    )


def endpoints() -> list[Endpoint]:
    """Topics and services that the node's code creates, each once. SystemExit if MEANINGS does not have the same."""
    found = [*COMPUTED]
    for source in sorted(NODE.rglob("*.py")):
        module = ast.parse(source.read_text("utf-8"))
        types = imported_types(module)
        for call in ast.walk(module):
            if isinstance(call, ast.Call):
                found += created_by(call, types)
    unique = {each.name: each for each in reversed(found)}  # the first subscription to a topic is shown
    if unknown := set(unique) ^ set(MEANINGS):
        raise SystemExit(
            f"{Path(__file__).name}: MEANINGS and the node's code differ in {', '.join(sorted(unknown))}"
        )
    return list(unique.values())


def imported_types(module: ast.Module) -> dict[str, str]:
    """Message classes that a module imports: name -> package."""
    return {
        alias.name: PACKAGES.get(parts[-1], parts[0])
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and node.module
        for parts in [node.module.split(".")]
        if parts[-1] in ("msg", "srv", "interfaces")
        for alias in node.names
    }


CREATORS = {  # function: kind, and which arguments are type, name and QoS
    "subscribe": ("in", 1, 2, 4),
    "create_subscription": ("in", 0, 1, 3),
    "create_publisher": ("out", 0, 1, 2),
    "_publisher": ("out", 0, 1, None),
    "create_service": ("service", 0, 1, None),
    "DeferredActionServer": ("action", 1, 2, None),
}


def created_by(call: ast.Call, types: dict[str, str]) -> list[Endpoint]:
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if function not in CREATORS:
        return []
    kind, type_at, name_at, qos_at = CREATORS[function]
    if len(call.args) <= name_at:
        return []
    names = [node.value for node in ast.walk(call.args[name_at]) if isinstance(node, ast.Constant)]
    if not names:
        return []  # computed: see COMPUTED
    expression = call.args[type_at]
    if isinstance(expression, ast.Attribute):  # messages.Detection2DArray
        package, name = PACKAGES[expression.value.id], expression.attr  # type: ignore[attr-defined]
    else:
        name = expression.id  # type: ignore[attr-defined]
        package = types[name]
    qos = "" if kind in ("service", "action") else qos_in_words(call.args[qos_at] if qos_at else None)
    return [Endpoint(kind, names[0], f"{package}/{name}", qos)]


def qos_in_words(expression: ast.expr | None) -> str:
    """`QoSProfile(depth=10)`, `sensor_qos(depth=5)` or a depth alone, in words; None: the QoS of outputs."""
    if expression is None:
        return f"{RELIABLE}, depth 1"
    if isinstance(expression, ast.Constant):
        return f"{RELIABLE}, depth {expression.value}"
    text = ast.unparse(expression)
    depth = re.search(r"depth=(\d+)", text)
    latched = ", transient local" if "TRANSIENT_LOCAL" in text else ""
    return f"{BEST_EFFORT if text.startswith('sensor_qos') else RELIABLE}, depth {depth[1] if depth else '?'}{latched}"


def head_comment(path: Path) -> str:
    """The first comment of a message or service file, without the licence."""
    lines = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "SPDX-License-Identifier" not in line:
            lines.append(line.lstrip("# "))
    return plain(" ".join(lines))


def interface(path: Path) -> Iterator[str]:
    """The section of a message or a service: its comment, constants and fields."""
    yield f"### {path.stem}"
    yield head_comment(path)
    parts = path.read_text("utf-8").split("\n---\n")
    titles = {1: ("",), 2: ("Request", "Response"), 3: ("Goal", "Result", "Feedback")}[len(parts)]
    for title, part in zip(titles, parts, strict=True):
        constants, fields = [], []
        for line in part.splitlines():
            code, _, comment = line.partition("#")
            if not code.strip():
                continue
            kind, name = code.split(maxsplit=1)
            rows = constants if "=" in name else fields
            rows.append((f"`{name.strip()}`", f"`{kind}` {plain(comment)}".strip()))
        if constants:
            yield table(("constant", "meaning"), constants)
        if fields:
            yield table((f"field of the {title.lower()}" if title else "field", "type and meaning"), fields)
