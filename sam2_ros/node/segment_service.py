# SPDX-License-Identifier: Apache-2.0
"""The service ~/segment: segments one image, by prompts or everything in it, without tracking or memory.

Knows messages and image mode. Runs beside the stream in a hidden node with its own executor and threads, because a long
"everything" request must not delay images. (With one executor of two threads, rclpy lost images and 30 ms per result.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.qos import QoSProfile

from sam2_ros.engine import (
    FrameResult,
    ImageSegmenter,
    ObjectState,
    PromptError,
    Sam2Model,
    TrackedObject,
    segment_everything,
)
from sam2_ros.engine.postprocess import measure_mask
from sam2_ros.engine.result import MAX_LABEL
from sam2_ros.errors import UserError, one_line
from sam2_ros.media.pixels.image_reader import ImageReader

from .convert import ImageDecoder, prompt_request
from .frame_history import FrameHistory
from .hidden_node import HiddenNode
from .interfaces import Segment
from .loading import free_device_memory
from .outputs.object_messages import objects_message
from .parameters.declared import DeclaredParameters

PATIENCE_S = 1.5  # for one prompt or one batch of clicks; a request checks for the end after each
WAITING_REQUESTS = 8  # besides the one in progress; a further request is refused at once
# Depth of the request queue: a request that the middleware drops is never answered.
BURST_REQUESTS = 128


class SegmentService:
    """The service of one node. Processes one request after the other; every request gets a reply.

    Args:
        model: returns the model, the camera's images and their decoder; raises PromptError if the node is not
            configured. The image of a request is read with the pixel options of the camera, as a stream of its own.
        settings: holds the limits of one request.
    """

    def __init__(
        self,
        node: LifecycleNode,
        model: Callable[[], tuple[Sam2Model, FrameHistory, ImageDecoder]],
        settings: DeclaredParameters,
    ) -> None:
        self._log = node.get_logger()
        self._model = model
        self._settings = settings
        self._in_hand = threading.Lock()
        self._places = threading.BoundedSemaphore(1 + WAITING_REQUESTS)
        # One thread per request, and one that refuses further requests.
        executor = MultiThreadedExecutor(2 + WAITING_REQUESTS, context=node.context)
        self._hidden = HiddenNode(node, "single_shot", executor)
        self._hidden.node.create_service(
            Segment,
            node.resolve_service_name("~/segment"),
            self._on_segment,
            qos_profile=QoSProfile(depth=BURST_REQUESTS),
            callback_group=ReentrantCallbackGroup(),
        )
        self._hidden.start()

    @property
    def node(self) -> Node:
        """The node that holds the service."""
        return self._hidden.node

    def destroy(self) -> bool:
        """Stop after the current prompt or batch of clicks; the request in progress gets no reply.

        Returns False if that takes too long: its thread is still inside the model then.
        """
        self._hidden.stop()
        ended = self._in_hand.acquire(timeout=PATIENCE_S)
        if ended:
            self._in_hand.release()
            ended = self._hidden.join(PATIENCE_S)
        self._hidden.node.destroy_node()
        return ended

    def _check_stopping(self) -> None:
        if self._hidden.stopping.is_set():
            raise UserError("the node is ending")

    def _on_segment(self, request: Any, response: Any) -> Any:
        if not self._places.acquire(blocking=False):
            response.message = (
                f"{WAITING_REQUESTS} requests wait already; wait for a reply before you send the next request"
            )
            return response
        try:
            with self._in_hand:
                return self._answer(request, response)
        finally:
            self._places.release()

    def _answer(self, request: Any, response: Any) -> Any:
        try:
            self._check_stopping()
            self._settings.used.limits.check_count(len(request.prompts))
            model, history, decoder = self._model()
            message = request.image
            if not message.height and not message.width and not len(message.data):
                if history.newest is None:
                    raise PromptError(
                        "the request has no image, and no camera image has come yet; send an image or start the camera"
                    )
                message = history.newest.message
                image = decoder.to_rgb(message)
            else:
                images = ImageReader(decoder.images.config, self._log.warning)
                image = ImageDecoder(images).to_rgb(message)
            response.result = objects_message(self._segment(model, image, request), message.header)
            response.success = True
        except UserError as error:
            response.message = str(error)
        except Exception as error:
            # An error of the model, the driver or memory fails this request only.
            free_device_memory()
            response.message = f"segmenting failed: {one_line(error)}"
        if response.message and not self._hidden.stopping.is_set():
            self._log.warning(f"~/segment: {response.message}")
        return response

    def _segment(self, model: Sam2Model, image: np.ndarray, request: Any) -> FrameResult:
        """The masks found, best first. Candidates are (id, class_id, mask [H, W] bool, predicted IoU)."""
        height, width = image.shape[:2]
        result = FrameResult(0, 0.0, height, width)
        if not len(request.prompts):
            found = segment_everything(model, image, before_batch=self._check_stopping)
            candidates = [("", "", mask.segmentation, mask.predicted_iou) for mask in found]
        else:
            limits = self._settings.used.limits
            prompts = [
                prompt_request(prompt, f"#{number}", limits=limits).prompt.validated(height, width)
                for number, prompt in enumerate(request.prompts, start=1)
            ]
            segmenter = ImageSegmenter(model)
            segmenter.set_image(image)
            candidates = []
            for prompt in prompts:
                self._check_stopping()
                masks, scores, _ = segmenter.answer(prompt, request.multimask)
                candidates += [
                    (prompt.id, prompt.class_id, mask, float(score))
                    for mask, score in zip(masks, scores, strict=True)
                ]
        candidates.sort(key=lambda candidate: -candidate[3])
        for label, (id, class_id, mask, score) in enumerate(candidates[:MAX_LABEL], start=1):
            box, area, centroid = measure_mask(mask)
            result.objects.append(
                TrackedObject(
                    id or f"mask_{label}",
                    label,
                    class_id,
                    mask,
                    score=score,
                    state=ObjectState.TRACKING,
                    box=box,
                    area_px=area,
                    centroid_xy=centroid,
                )
            )
        return result
