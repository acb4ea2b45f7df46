# SPDX-License-Identifier: Apache-2.0
"""One project: its sources, the sessions that are open, and the worker that owns the model.

Does not know what a session does, nor HTTP.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2_ros.engine import Sam2Model, TrackerConfig
from sam2_ros.engine.warm_up import warm_up
from sam2_ros.errors import UserError
from sam2_ros.ui.frames import DEMO, SourceFrames, SourceSpec, describe
from sam2_ros.ui.store import SourceRow, Store
from sam2_ros.ui.store.store import HISTORY_BYTES
from sam2_ros.weights.open_model import ModelOptions, open_model

from .book import Book
from .events import Event, OnEvent
from .session import Session
from .worker import Worker

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkspaceConfig:
    """A project and how it is opened.

    Attributes:
        project: its folder; made if it is missing.
        sources: added to the project unless they are in it.
        model_options: which model, and how.
        demo_frames: length of the rendered demo clip in the gallery; 0 = no demo clip.
        max_objects: objects of one source.
        by: who works in it, noted with every action.
        history_bytes: limit of each source's history in the store.
        snapshot_bytes: limit of the tracker snapshots of each opened source in memory.
    """

    project: Path
    sources: tuple[SourceSpec, ...] = ()
    model_options: ModelOptions = field(default_factory=ModelOptions)
    demo_frames: int = 150
    max_objects: int = 16
    by: str = ""
    history_bytes: int = HISTORY_BYTES
    snapshot_bytes: int = 256 << 20


class Workspace:
    """One project folder, one model, and one worker thread that owns it. Thread-safe."""

    def __init__(self, config: WorkspaceConfig, store: Store, on_event: OnEvent) -> None:
        """Use `open`."""
        self._config, self._store, self._on_event = config, store, on_event
        self._lock = threading.RLock()
        self._sessions: dict[int, Session] = {}
        self._device = config.model_options.device
        self._worker = Worker(self._model)
        self._closed = False

    @staticmethod
    def open(config: WorkspaceConfig, on_event: OnEvent) -> Workspace:
        """Open a project and its sources; the model is opened in the background.

        Args:
            config: the project.
            on_event: called from any thread; must return at once.

        Raises:
            UserError: the project is open in another server or cannot be read; a source cannot be opened; there is no
                such model.
        """
        options = config.model_options.resolved()
        store = Store.open(config.project, config.by, config.history_bytes)
        try:
            workspace = Workspace(config, store, on_event)
            workspace._device = options.device
            workspace._add_sources()
        except BaseException:
            store.close()
            raise
        workspace._worker.start()
        return workspace

    def gallery(self) -> list[dict[str, Any]]:
        """The sources of the project, as JSON; those named last come last."""
        counts = self._store.object_counts()
        return [
            {
                "source": row.id,
                "name": row.name,
                "kind": row.kind,
                "frames": row.frames,
                "fps": row.fps,
                "width": row.width,
                "height": row.height,
                "objects": counts.get(row.id, 0),
                "opened": row.id in self._sessions,
            }
            for row in self._store.sources()
        ]

    def open_source(self, source: int) -> Session:
        """Open a source, or return its session if it is open. Its frames are decoded in the background.

        Raises:
            UserError: no such source, or its files are gone.
        """
        with self._lock:
            if self._closed:
                raise UserError("the server is ending: start it again")
            if source not in self._sessions:
                self._sessions[source] = self._opened(self._source(source))
            return self._sessions[source]

    def close(self) -> None:
        """Close everything; all is saved already."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for session in self._sessions.values():
            session.close()
        self._worker.close()
        self._store.close()

    def source_spec(self, source: int) -> SourceSpec:
        """Path and options of a source, for exports that read or name it."""
        row = self._source(source)
        return SourceSpec.of(row.path, row.options)

    def _opened(self, row: SourceRow) -> Session:
        spec = SourceSpec.of(row.path, row.options)
        if row.kind != DEMO and not spec.path.exists():
            raise UserError(f"source {spec.path} is gone: move it back, or name it again where it is now")
        notice = lambda text: self._emit({"event": "notice", "source": row.id, "text": text})  # noqa: E731
        frames = SourceFrames(
            spec,
            self._config.project / "frames" / str(row.id),
            (row.height, row.width),
            row.frames,
            lambda done, total, rate: self._decoding(row.id, done, total, rate),
            lambda: self._decoded(row.id),
        )
        if frames.changed:
            notice(f"{row.name} has changed since it was opened last: check that the masks still fit")
        model = (self._config.model_options.model, lambda: self._device)
        limits = (self._config.max_objects, self._config.snapshot_bytes)
        book = Book(self._store, row.id, notice)
        return Session(row, book, frames, self._worker, model, limits, self._emit)

    def _decoding(self, source: int, done: int, total: int, rate: float) -> None:
        self._emit(
            {
                "event": "progress", "source": source, "what": "decode", "done": done, "total": total,
                "fps": round(rate, 1),
            }
        )  # fmt: skip

    def _decoded(self, source: int) -> None:
        """All frames are decoded: only now is their number certain."""
        session = self._session_when_open(source)
        if session is None:
            return
        count, error = session.all_decoded()
        if not error:
            self._store.update_source(source, {"frames": count})
        self._decoding(source, count, count, 0.0)

    def _session_when_open(self, source: int) -> Session | None:
        with self._lock:  # `open_source` holds it until the session is there
            return None if self._closed else self._sessions.get(source)

    def _source(self, source: Any) -> SourceRow:
        found = {row.id: row for row in self._store.sources()}
        if source not in found:
            raise UserError(f"source {source!r} given, a source of the gallery expected: {sorted(found)}")
        return found[source]

    def _add_sources(self) -> None:
        demo = SourceSpec(self._config.project.absolute() / DEMO, demo_frames=self._config.demo_frames)
        known = {
            (row.path, row.options.get("topic"), row.options.get("glob")) for row in self._store.sources()
        }
        for spec in ([demo] if demo.demo_frames else []) + list(self._config.sources):
            path = str(spec.path.absolute())
            key = (path, spec.topic, spec.glob)
            if key in known:
                continue
            known.add(key)
            found = describe(spec)
            options = spec.options | {"stamps_known": found.stamps_known}
            self._store.add_source(
                SourceRow(
                    found.kind, found.name, path, found.frames, found.fps, found.width, found.height, options
                )
            )

    def _model(self) -> Sam2Model:
        """In the worker: open the model and warm it up."""
        options = self._config.model_options
        model = open_model(options, TrackerConfig(max_objects=self._config.max_objects))
        self._device = str(model.device)
        warm_up(model)
        return model

    def _emit(self, event: Event) -> None:
        try:
            self._on_event(event)
        except Exception:
            _log.exception("an event was not delivered")
