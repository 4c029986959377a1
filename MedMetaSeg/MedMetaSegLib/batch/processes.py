"""Processes on this machine that share its cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, InputError
from .executor import POLL_S, Message, Outcome
from .inputs import BatchItem
from .item import failed, process_item
from .options import ItemOptions
from .request import BatchRequest
from .states import SEGMENTING

if TYPE_CHECKING:
    from ..task.task_file import Task

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
_DIED = "the process that worked on it ended, perhaps of memory; use fewer workers or crop the image"
_process: dict[str, Any] = {}
"""What a process of the pool keeps: its segmenter, the task, and how to stop."""


class ProcessExecutor:
    """So many processes, each with a network and its share of the cores; each works on one item at a time.

    When one dies, the items that were being worked on are tried once more, one after the other, so that the
    one that is to blame is found.
    """

    def __init__(self, task: Task, request: BatchRequest, options: ItemOptions) -> None:
        from ..network.shipped import shipped_sha256

        task.check_weights(shipped_sha256())
        self._workers = request.workers
        self._options = replace(options, limit=max(1, options.limit // request.workers))
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._begin = (str(request.task), request.device, self._stop)
        self._pool: ProcessPoolExecutor | None = None
        self._running: dict[Future[Outcome], BatchItem] = {}
        # Items in hand when a process died: one of them is to blame.
        self._suspects: deque[BatchItem] = deque()

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def work(self, items: Sequence[BatchItem], cancelled: Callable[[], bool]) -> Iterator[Message]:
        """See `Executor`."""
        waiting = deque(items)
        with _threads_each(max(1, (os.cpu_count() or 1) // self._workers)):
            while waiting or self._suspects or self._running:
                if cancelled():
                    return
                # Decided once for what is handed out and what comes of it.
                alone = bool(self._suspects)
                yield from self._hand_out(waiting, alone)
                try:
                    yield from self._outcomes(alone)
                except Cancelled:
                    return

    def _hand_out(self, waiting: deque[BatchItem], alone: bool) -> Iterator[Message]:
        """Give items to processes that have none; while there are suspects, to one process alone."""
        while (self._suspects or waiting) and len(self._running) < (1 if alone else self._workers):
            items = self._suspects or waiting
            try:
                self._running[self._submitted(items[0])] = items[0]
            except BrokenProcessPool:
                # It broke this moment: those it was working on tell below, and a new one is made.
                self._pool = None
                return
            yield items.popleft(), SEGMENTING

    def _outcomes(self, alone: bool) -> Iterator[Message]:
        """What has ended by now, waited for a moment. Raises Cancelled."""
        finished = wait(self._running, POLL_S, FIRST_COMPLETED).done if self._running else set()
        for future in finished:
            item = self._running.pop(future, None)
            if item is None:
                continue
            try:
                yield item, future.result()
            except BrokenProcessPool:
                self._pool = None
                if alone:
                    yield item, failed(item, InputError(_DIED))
                else:
                    self._suspects.extend([item, *self._running.values()])
                self._running.clear()

    def _submitted(self, item: BatchItem) -> Future[Outcome]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._workers, self._context, _begin, self._begin)
        return self._pool.submit(_work, item, self._options)


@contextmanager
def _threads_each(number: int) -> Iterator[None]:
    """Let processes started meanwhile use so many threads; read by libraries when they are loaded."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(number)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _begin(task: str, device: str, stop: Any) -> None:
    """The first thing a process of the pool does; Ctrl-C is for the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from ..segmenter import Segmenter
    from ..task.task_file import Task

    _process.update(segmenter=Segmenter.load(device=device), task=Task.read(task), stop=stop)


def _end_with_parent() -> None:
    """A pool whose maker was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(item: BatchItem, options: ItemOptions) -> Outcome:
    return process_item(_process["segmenter"], _process["task"], item, options, _process["stop"].is_set)
