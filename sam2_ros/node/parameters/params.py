# SPDX-License-Identifier: Apache-2.0
"""All parameters of the node, each declared once: name, default, meaning, range, and when a new value takes effect.

Does not know what the values do. Importing it needs no ROS, so documents and tests can read it anywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sam2_ros.engine import MAX_POINTS
from sam2_ros.errors import UserError
from sam2_ros.media.pixels.image_reader import PixelConfig
from sam2_ros.node.limits import Limits

from .spec import parameter, specs_of
from .yaml_values import as_declared

DAY_S = 86_400.0
MOST_BYTES = 1 << 40


@dataclass(frozen=True)
class NodeParams:
    """One valid set of parameter values. Frozen: a new value makes a new NodeParams.

    Raises UserError for an invalid value.
    """

    model: str = parameter(
        "nano",
        "Model name, or path of a checkpoint. nano: small, part of the package. tiny, small, base_plus, large: the "
        "official SAM 2.1 models, more accurate and slower; download first, e.g. `sam2-ros models fetch tiny`.",
        heading="Model",
    )
    device: str = parameter(
        "auto", "Device the model runs on: auto (the GPU if there is one, else the CPU), cpu, cuda:0, ..."
    )
    precision: str = parameter(
        "auto",
        "Number format of the model's arithmetic: fp32, fp16, bf16, or auto (bf16 if the hardware is fast in it, a GPU "
        "or a CPU with AMX or AVX512_BF16; else fp32).",
        choices=("auto", "bf16", "fp16", "fp32"),
    )
    image_size: int = parameter(
        0,
        "Side of the model's square input in pixels, a multiple of 32; 0: the model's own (nano 448, official models "
        "1024). Smaller is faster but loses small objects.",
        range=(0, 2048),
        step=32,
    )
    compile: str = parameter(
        "off",
        "Compile the model at configure: off, graphs (CUDA graphs, GPU only) or max (generated kernels: the fastest "
        "stream; the first start takes minutes, later starts use the cache). See docs/how-to/compile.md.",
        choices=("off", "graphs", "max"),
    )
    backend: str = parameter(
        "torch",
        "Runtime that executes the model: torch (PyTorch) or onnx (onnxruntime; model is then a folder written by "
        "`sam2-ros export`, exported for at least max_objects objects).",
        choices=("torch", "onnx"),
    )

    max_objects: int = parameter(
        8,
        "Maximum number of objects tracked at the same time; a prompt for one more is rejected. Memory and time grow "
        "with it.",
        range=(1, 256),
        heading="Objects and their memory",
    )
    memory_frames: int = parameter(
        7,
        "Length of an object's memory: one prompted image and memory_frames - 1 recent images (7: as SAM 2). Fewer is "
        "faster but loses hidden objects sooner.",
        range=(1, 7),
    )
    max_conditioning_frames: int = parameter(
        4,
        "Maximum number of prompted (conditioning) images kept in an object's memory; the first one always stays.",
        range=(1, 32),
    )
    memory_policy: str = parameter(
        "visible",
        "Images that enter an object's memory: visible (only those that show the object, so it is found again more "
        "often after it was hidden) or official (every image, as in Meta's SAM 2).",
        choices=("visible", "official"),
    )

    image_transport: str = parameter(
        "raw",
        "Camera topic to subscribe to: raw (sensor_msgs/Image on image_raw) or compressed (sensor_msgs/CompressedImage "
        "on image_raw/compressed: less network load, more CPU load).",
        choices=("raw", "compressed"),
        heading="Camera",
    )
    image_reliability: str = parameter(
        "best_effort",
        "QoS reliability of the image subscription: best_effort (matches every camera) or reliable (lost images are "
        "sent again; matches only cameras that publish reliable).",
        choices=("best_effort", "reliable"),
    )
    mono16_range: str = parameter(
        "full",
        "Conversion of 16-bit images (mono16, 16UC1, 16-bit PNG) to 8 bits: full (the high byte), percentiles (the 1st "
        "and 99th percentile of the first image become black and white, for the whole stream), or LOW,HIGH such as "
        "7000,9000 (these values become black and white: for thermal and 12-bit cameras). 16UC1 images are accepted "
        "only with percentiles or LOW,HIGH.",
    )
    untyped_encoding: str = parameter(
        "bgr",
        "Channel order of 8UC3 and 8UC4 images, whose encoding does not name one: bgr (as cv_bridge writes) or rgb. "
        "Change it if red and blue are swapped.",
        choices=("bgr", "rgb"),
    )
    camera_timeout: float = parameter(
        2.0,
        "Seconds without an image after which /diagnostics reports an error. Raise it for a slow camera.",
        range=(0.1, DAY_S),
        when="now",
    )

    use_3d: bool = parameter(
        False,
        "Read depth_image and camera_info: objects get position, size and velocity in metres, and ~/object_cloud, "
        "~/markers and ~/detections_3d are published. The depth image must be registered to the colour image.",
        heading="Depth: positions in metres",
    )
    depth_image_units_divisor: int = parameter(
        1000,
        "Divisor from 16-bit depth values to metres: 1000 for millimetres. Has no effect on 32-bit float depth images, "
        "which are in metres.",
        range=(1, 1_000_000),
    )
    depth_slop: float = parameter(
        0.05,
        "Maximum difference in seconds between the stamps of an image and its depth image. Without a depth image that "
        "near, objects have no position in this image; tracking continues. Raise it if depth is slower than colour.",
        range=(0.0, 10.0),
    )
    target_frame: str = parameter(
        "",
        "tf frame of positions, sizes and velocities, such as base_link; empty: the camera's frame. If the camera "
        "moves, choose a frame that does not (map, odom), or velocities include the camera's motion.",
    )
    tf_timeout: float = parameter(
        0.2,
        "Maximum seconds a result waits for the transform at its image's stamp; tracking continues meanwhile. Then it "
        "is published without positions. Raise it if /diagnostics reports that tf is late.",
        range=(0.0, 10.0),
        when="now",
    )

    detection_mode: str = parameter(
        "off",
        "Use of the boxes on ~/detections: off, reseed (find hidden objects again) or track_all (also start a new "
        "object for each box that matches none, up to max_objects).",
        choices=("off", "reseed", "track_all"),
        heading="Prompts and detections",
    )
    min_detection_score: float = parameter(
        0.5,
        "Minimum score of a detection; lower ones are ignored. Higher: fewer false objects, later recovery of hidden "
        "ones.",
        range=(0.0, 1.0),
        when="now",
    )
    prompt_history: float = parameter(
        2.0,
        "Seconds of camera images kept so that a late prompt or detection is applied to the image it was made on; one "
        "on an older image is rejected. Raise it for a slow detector; costs memory, see history_bytes.",
        range=(0.0, 60.0),
        when="now",
    )
    active_id: str = parameter(
        "",
        "Id of the object that clicks on ~/clicked_point and ~/clicked_pixel refine; empty: each click starts a new "
        "object.",
        when="now",
    )

    present_on: float = parameter(
        1.0,
        "An object becomes visible (TRACKING) when its presence, a logit, is above this value in 2 images in a row.",
        range=(-50.0, 50.0),
        when="now",
        heading="State of an object",
    )
    present_off: float = parameter(
        0.0,
        "An object becomes hidden (OCCLUDED) when its presence, a logit, is below this value in 2 images in a row; at "
        "most present_on.",
        range=(-50.0, 50.0),
        when="now",
    )
    lost_after: float = parameter(
        1.0,
        "Seconds hidden after which an object is LOST; it keeps its memory and can still be found again.",
        range=(0.0, DAY_S),
        when="now",
    )
    forget_after: float = parameter(
        30.0,
        "Seconds hidden after which an object is removed and its place among max_objects is free; 0: never.",
        range=(0.0, DAY_S),
        when="now",
    )

    state_file: str = parameter(
        "",
        "File that keeps the objects with labels and memory beyond the process: loaded at the first activation, saved "
        "every state_period, when an object begins or ends, and when the node stops. Objects come back PENDING until "
        "they are found. One file for each node; empty: none. See docs/how-to/remember-objects.md.",
        heading="Objects that outlive the node",
    )
    state_period: float = parameter(
        10.0,
        "Seconds between two saves of state_file. Tracking waits only while memories are copied, milliseconds.",
        range=(0.1, DAY_S),
        when="now",
    )

    mask_topics: tuple[str, ...] = parameter(
        ("",),
        "Ids of objects whose full-size mask is published on ~/mask/<id> (mono8, the image's header); empty strings "
        "are ignored, and whose first mask is latched on ~/first_mask/<id>. Characters that topic names do not allow "
        "become _; two ids must not give the same topic. Also set by the service ~/publish_mask.",
        when="now",
        heading="Outputs and running",
    )
    pose_topics: tuple[str, ...] = parameter(
        ("",),
        "With use_3d: ids of objects whose position and orientation are published on ~/pose/<id>; names as those of "
        "mask_topics.",
        when="now",
    )
    cloud_topics: tuple[str, ...] = parameter(
        ("",),
        "With use_3d: ids of objects of which every point is published on ~/cloud/<id>; names as those of mask_topics. "
        "A thread of its own makes them, of the newest image.",
        when="now",
    )
    publish_tf: bool = parameter(
        False,
        "With use_3d: publish a tf frame for each object while it is visible and located, under the image's stamp. "
        "Needs tf2_msgs.",
        when="now",
    )
    tf_prefix: str = parameter(
        "sam2/",
        "Name of an object's tf frame before its id. Two nodes whose objects have the same ids need different ones.",
        when="now",
    )
    use_debug: bool = parameter(
        False,
        "Publish ~/debug_image: the image with masks, ids and states. Costs time only while it has subscribers.",
        when="now",
    )
    enable: bool = parameter(
        True,
        "Process images; false: ignore them and keep the objects. Also set by the service ~/enable.",
        when="now",
    )
    autostart: bool = parameter(
        True,
        "Configure and activate at start; false: wait for a lifecycle manager.",
        when="start",
    )

    stable_within: float = parameter(
        0.01,
        "Metres. For goals of ~/track_until with until STABLE: an object is still while its positions stay within this "
        "distance of their median; single outliers are ignored. Raise it if positions are noisy.",
        range=(0.0, 100.0),
        when="now",
        heading="Actions and introspection",
    )
    service_introspection: str = parameter(
        "off",
        "Publish what the node's services are asked and reply, on <service>/_service_event: off, metadata (who called "
        "which service when) or contents (also the messages, masks included). Needs ROS Iron or later.",
        choices=("off", "metadata", "contents"),
        when="now",
    )

    history_bytes: int = parameter(
        Limits.history_bytes,
        "Maximum bytes of camera images kept for late prompts, whatever prompt_history is; 2 s of raw 1080p at 30 Hz "
        "are 373 MB. Masks kept for late detections may take as much again.",
        range=(1_000_000, MOST_BYTES),
        when="now",
        heading="Limits: what exceeds one is rejected with its name",
    )
    max_points: int = parameter(
        Limits.max_points,
        "Maximum points in one prompt, and in all prompts for one object that wait for the same image. Time grows with "
        "their square.",
        range=(1, MAX_POINTS),
        when="now",
    )
    max_message_prompts: int = parameter(
        Limits.max_message_prompts,
        "Maximum prompts in one message or service request (also ~/segment); a larger one is rejected as a whole.",
        range=(1, 4096),
        when="now",
    )
    max_pending_prompts: int = parameter(
        Limits.max_pending_prompts,
        "Maximum prompts that wait for their images at the same time; one more is rejected.",
        range=(1, 4096),
        when="now",
    )
    max_pending_bytes: int = parameter(
        Limits.max_pending_bytes,
        "Maximum bytes of masks in prompts that wait for their images (one byte per pixel); a mask beyond is rejected.",
        range=(1_000_000, MOST_BYTES),
        when="now",
    )
    max_goals: int = parameter(
        64,
        "Maximum goals of ~/track_until that run at the same time; one more is aborted with the reason.",
        range=(1, 4096),
        when="now",
    )
    max_id_bytes: int = parameter(
        Limits.max_id_bytes,
        "Maximum length of an object id and of a class_id in UTF-8 bytes; a prompt with a longer one is rejected.",
        range=(1, 1024),
        when="now",
    )

    def __post_init__(self) -> None:
        for spec in PARAMETERS.values():
            if problem := spec.problem(getattr(self, spec.name)):
                raise UserError(problem)
        try:
            self.pixels  # noqa: B018 (created only to validate it)
        except UserError as error:
            raise UserError(f"parameter mono16_range: {error}") from error
        if self.tf_prefix.startswith("/"):
            raise UserError(
                f"parameter tf_prefix: got '{self.tf_prefix}', expected a name that does not begin with /: tf2 refuses "
                f"such frames; write '{self.tf_prefix.lstrip('/')}'"
            )
        if self.present_off > self.present_on:
            raise UserError(
                f"parameter present_off: got {self.present_off}, expected at most present_on = "
                f"{self.present_on}: an object must not be hidden and visible at once; set present_on first"
            )

    @classmethod
    def given(cls, values: Mapping[str, Any]) -> NodeParams:
        """The defaults, overridden by values as YAML or ROS gives them (see `as_declared`)."""
        return cls(**_converted(values))

    def changed(self, values: Mapping[str, Any]) -> NodeParams:
        """A copy with new values, as set while the node runs; UserError for a start-only parameter or a bad value."""
        for name in values:
            if PARAMETERS[name].when == "start":
                raise UserError(fixed_reason(name))
        return dataclasses.replace(self, **_converted(values))

    def following(self, wanted: NodeParams) -> NodeParams:
        """A copy with those values of `wanted` that take effect at once."""
        now = [spec.name for spec in PARAMETERS.values() if spec.when == "now"]
        return dataclasses.replace(self, **{name: getattr(wanted, name) for name in now})

    @property
    def limits(self) -> Limits:
        return Limits(**{each.name: getattr(self, each.name) for each in dataclasses.fields(Limits)})

    @property
    def pixels(self) -> PixelConfig:
        return PixelConfig(self.mono16_range, self.untyped_encoding)


PARAMETERS = specs_of(NodeParams)


def _converted(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: as_declared(PARAMETERS[name], value) for name, value in values.items()}


def fixed_reason(name: str) -> str:
    """Error message for a change of a parameter that is read once, at start."""
    return f"parameter {name} is read once, when the node starts: restart the node with -p {name}:=<value>"
