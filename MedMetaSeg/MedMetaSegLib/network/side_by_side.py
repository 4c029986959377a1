"""Independent pieces of work side by side on the cores of a CPU, each with its share of torch's threads.

Many of torch's operations use one core alone (sampling between voxels, all that numpy and scipy do), and most
are too small to gain from two. Whole structures, or whole warps of an atlas, side by side keep all busy.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import TypeVar

import torch

from ..progress import check_cancelled
from ..stages import StageTimes, recording

MOST_AT_ONCE = 4
"""Pieces of work side by side, at most: each has memory of its own."""
_POLL_S = 0.05
"""Seconds between two looks at whether the work is still wanted."""

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Caller:
    """Who gave a piece of work out, as the piece sees it.

    cancelled: whether the work is not wanted any more; may raise Cancelled itself. run: has the caller's own
    thread call a function, soon and in the order of these calls; what that raises ends all the work.
    """

    cancelled: Callable[[], bool]
    run: Callable[[Callable[[], None]], None]

    def check(self) -> None:
        """Raise Cancelled when the work is not wanted any more."""
        check_cancelled(self.cancelled)


Piece = Callable[[Caller], Result]
"""A piece of work, which needs nothing of the others."""


def pieces_at_once(device: torch.device) -> int:
    """How many pieces of work run side by side on a device: one on CUDA, which is busy with one."""
    return min(torch.get_num_threads(), MOST_AT_ONCE) if device.type == "cpu" else 1


def side_by_side(
    work: Sequence[Piece[Result]],
    at_once: int,
    check: Callable[[], None] = lambda: None,
    sizes: Sequence[float] | None = None,
) -> Generator[Result, None, None]:
    """The result of each piece, in order, each as soon as those before it are there.

    at_once: see `pieces_at_once`; with 1 a piece runs when its result is asked for, in the caller's thread.
    check: called in the caller's thread alone, may raise. sizes: how long each piece takes, in any unit; the
    longest begin first then, so that none is left alone at the end. Raises what it raised, or what the first
    piece raised that failed; then, and when it is closed, none runs any more. Whoever may raise between two
    results closes it (`contextlib.closing`): an exception holds it, and the threads would go on.
    """
    at_once = min(at_once, len(work))
    if at_once > 1:
        yield from _on_threads(work, at_once, check, sizes or [0] * len(work))
        return

    def cancelled() -> bool:
        check()
        return False

    for piece in work:
        check()
        yield piece(Caller(cancelled, lambda function: function()))


def _on_threads(
    work: Sequence[Piece[Result]], at_once: int, check: Callable[[], None], sizes: Sequence[float]
) -> Generator[Result, None, None]:
    threads = torch.get_num_threads()
    stopped = threading.Event()
    asked: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    caller = Caller(stopped.is_set, asked.put)
    times = recording()
    stage = None if times is None else times.inner
    waiting = nullcontext if times is None else times.waiting
    pool = ThreadPoolExecutor(at_once, "piece", torch.set_num_threads, (max(1, threads // at_once),))
    try:
        longest_first = sorted(range(len(work)), key=lambda number: -sizes[number])
        futures = {
            number: pool.submit(_timed, work[number], caller, copy_context(), times, stage)
            for number in longest_first
        }
        for number in range(len(work)):
            future = futures[number]
            while not future.done():
                check()
                _run_all(asked)
                with waiting():
                    wait([future], _POLL_S)
            _run_all(asked)
            yield future.result()
    finally:
        stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)
        # Each thread has a number of its own; those that are yet to come take that which was set last.
        torch.set_num_threads(threads)


def _timed(
    piece: Piece[Result], caller: Caller, context: Context, times: StageTimes | None, stage: str | None
) -> Result:
    """A piece's result; its time counts as the stage that the caller is in."""
    with nullcontext() if times is None else times.at_work(stage):
        return context.run(piece, caller)


def _run_all(asked: queue.SimpleQueue[Callable[[], None]]) -> None:
    while not asked.empty():
        asked.get()()
