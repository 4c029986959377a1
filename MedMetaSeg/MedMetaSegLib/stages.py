"""Where the time goes, stage by stage, for whoever asks; it costs next to nothing while nobody does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class StageTimes:
    """Seconds and calls of every stage that ran while it was recorded.

    seconds: of each stage without the stages inside it, so that they add up to what was recorded. The names
    are in the order in which stages first began.
    """

    def __init__(self, synchronize: Callable[[], None] = lambda: None) -> None:
        """synchronize: waits until the device has done what it was given, before every look at the clock."""
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._synchronize = synchronize
        self._running: list[str] = []
        self._since = 0.0

    def begin(self, name: str) -> None:
        """The stage begins; the one around it stands still."""
        self._lap()
        self.seconds.setdefault(name, 0.0)
        self.calls[name] = self.calls.get(name, 0) + 1
        self._running.append(name)

    def end(self) -> None:
        """The stage that began last ends."""
        self._lap()
        self._running.pop()

    def _lap(self) -> None:
        self._synchronize()
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now


_recorded: ContextVar[StageTimes | None] = ContextVar("recorded stages", default=None)


@contextmanager
def recorded_stages(synchronize: Callable[[], None] = lambda: None) -> Iterator[StageTimes]:
    """The times of all stages that run inside, in this thread; synchronize: see `StageTimes`."""
    times = StageTimes(synchronize)
    token = _recorded.set(times)
    try:
        yield times
    finally:
        _recorded.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """What runs inside is a stage of this name, in English, for `recorded_stages` around it."""
    times = _recorded.get()
    if times is None:
        yield
        return
    times.begin(name)
    try:
        yield
    finally:
        times.end()
