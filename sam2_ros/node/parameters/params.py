"""Every parameter of the node: name, default, meaning, range, whether it may change while the node lives.

Knows nothing of what the values do; importing it needs no ROS, so documentation and tests can read the table
anywhere.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sam2_ros.engine import MAX_POINTS
from sam2_ros.errors import UserError
from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.media.pixels.image_reader import PixelConfig
from sam2_ros.node.limits import Limits

from .entry import ParameterEntry
from .yaml_values import as_declared, strangers

if TYPE_CHECKING:
    from rclpy.node import Node

PARAMETERS: tuple[ParameterEntry, ...] = (
    ParameterEntry(
        "model",
        "nano",
        "Model to track with: nano (shipped), tiny, small, base_plus, large (official SAM 2.1 "
        "checkpoints), or the path of a checkpoint.",
    ),
    ParameterEntry("device", "auto", "Where the model runs: auto (a GPU if there is one), cuda:0, cpu."),
    ParameterEntry(
        "precision",
        "auto",
        "Number format of the model's arithmetic: auto (bf16 where the GPU, or a CPU with AMX or "
        "AVX512_BF16, is fast in it, else fp32), bf16, fp16, fp32.",
        choices=("auto", "bf16", "fp16", "fp32"),
    ),
    ParameterEntry(
        "image_size",
        0,
        "Side in pixels of the square the model sees, a multiple of 32; 0 is the model's own size. Smaller is "
        "faster and loses small objects.",
        range=(0, 2048),
        step=32,
    ),
    ParameterEntry(
        "compile",
        "off",
        "How far the model is compiled while it is configured: off, graphs (CUDA graphs), max (generated kernels; "
        "minutes at the first start, then the fastest stream).",
        choices=("off", "graphs", "max"),
    ),
    ParameterEntry(
        "backend",
        "torch",
        "What executes the model: torch, or onnx (onnxruntime; model is then a folder that `sam2-ros export` "
        "wrote, with room for max_objects).",
        choices=("torch", "onnx"),
    ),
    ParameterEntry(
        "max_objects",
        8,
        "Objects tracked at the same time; a prompt for one more is rejected.",
        range=(1, 256),
    ),
    ParameterEntry(
        "memory_frames",
        7,
        "Spatial memories used per object: one conditioning (prompted) image and the rest recent images.",
        range=(1, 7),
    ),
    ParameterEntry(
        "max_conditioning_frames",
        4,
        "Prompted images remembered per object; the first is always among them.",
        range=(1, 32),
    ),
    ParameterEntry(
        "memory_policy",
        "visible",
        "What enters an object's memory: every image (official, SAM 2's own rule), or those that show the object "
        "(visible): it is then found again more often after it was hidden.",
        choices=("visible", "official"),
    ),
    ParameterEntry(
        "image_transport",
        "raw",
        "raw: sensor_msgs/Image on image_raw. compressed: sensor_msgs/CompressedImage on "
        "image_raw/compressed.",
        choices=("raw", "compressed"),
    ),
    ParameterEntry(
        "image_reliability",
        "best_effort",
        "QoS reliability asked of the camera: best_effort works with every camera, reliable only with "
        "reliable ones.",
        choices=("best_effort", "reliable"),
    ),
    ParameterEntry(
        "mono16_range",
        "full",
        "How images of 16 bits become 8: full (the high byte), percentiles (1 and 99 of the first image, kept), or "
        "LOW,HIGH such as 7000,9000: the values that become black and white. With one of the latter two 16UC1 is read "
        "as grey, too.",
    ),
    ParameterEntry(
        "untyped_encoding",
        "bgr",
        "What the channels of 8UC3 and 8UC4 images are, which do not say so.",
        choices=("bgr", "rgb"),
    ),
    ParameterEntry(
        "use_3d",
        False,
        "Read depth_image and camera_info and give each object a position in metres.",
    ),
    ParameterEntry(
        "depth_image_units_divisor",
        1000,
        "Divisor that turns a 16-bit depth value into metres (1000: the image is in millimetres).",
        range=(1, 1_000_000),
    ),
    ParameterEntry(
        "depth_slop",
        0.05,
        "Largest difference in seconds between the stamps of an image and of its depth image.",
        range=(0.0, 10.0),
    ),
    ParameterEntry(
        "target_frame",
        "",
        "tf frame of the positions; empty is the camera's own frame.",
    ),
    ParameterEntry(
        "tf_timeout",
        0.2,
        "Seconds that a result waits for tf to reach its image's stamp, while tracking goes on: on a moving camera tf "
        "often comes later than the result. What has no transform by then is published without positions.",
        range=(0.0, 10.0),
        read_only=False,
    ),
    ParameterEntry(
        "detection_mode",
        "off",
        "What boxes on ~/detections do: off, reseed (bring hidden objects back), track_all (and start new "
        "ones).",
        choices=("off", "reseed", "track_all"),
    ),
    ParameterEntry(
        "min_detection_score",
        0.5,
        "Detections with a smaller score are ignored.",
        range=(0.0, 1.0),
        read_only=False,
    ),
    ParameterEntry(
        "prompt_history",
        2.0,
        "Seconds of images within which a prompt made on an older image is still accepted.",
        range=(0.0, 60.0),
        read_only=False,
    ),
    ParameterEntry(
        "present_on",
        1.0,
        "An object becomes visible (TRACKING) when its presence is above this for 2 images.",
        range=(-50.0, 50.0),
        read_only=False,
    ),
    ParameterEntry(
        "present_off",
        0.0,
        "An object becomes hidden (OCCLUDED) when its presence is below this for 2 images.",
        range=(-50.0, 50.0),
        read_only=False,
    ),
    ParameterEntry(
        "lost_after",
        1.0,
        "Seconds hidden after which an object is reported LOST; its memory is kept.",
        range=(0.0, 86_400.0),
        read_only=False,
    ),
    ParameterEntry(
        "forget_after",
        30.0,
        "Seconds hidden after which an object is forgotten and its place is free; 0 is never.",
        range=(0.0, 86_400.0),
        read_only=False,
    ),
    ParameterEntry(
        "camera_timeout",
        2.0,
        "Seconds without an image after which diagnostics report an error.",
        range=(0.1, 86_400.0),
        read_only=False,
    ),
    ParameterEntry(
        "active_id",
        "",
        "Object that a click on ~/clicked_point or ~/clicked_pixel refines; empty: every click is a new "
        "object.",
        read_only=False,
    ),
    ParameterEntry(
        "mask_topics",
        ("",),
        "Object ids that get a full-size mask on ~/mask/<id>; empty strings are ignored.",
    ),
    ParameterEntry(
        "use_debug", False, "Publish ~/debug_image: the image with masks, ids and states.", read_only=False
    ),
    ParameterEntry("enable", True, "Process images; the service ~/enable sets it too.", read_only=False),
    ParameterEntry("autostart", True, "Configure and activate at start without a lifecycle manager."),
    ParameterEntry(
        "history_bytes",
        Limits.history_bytes,
        "Most bytes of images kept for late prompts, whatever prompt_history says; two seconds of raw 1080p at 30 Hz "
        "are 373 MB. A detector's late boxes get as much again for masks.",
        range=(1_000_000, 1 << 40),
        read_only=False,
    ),
    ParameterEntry(
        "max_points",
        Limits.max_points,
        "Points in one prompt, and in all prompts of one object that wait for the same image; more are rejected.",
        range=(1, MAX_POINTS),
        read_only=False,
    ),
    ParameterEntry(
        "max_message_prompts",
        Limits.max_message_prompts,
        "Prompts in one message or request, that of ~/segment included; a larger one is rejected as a whole.",
        range=(1, 4096),
        read_only=False,
    ),
    ParameterEntry(
        "max_pending_prompts",
        Limits.max_pending_prompts,
        "Prompts that may wait for their images at the same time; one more is rejected.",
        range=(1, 4096),
        read_only=False,
    ),
    ParameterEntry(
        "max_pending_bytes",
        Limits.max_pending_bytes,
        "Most bytes of masks in prompts that wait for their images (one byte a pixel); one more is rejected.",
        range=(1_000_000, 1 << 40),
        read_only=False,
    ),
    ParameterEntry(
        "max_id_bytes",
        Limits.max_id_bytes,
        "Most bytes (UTF-8) of an object's id and of its class_id; a prompt with a longer one is rejected.",
        range=(1, 1024),
        read_only=False,
    ),
)
ENTRIES = {entry.name: entry for entry in PARAMETERS}


@dataclass(frozen=True)
class NodeParams:
    """The values of one moment, read once and never changed; a new value makes a new NodeParams."""

    model: str = "nano"
    device: str = "auto"
    precision: str = "auto"
    image_size: int = 0
    compile: str = "off"
    backend: str = "torch"
    max_objects: int = 8
    memory_frames: int = 7
    max_conditioning_frames: int = 4
    memory_policy: str = "visible"
    image_transport: str = "raw"
    image_reliability: str = "best_effort"
    mono16_range: str = "full"
    untyped_encoding: str = "bgr"
    use_3d: bool = False
    depth_image_units_divisor: int = 1000
    depth_slop: float = 0.05
    target_frame: str = ""
    tf_timeout: float = 0.2
    detection_mode: str = "off"
    min_detection_score: float = 0.5
    prompt_history: float = 2.0
    present_on: float = 1.0
    present_off: float = 0.0
    lost_after: float = 1.0
    forget_after: float = 30.0
    camera_timeout: float = 2.0
    active_id: str = ""
    mask_topics: tuple[str, ...] = ("",)
    use_debug: bool = False
    enable: bool = True
    autostart: bool = True
    history_bytes: int = Limits.history_bytes
    max_points: int = Limits.max_points
    max_message_prompts: int = Limits.max_message_prompts
    max_pending_prompts: int = Limits.max_pending_prompts
    max_pending_bytes: int = Limits.max_pending_bytes
    max_id_bytes: int = Limits.max_id_bytes

    def __post_init__(self) -> None:
        for entry in PARAMETERS:
            if problem := entry.problem(getattr(self, entry.name)):
                raise UserError(problem)
        try:
            PixelConfig(self.mono16_range, self.untyped_encoding)
        except ImageError as error:
            raise UserError(f"parameter mono16_range: {error}") from error
        if self.present_off > self.present_on:
            raise UserError(
                f"parameter present_off: got {self.present_off}, expected at most present_on = "
                f"{self.present_on}: an object must not be hidden and visible at once; set present_on first"
            )

    @property
    def limits(self) -> Limits:
        return Limits(**{each.name: getattr(self, each.name) for each in dataclasses.fields(Limits)})

    def changed(self, values: dict[str, Any]) -> NodeParams:
        """These values with some changed while the node runs.

        UserError when one is fixed or unusable.
        """
        for name in values:
            if name in ENTRIES and ENTRIES[name].read_only:
                raise UserError(fixed_reason(name))
        return dataclasses.replace(self, **{name: value for name, value in values.items() if name in ENTRIES})


def fixed_reason(name: str) -> str:
    """Why a parameter that is read once cannot change."""
    return f"parameter {name} is read once, when the node starts: restart the node with -p {name}:=<value>"


def declare_parameters(node: Node) -> None:
    """Declare every parameter on `node` with the meaning, type, range and flag that `ros2 param` shows.

    Values from files and the command line become what the table declares; names that nobody has are warned about.
    UserError when a value is unusable.
    """
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    # rclpy shows what was given in no other way before a parameter is declared, when the types must agree.
    given = {name: parameter.value for name, parameter in node._parameter_overrides.items()}
    for line in strangers([name for name in given if not node.has_parameter(name)], ENTRIES):
        node.get_logger().warning(line)
    for entry in PARAMETERS:
        descriptor = ParameterDescriptor(description=entry.description, read_only=entry.read_only)
        if entry.choices:
            descriptor.additional_constraints = "one of: " + ", ".join(entry.choices)
        if entry.range is not None:
            low, high = entry.range
            if isinstance(entry.default, float):
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=float(low), to_value=float(high))
                ]
            else:
                descriptor.integer_range = [
                    IntegerRange(from_value=int(low), to_value=int(high), step=entry.step)
                ]
        value = as_declared(entry, given[entry.name]) if entry.name in given else entry.default
        stored = list(value) if isinstance(value, tuple) else value
        node.declare_parameter(entry.name, stored, descriptor, ignore_override=True)


def read_parameters(node: Node) -> NodeParams:
    """The declared values of `node` as one frozen object; UserError when a value is unusable."""
    return NodeParams(**{entry.name: plain(node.get_parameter(entry.name).value) for entry in PARAMETERS})


def plain(value: Any) -> Any:
    """A parameter's value as NodeParams keeps it: arrays as tuples."""
    return tuple(value) if isinstance(value, list) else value
