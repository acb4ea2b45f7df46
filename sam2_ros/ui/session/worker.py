# SPDX-License-Identifier: Apache-2.0
"""The one thread that owns the model: answers tasks at once, and tracks one frame at a time in between.

Does not know what tasks and runs do.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import Enum
from typing import Any, Protocol, TypeVar

from sam2_ros.engine import Sam2Model
from sam2_ros.errors import UserError, one_line

_WAIT_S = 0.02  # for a frame that is not decoded yet

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Step(Enum):
    """What one step of a run came to."""

    WENT_ON = 0
    WAITS = 1  # for a frame that is not decoded yet
    ENDED = 2


class Run(Protocol):
    """Long work that is done in steps."""

    def step(self) -> Step:
        """Do one step, of at most one frame."""

    def finish(self, cancelled: bool, error: str = "") -> None:
        """Save and report; called once."""


class Worker(threading.Thread):
    """Opens the model, then works until `close`. Tasks are done in order, each between two steps of the run."""

    def __init__(self, open_model: Callable[[], Sam2Model]) -> None:
        super().__init__(name="model", daemon=True)
        self._open_model = open_model
        self._tasks: queue.Queue[tuple[Future[Any], Callable[[Sam2Model], Any]] | None] = queue.Queue()
        self._run: Run | None = None
        self._model: Sam2Model | None = None
        self._failure = ""
        self._closing = threading.Lock()
        self._closed = False

    def call(self, task: Callable[[Sam2Model], T]) -> T:
        """Do a task in the worker, between two frames, and return its result.

        Raises:
            UserError: the model does not open, or the worker was closed; and whatever the task raises.
        """
        if threading.current_thread() is self:
            return task(self._opened())
        future: Future[T] = Future()
        with self._closing:
            if self._closed:
                raise UserError("the server is ending: start it again")
            self._tasks.put((future, task))
        return future.result()

    def begin(self, make: Callable[[Sam2Model], Run]) -> None:
        """Start a run; one that is going on is cancelled first."""

        def task(model: Sam2Model) -> None:
            self._end_run(cancelled=True)
            self._run = make(model)

        self.call(task)

    def cancel(self, run: Run) -> bool:
        """End a run, whose results so far stay; False if it has ended already."""
        return self.call(lambda _model: run is self._run and self._end_run(cancelled=True))

    def close(self) -> None:
        """End the run and the thread."""
        with self._closing:
            self._closed = True
            self._tasks.put(None)
        self.join()

    def run(self) -> None:
        """The thread's work; not to be called."""
        try:
            self._model = self._open_model()
        except Exception as error:
            self._failure = one_line(error)
            _log.error("%s", self._failure)
        while (task := self._next_task()) is not _END:
            if task is not None:
                self._do(*task)
        self._end_run(cancelled=True)

    def _next_task(self) -> Any:
        """The next task; None if a step was done instead; `_END` at the end."""
        wait_s: float | None = None
        if self._run is not None and self._tasks.empty():
            step = self._stepped(self._run)
            wait_s = _WAIT_S if step == Step.WAITS else 0.0
            if step == Step.ENDED:
                return None
        try:
            task = self._tasks.get(block=wait_s != 0.0, timeout=wait_s or None)
        except queue.Empty:
            return None
        return _END if task is None else task

    def _stepped(self, run: Run) -> Step:
        try:
            step = run.step()
        except Exception as error:
            if not isinstance(error, UserError):
                _log.exception("tracking failed")
            self._end_run(cancelled=True, error=one_line(error))
            return Step.ENDED
        if step == Step.ENDED:
            self._end_run(cancelled=False)
        return step

    def _end_run(self, cancelled: bool, error: str = "") -> bool:
        run, self._run = self._run, None
        if run is None:
            return False
        try:
            run.finish(cancelled, error)
        except Exception:
            _log.exception("the end of tracking failed")
        return True

    def _do(self, future: Future[Any], task: Callable[[Sam2Model], Any]) -> None:
        try:
            future.set_result(task(self._opened()))
        except BaseException as error:
            future.set_exception(error)

    def _opened(self) -> Sam2Model:
        if self._model is None:
            raise UserError(self._failure or "the model is not open")
        return self._model


_END = object()
