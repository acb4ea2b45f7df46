# SPDX-License-Identifier: Apache-2.0
"""The services ~/save_state, ~/load_state and ~/enroll.

Know messages. Run beside the stream in a hidden node, one request after the other: disks and models are slow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node

from sam2_ros.engine import Prompt, PromptError
from sam2_ros.errors import UserError, one_line
from sam2_ros.media.pixels.image_reader import ImageReader
from sam2_ros.node.convert import ImageDecoder, prompt_request
from sam2_ros.node.frame_history import FrameHistory
from sam2_ros.node.hidden_node import HiddenNode
from sam2_ros.node.interfaces import Enroll, LoadState, SaveState
from sam2_ros.node.loading import free_device_memory
from sam2_ros.node.parameters.declared import DeclaredParameters
from sam2_ros.state.enroll import enroll
from sam2_ros.state.saved_state import SavedState
from sam2_ros.state.state_file import write_state

from .keeper import StateKeeper

PATIENCE_S = 1.5  # for the request in progress, when the node ends


class StateService:
    """The services of one node, for its whole life.

    Args:
        parts: returns the state keeper, the camera's images and their decoder; raises PromptError if the node is not
            configured.
        settings: holds the limits of one request.
    """

    def __init__(
        self,
        node: LifecycleNode,
        parts: Callable[[], tuple[StateKeeper, FrameHistory, ImageDecoder]],
        settings: DeclaredParameters,
    ) -> None:
        self._log = node.get_logger()
        self._parts = parts
        self._settings = settings
        self._hidden = HiddenNode(node, "state", SingleThreadedExecutor(context=node.context))
        hidden, name = self._hidden.node, node.resolve_service_name
        hidden.create_service(SaveState, name("~/save_state"), self._answering("save_state", self._save))
        hidden.create_service(LoadState, name("~/load_state"), self._answering("load_state", self._load))
        hidden.create_service(Enroll, name("~/enroll"), self._answering("enroll", self._enroll))
        self._hidden.start()

    @property
    def node(self) -> Node:
        """The node that holds the services."""
        return self._hidden.node

    def destroy(self) -> bool:
        """Stop; False if the request in progress takes too long."""
        return self._hidden.destroy(PATIENCE_S)

    def _answering(self, name: str, answer: Callable[[Any, Any], None]) -> Callable[[Any, Any], Any]:
        """A callback that replies to every request: done, or why not."""

        def callback(request: Any, response: Any) -> Any:
            try:
                answer(request, response)
                response.success = True
            except UserError as error:
                response.message = str(error)
            except Exception as error:  # of the model, the driver or memory: fails this request only
                free_device_memory()
                response.message = f"~/{name} failed: {one_line(error)}"
            if response.message:
                self._log.warning(f"~/{name}: {response.message}")
            return response

        return callback

    def _save(self, request: Any, response: Any) -> None:
        keeper, _, _ = self._parts()
        response.ids = keeper.save(_path(request.path), list(request.ids))
        self._log.info(f"~/save_state: {len(response.ids)} objects saved")

    def _load(self, request: Any, response: Any) -> None:
        keeper, _, _ = self._parts()
        response.ids = keeper.load(_path(request.path), list(request.ids), bool(request.merge))
        self._log.info(f"~/load_state: {len(response.ids)} objects are looked for")

    def _enroll(self, request: Any, response: Any) -> None:
        keeper, _, _ = self._parts()
        limits = self._settings.used.limits
        limits.check_count(len(request.prompts))
        limits.check_size(request.id, request.class_id, 0)
        object_id = request.id or keeper.new_name()
        images = self._images(request.images)
        if len(images) != len(request.prompts):
            raise PromptError(
                f"{len(images)} images and {len(request.prompts)} prompts: expected one prompt for each image"
            )
        prompts: list[Prompt] = []
        for number, (message, image) in enumerate(zip(request.prompts, images, strict=True), start=1):
            prompt = prompt_request(message, f"#{number}", limits=limits).prompt
            prompts.append(replace(prompt, class_id=request.class_id).validated(*image.shape[:2]))
        state = enroll(
            keeper.tracker.model, keeper.identity, images, prompts, object_id, keeper.tracker.config
        )
        self._keep(state, keeper, _path(request.path))
        response.id = object_id

    def _images(self, messages: Sequence[Any]) -> list[np.ndarray]:
        """The images of a request, read with the camera's pixel options; without any, the newest camera image."""
        _, history, decoder = self._parts()
        if not len(messages):
            if history.newest is None:
                raise PromptError(
                    "the request has no images, and no camera image has come yet: send an image"
                )
            return [decoder.to_rgb(history.newest.message)]
        reader = ImageDecoder(ImageReader(decoder.images.config, self._log.warning))
        return [reader.to_rgb(message) for message in messages]

    @staticmethod
    def _keep(state: SavedState, keeper: StateKeeper, path: Path | None) -> None:
        """Look for the object, and write it to its file; neither if it cannot be written or there is no room."""
        keeper.check_room(state)
        if path is not None:
            write_state(path, state)
        # Its label in the file is 1, which is no promise to this node: the object is new here.
        keeper.recall(state.relabelled(keeper.next_label), merge=True)


def _path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None
