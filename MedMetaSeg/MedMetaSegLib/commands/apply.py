"""`medmetaseg apply`: a task and many images in, a result for each out; `batch` does it, here it is shown."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ..batch.request import BatchProgress, BatchRequest, BatchResult
from ..batch.run import run_batch
from ..batch.states import DONE, FAILED, KEPT, SEGMENTING, BatchRow, StructureRow
from ..confidence.words import share_text
from ..errors import CancelledPartway, InputError
from ..imageio.names import shown
from .terminal import progress_bar

_LONG = 40
"""Rows of the table on the terminal; of a longer batch only what failed is shown."""
_NAMED = 5
"""Images that are named with a note that is about several, and structures that are named with an image."""


def apply_files(request: BatchRequest) -> int:
    """Apply a task to every image and return how many files are missing: images not done, or the report.

    Their reasons are shown, and are in the report. Raises InputError with nothing written for arguments that
    cannot be right, and where the only image fails; CancelledPartway, with what is done in place, when
    interrupted.
    """
    with progress_bar() as show, _interrupts() as interrupted:
        show(0.0, "Loading the network")

        def progress(event: BatchProgress) -> None:
            if event.state in (SEGMENTING, DONE, KEPT, FAILED):
                show(event.finished / event.total, event.item)

        result = run_batch(request, progress, interrupted)
    done = f"{len(result.finished)} of {result.total} images are done, go on with --resume."
    if result.cancelled:
        raise CancelledPartway(f"cancelled; {done}")
    if result.stopped:
        if not result.finished:
            raise InputError(result.stopped)
        print(f"medmetaseg: {result.stopped} {done}", file=sys.stderr)
    _summarise(result, request.out)
    missing = result.total - len(result.finished)
    return missing or int(bool(result.stopped))


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
    sorted_out = any(row.triage for row in result.rows)
    table = Table("image", "status", *(["triage"] if sorted_out else []), "found", "seconds")
    for row in result.rows if result.total <= _LONG else result.failed:
        word = [row.triage] if sorted_out else []
        table.add_row(Text(row.image), row.status, *word, Text(_found(row)), f"{row.seconds:.1f}")
    if table.rows:
        console.print(table)
    lines = [f"Left out: {name}, {reason}." for name, reason in result.skipped]
    lines += _notes(result)
    lines.append(f"{len(result.finished)} of {result.total} done in {result.seconds:.0f} s: {shown(out)}")
    for line in lines + [shown(path) for path in result.reports]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _found(row: BatchRow) -> str:
    """What was found in an image, and what is doubtful or left out, with the probability that it is there."""
    if not row.structures:
        return row.reason
    doubtful = [_with_probability(one) for one in row.structures if one.found and one.doubtful]
    left_out = [_with_probability(one) for one in row.structures if not one.found]
    lines = [f"{len(row.structures) - len(left_out)} of {len(row.structures)}"]
    lines += [f"doubtful: {_listed(doubtful)}"] if doubtful else []
    lines += [f"left out: {_listed(left_out)}"] if left_out else []
    return "\n".join(lines)


def _with_probability(one: StructureRow) -> str:
    return one.name if one.present is None else f"{one.name} ({share_text(one.present)})"


def _notes(result: BatchResult) -> list[str]:
    """Each note once, with the images that it is about."""
    about: dict[str, list[str]] = {}
    for row in result.rows:
        for note in row.notes:
            about.setdefault(note, []).append(row.image)
    return [f"{_listed(images)}: {note}" for note, images in about.items()]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
