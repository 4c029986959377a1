"""Threads around one network: some read, one segments, some write."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import BatchStopped, Cancelled, InputError
from .executor import POLL_S, Message, Outcome
from .inputs import BatchItem
from .item import (
    ReadItem,
    SegmentedItem,
    check_size,
    failed,
    needed_bytes,
    read_item,
    segment_item,
    stage_item,
)
from .options import ItemOptions
from .states import READING, SEGMENTING

if TYPE_CHECKING:
    from ..segmenter import Segmenter
    from ..task.task_file import Task

_READ_AHEAD = 2
"""Items that have been read and wait to be segmented, beside one for each thread that reads."""


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

    def __init__(self, segmenter: Segmenter, task: Task, options: ItemOptions, helpers: int = 1) -> None:
        self._segmenter, self._task = segmenter, task
        self._options, self._helpers = options, helpers
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
        """See `Executor`; the messages of the threads are handed out on the calling thread."""
        stages = _Stages(self._segmenter, self._task, self._options, self._helpers, self._stop)
        for item in items:
            stages.waiting.put(item)
        for _ in range(self._helpers):
            self._start(stages, stages.read_all)
            self._start(stages, stages.write_all)
        self._start(stages, stages.segment_all)
        left, broken = len(items), None
        while left:
            if cancelled():
                break
            try:
                message = stages.messages.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if isinstance(message, BaseException):
                broken = message
                break
            left -= isinstance(message[1], Outcome)
            yield message
        self._finish()
        # After a cancel or an error: what was being written is finished by now.
        while not stages.messages.empty():
            message = stages.messages.get()
            if not isinstance(message, BaseException) and isinstance(message[1], Outcome):
                yield message
        if broken is not None:
            raise broken

    def _start(self, stages: _Stages, loop: Callable[[], None]) -> None:
        def run() -> None:
            try:
                loop()
            except BaseException as error:
                stages.messages.put(error)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()


class _Stages:
    """What the threads do, and the queues between them: waiting, read, segmented.

    An item holds its bytes of the budget from before it is read until it is written or has failed. Each step
    is a method of its own, so that nothing holds an item's voxels once its bytes are given back.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        task: Task,
        options: ItemOptions,
        helpers: int,
        stop: threading.Event,
    ) -> None:
        self._segmenter, self._task, self._options = segmenter, task, options
        self._stop, self._budget = stop, _Budget(options.limit)
        self.messages: queue.SimpleQueue[Message | BaseException] = queue.SimpleQueue()
        self.waiting: queue.SimpleQueue[BatchItem] = queue.SimpleQueue()
        # With the bytes that each holds.
        self._read: queue.Queue[tuple[ReadItem, int]] = queue.Queue(_READ_AHEAD + helpers)
        self._segmented: queue.SimpleQueue[tuple[SegmentedItem, int]] = queue.SimpleQueue()

    def read_all(self) -> None:
        """Read items until none waits."""
        while not self._stop.is_set():
            try:
                item = self.waiting.get_nowait()
            except queue.Empty:
                return
            needed = needed_bytes(item, self._options)
            try:
                check_size(item, needed, self._options.limit)
            except InputError as error:
                self.messages.put((item, failed(item, error)))
                continue
            if not self._budget.take(needed, self._stop.is_set):
                return
            self._read_one(item, needed)

    def _read_one(self, item: BatchItem, needed: int) -> None:
        self.messages.put((item, READING))
        try:
            entry = (read_item(item, item.output), needed)
        except Exception as error:
            self._budget.give_back(needed)
            self.messages.put((item, failed(item, error)))
            return
        while not self._stop.is_set():
            try:
                self._read.put(entry, timeout=POLL_S)
                return
            except queue.Full:
                continue

    def segment_all(self) -> None:
        """Segment what was read, until `stop`."""
        while not self._stop.is_set():
            try:
                self._segment_next()
            except queue.Empty:
                continue
            except Cancelled:
                return

    def _segment_next(self) -> None:
        """Raises queue.Empty when nothing was read for a while, Cancelled when `stop` was set meanwhile."""
        one, needed = self._read.get(timeout=POLL_S)
        self.messages.put((one.item, SEGMENTING))
        try:
            segmented = segment_item(self._segmenter, self._task, one, self._options, self._stop.is_set)
            self._segmented.put((segmented, needed))
        except Cancelled:
            raise
        except Exception as error:
            self._budget.give_back(needed)
            self.messages.put((one.item, failed(one.item, error, one.seconds)))

    def write_all(self) -> None:
        """Stage what was segmented, until `stop` and nothing is left."""
        while True:
            try:
                needed = self._write_next()
            except queue.Empty:
                if self._stop.is_set():
                    return
                continue
            self._budget.give_back(needed)

    def _write_next(self) -> int:
        """The bytes that are free now. Raises queue.Empty when nothing was segmented for a while."""
        one, needed = self._segmented.get(timeout=POLL_S)
        item = one.read.item
        try:
            self.messages.put((item, stage_item(one, self._options)))
        except BatchStopped:
            raise
        except Exception as error:
            self.messages.put((item, failed(item, error, one.seconds)))
        return needed
