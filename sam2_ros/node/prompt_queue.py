# SPDX-License-Identifier: Apache-2.0
"""The prompt queue: checks each prompt on arrival, and keeps it until the image it was made on is tracked.

Knows stamps, images and prompts; no ROS messages, and it never calls the tracker. Service callbacks submit prompts, the
worker takes them between two images, so a slow image never delays a reply.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from sam2_ros.engine import FrameResult, Prompt, PromptError

from .frame_history import FrameHistory, StampedImage
from .limits import Limits, point_count, shown
from .object_registry import ObjectEntry, ObjectRegistry
from .prompt_outcome import DETECTOR, TOPIC, Outcome, PromptOutcome

UNKNOWN_SIZE_PX = 1 << 24  # larger than any image: stands for the image size before the first image
FUTURE_PATIENCE_S = 1.0  # a prompt waits at least this long for an image that has not come yet


@dataclass(frozen=True)
class PromptRequest:
    """A prompt as received.

    Attributes:
        named: False if the node chooses the id.
        stamp_ns: stamp of the image it was made on; 0 = the next image.
        source: one of the sources in `prompt_outcome`.
    """

    prompt: Prompt
    named: bool
    stamp_ns: int = 0
    frame_id: str = ""
    source: str = TOPIC

    def rejected(self, reason: str) -> PromptOutcome:
        """Its outcome if it is not accepted: without a mask, and without a box that is none; either may be large."""
        object_id = self.prompt.id if self.named else ""
        box = self.prompt.box if self.prompt.box is not None and len(self.prompt.box) == 4 else None
        return PromptOutcome(
            Outcome.REJECTED,
            object_id,
            self.source,
            self.prompt.class_id,
            replace(self.prompt, id=object_id, box=box, mask=None),
            self.stamp_ns,
            shown(self.frame_id),
            reason,
        )


@dataclass(eq=False)
class QueuedPrompt:
    """An accepted prompt, until it is applied or rejected.

    Attributes:
        object: the object it creates or refines; if that no longer exists, the prompt is dropped.
        stamp_ns: stamp of the image it was made on; 0 = any image.
        submitted_s: time of acceptance on the steady clock.
        image: the image it was made on, once known.
        outcome: what became of it; None until then. `reason` says why if it was rejected.
        applied_s: time of receipt of the first image whose result can show it, steady clock; set with APPLIED and LATE.
    """

    prompt: Prompt
    object: ObjectEntry
    stamp_ns: int
    submitted_s: float
    source: str = TOPIC
    image: StampedImage | None = None
    outcome: Outcome | None = None
    reason: str = ""
    applied_s: float = 0.0

    def is_shown(self, received_s: float) -> bool:
        """True if the result of an image received then, on the steady clock, can show this prompt."""
        return self.outcome in (Outcome.APPLIED, Outcome.LATE) and received_s >= self.applied_s

    @property
    def by_detector(self) -> bool:
        """Made from a detector's box, not by a user."""
        return self.source == DETECTOR

    @property
    def id(self) -> str:
        return self.object.id


