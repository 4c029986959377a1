"""Who works on a batch's items: threads around one network here; processes and machines in their own modules.

A crew says for every item that it begins (READING, SEGMENTING) and what came of it (an Outcome); it puts
nothing in place, so that only the batch itself writes results and journal.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import BatchStopped, Cancelled
from .item import (
    Outcome,
    check_size,
    failed,
    needed_bytes,
    read_item,
    segment_item,
    stage_item,
)

if TYPE_CHECKING:
    from ..segmenter import Segmenter
    from ..task.task_file import Task
    from .inputs import BatchItem
    from .run import BatchRequest

__all__ = ["Executor", "Outcome", "ThreadExecutor", "make_executor", "memory_limit_bytes"]

READING, SEGMENTING = "reading", "segmenting"
POLL_S = 0.1
_READ_AHEAD = 2
_DEFAULT_LIMIT = 4 * 2**30

Message = tuple["BatchItem", "str | Outcome"]


class Executor(Protocol):
    """Works on items, in an order of its own."""

    def work(self, items: Sequence[BatchItem], cancelled: Callable[[], bool]) -> Iterator[Message]:
        """What begins and what came of it, until all is done or `cancelled` says so.

        Raises BatchStopped when results cannot be written.
        """


def make_executor(request: BatchRequest, task: Task, task_bytes: bytes) -> AbstractContextManager[Executor]:
    """The crew that a request asks for, not yet at work. Raises TaskError for a task of other weights."""
    limit = memory_limit_bytes(request)
    if request.scheduler:
        from .dask import DaskExecutor

        return DaskExecutor(task, task_bytes, request, limit)
    if request.workers > 1 and not _on_cuda(request.device):
        from .processes import ProcessExecutor

        return ProcessExecutor(task, request, limit)
    from ..segmenter import Segmenter

    segmenter = Segmenter.load(device=request.device)
    task.check_weights(str(segmenter.provenance["sha256"]))
    return ThreadExecutor(segmenter, task, request.out, limit, request.workers)


def memory_limit_bytes(request: BatchRequest) -> int:
    """The limit that a request gives, or half of this machine's memory."""
    if request.memory_limit_mb is not None:
        return request.memory_limit_mb << 20
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return _DEFAULT_LIMIT


def _on_cuda(device: str) -> bool:
    if device == "cpu":
        return False
    from ..network.inference import chosen_device

    return chosen_device(device)[0].type == "cuda"


@dataclass
class _Budget:
    """Bytes that may be in memory at the same time; an item waits until there is room for it."""

    limit: int
    used: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, wanted: int, given_up: Callable[[], bool]) -> bool:
        """Wait for room; False when it was given up before there was any."""
        with self.changed:
            while self.used and self.used + wanted > self.limit:
                if given_up():
                    return False
                self.changed.wait(POLL_S)
            self.used += wanted
            return True

    def give_back(self, wanted: int) -> None:
        """Make room for others."""
        with self.changed:
            self.used -= wanted
            self.changed.notify_all()


class ThreadExecutor:
    """One network; other threads read the next images and write the last results meanwhile.

    helpers: threads that read, and as many that write; more than one keep a GPU busy.
    """

    def __init__(self, segmenter: Segmenter, task: Task, out: Path, limit: int, helpers: int = 1) -> None:
        self._segmenter, self._task, self._out = segmenter, task, out
        self._limit, self._helpers = limit, helpers
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> ThreadExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        self._finish()

    def _finish(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def work(self, items: Sequence[BatchItem], cancelled: Callable[[], bool]) -> Iterator[Message]:
        """See `Executor`; what the threads say is handed out on the calling thread."""
        said: queue.SimpleQueue[Message | BaseException] = queue.SimpleQueue()
        waiting: queue.SimpleQueue[BatchItem] = queue.SimpleQueue()
        for item in items:
            waiting.put(item)
        read: queue.Queue[Any] = queue.Queue(_READ_AHEAD + self._helpers)
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        budget = _Budget(self._limit)
        for _ in range(self._helpers):
            self._start(said, lambda: self._read(waiting, read, budget, said))
            self._start(said, lambda: self._write(done, budget, said))
        self._start(said, lambda: self._segment(read, done, budget, said))
        left, broken = len(items), None
        while left:
            if cancelled():
                break
            try:
                one = said.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if isinstance(one, BaseException):
                broken = one
                break
            left -= not isinstance(one[1], str)
            yield one
        self._finish()
        # After a cancel or an error: what was being written is finished by now.
        while not said.empty():
            one = said.get()
            if not isinstance(one, BaseException) and isinstance(one[1], Outcome):
                yield one
        if broken is not None:
            raise broken

    def _start(self, said: queue.SimpleQueue[Any], what: Callable[[], None]) -> None:
        def run() -> None:
            try:
                what()
            except BaseException as error:
                said.put(error)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _read(
        self,
        waiting: queue.SimpleQueue[BatchItem],
        read: queue.Queue[Any],
        budget: _Budget,
        said: queue.SimpleQueue[Any],
    ) -> None:
        while not self._stop.is_set():
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            needed = needed_bytes(item)
            try:
                check_size(item, needed, self._limit)
                if not budget.take(needed, self._stop.is_set):
                    return
                said.put((item, READING))
                entry = (read_item(item, item.output), needed)
            except Exception as error:
                budget.give_back(needed if needed <= self._limit else 0)
                said.put((item, failed(item, error)))
                continue
            while not self._stop.is_set():
                try:
                    read.put(entry, timeout=POLL_S)
                    break
                except queue.Full:
                    continue
            del entry

    def _segment(
        self,
        read: queue.Queue[Any],
        done: queue.SimpleQueue[Any],
        budget: _Budget,
        said: queue.SimpleQueue[Any],
    ) -> None:
        while not self._stop.is_set():
            try:
                one, needed = read.get(timeout=POLL_S)
            except queue.Empty:
                continue
            said.put((one.item, SEGMENTING))
            try:
                done.put((segment_item(self._segmenter, self._task, one, self._stop.is_set), needed))
            except Cancelled:
                return
            except Exception as error:
                budget.give_back(needed)
                said.put((one.item, failed(one.item, error, one.seconds)))
            del one

    def _write(self, done: queue.SimpleQueue[Any], budget: _Budget, said: queue.SimpleQueue[Any]) -> None:
        while True:
            try:
                one, needed = done.get(timeout=POLL_S)
            except queue.Empty:
                if self._stop.is_set():
                    return
                continue
            try:
                said.put((one.read.item, stage_item(one, self._out)))
            except BatchStopped:
                raise
            except Exception as error:
                said.put((one.read.item, failed(one.read.item, error, one.seconds)))
            del one
            budget.give_back(needed)
