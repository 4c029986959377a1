"""What every executor of a batch does: threads, processes and machines are in modules of their own.

An executor sends a message when an item begins (READING, SEGMENTING) and when it ends (an Outcome). It puts
nothing in place, so that only the batch itself writes results and journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .inputs import BatchItem
from .states import BatchRow

POLL_S = 0.1
"""Seconds between two looks at whether work has ended or was cancelled."""


@dataclass(frozen=True)
class StagedMap:
    """An uncertainty map that waits to be put in its place, relative to the folder of the maps."""

    staged: Path
    place: str
    sha256: str


@dataclass(frozen=True)
class Outcome:
    """What came of an item: its row and, unless it failed, the staged result, its SHA-256 and the input's.

    maps: staged beside it, where they are wanted.
    """

    row: BatchRow
    staged: Path | None = None
    sha256: str = ""
    input_sha256: str = ""
    maps: tuple[StagedMap, ...] = ()


Message = tuple[BatchItem, str | Outcome]
"""An item with the state that begins, or with its outcome."""


class Executor(Protocol):
    """Works on the items of a batch, in an order of its own."""

    def work(self, items: Sequence[BatchItem], cancelled: Callable[[], bool]) -> Iterator[Message]:
        """Messages of what begins and what came of it, until all is done or `cancelled` says so.

        Raises BatchStopped when results cannot be written.
        """
