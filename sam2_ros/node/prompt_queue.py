"""Requests on their way to the tracker: which ids exist, which prompt goes with which image, what is to go.

Knows stamps, ids and prompts; nothing of ROS messages, and it never calls the tracker. The service callbacks
write here, the worker takes from here between two images, so a slow image never delays a reply.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sam2_ros.engine import FrameResult, Prompt, PromptError

from .frame_history import Arrival, FrameHistory
from .late_prompts import LatePrompt
from .limits import Limits, point_count, shown

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
    """What the worker does with one image, in this order: removals, announcements, prompts.

    Attributes:
        prompts: made on this image, or on none in particular.
        late: made on an image that is past.
        awaited: id -> class of the objects that are asked for and not yet prompted.
        rejected: id -> reason, for prompts whose image never came.
    """

    removals: Removals
    prompts: list[Prompt]
    late: list[LatePrompt] = field(default_factory=list)
    awaited: dict[str, str] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)


@dataclass
class _Waiting:
    prompt: Prompt
    stamp_ns: int  # 0 = any image
    submitted_s: float
    image: Arrival | None = None  # the one it was made on, once that is known


class PromptDesk:
    """Thread-safe; every method returns at once.

    Args:
        max_objects: objects that may live at the same time, those still waiting for their image included.
        history: the images that came lately.
        reserve_id: gives a name that was never given before, for prompts without one.
        limits: of what may wait; may be replaced at any time.
        on_removal: called with what is removed, before that is confirmed.
    """

    def __init__(
        self,
        max_objects: int,
        history: FrameHistory,
        reserve_id: Callable[[], str],
        limits: Limits | None = None,
        on_removal: Callable[[Removals], None] = lambda removals: None,
    ) -> None:
        self.limits = limits or Limits()
        self._history = history
        self._max_objects = max_objects
        self._reserve_id = reserve_id
        self._on_removal = on_removal
        self._lock = threading.Lock()
        self._live: list[str] = []
        self._waiting: list[_Waiting] = []
        self._carried: list[LatePrompt] = []  # on their way to now
        self._taken: list[str] = []  # ids of prompts that the tracker is working on
        self._announced: set[str] = set()  # ids the tracker has heard of, perhaps without a prompt yet
        self._removals = Removals()
        self._size_hw: tuple[int, int] | None = None
        self.resets = 0  # how often everything was forgotten

    def image_size(self, size_hw: tuple[int, int]) -> None:
        """Note how large the camera's images are: prompts are checked against it at once."""
        with self._lock:
            self._size_hw = size_hw

    @property
    def camera_frame_id(self) -> str:
        """Frame of the newest image; "" before the first one."""
        newest = self._history.newest
        return newest.frame_id if newest is not None else ""

    def awaits(self, stamp_ns: int) -> bool:
        """Whether a prompt waits for exactly this image, which then should not be dropped."""
        tolerance_ns = self._history.tolerance_ns()
        with self._lock:
            return any(
                waiting.stamp_ns and abs(waiting.stamp_ns - stamp_ns) <= tolerance_ns
                for waiting in self._waiting
            )

    def submit(self, request: PromptRequest, now_s: float) -> str:
        """Check a prompt, reserve its id and let it wait for its image.

        Returns the id; PromptError says why not.
        """
        with self._lock:
            image = self._check(request)
            prompt = request.prompt
            if not request.named:
                prompt = dataclasses.replace(prompt, id=self._new_id())
            self._waiting.append(_Waiting(prompt, request.stamp_ns, now_s, image))
            return prompt.id

    def remove(self, ids: Iterable[str]) -> tuple[list[str], list[str]]:
        """Forget objects, and prompts that still wait for them; no ids = all.

        Returns (unknown ids, ids left).
        """
        with self._lock:
            known = dict.fromkeys(self._known())
            asked = dict.fromkeys(ids) or known
            unknown = [object_id for object_id in asked if object_id not in known]
            # What only waited is unknown to the tracker: while no image comes, its removal is no work to keep.
            told = {*self._live, *self._taken, *self._announced, *(late.prompt.id for late in self._carried)}
            gone = dict.fromkeys([*self._removals.ids, *(each for each in asked if each in told)])
            self._removals.ids = list(gone)
            self._waiting = [waiting for waiting in self._waiting if waiting.prompt.id not in asked]
            self._carried = [late for late in self._carried if late.prompt.id not in asked]
            self._live = [object_id for object_id in self._live if object_id not in asked]
            self._taken = [object_id for object_id in self._taken if object_id not in asked]
            left = self._known()
        self._on_removal(Removals(ids=list(asked)))
        return unknown, left

    def reset(self) -> int:
        """Forget every object and every waiting prompt. Returns how many objects there were."""
        with self._lock:
            known = len(self._known())
            self.resets += 1
            self._removals.everything = True
            self._live, self._taken, self._waiting, self._carried = [], [], [], []
        self._on_removal(Removals(everything=True))
        return known

    @property
    def known_ids(self) -> list[str]:
        """Objects that exist or are asked for; none that was removed."""
        with self._lock:
            return self._known()

    @property
    def pending(self) -> int:
        """Prompts that wait for their image, or are on their way from it."""
        with self._lock:
            return len(self._waiting) + len(self._carried)

    def take(self, image: Arrival, now_s: float) -> Work:
        """What to do with `image`: everything asked for until now that is due with it."""
        tolerance_ns = self._history.tolerance_ns()
        with self._lock:
            removals, self._removals = self._removals, Removals()
            work = Work(removals, [])
            still_waiting: list[_Waiting] = []
            for waiting in self._waiting:
                if waiting.image is None and waiting.stamp_ns:
                    waiting.image = self._history.at(waiting.stamp_ns)
                if self._is_of(waiting, image, tolerance_ns):
                    work.prompts.append(waiting.prompt)
                elif waiting.image is not None and waiting.image.received_s < image.received_s:
                    work.late.append(LatePrompt(waiting.prompt, waiting.image, waiting.submitted_s))
                elif now_s - waiting.submitted_s > max(self._history.seconds, FUTURE_PATIENCE_S):
                    work.rejected[waiting.prompt.id] = self._never_came(waiting, image)
                else:
                    still_waiting.append(waiting)
            self._waiting = still_waiting
            self._taken = [prompt.id for prompt in work.prompts]
            self._carried += work.late
            work.awaited = self._unborn()
            self._announced = set(work.awaited)
            return work

    def settle(self, result: FrameResult) -> Removals:
        """Learn what became of the last `take`. Returns what was removed in the meantime."""
        with self._lock:
            removals, self._removals = self._removals, Removals()
            unborn = self._unborn()
            self._live = [
                obj.id for obj in result.objects if not removals.covers(obj.id) and obj.id not in unborn
            ]
            self._taken = []
            return removals

    def ended(self, ids: Iterable[str], arrived: Iterable[str]) -> None:
        """Late prompts travel no more, one id for each; those that arrived live in the stream now."""
        with self._lock:
            for object_id in ids:
                carried = [n for n, late in enumerate(self._carried) if late.prompt.id == object_id]
                if not carried:
                    continue  # removed on the way
                del self._carried[carried[0]]
                if object_id in arrived and object_id not in self._live:
                    self._live.append(object_id)

    def abandon(self) -> tuple[list[str], list[str]]:
        """The last `take` failed before `settle`, and its prompts are lost.

        Returns the ids whose prompts were lost, and those among them that never were in a result.
        """
        with self._lock:
            lost, self._taken = self._taken, []
            still_to_come = self._unborn()
            return lost, [
                object_id
                for object_id in lost
                if object_id not in self._live and object_id not in still_to_come
            ]

    def _unborn(self) -> dict[str, str]:
        """id -> class of objects that are asked for and have no first prompt yet."""
        coming = self._coming()
        born = {*self._live, *self._taken}
        return {prompt.id: prompt.class_id for prompt in coming if prompt.id not in born}

    @staticmethod
    def _is_of(waiting: _Waiting, image: Arrival, tolerance_ns: float) -> bool:
        """Whether a prompt was made on this image, or on none in particular."""
        if waiting.image is not None:
            return waiting.image.stamp_ns == image.stamp_ns
        return not waiting.stamp_ns or abs(waiting.stamp_ns - image.stamp_ns) <= tolerance_ns

    @staticmethod
    def _never_came(waiting: _Waiting, image: Arrival) -> str:
        ahead_s = (waiting.stamp_ns - image.stamp_ns) / 1e9
        kind = f"{ahead_s:.2f} s newer than any that came since" if ahead_s > 0 else "that never came"
        return f"prompt '{waiting.prompt.id}': made on an image {kind}; expected the stamp of an image on this topic"

    def _known(self) -> list[str]:
        """Ids that exist or are about to, in the order they were asked for."""
        return list(dict.fromkeys([*self._live, *self._taken, *(prompt.id for prompt in self._coming())]))

    def _coming(self) -> list[Prompt]:
        """Prompts on their way to now or waiting for their image."""
        return [*(late.prompt for late in self._carried), *(waiting.prompt for waiting in self._waiting)]

    def _new_id(self) -> str:
        known = self._known()
        name = self._reserve_id()
        while name in known:
            name = self._reserve_id()
        return name

    def _check(self, request: PromptRequest) -> Arrival | None:
        """PromptError for what cannot be used. Returns the image a prompt was made on, if that has come."""
        prompt, newest, frame_id = request.prompt, self._history.newest, self.camera_frame_id
        self.limits.check_size(prompt.id, prompt.class_id, point_count(prompt))
        self.limits.check_pending(prompt, self._coming())
        if frame_id and request.frame_id and request.frame_id != frame_id:
            raise PromptError(
                f"prompt '{prompt.id}': made in frame '{shown(request.frame_id)}'; expected pixels of the camera "
                f"image, whose frame is '{frame_id}'"
            )
        size_hw = self._size_hw or (
            prompt.mask.shape[:2] if prompt.mask is not None else (UNKNOWN_SIZE_PX, UNKNOWN_SIZE_PX)
        )
        prompt.validated(*size_hw)
        image = self._own_image(request, newest)
        known = self._known()
        if not (request.named and prompt.id in known) and len(known) >= self._max_objects:
            raise PromptError(
                f"prompt '{prompt.id}': {len(known)} objects are tracked, as many as max_objects = "
                f"{self._max_objects} allows; remove one with ~/remove_objects or raise max_objects"
            )
        return image

    def _own_image(self, request: PromptRequest, newest: Arrival | None) -> Arrival | None:
        """The image a prompt was made on; None when that is still to come, or any will do."""
        prompt = request.prompt
        if not request.stamp_ns or newest is None or request.stamp_ns > newest.stamp_ns:
            return None
        age_s = (newest.stamp_ns - request.stamp_ns) / 1e9
        image = self._history.at(request.stamp_ns)
        if image is None and age_s > self._history.seconds:
            raise PromptError(
                f"prompt '{prompt.id}': made on an image {age_s:.2f} s older than the newest; expected at most "
                f"prompt_history = {self._history.seconds:g} s; send it sooner or raise prompt_history"
            )
        if image is None and self._history.was_cut(request.stamp_ns):
            raise PromptError(
                f"prompt '{prompt.id}': made on an image {age_s:.2f} s older than the newest, which was let go to stay "
                f"within history_bytes = {self._history.max_bytes / 1e6:.0f} MB; send it sooner or raise history_bytes"
            )
        if image is None:
            nearest = self._history.nearest(request.stamp_ns)
            away = (
                f"the nearest is {abs(nearest.stamp_ns - request.stamp_ns) / 1e6:.0f} ms away"
                if nearest is not None
                else "none of the images since the last break has a stamp"
            )
            raise PromptError(
                f"prompt '{prompt.id}': no image with its stamp was received, {away}; expected the stamp of the "
                "image it was made on, or zero for the next image"
            )
        self._check_held(prompt, image)
        return image

    def _check_held(self, prompt: Prompt, image: Arrival) -> None:
        """Images that late prompts hold outlive the history, so they have a bound of their own."""
        late = [late.image for late in self._carried]
        late += [waiting.image for waiting in self._waiting if waiting.image is not None]
        held = sum({id(each): each.bytes for each in (*late, image)}.values())
        if late and held > self._history.max_bytes:
            raise PromptError(
                f"prompt '{prompt.id}': {held / 1e6:.0f} MB of images with those of the late prompts that wait; "
                f"expected at most history_bytes = {self._history.max_bytes / 1e6:.0f} MB; wait until some are done"
            )
