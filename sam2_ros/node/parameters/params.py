# SPDX-License-Identifier: Apache-2.0
"""Every parameter of the node, each declared once: name, default, meaning, range, and when a new value takes effect.

Knows nothing of what the values do; importing it needs no ROS, so documents and tests can read it anywhere.
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
    """The values of one moment, valid and never changed; a new value makes a new NodeParams.

    Raises UserError for an unusable value.
    """

    model: str = parameter(
        "nano",
        "Model to track with, a name or the path of a checkpoint. nano: shipped, small, runs anywhere; tiny, small, "
        "base_plus, large: official SAM 2.1, more accurate and slower, `sam2-ros models fetch tiny` first.",
        heading="Model",
    )
    device: str = parameter(
        "auto", "Where the model runs: auto (a GPU if there is one, else the CPU), cuda:0, cpu."
    )
    precision: str = parameter(
        "auto",
        "Number format of the model's arithmetic: auto (bf16 where the GPU, or a CPU with AMX or AVX512_BF16, is fast "
        "in it, else fp32), bf16, fp16, fp32.",
        choices=("auto", "bf16", "fp16", "fp32"),
    )
    image_size: int = parameter(
        0,
        "Side in pixels of the square the model sees, a multiple of 32; 0 is the model's own (nano: 384). Smaller is "
        "faster and loses small objects.",
        range=(0, 2048),
        step=32,
    )
    compile: str = parameter(
        "off",
        "How far the model is compiled while it is configured: off; graphs (CUDA graphs, on a GPU); max (generated "
        "kernels; minutes at the first start, kept for the next, then the fastest stream). See docs/how-to/compile.md.",
        choices=("off", "graphs", "max"),
    )
    backend: str = parameter(
        "torch",
        "What executes the model: torch, or onnx (onnxruntime; model is then a folder that `sam2-ros export` wrote, "
        "with room for max_objects).",
        choices=("torch", "onnx"),
    )

    max_objects: int = parameter(
        8,
        "Objects tracked at the same time; a prompt for one more is rejected. Memory and time grow with it.",
        range=(1, 256),
        heading="Objects and their memory",
    )
    memory_frames: int = parameter(
        7,
        "Spatial memories used per object: one conditioning (prompted) image and the rest recent images. Fewer is "
        "faster and loses hidden objects sooner.",
        range=(1, 7),
    )
    max_conditioning_frames: int = parameter(
        4, "Prompted images remembered per object; the first is always among them.", range=(1, 32)
    )
    memory_policy: str = parameter(
        "visible",
        "What enters an object's memory: every image (official, SAM 2's own rule), or those that show the object "
        "(visible): it is then found again more often after it was hidden.",
        choices=("visible", "official"),
    )

    image_transport: str = parameter(
        "raw",
        "raw: sensor_msgs/Image on image_raw. compressed: sensor_msgs/CompressedImage on image_raw/compressed, less "
        "network, more CPU.",
        choices=("raw", "compressed"),
        heading="Camera",
    )
    image_reliability: str = parameter(
        "best_effort",
        "QoS reliability asked of the camera: best_effort works with every camera; reliable only with reliable ones, "
        "and resends what was lost.",
        choices=("best_effort", "reliable"),
    )
    mono16_range: str = parameter(
        "full",
        "How images of 16 bits (mono16, 16UC1, 16-bit PNG) become 8: full (the high byte), percentiles (1 and 99 of "
        "the first image, kept), or LOW,HIGH such as 7000,9000, as a thermal or 12-bit camera wants it: the values "
        "that become black and white. With one of the latter two 16UC1 is read as grey, too.",
    )
    untyped_encoding: str = parameter(
        "bgr",
        "What the channels of 8UC3 and 8UC4 images are, which do not say so: bgr, as cv_bridge writes them, or rgb.",
        choices=("bgr", "rgb"),
    )
    camera_timeout: float = parameter(
        2.0,
        "Seconds without an image after which diagnostics report an error.",
        range=(0.1, DAY_S),
        when="now",
    )

    use_3d: bool = parameter(
        False,
        "Read depth_image and camera_info: objects get position, size and velocity in metres, and there are "
        "~/object_cloud, ~/markers and ~/detections_3d. The depth image must be registered to the colour image.",
        heading="Depth: positions in metres",
    )
    depth_image_units_divisor: int = parameter(
        1000,
        "Divisor that turns a 16-bit depth value into metres (1000: the image is in millimetres). 32-bit depth images "
        "are in metres whatever this says.",
        range=(1, 1_000_000),
    )
    depth_slop: float = parameter(
        0.05,
        "Largest difference in seconds between the stamps of an image and of its depth image; without depth within it "
        "the object has no position in that image, and the track goes on. Raise it when depth is slower than colour.",
        range=(0.0, 10.0),
    )
    target_frame: str = parameter(
        "",
        "tf frame of positions, sizes and velocities, such as base_link; empty is the camera's own. On a moving camera "
        "choose a frame that stands still, or velocities are the camera's too.",
    )
    tf_timeout: float = parameter(
        0.2,
        "Seconds that a result waits for tf to reach its image's stamp, while tracking goes on: on a moving camera tf "
        "often comes later than the result. What has no transform by then is published without positions.",
        range=(0.0, 10.0),
        when="now",
    )

    detection_mode: str = parameter(
        "off",
        "What boxes on ~/detections do: off (nothing), reseed (bring hidden objects back), track_all (and start an "
        "object for each box that fits none, while there is room).",
        choices=("off", "reseed", "track_all"),
        heading="Prompts and detections",
    )
    min_detection_score: float = parameter(
        0.5,
        "Detections with a smaller score are ignored. Higher: fewer false objects, later recovery.",
        range=(0.0, 1.0),
        when="now",
    )
    prompt_history: float = parameter(
        2.0,
        "Seconds of images kept, so that a late prompt is applied to the image it was made on; a prompt on an older "
        "image is rejected. Costs memory: one image each.",
        range=(0.0, 60.0),
        when="now",
    )
    active_id: str = parameter(
        "",
        "Object that a click on ~/clicked_point or ~/clicked_pixel refines; empty: every click is a new object.",
        when="now",
    )

    present_on: float = parameter(
        1.0,
        "Logit: an object becomes visible (TRACKING) when its presence is above this for 2 images.",
        range=(-50.0, 50.0),
        when="now",
        heading="State of an object",
    )
    present_off: float = parameter(
        0.0,
        "Logit, at most present_on: an object becomes hidden (OCCLUDED) when its presence is below this for 2 images.",
        range=(-50.0, 50.0),
        when="now",
    )
    lost_after: float = parameter(
        1.0,
        "Seconds hidden after which an object is reported LOST; its memory is kept.",
        range=(0.0, DAY_S),
        when="now",
    )
    forget_after: float = parameter(
        30.0,
        "Seconds hidden after which an object is forgotten and its place is free; 0 is never.",
        range=(0.0, DAY_S),
        when="now",
    )

    mask_topics: tuple[str, ...] = parameter(
        ("",),
        "Object ids that get a full-size mono8 mask on ~/mask/<id>, under the image's own stamp; empty strings are "
        "ignored. What a topic name does not allow becomes _; no two ids may have the same topic.",
        heading="Outputs and running",
    )
    use_debug: bool = parameter(
        False,
        "Publish ~/debug_image: the image with masks, ids and states. Costs time only while somebody looks.",
        when="now",
    )
    enable: bool = parameter(True, "Process images; the service ~/enable sets it too.", when="now")
    autostart: bool = parameter(
        True,
        "Configure and activate at start without a lifecycle manager; false: wait for one.",
        when="start",
    )

    history_bytes: int = parameter(
        Limits.history_bytes,
        "Most bytes of images kept for late prompts, whatever prompt_history says; two seconds of raw 1080p at 30 Hz "
        "are 373 MB. A detector's late boxes get as much again for masks.",
        range=(1_000_000, MOST_BYTES),
        when="now",
        heading="Limits: what is beyond them is rejected by name",
    )
    max_points: int = parameter(
        Limits.max_points,
        "Points in one prompt, and in all prompts of one object that wait for the same image; more are rejected. They "
        "cost time by their square.",
        range=(1, MAX_POINTS),
        when="now",
    )
    max_message_prompts: int = parameter(
        Limits.max_message_prompts,
        "Prompts in one message or request, that of ~/segment included; a larger one is rejected as a whole.",
        range=(1, 4096),
        when="now",
    )
    max_pending_prompts: int = parameter(
        Limits.max_pending_prompts,
        "Prompts that may wait for their images at the same time; one more is rejected.",
        range=(1, 4096),
        when="now",
    )
    max_pending_bytes: int = parameter(
        Limits.max_pending_bytes,
        "Most bytes of masks in prompts that wait for their images (one byte a pixel); one more is rejected.",
        range=(1_000_000, MOST_BYTES),
        when="now",
    )
    max_id_bytes: int = parameter(
        Limits.max_id_bytes,
        "Most bytes (UTF-8) of an object's id and of its class_id; a prompt with a longer one is rejected.",
        range=(1, 1024),
        when="now",
    )

    def __post_init__(self) -> None:
        for spec in PARAMETERS.values():
            if problem := spec.problem(getattr(self, spec.name)):
                raise UserError(problem)
        try:
            self.pixels  # noqa: B018 (made to see whether it can be)
        except UserError as error:
            raise UserError(f"parameter mono16_range: {error}") from error
        if self.present_off > self.present_on:
            raise UserError(
                f"parameter present_off: got {self.present_off}, expected at most present_on = "
                f"{self.present_on}: an object must not be hidden and visible at once; set present_on first"
            )

    @classmethod
    def given(cls, values: Mapping[str, Any]) -> NodeParams:
        """The defaults with some values as YAML or ROS has them (see `as_declared`)."""
        return cls(**_converted(values))

    def changed(self, values: Mapping[str, Any]) -> NodeParams:
        """These values with some changed while the node lives; UserError when one never changes or is unusable."""
        for name in values:
            if PARAMETERS[name].when == "start":
                raise UserError(fixed_reason(name))
        return dataclasses.replace(self, **_converted(values))

    def following(self, wanted: NodeParams) -> NodeParams:
        """These values, and of `wanted` those that count at once."""
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
    """Why a parameter that is read at start cannot change."""
    return f"parameter {name} is read once, when the node starts: restart the node with -p {name}:=<value>"
