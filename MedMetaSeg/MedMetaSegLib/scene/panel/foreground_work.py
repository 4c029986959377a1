"""Work of seconds on the main thread: it tells its progress, windows live meanwhile, and Cancel stops it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import slicer

from ...errors import Cancelled
from ...progress import Progress

_EVENTS_EVERY_S = 0.05
"""Seconds between two moments for the windows, at least."""

_Result = TypeVar("_Result")


class ForegroundWork:
    """Runs one piece of work at a time; onTick(share, what, seconds) is called as it goes on.

    For what is over in a moment as a rule: sending it to the worker, and starting that, would take longer.
    """

    def __init__(self, onTick: Callable[[float, str, float], None]) -> None:
        self._onTick = onTick
        self._cancelled = False
        self.isRunning = False

    def run(self, work: Callable[[Progress], _Result]) -> _Result:
        """The result of work(progress). Raises Cancelled after `cancel`, and what the work raises."""
        begun = shown = time.monotonic()

        def progress(share: float, what: str) -> None:
            nonlocal shown
            now = time.monotonic()
            if now - shown >= _EVENTS_EVERY_S:
                self._onTick(share, what, now - begun)
                slicer.app.processEvents()
                shown = time.monotonic()
            if self._cancelled:
                raise Cancelled("Cancelled.")

        self.isRunning, self._cancelled = True, False
        try:
            return work(progress)
        finally:
            self.isRunning = False

    def cancel(self) -> None:
        """Have what runs raise Cancelled when it next tells its progress."""
        self._cancelled = True