def usable_prompts(
    prompts: Iterable[QueuedPrompt], size_hw: tuple[int, int]
) -> tuple[list[QueuedPrompt], list[tuple[QueuedPrompt, str]]]:
    """(prompts that fit an image of this size, (prompt, reason) of the others).

    Prompts already checked against this size on arrival are not checked again, see `Prompt.validated`.
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
    """The prompts that are due with one image.

    Attributes:
        prompts: made on this image, or without a stamp.
        late: made on an earlier image.
        rejected: (prompt, reason); their image never came.
    """

    prompts: list[QueuedPrompt] = field(default_factory=list)
    late: list[QueuedPrompt] = field(default_factory=list)
    rejected: list[tuple[QueuedPrompt, str]] = field(default_factory=list)


class PromptQueue:
    """The prompts that wait for their image. Thread-safe; no method blocks.

    Args:
        objects: the objects that exist; each accepted prompt belongs to one.
        history: the camera's recent images.
        limits: limits of waiting prompts; may be replaced at any time.
    """

    def __init__(self, objects: ObjectRegistry, history: FrameHistory, limits: Limits | None = None) -> None:
        self.objects = objects
        self.limits = limits or Limits()
        self._history = history
        self._lock = threading.Lock()
        self._waiting: list[QueuedPrompt] = []  # wait for their image
        self._late: list[QueuedPrompt] = []  # late prompts that are catching up
        self._taken: list[QueuedPrompt] = []  # applied to the image that is being tracked
        self._size_hw: tuple[int, int] | None = None
        self._closed = False

    def image_size(self, size_hw: tuple[int, int]) -> None:
        """Set the size of the camera's images, against which prompts are checked on arrival."""
        with self._lock:
            self._size_hw = size_hw

    @property
    def camera_frame_id(self) -> str:
        """Frame of the newest image; "" before the first one."""
        newest = self._history.newest
        return newest.frame_id if newest is not None else ""

    @property
    def pending(self) -> int:
        """Number of prompts that wait for their image or are catching up."""
        with self._lock:
            return len(self._open())

    def awaits(self, stamp_ns: int) -> bool:
        """True if a prompt waits for exactly this image, which then must not be dropped."""
        tolerance_ns = self._history.tolerance_ns()
        with self._lock:
            return any(
                queued.stamp_ns and abs(queued.stamp_ns - stamp_ns) <= tolerance_ns
                for queued in self._waiting
                if queued.object.exists
            )

    def submit(self, request: PromptRequest, now_s: float) -> str:
        """As `enqueue`; returns the object's id."""
        return self.enqueue(request, now_s).id

    def enqueue(self, request: PromptRequest, now_s: float) -> QueuedPrompt:
        """Check a prompt and queue it for its image. Raises PromptError, which the caller reports."""
        with self._lock:
            prompt, image = self._checked(request)
            entry = self.objects.admit(prompt.id, request.named, prompt.class_id)
            if not request.named:
                prompt = prompt.renamed(entry.id)
            queued = QueuedPrompt(prompt, entry, request.stamp_ns, now_s, request.source, image)
            self._waiting.append(queued)
            return queued

    def remove(self, ids: Iterable[str] = ()) -> tuple[list[str], list[str]]:
        """As `ObjectRegistry.remove`; their waiting prompts are rejected at once."""
        answer = self.objects.remove(ids)
        self.drop_ended()
        return answer

    def reset(self) -> int:
        """As `ObjectRegistry.reset`; all waiting prompts are rejected at once."""
        count = self.objects.reset()
        self.drop_ended()
        return count

    def drop_ended(self) -> None:
        """Reject the prompts whose objects have ended."""
        with self._lock:
            self._open()

    def conclude(
        self, queued: QueuedPrompt, outcome: Outcome, image: StampedImage | None = None, reason: str = ""
    ) -> None:
        """Report a prompt's outcome; only the first one counts.

        Args:
            image: the image it was applied to; default: the image it was made on.
        """
        image = image or queued.image
        with self.objects.lock:
            if queued.outcome is not None:
                return
            if (
                outcome != Outcome.REJECTED and not queued.object.exists
            ):  # it ended while its image was tracked
                outcome, reason = Outcome.REJECTED, _ended(queued)
            queued.reason = reason
            if outcome == Outcome.APPLIED and image is not None:
                queued.applied_s = image.received_s
            elif outcome == Outcome.LATE:
                queued.applied_s = time.monotonic()
            queued.outcome = outcome
            prompt = queued.prompt if outcome != Outcome.REJECTED else replace(queued.prompt, mask=None)
            stamp_ns, frame_id = (image.stamp_ns, image.frame_id) if image else (queued.stamp_ns, "")
            self.objects.report(
                PromptOutcome(
                    outcome, queued.id, queued.source, prompt.class_id, prompt, stamp_ns, frame_id, reason
                )
            )

    def take(self, image: StampedImage, now_s: float) -> ImagePrompts:
        """The prompts that are due with `image`. End it with `settle` or `abandon`."""
        tolerance_ns = self._history.tolerance_ns()
        due, still_waiting = ImagePrompts(), []
        self.abandon("the node was deactivated before its image was done")
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
        """Close the prompts of the last `take`, and complete its image's result; see `ObjectRegistry.confirm`."""
        with self._lock:
            if self._closed:
                return
            taken, self._taken = self._taken, []
            self.objects.confirm(result, [queued.object for queued in taken])

    def abandon(self, reason: str = "its image failed") -> list[QueuedPrompt]:
        """The image of the last `take` failed: reject its prompts and return them."""
        with self._lock:
            for queued in self._taken:
                self.conclude(queued, Outcome.REJECTED, reason=f"prompt '{queued.id}': {reason}")
            lost = [queued for queued in self._taken if queued.object.exists]
            for queued in self._taken:
                self.objects.close(queued.object)
            self._taken = []
            return lost

    def finish(self, late: Iterable[QueuedPrompt], arrived: Collection[QueuedPrompt]) -> None:
        """Close late prompts that have ended; the objects of those in `arrived` are tracked now."""
        with self._lock:
            for queued in late:
                if queued in self._late:  # otherwise its object was removed meanwhile
                    self._late.remove(queued)
                self.objects.close(queued.object, tracked=queued in arrived)

    def close(self) -> None:
        """Ignore the result of an image still in progress: its tracker is gone."""
        with self._lock:
            self._closed = True

    def _open(self) -> list[QueuedPrompt]:
        """Late and waiting prompts, in this order. Drops those of objects that have ended."""
        for queued in (*self._late, *self._waiting):
            if not queued.object.exists:
                self.conclude(queued, Outcome.REJECTED, reason=_ended(queued))
        self._waiting = [queued for queued in self._waiting if queued.outcome is None]
        self._late = [queued for queued in self._late if queued.outcome is None]
        return [*self._late, *self._waiting]

    def _checked(self, request: PromptRequest) -> tuple[Prompt, StampedImage | None]:
        """The validated prompt, and the image it was made on if that has come. Raises PromptError."""
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
        """The image a prompt was made on; None if it has not come yet, or the prompt has no stamp."""
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
                f"prompt '{prompt.id}': made on an image {age_s:.2f} s older than the newest, which was dropped to "
                f"stay within history_bytes = {self._history.max_bytes / 1e6:.0f} MB; send it sooner or raise "
                "history_bytes"
            )
        if image is None:
            nearest = self._history.nearest(request.stamp_ns)
            away = (
                f"the nearest is {abs(nearest.stamp_ns - request.stamp_ns) / 1e6:.0f} ms away"
                if nearest is not None
                else "none of the recent images has a stamp"
            )
            raise PromptError(
                f"prompt '{prompt.id}': no image with its stamp was received, {away}; expected the stamp of the "
                "image it was made on, or zero for the next image"
            )
        self._check_held(prompt, image)
        return image

    def _check_held(self, prompt: Prompt, image: StampedImage) -> None:
        """Limit the bytes of the images that late prompts hold: these stay after the history has dropped them."""
        late = [queued.image for queued in self._open() if queued.image is not None]
        held = sum({id(each): each.bytes for each in (*late, image)}.values())
        if late and held > self._history.max_bytes:
            raise PromptError(
                f"prompt '{prompt.id}': the images of all late prompts are {held / 1e6:.0f} MB with its own; expected "
                f"at most history_bytes = {self._history.max_bytes / 1e6:.0f} MB; wait until some are done"
            )


def _ended(queued: QueuedPrompt) -> str:
    return f"prompt '{queued.id}': the object ended before the prompt was applied: {queued.object.end_reason}"


def _is_of(queued: QueuedPrompt, image: StampedImage, tolerance_ns: float) -> bool:
    """True if a prompt was made on this image, or has no stamp."""
    if queued.image is not None:
        return queued.image.stamp_ns == image.stamp_ns
    return not queued.stamp_ns or abs(queued.stamp_ns - image.stamp_ns) <= tolerance_ns


def _never_came(queued: QueuedPrompt, image: StampedImage) -> str:
    ahead_s = (queued.stamp_ns - image.stamp_ns) / 1e9
    kind = f"{ahead_s:.2f} s newer than any that came since" if ahead_s > 0 else "that never came"
    return f"prompt '{queued.id}': made on an image {kind}; expected the stamp of an image on this topic"
