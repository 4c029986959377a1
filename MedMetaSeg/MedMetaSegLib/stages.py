"""Where the time goes, stage by stage, for whoever asks; it costs next to nothing while nobody does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class StageTimes:
    """Seconds and calls of every stage that ran while it was recorded, in one thread or in several.

    seconds: of each stage by the clock, without the stages inside it, so that they add up to no more than
    what was recorded: while several threads are at work, each has its equal share of the time. The names are
    in the order in which stages first began.
    """

    def __init__(self, synchronize: Callable[[], None] = lambda: None) -> None:
        """synchronize: waits until the device has done what it was given, before every look at the clock."""
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._synchronize = synchronize
        self._lock = threading.Lock()
        self._running: dict[int, list[str | None]] = {}
        self._since = 0.0

    def begin(self, name: str) -> None:
        """The stage begins in this thread; the one around it stands still."""
        with self._lock:
            self._lap()
            self.seconds.setdefault(name, 0.0)
            self.calls[name] = self.calls.get(name, 0) + 1
            self._running.setdefault(threading.get_ident(), []).append(name)

    def end(self) -> None:
        """The stage that began last in this thread ends."""
        with self._lock:
            self._lap()
            running = self._running[threading.get_ident()]
            running.pop()
            if not running:
                del self._running[threading.get_ident()]

    @property
    def inner(self) -> str | None:
        """The stage that this thread is in, None in none."""
        running = self._running.get(threading.get_ident())
        return running[-1] if running else None

    @contextmanager
    def at_work(self, name: str | None) -> Iterator[None]:
        """Inside, this thread works on a part of a stage that began in another, None for one of no stage."""
        own = threading.get_ident()
        with self._lock:
            self._lap()
            self._running[own] = [name]
        try:
            yield
        finally:
            with self._lock:
                self._lap()
                del self._running[own]

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, this thread only waits for others: none of the time is its own."""
        own = threading.get_ident()
        with self._lock:
            self._lap()
            running = self._running.pop(own, None)
        try:
            yield
        finally:
            with self._lock:
                self._lap()
                if running is not None:
                    self._running[own] = running

    def _lap(self) -> None:
        self._synchronize()
        now = time.perf_counter()
        for running in self._running.values():
            if running[-1] is not None:
                self.seconds[running[-1]] += (now - self._since) / len(self._running)
        self._since = now


_recorded: ContextVar[StageTimes | None] = ContextVar("recorded stages", default=None)


@contextmanager
def recorded_stages(synchronize: Callable[[], None] = lambda: None) -> Iterator[StageTimes]:
    """The times of all stages that run inside, in this thread and in those that work for it.

    synchronize: see `StageTimes`.
    """
    times = StageTimes(synchronize)
    token = _recorded.set(times)
    try:
        yield times
    finally:
        _recorded.reset(token)


def recording() -> StageTimes | None:
    """What the stages of this thread are recorded in; None while nobody asks."""
    return _recorded.get()


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
