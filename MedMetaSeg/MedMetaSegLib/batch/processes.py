"""A crew of processes on this machine that share its cores."""

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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, InputError
from .item import Outcome, failed, process_item
from .threads import POLL_S, SEGMENTING, Message

if TYPE_CHECKING:
    from ..task.task_file import Task
    from .inputs import BatchItem
    from .run import BatchRequest

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
_DIED = "the process that worked on it ended, perhaps of memory; use fewer workers or crop the image"
_process: dict[str, Any] = {}
"""What a process of the crew keeps: its segmenter, the task, and how to stop."""


class ProcessExecutor:
    """So many processes, each with a network and its share of the cores; each works on one item at a time.

    When one dies, the items that were being worked on are tried once more, one after the other, so that the
    one that is to blame is found.
    """

    def __init__(self, task: Task, request: BatchRequest, limit: int) -> None:
        from ..network.shipped import shipped_sha256

        task.check_weights(shipped_sha256())
        self._workers, self._out = request.workers, request.out
        self._limit = max(1, limit // request.workers)
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._begin = (str(request.task), request.device, self._stop)
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def work(self, items: Sequence[BatchItem], cancelled: Callable[[], bool]) -> Iterator[Message]:
        """See `Executor`."""
        waiting, suspects = deque(items), deque[Any]()
        running: dict[Future[Outcome], BatchItem] = {}
        with _threads_each(max(1, (os.cpu_count() or 1) // self._workers)):
            while waiting or suspects or running:
                if cancelled():
                    return
                alone = bool(suspects)
                while (suspects or waiting) and len(running) < (1 if alone else self._workers):
                    queue = suspects or waiting
                    try:
                        running[self._submitted(queue[0])] = queue[0]
                    except BrokenProcessPool:
                        # It broke this moment: those it was working on tell below, and a new one is made.
                        self._pool = None
                        break
                    yield queue.popleft(), SEGMENTING
                finished = wait(running, POLL_S, FIRST_COMPLETED).done if running else set()
                for future in finished:
                    item = running.pop(future, None)
                    if item is None:
                        continue
                    try:
                        yield item, future.result()
                    except Cancelled:
                        return
                    except BrokenProcessPool:
                        self._pool = None
                        if alone:
                            yield item, failed(item, InputError(_DIED))
                        else:
                            suspects.extend([item, *running.values()])
                        running.clear()

    def _submitted(self, item: BatchItem) -> Future[Outcome]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._workers, self._context, _begin, self._begin)
        return self._pool.submit(_work, item, self._out, self._limit)


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
    """The first thing a process of the crew does; Ctrl-C is for the one that started it."""
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


def _work(item: BatchItem, out: Path, limit: int) -> Outcome:
    return process_item(_process["segmenter"], _process["task"], item, out, limit, _process["stop"].is_set)
