# SPDX-License-Identifier: Apache-2.0
"""The prompt queue: checks each prompt once on arrival, and keeps it until the image it was made on is tracked.

Knows stamps, images and prompts; nothing of ROS messages, and it never calls the tracker. Service callbacks write here,
the worker takes from here between two images, so a slow image never delays a reply.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from sam2_ros.engine import FrameResult, Prompt, PromptError

from .frame_history import FrameHistory, StampedImage
from .limits import Limits, point_count, shown
from .object_registry import ObjectEntry, ObjectRegistry

UNKNOWN_SIZE_PX = 1 << 24  # wider than any image: before the first one, only what needs no image is checked
FUTURE_PATIENCE_S = 1.0  # a prompt waits at least this long for an image that has not come yet


@dataclass(frozen=True)
class PromptRequest:
    """A prompt as it was asked for.

    Attributes:
        named: False when the node chooses the id.
        stamp_ns: of the image it was made on; 0 is the next image.
        by_detector: made by a box of a detector, not by a user.
    """

    prompt: Prompt
    named: bool
    stamp_ns: int = 0
    frame_id: str = ""
    by_detector: bool = False


@dataclass(eq=False)
class QueuedPrompt:
    """An accepted prompt, until it is applied or rejected.

    Attributes:
        object: what it creates or refines; while that does not exist any more, the prompt is void.
        stamp_ns: of the image it was made on; 0 = any image.
        submitted_s: when it was accepted, on the steady clock.
        image: the one it was made on, once that is known.
    """

    prompt: Prompt
    object: ObjectEntry
    stamp_ns: int
    submitted_s: float
    by_detector: bool = False
    image: StampedImage | None = None

    @property
    def id(self) -> str:
        return self.object.id


def usable_prompts(
    prompts: Iterable[QueuedPrompt], size_hw: tuple[int, int]
) -> tuple[list[QueuedPrompt], list[tuple[QueuedPrompt, str]]]:
    """Those that fit an image of this size, and the others with the reason.

    Only what was not checked against this size on arrival is checked here, see `Prompt.validated`.
    """
    usable: list[QueuedPrompt] = []
    rejected: list[tuple[QueuedPrompt, str]] = []
    for queued in prompts:
        try:
            queued.prompt = queued.prompt.validated(*size_hw)
            usable.append(queued)
        except PromptError as error:
            rejected.append((queued, str(error)))
    return usable, rejected


@dataclass
class ImagePrompts:
    """The prompts whose turn comes with one image.

    Attributes:
        prompts: made on this image, or on none in particular.
        late: made on an image that is past.
        rejected: with the reason; their image never came.
    """

    prompts: list[QueuedPrompt] = field(default_factory=list)
    late: list[QueuedPrompt] = field(default_factory=list)
    rejected: list[tuple[QueuedPrompt, str]] = field(default_factory=list)


class PromptQueue:
    """Thread-safe; every method returns at once.

    Args:
        objects: which objects exist; a prompt is accepted for one of them.
        history: the images that came lately.
        limits: of what may wait; may be replaced at any time.
    """

    def __init__(self, objects: ObjectRegistry, history: FrameHistory, limits: Limits | None = None) -> None:
        self.objects = objects
        self.limits = limits or Limits()
        self._history = history
        self._lock = threading.Lock()
        self._waiting: list[QueuedPrompt] = []  # for their image
        self._late: list[QueuedPrompt] = []  # being brought from their image to now
        self._taken: list[QueuedPrompt] = []  # the tracker is working on
        self._size_hw: tuple[int, int] | None = None
        self._closed = False

    def image_size(self, size_hw: tuple[int, int]) -> None:
        """Note how large the camera's images are: prompts are checked against it at once."""
        with self._lock:
            self._size_hw = size_hw

    @property
    def camera_frame_id(self) -> str:
        """Frame of the newest image; "" before the first one."""
        newest = self._history.newest
        return newest.frame_id if newest is not None else ""

    @property
    def pending(self) -> int:
        """Prompts that wait for their image, or are on their way from it."""
        with self._lock:
            return len(self._open())

    def awaits(self, stamp_ns: int) -> bool:
        """Whether a prompt waits for exactly this image, which then should not be dropped."""
        tolerance_ns = self._history.tolerance_ns()
        with self._lock:
            return any(
                queued.stamp_ns and abs(queued.stamp_ns - stamp_ns) <= tolerance_ns
                for queued in self._waiting
                if queued.object.exists
            )

    def submit(self, request: PromptRequest, now_s: float) -> str:
        """Check a prompt, and let it wait for its image.

        Returns the object's id; PromptError says why not.
        """
        with self._lock:
            prompt, image = self._checked(request)
            entry = self.objects.admit(prompt.id, request.named, prompt.class_id)
            if not request.named:
                prompt = prompt.renamed(entry.id)
            self._waiting.append(
                QueuedPrompt(prompt, entry, request.stamp_ns, now_s, request.by_detector, image)
            )
            return entry.id

    def take(self, image: StampedImage, now_s: float) -> ImagePrompts:
        """What to do with `image`: everything asked for until now that is due with it."""
        tolerance_ns = self._history.tolerance_ns()
        due, still_waiting = ImagePrompts(), []
        self.abandon()  # what a worker that was stopped in mid-image has left
        with self._lock:
            self._open()
            for queued in self._waiting:
                if queued.image is None and queued.stamp_ns:
                    queued.image = self._history.at(queued.stamp_ns)
                if _is_of(queued, image, tolerance_ns):
                    due.prompts.append(queued)
                elif queued.image is not None and queued.image.received_s < image.received_s:
                    due.late.append(queued)
                elif now_s - queued.submitted_s > max(self._history.seconds, FUTURE_PATIENCE_S):
                    due.rejected.append((queued, _never_came(queued, image)))
                    self.objects.close(queued.object)
                else:
                    still_waiting.append(queued)
            self._waiting, self._taken = still_waiting, list(due.prompts)
            self._late += due.late
            self.objects.announce()
            return due

    def settle(self, result: FrameResult) -> None:
        """Complete the result of the last `take`, whose prompts have ended; see `ObjectRegistry.confirm`."""
        with self._lock:
            if self._closed:
                return
            taken, self._taken = self._taken, []
            self.objects.confirm(result, [queued.object for queued in taken])

    def abandon(self) -> list[QueuedPrompt]:
        """The last `take` failed before `settle`: returns its prompts, which are lost."""
        with self._lock:
            lost = [queued for queued in self._taken if queued.object.exists]
            for queued in self._taken:
                self.objects.close(queued.object)
            self._taken = []
            return lost

    def finish(self, late: Iterable[QueuedPrompt], arrived: Collection[QueuedPrompt]) -> None:
        """Late prompts are on their way no more; the objects of those that arrived are tracked now."""
        with self._lock:
            for queued in late:
                if queued in self._late:  # else its object was removed on the way
                    self._late.remove(queued)
                self.objects.close(queued.object, tracked=queued in arrived)

    def close(self) -> None:
        """Its tracker is gone: an image still in work says nothing of the objects that are to come."""
        with self._lock:
            self._closed = True

    def _open(self) -> list[QueuedPrompt]:
        """What is late and what waits, in this order; prompts of objects that are over are dropped."""
        self._waiting = [queued for queued in self._waiting if queued.object.exists]
        self._late = [queued for queued in self._late if queued.object.exists]
        return [*self._late, *self._waiting]

    def _checked(self, request: PromptRequest) -> tuple[Prompt, StampedImage | None]:
        """The valid prompt, and the image it was made on, if that has come. PromptError for what cannot be used."""
        prompt, newest, frame_id = request.prompt, self._history.newest, self.camera_frame_id
        self.limits.check_size(prompt.id, prompt.class_id, point_count(prompt))
        self.limits.check_pending(prompt, [queued.prompt for queued in self._open()])
        if frame_id and request.frame_id and request.frame_id != frame_id:
            raise PromptError(
                f"prompt '{prompt.id}': made in frame '{shown(request.frame_id)}'; expected pixels of the camera "
                f"image, whose frame is '{frame_id}'"
            )
        size_hw = self._size_hw or (
            prompt.mask.shape[:2] if prompt.mask is not None else (UNKNOWN_SIZE_PX, UNKNOWN_SIZE_PX)
        )
        return prompt.validated(*size_hw), self._own_image(request, newest)

    def _own_image(self, request: PromptRequest, newest: StampedImage | None) -> StampedImage | None:
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

    def _check_held(self, prompt: Prompt, image: StampedImage) -> None:
        """Images that late prompts hold outlive the history, so they have a bound of their own."""
        late = [queued.image for queued in self._open() if queued.image is not None]
        held = sum({id(each): each.bytes for each in (*late, image)}.values())
        if late and held > self._history.max_bytes:
            raise PromptError(
                f"prompt '{prompt.id}': {held / 1e6:.0f} MB of images with those of the late prompts that wait; "
                f"expected at most history_bytes = {self._history.max_bytes / 1e6:.0f} MB; wait until some are done"
            )


def _is_of(queued: QueuedPrompt, image: StampedImage, tolerance_ns: float) -> bool:
    """Whether a prompt was made on this image, or on none in particular."""
    if queued.image is not None:
        return queued.image.stamp_ns == image.stamp_ns
    return not queued.stamp_ns or abs(queued.stamp_ns - image.stamp_ns) <= tolerance_ns


def _never_came(queued: QueuedPrompt, image: StampedImage) -> str:
    ahead_s = (queued.stamp_ns - image.stamp_ns) / 1e9
    kind = f"{ahead_s:.2f} s newer than any that came since" if ahead_s > 0 else "that never came"
    return f"prompt '{queued.id}': made on an image {kind}; expected the stamp of an image on this topic"
