"""`medmetaseg apply`: a task and many images in, a result for each out; `batch` does it, here it is shown."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ..batch.request import BatchProgress, BatchRequest, BatchResult
from ..batch.run import run_batch
from ..batch.states import DONE, FAILED, KEPT, SEGMENTING
from ..errors import CancelledPartway, InputError
from .terminal import progress_bar

_LONG = 40
"""Rows of the table on the terminal; of a longer batch only what failed is shown."""


def apply_files(request: BatchRequest) -> int:
    """Apply a task to every image and return how many are not done.

    Their reasons are shown, and are in the report. Raises InputError with nothing written for arguments that
    cannot be right, and where the only image fails; CancelledPartway, with what is done in place, when
    interrupted.
    """
    with progress_bar() as shown, _interrupts() as interrupted:
        shown(0.0, "Loading the network")

        def progress(event: BatchProgress) -> None:
            if event.state in (SEGMENTING, DONE, KEPT, FAILED):
                shown(event.finished / event.total, event.item)

        result = run_batch(request, progress, interrupted)
    done = f"{len(result.finished)} of {result.total} images are done, go on with --resume."
    if result.cancelled:
        raise CancelledPartway(f"cancelled; {done}")
    if result.stopped:
        if not result.finished:
            raise InputError(result.stopped)
        print(f"medmetaseg: {result.stopped} {done}", file=sys.stderr)
    _summarise(result, request.out)
    return result.total - len(result.finished)


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was given; a second one interrupts at once, as it does elsewhere."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted.is_set
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handle)
    try:
        yield interrupted.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _summarise(result: BatchResult, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table("image", "status", "found", "seconds")
    for row in result.rows if result.total <= _LONG else result.failed:
        found = f"{sum(one.found for one in row.structures)} of {len(row.structures)}"
        shown = row.reason or (found if row.structures else "")
        table.add_row(Text(row.image), row.status, Text(shown), f"{row.seconds:.1f}")
    if table.rows:
        console.print(table)
    for name, reason in result.skipped:
        console.print(f"Left out: {name}, {reason}.", markup=False, highlight=False)
    lines = [f"{len(result.finished)} of {result.total} done in {result.seconds:.0f} s: {out}"]
    for line in lines + [str(path) for path in result.reports]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
