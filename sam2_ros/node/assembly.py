# SPDX-License-Identifier: Apache-2.0
"""Makes the parts of the node that exist from configure to cleanup, around a loaded model.

Knows which part needs which. Does not know the lifecycle.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.lifecycle import LifecycleNode

from sam2_ros.media.pixels.image_reader import ImageReader

from .camera import CameraSubscription
from .convert import ImageDecoder
from .detector.detector import Detector
from .diagnostics import Statistics
from .frame_history import FrameHistory
from .late_prompts import LatePrompts
from .loading import Loaded
from .object_registry import ObjectRegistry
from .outputs.publish import Outputs
from .parameters.declared import DeclaredParameters
from .prompt_queue import PromptQueue
from .spatial.object_locator import ObjectLocator
from .spatial.point_projector import PointProjector
from .state.keeper import StateKeeper, StateOptions


@dataclass(frozen=True)
class Configured:
    """The parts of the node that exist from configure to cleanup."""

    loaded: Loaded
    decoder: ImageDecoder  # of the camera's images
    history: FrameHistory
    queue: PromptQueue
    late_prompts: LatePrompts
    outputs: Outputs
    spatial: ObjectLocator | None
    projector: PointProjector
    detector: Detector | None
    keeper: StateKeeper
    on_graph: contextlib.ExitStack  # closing it destroys the subscriptions and publishers


def assemble(
    node: LifecycleNode,
    loaded: Loaded,
    camera: CameraSubscription,
    objects: ObjectRegistry,
    declared: DeclaredParameters,
    statistics: Statistics,
    is_active: Callable[[], bool],
    state_options: Callable[[], StateOptions],
) -> Configured:
    """Make all parts around a model. If one fails, destroy the subscriptions and publishers made before it.

    Args:
        node: whose subscriptions and publishers they are.
        loaded: the model and its trackers.
        camera: gets its image transport from the parameters.
        objects: gets its room from the parameters.
        declared: the parameters; the values in effect now are used.
        statistics: counts for the diagnostics.
        is_active: True while images are tracked.
        state_options: of the moment of each save.
    """
    params, log = declared.used, node.get_logger()
    camera.choose(params.image_transport)
    decoder = ImageDecoder(ImageReader(params.pixels, log.warning))
    history = FrameHistory(params.prompt_history, params.history_bytes)
    objects.max_objects = params.max_objects
    queue = PromptQueue(objects, history, params.limits)
    detector = spatial = None
    with contextlib.ExitStack() as made:
        if params.detection_mode != "off":
            detector = Detector(node, declared, queue, statistics, is_active=is_active)
            made.callback(detector.destroy)
        # Known by the topic's name: image_proc publishes rectified images on image_rect, image_rect_color, ...
        rectified = "rect" in node.resolve_topic_name("image_raw").rpartition("/")[2]
        if params.use_3d:
            spatial = ObjectLocator(
                node, params.depth_image_units_divisor, params.depth_slop, params.target_frame, rectified
            )
            made.callback(spatial.destroy)
        projector = PointProjector(node, history, spatial, rectified)
        made.callback(projector.destroy)
        outputs = Outputs(node, statistics, params)
        made.callback(outputs.destroy)
        return Configured(
            loaded=loaded,
            decoder=decoder,
            history=history,
            queue=queue,
            late_prompts=LatePrompts(loaded.tracker, loaded.catch_up_tracker, history, decoder),
            outputs=outputs,
            spatial=spatial,
            projector=projector,
            detector=detector,
            keeper=StateKeeper(loaded.tracker, objects, state_options, log),
            on_graph=made.pop_all(),
        )
