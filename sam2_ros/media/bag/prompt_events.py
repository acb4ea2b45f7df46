# SPDX-License-Identifier: Apache-2.0
"""Reads the prompts of a recorded ~/prompt_events topic, and assigns them to the images of a camera's timeline.

Does not know who made the prompts, and runs no tracker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sam2_ros.engine import Prompt
from sam2_ros.engine.prompt import merge_prompts
from sam2_ros.errors import UserError
from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.messages.cdr_header import header_stamp_ns
from sam2_ros.media.messages.prompt import read_prompt

from .storage import BagReader
from .timeline import BagTimeline

EVENT_TYPE = "sam2_ros_msgs/msg/PromptEvent"
APPLIED, LATE, REMOVED = 0, 1, 3  # constants of the message


def recorded_prompts(events: Path, camera: BagTimeline) -> tuple[dict[int, list[Prompt]], list[str]]:
    """(image index -> its prompts, notes for the user) of the prompts that a node has applied.

    A prompt of an object that was removed before starts the object anew. Rejected prompts are left out.

    Args:
        events: a rosbag2 with one topic of PromptEvent; may be the camera's own bag.

    Raises:
        UserError: no such topic or several, an event that cannot be read, or no prompt on an image of `camera`.
    """
    index_by_stamp = camera.index_by_header(f"a prompt in '{events}'")
    by_image: dict[int, list[Prompt]] = {}
    notes: list[str] = []
    removed: set[str] = set()
    elsewhere = removals = 0
    for stamp_ns, event in _events(events):
        if event.outcome == REMOVED:
            removals += 1
            removed.add(event.id)
        if event.outcome not in (APPLIED, LATE):
            continue
        if stamp_ns not in index_by_stamp:
            elsewhere += 1
            continue
        try:
            prompt = read_prompt(event.prompt)
        except ValueError as error:
            raise UserError(f"'{events}': prompt of '{event.id}': {error}") from None
        if event.id in removed:
            removed.discard(event.id)
            prompt = replace(prompt, replace=True)
        by_image.setdefault(index_by_stamp[stamp_ns], []).append(prompt)
    if not by_image:
        raise UserError(
            f"'{events}' has no applied prompt on an image of {camera.topic} of '{camera.bag}' ({elsewhere} on other "
            "images): expected the prompt events of the node that tracked these images"
        )
    if elsewhere:
        notes.append(f"{elsewhere} prompts of '{events}' are on images that '{camera.bag}' does not have")
    if removals:
        notes.append(
            f"{removals} objects were removed while '{events}' was recorded; the replay tracks them to the end"
        )
    return {
        index: merge_prompts(prompts, on_conflict=notes.append) for index, prompts in sorted(by_image.items())
    }, notes


def _events(path: Path) -> Iterator[tuple[int, Any]]:
    """(stamp of the image, PromptEvent) in the order recorded."""
    with BagReader(path) as reader:
        topics = [topic.name for topic in reader.topics() if topic.type == EVENT_TYPE]
        if len(topics) != 1:
            found = ", ".join(topics) or "none"
            raise UserError(
                f"'{path}' has {len(topics)} topics of {EVENT_TYPE} ({found}), expected one: record ~/prompt_events of "
                "one node"
            )
        for raw in reader.raw_messages(topics):
            try:
                yield header_stamp_ns(raw.cdr), reader.decode(raw)
            except SourceError as error:
                raise UserError(str(error)) from None
