# SPDX-License-Identifier: Apache-2.0
"""The live view of one node: what the page sees of it, and the commands by which the page prompts it.

Puts link, stream, pictures and recorder together. Knows no HTTP.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam2_ros.errors import UserError, one_line
from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.media.pixels.image_reader import ImageReader
from sam2_ros.ui.session.events import ObjectMask

from .config import LiveConfig
from .node_link import NodeLink
from .picture import Shown, encoded, masks_of, objects_of
from .recording import LivePrompt, PromptRecorder
from .stream import ALONE_S, Moment, Stream

_KEPT = 600  # pictures whose prompts are still understood: 40 s at 15 Hz
_IDLE_S = 0.5
_LOG_EVERY_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveFrame:
    """One picture for the page.

    Attributes:
        index: counts the pictures.
        jpeg: the image.
        masks: at the size of the JPEG; object numbers are labels.
        event: the event `live`, JSON.
    """

    index: int
    jpeg: bytes
    masks: Sequence[ObjectMask]
    event: dict[str, Any]


OnLive = Callable[["LiveFrame | dict[str, Any]"], None]


class LiveView:
    """One node. Commands raise UserError; they may be called from any thread.

    Args:
        config: which node.
        exports: folder of recorded prompts.
        on_event: called from other threads with pictures and events; must return at once.

    Attributes:
        wanted: pictures are made while it is set: somebody looks.
    """

    def __init__(self, config: LiveConfig, exports: Path, on_event: OnLive) -> None:
        self._config, self._on_event = config, on_event
        self._stream = Stream()
        self._reader = ImageReader()
        self._recorder = PromptRecorder(exports, config.node)
        self._link = NodeLink(
            config, self._stream.add_image, self._take_objects, self._tell_log, self._on_look
        )
        self._shown: OrderedDict[int, Shown] = OrderedDict()
        self._ids: dict[int, str] = {}  # label -> id
        self._told: dict[str, Any] = {}
        self._told_log_s = float("-inf")
        self._ending = threading.Event()
        self.wanted = threading.Event()
        self._thread = threading.Thread(target=self._make_pictures, name="pictures", daemon=True)

    def start(self) -> None:
        """Join the ROS graph."""
        self._link.start()
        self._thread.start()

    def close(self) -> None:
        """Leave the graph."""
        self._ending.set()
        self.wanted.set()
        self._thread.join(5.0)
        self._link.close()

    def watch(self, on: bool) -> None:
        """Somebody looks from now on, or nobody."""
        if on and not self._link.watched:
            self._stream.reset()  # what came before is too old
        self._link.watched = on

    # What the page sees

    def state(self) -> dict[str, Any]:
        """The event `live_state`: node, camera, what is wrong, and the recording."""
        results_come = self._stream.silent_s < ALONE_S
        problem = self._link.problem(results_come)
        return {
            "event": "live_state",
            "node": self._config.node,
            "topic": self._link.image_topic,
            "problem": problem,
            "results": results_come,
            "recording": self._recorder.state(),
        }

    def _take_objects(self, cdr: bytes, clock_ns: int) -> None:
        self._stream.add_objects(cdr, clock_ns)

    def _tell_log(self, line: str) -> None:
        """Tell a warning of the node: what it says of a prompt always, others not more often than can be read."""
        now_s = time.monotonic()
        if not line.startswith("rejected") and now_s - self._told_log_s < _LOG_EVERY_S:
            return
        self._told_log_s = now_s
        self._on_event({"event": "notice", "text": f"{self._config.node}: {line}"})

    def _on_look(self, changed: bool) -> None:
        if changed:
            self._stream.reset()
        self._tell_state()

    def _tell_state(self) -> None:
        state = self.state()
        if state != self._told:
            self._told = state
            self._on_event(state)

    def _make_pictures(self) -> None:
        index = 0
        while not self._ending.is_set():
            self.wanted.wait()
            moment = self._stream.take(_IDLE_S)
            if moment is None or self._ending.is_set():
                continue
            begun_s = time.monotonic()
            try:
                index += 1
                self._on_event(self._frame(index, moment))
            except ImageError as error:
                self._on_event({"event": "notice", "text": f"{self._link.image_topic}: {one_line(error)}"})
            except Exception as error:  # a broken message must not end the view
                _log.warning("image not shown: %s", one_line(error))
            self._ending.wait(max(0.0, 1 / self._config.most_hz - (time.monotonic() - begun_s)))

    def _frame(self, index: int, moment: Moment) -> LiveFrame:
        from rclpy.serialization import deserialize_message
        from sam2_ros_msgs.msg import TrackedObjectArray
        from sensor_msgs.msg import CompressedImage, Image

        message = deserialize_message(moment.image, CompressedImage if moment.compressed else Image)
        limits = self._config.longest_side_px, self._config.jpeg_quality
        jpeg, shown = encoded(message, moment.stamp_ns, self._reader, *limits)
        masks: list[ObjectMask] = []
        objects: list[dict[str, Any]] = []
        if moment.objects is not None:
            found = deserialize_message(moment.objects, TrackedObjectArray)
            masks, objects = masks_of(found, shown), objects_of(found)
            self._ids = {one["object"]: one["id"] for one in objects}
        self._shown[index] = shown
        while len(self._shown) > _KEPT:
            self._shown.popitem(last=False)
        event = {
            "event": "live",
            "index": index,
            "stamp": f"{moment.stamp_ns // 10**9}.{moment.stamp_ns % 10**9:09d}",
            "width": shown.picture_width,
            "height": shown.picture_height,
            "result": moment.objects is not None,
            "objects": objects,
            **self._gauges(),
        }
        return LiveFrame(index, jpeg, masks, event)

    def _gauges(self) -> dict[str, Any]:
        pace, values = self._stream.pace(), self._link.values
        return {
            "results_hz": round(pace.results_hz, 1),
            "camera_hz": _number(values, "rate_in_hz"),
            "latency_ms": None if pace.latency_ms is None else round(pace.latency_ms),
            "latency_from": "stamp" if pace.from_stamp else "arrival",
            "dropped": _number(values, "frames_dropped"),
            "images": _number(values, "frames_in"),
        }

    # Commands of the page

    def click(self, frame: int, object: int, x: float, y: float, sign: int) -> dict[str, Any]:
        """Click on a picture: a new object (object 0), or more or less (sign below 0) of one."""
        shown = self._shown_of(frame)
        if sign < 0 and not object:
            raise UserError("a click that takes away needs an object: select one first")
        px, py = shown.pixel(x, y)
        return self._prompt(shown, object, point=(px, py, sign >= 0))

    def box(self, frame: int, object: int, x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
        """A box in a picture: a new object (object 0), or a correction of one."""
        shown = self._shown_of(frame)
        left, top = shown.edge(min(x0, x1), min(y0, y1))
        right, bottom = shown.edge(max(x0, x1), max(y0, y1))
        return self._prompt(shown, object, box=(left, top, right, bottom))

    def remove(self, object: int) -> dict[str, Any]:
        """Remove an object."""
        id = self._id_of(object)
        self._link.remove([id])
        return {"text": f"removed {id}"}

    def reset(self) -> dict[str, Any]:
        """Remove all objects."""
        return {"text": self._link.reset()}

    def record(self, on: bool) -> dict[str, Any]:
        """Record what is prompted from now on into a new file; off: end it."""
        self._recorder.switch(on)
        self._tell_state()
        return self._recorder.state()

    def _prompt(
        self,
        shown: Shown,
        object: int,
        point: tuple[float, float, bool] | None = None,
        box: tuple[float, float, float, float] | None = None,
    ) -> dict[str, Any]:
        wanted = self._id_of(object) if object else ""
        prompt = LivePrompt(wanted, shown.stamp_ns, shown.frame_id, point, box)
        id = self._link.add(prompt)
        self._recorder.add(prompt, id, self._link.image_topic)
        self._tell_state()
        return {"id": id, "text": f"{self._config.node} accepted the prompt for {id}"}

    def _shown_of(self, frame: int) -> Shown:
        shown = self._shown.get(frame)
        if shown is None:
            raise UserError(
                "nothing was sent: the picture that was clicked is too old; click on the newest one"
            )
        return shown

    def _id_of(self, object: int) -> str:
        id = self._ids.get(object)
        if id is None:
            raise UserError(f"nothing was sent: {self._config.node} has no object {object} any more")
        return id


def _number(values: dict[str, str], key: str) -> float | None:
    try:
        return float(values[key])
    except (KeyError, ValueError):
        return None
