# SPDX-License-Identifier: Apache-2.0
"""Limits of one request, so that no client can use up the node's time or memory.

Knows sizes and names; does not know messages, the tracker or the client.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sam2_ros.engine import Prompt, PromptError

SHOWN_CHARACTERS = 60  # of a name in an error message
LISTED = 8  # names or reasons in an error message; the rest is counted
MAX_NAME_BYTES = 1024  # of an image's frame_id and encoding


@dataclass(frozen=True)
class Limits:
    """The limits that are parameters of the node, under the same names (see `NodeParams`), with their defaults."""

    max_points: int = 256
    max_message_prompts: int = 64
    max_pending_prompts: int = 64
    max_pending_bytes: int = 128 * 1024 * 1024
    max_id_bytes: int = 128
    history_bytes: int = 512 * 1024 * 1024

    def check_count(self, prompts: int) -> None:
        """Raise PromptError for a message with too many prompts; it is refused as a whole."""
        if prompts > self.max_message_prompts:
            raise PromptError(
                f"{prompts:,} prompts in one message; expected at most max_message_prompts = "
                f"{self.max_message_prompts}: send several messages, or raise max_message_prompts"
            )

    def check_size(self, prompt_id: str, class_id: str, points: int) -> None:
        """Raise PromptError for a name or a number of points beyond the limits. Cheap: called before conversion."""
        for what, name in (("id", prompt_id), ("class_id", class_id)):
            if (size := len(name.encode("utf-8", "surrogatepass"))) > self.max_id_bytes:
                raise PromptError(
                    f"prompt '{shown(prompt_id)}': {what} of {size:,} bytes; expected at most max_id_bytes = "
                    f"{self.max_id_bytes}"
                )
        if points > self.max_points:
            raise PromptError(
                f"prompt '{shown(prompt_id)}': {points:,} points; expected at most max_points = {self.max_points}: "
                "a few points are enough; for a whole outline send a mask"
            )

    def check_pending(self, prompt: Prompt, pending: Sequence[Prompt]) -> None:
        """Raise PromptError if `prompt` exceeds a limit together with the prompts that wait already."""
        if len(pending) >= self.max_pending_prompts:
            raise PromptError(
                f"prompt '{shown(prompt.id)}': {len(pending)} prompts wait for their images, as many as "
                f"max_pending_prompts = {self.max_pending_prompts} allows; wait for the next image, or check why "
                "no image comes"
            )
        points = point_count(prompt) + sum(point_count(each) for each in pending if each.id == prompt.id)
        if points > self.max_points:
            raise PromptError(
                f"prompt '{shown(prompt.id)}': {points:,} points with those that wait for their image; expected at "
                f"most max_points = {self.max_points}; wait for the next image"
            )
        if prompt.mask is None:
            return
        held = prompt.mask.nbytes + sum(each.mask.nbytes for each in pending if each.mask is not None)
        if held > self.max_pending_bytes:
            raise PromptError(
                f"prompt '{shown(prompt.id)}': {held / 1e6:.0f} MB of masks with those that wait for their image; "
                f"expected at most max_pending_bytes = {self.max_pending_bytes / 1e6:.0f} MB; wait for the next image"
            )


def point_count(prompt: Prompt) -> int:
    return 0 if prompt.points is None else len(prompt.points)


def shown(text: str) -> str:
    """A name for an error message, cut after SHOWN_CHARACTERS."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def listed(texts: Sequence[str], separator: str = ", ") -> str:
    """The first LISTED texts, and the number of the others."""
    first = separator.join(texts[:LISTED])
    more = len(texts) - LISTED
    return f"{first}{separator}and {more:,} more" if more > 0 else first
