# SPDX-License-Identifier: Apache-2.0
"""Writes what was prompted into a `prompts.json` that `sam2-ros replay` reads, in a new folder of `exports/`.

The file is written anew after every prompt: a killed server loses nothing. Does not know who prompts.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sam2_ros.atomic_write import write_json
from sam2_ros.errors import UserError
from sam2_ros.ui.export.folder import new_export_folder

FILE = "prompts.json"
_README = """Prompts that were made in the live view of {node}, on {topic}.

Each names its image by stamp_ns, the stamp of its header in nanoseconds. Replay them on a bag of that topic that was
recorded at the same time:

    ros2 bag record {topic}                                        # while prompts are recorded
    sam2-ros replay BAG --prompts prompts.json --out replayed

Objects that were removed, and a reset, are not in the file.
"""


@dataclass(frozen=True)
class LivePrompt:
    """A prompt on one image, in its pixels.

    Attributes:
        id: object that it refines; "" = a new one, which the node names.
        stamp_ns, frame_id: header of the image.
        point: x, y, and whether the pixel belongs to the object.
        box: x0, y0, x1, y1, max exclusive.
    """

    id: str
    stamp_ns: int
    frame_id: str
    point: tuple[float, float, bool] | None = None
    box: tuple[float, float, float, float] | None = None


class PromptRecorder:
    """Records while it is on; a new folder each time. Thread-safe."""

    def __init__(self, exports: Path, node: str) -> None:
        self._exports, self._node = exports, node
        self._lock = threading.Lock()
        self._on = False
        self._file: Path | None = None
        self._prompts = 0
        self._entries: dict[tuple[int, str], dict[str, Any]] = {}

    def switch(self, on: bool) -> None:
        """Begin a new recording, or end it; its file stays."""
        with self._lock:
            if on and not self._on:
                self._entries, self._prompts, self._file = {}, 0, None
            self._on = on

    def add(self, prompt: LivePrompt, id: str, topic: str) -> None:
        """Record a prompt that the node accepted for an object. Raises UserError if it cannot be written."""
        with self._lock:
            if not self._on:
                return
            entry = self._entries.setdefault(
                (prompt.stamp_ns, id), {"id": id, "stamp_ns": prompt.stamp_ns, "points": []}
            )
            if prompt.point is not None:
                x, y, positive = prompt.point
                entry["points"].append([round(x, 2), round(y, 2), int(positive)])
            if prompt.box is not None:
                entry["box"] = [round(edge, 2) for edge in prompt.box]  # the newest one of an image counts
            self._prompts += 1
            self._write(topic)

    def _write(self, topic: str) -> None:
        if self._file is None:
            with new_export_folder(self._exports, f"live{self._node.replace('/', '-')}") as folder:
                text = _README.format(node=self._node, topic=topic or "the camera's topic")
                (folder / "README.txt").write_text(text, encoding="utf-8")
            self._file = folder / FILE
        entries = [self._entries[key] for key in sorted(self._entries)]
        kept = [{key: value for key, value in entry.items() if value != []} for entry in entries]
        try:
            write_json(self._file, kept)
        except OSError as error:
            raise UserError(
                f"the prompt was sent, but '{self._file}' cannot be written ({error.strerror}): free space",
                status=1,
            ) from error

    def state(self) -> dict[str, Any]:
        """`{"on", "prompts", "file", "url"}`; file and url are "" before the first prompt."""
        with self._lock:
            file, url = "", ""
            if self._file is not None:
                file = str(self._file)
                url = f"/exports/{quote(self._file.parent.name)}/{FILE}"
            return {"on": self._on, "prompts": self._prompts, "file": file, "url": url}
