"""Requests on their way to the tracker: which ids exist, which prompt goes with which image, what is to go.

Knows stamps, ids and prompts; nothing of ROS messages, and it never calls the tracker. The service callbacks
write here, the worker takes from here between two images, so a slow image never delays a reply.

A prompt is meant for the image of its stamp. `PromptDesk.take` is the seam: it decides which prompts go with
the image at hand, and it is the place where a prompt that is late could be applied to its own image and
carried forward.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sam2_ros.engine import FrameResult, Prompt, PromptError

UNKNOWN_SIZE_PX = 1 << 24  # wider than any image: before the first one, only what needs no image is checked
FUTURE_PATIENCE_S = 1.0  # a prompt waits at least this long for an image that has not come yet


@dataclass(frozen=True)
class PromptRequest:
    """A prompt as it was asked for.

    `stamp_ns` 0 is the next image; `named` is False when the node chooses the id.
    """

    prompt: Prompt
    named: bool
    stamp_ns: int = 0
    frame_id: str = ""


@dataclass
class Removals:
    """What to forget before the next image: everything, or some ids."""

    everything: bool = False
    ids: list[str] = field(default_factory=list)

    def covers(self, object_id: str) -> bool:
        return self.everything or object_id in self.ids


@dataclass
class Work:
    """What the worker does with one image, in this order: removals, then prompts.

    `remarks` are for the log.
    """

    removals: Removals
    prompts: list[Prompt]
    remarks: list[str]


@dataclass(frozen=True)
class _Waiting:
    prompt: Prompt
    stamp_ns: int
    submitted_s: float


class PromptDesk:
    """Thread-safe; every method returns at once.

    Args:
        max_objects: objects that may live at the same time, those still waiting for their image included.
        history_s: how much older than the newest image a prompt's image may be.
        reserve_id: gives a name that was never given before, for prompts without one.
    """

    def __init__(self, max_objects: int, history_s: float, reserve_id: Callable[[], str]) -> None:
        self.history_s = history_s
        self._max_objects = max_objects
        self._reserve_id = reserve_id
        self._lock = threading.Lock()
        self._live: list[str] = []
        self._waiting: list[_Waiting] = []
        self._taken: list[str] = []  # ids of prompts that the tracker is working on
        self._removals = Removals()
        self._stamps_ns: deque[int] = deque()
        self._size_hw: tuple[int, int] | None = None
        self._frame_id = ""

    def saw_image(self, stamp_ns: int, frame_id: str, size_hw: tuple[int, int] | None) -> None:
        """Note an image that arrived.

        Another camera, another size or time running backwards starts a new history.
        """
        with self._lock:
            resized = size_hw is not None and self._size_hw is not None and size_hw != self._size_hw
            backwards = bool(self._stamps_ns) and stamp_ns < self._stamps_ns[-1]
            if resized or backwards or frame_id != self._frame_id:
                self._stamps_ns.clear()
            self._size_hw = size_hw or self._size_hw
            self._frame_id = frame_id
            self._stamps_ns.append(stamp_ns)
            while stamp_ns - self._stamps_ns[0] > self.history_s * 1e9:
                self._stamps_ns.popleft()

    def awaits(self, stamp_ns: int) -> bool:
        """Whether a prompt waits for exactly this image, which then should not be dropped."""
        with self._lock:
            tolerance_ns = self._tolerance_ns()
            return any(
                waiting.stamp_ns and abs(waiting.stamp_ns - stamp_ns) <= tolerance_ns
                for waiting in self._waiting
            )

    def submit(self, request: PromptRequest, now_s: float) -> str:
        """Check a prompt, reserve its id and let it wait for its image.

        Returns the id; PromptError says why not.
        """
        with self._lock:
            self._check(request)
            prompt = request.prompt
            if not request.named:
                prompt = dataclasses.replace(prompt, id=self._new_id())
            self._waiting.append(_Waiting(prompt, request.stamp_ns, now_s))
            return prompt.id

    def remove(self, ids: Iterable[str]) -> tuple[list[str], list[str]]:
        """Forget objects, and prompts that still wait for them; no ids = all.

        Returns (unknown ids, ids left).
        """
        with self._lock:
            asked = list(ids) or self._known()
            unknown = [object_id for object_id in asked if object_id not in self._known()]
            self._removals.ids.extend(asked)
            self._waiting = [waiting for waiting in self._waiting if waiting.prompt.id not in asked]
            self._live = [object_id for object_id in self._live if object_id not in asked]
            self._taken = [object_id for object_id in self._taken if object_id not in asked]
            return unknown, self._known()

    def reset(self) -> int:
        """Forget every object and every waiting prompt. Returns how many objects there were."""
        with self._lock:
            known = len(self._known())
            self._removals.everything = True
            self._live, self._taken, self._waiting = [], [], []
            return known

    def take(self, stamp_ns: int, now_s: float) -> Work:
        """What to do with the image of `stamp_ns`: everything asked for until now that is due with it."""
        with self._lock:
            tolerance_ns = self._tolerance_ns()
            due: list[Prompt] = []
            remarks: list[str] = []
            still_waiting: list[_Waiting] = []
            for waiting in self._waiting:
                name = f"prompt '{waiting.prompt.id}'"
                if waiting.stamp_ns == 0 or stamp_ns >= waiting.stamp_ns - tolerance_ns:
                    due.append(waiting.prompt)
                    late_ns = stamp_ns - waiting.stamp_ns
                    if waiting.stamp_ns and late_ns > tolerance_ns:
                        remarks.append(f"{name}: applied to a newer image, {late_ns / 1e6:.0f} ms late")
                elif now_s - waiting.submitted_s > max(self.history_s, FUTURE_PATIENCE_S):
                    ahead_s = (waiting.stamp_ns - stamp_ns) / 1e9
                    remarks.append(
                        f"{name} rejected: made on an image {ahead_s:.2f} s newer than any that came since; "
                        "expected the stamp of an image on this topic"
                    )
                else:
                    still_waiting.append(waiting)
            self._waiting = still_waiting
            self._taken = [prompt.id for prompt in due]
            removals, self._removals = self._removals, Removals()
            return Work(removals, due, remarks)

    def settle(self, result: FrameResult) -> Removals:
        """Learn what became of the last `take`. Returns what was removed in the meantime."""
        with self._lock:
            removals, self._removals = self._removals, Removals()
            self._live = [obj.id for obj in result.objects if not removals.covers(obj.id)]
            self._taken = []
            return removals

    def abandon(self) -> tuple[list[str], list[str]]:
        """The last `take` failed before `settle`, and its prompts are lost.

        Returns the ids whose prompts were lost, and those among them that never were in a result.
        """
        with self._lock:
            lost, self._taken = self._taken, []
            return lost, [object_id for object_id in lost if object_id not in self._live]

    def _known(self) -> list[str]:
        """Ids that exist or are about to, in the order they were asked for."""
        ids = [*self._live, *self._taken, *(waiting.prompt.id for waiting in self._waiting)]
        return list(dict.fromkeys(ids))

    def _new_id(self) -> str:
        known = self._known()
        name = self._reserve_id()
        while name in known:
            name = self._reserve_id()
        return name

    def _check(self, request: PromptRequest) -> None:
        prompt = request.prompt
        if self._frame_id and request.frame_id and request.frame_id != self._frame_id:
            raise PromptError(
                f"prompt '{prompt.id}': made in frame '{request.frame_id}'; expected pixels of the camera "
                f"image, whose frame is '{self._frame_id}'"
            )
        size_hw = self._size_hw or (
            prompt.mask.shape[:2] if prompt.mask is not None else (UNKNOWN_SIZE_PX, UNKNOWN_SIZE_PX)
        )
        prompt.validated(*size_hw)
        if request.stamp_ns and self._stamps_ns:
            age_s = (self._stamps_ns[-1] - request.stamp_ns) / 1e9
            if age_s > self.history_s:
                raise PromptError(
                    f"prompt '{prompt.id}': made on an image {age_s:.2f} s older than the newest; "
                    "expected at most "
                    f"prompt_history = {self.history_s:g} s; send it sooner or raise prompt_history"
                )
        known = self._known()
        if not (request.named and prompt.id in known) and len(known) >= self._max_objects:
            raise PromptError(
                f"prompt '{prompt.id}': {len(known)} objects are tracked, as many as max_objects = "
                f"{self._max_objects} allows; remove one with ~/remove_objects or raise max_objects"
            )

    def _tolerance_ns(self) -> float:
        """Half a frame period: stamps closer than this mean the same image."""
        stamps = list(self._stamps_ns)
        gaps = [later - earlier for earlier, later in itertools.pairwise(stamps)]
        return statistics.median(gaps) / 2 if gaps else 0.0
