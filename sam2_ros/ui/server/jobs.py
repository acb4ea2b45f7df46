# SPDX-License-Identifier: Apache-2.0
"""Runs exports one after the other in a thread of their own, and tells how far they are and where the file is.

Does not know what an export writes, nor clients.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from sam2_ros.errors import UserError, one_line
from sam2_ros.text import readable
from sam2_ros.ui.cancelled import Cancelled
from sam2_ros.ui.export.bag import export_bag
from sam2_ros.ui.export.exported import Export
from sam2_ros.ui.export.masks import export_masks
from sam2_ros.ui.export.movie import export_movie
from sam2_ros.ui.export.prompts import export_prompts
from sam2_ros.ui.session import Event, Session
from sam2_ros.ui.session.exporting import Exporting
from sam2_ros.ui.session.workspace import Workspace
from sam2_ros.weights.open_model import ModelOptions

from .pictures import Pictures

KINDS = ("mp4", "masks", "prompts", "bag")
_REPORT_EVERY_S = 0.2

_log = logging.getLogger(__name__)


@dataclass
class Job:
    """One export."""

    number: int
    source: int
    kind: str
    with_source: bool
    cancelled: threading.Event = field(default_factory=threading.Event)


class ExportJobs:
    """The exports of one server."""

    def __init__(
        self,
        workspace: Workspace,
        exports: Path,
        model_options: ModelOptions,
        pictures: Pictures,
        most: int,
        emit: Callable[[Event], None],
    ) -> None:
        self._workspace, self._exports, self._model_options = workspace, exports, model_options
        self._pictures, self._most, self._emit = pictures, most, emit
        self._pool = ThreadPoolExecutor(1, "export")
        self._jobs: dict[int, Job] = {}
        self._next = 1
        self._lock = threading.Lock()

    def start(self, session: Session, kind: str, with_source: bool) -> int:
        """Start an export; returns its number. The event `exported` tells its end.

        Raises:
            UserError: an unknown kind, or too many exports wait.
        """
        if kind not in KINDS:
            raise UserError(f"export {readable(kind[:80])!r} given, one of {', '.join(KINDS)} expected")
        with self._lock:
            if len(self._jobs) >= self._most:
                raise UserError(f"{len(self._jobs)} exports run or wait: wait for one, or cancel it")
            job = Job(self._next, session.number, kind, with_source)
            self._next += 1
            self._jobs[job.number] = job
        self._pool.submit(self._run, job, session)
        return job.number

    def cancel(self, number: int) -> bool:
        """End an export; False if it has ended."""
        job = self._jobs.get(number)
        if job is not None:
            job.cancelled.set()
        return job is not None

    def close(self) -> None:
        """End all exports; nothing of them is left."""
        for job in list(self._jobs.values()):
            job.cancelled.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, job: Job, session: Session) -> None:
        end: dict[str, str]
        try:
            made = self._written(job, session)
            for note in made.notes:
                self._emit({"event": "notice", "source": job.source, "text": note})
            end = {"file": "", "url": ""}
            if made.file is not None:
                end = {
                    "file": made.file.name,
                    "url": f"/exports/{quote(made.folder.name)}/{quote(made.file.name)}",
                }
        except Cancelled:
            end = {"error": "cancelled; nothing of it is left"}
        except Exception as error:
            if not isinstance(error, UserError):
                _log.exception("export of %s failed", job.kind)
            end = {"error": one_line(error)}
        with self._lock:
            del self._jobs[job.number]
        self._emit({"event": "exported", "source": job.source, "job": job.number, **end})

    def _written(self, job: Job, session: Session) -> Export:
        made = Exporting(session, self._workspace.source_spec(job.source), self._model_options)
        report = _Report(job, self._emit)

        def request(frames: int):  # type: ignore[no-untyped-def]
            return made.request(self._exports, frames, report, job.cancelled.is_set)

        if job.kind == "mp4":
            settings = made.settings
            wanted = settings.object.effect == "replace" and settings.object.picture
            picture = self._pictures.read(settings.object.picture) if wanted else None
            frames = session.state()["source"]["frames"]
            return export_movie(request(frames), made.frames_with_images(), settings, picture)
        if job.kind == "prompts":
            return export_prompts(request(0), made.keyframes())
        tracked = len(made.tracked_frames())
        if not tracked:
            raise UserError("no frame is tracked yet: prompt an object, and track it")
        if job.kind == "masks":
            return export_masks(request(tracked), made.frames())
        return export_bag(request(tracked), made.frames(), job.with_source)


class _Report:
    """Tells the progress, but not more often than can be seen."""

    def __init__(self, job: Job, emit: Callable[[Event], None]) -> None:
        self._job, self._emit = job, emit
        self._started = self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told < _REPORT_EVERY_S and done < total:
            return
        self._told = now
        self._emit(
            {
                "event": "progress", "source": self._job.source, "what": "export", "job": self._job.number,
                "done": done, "total": total, "fps": round(done / max(now - self._started, 1e-3), 1),
            }
        )  # fmt: skip
