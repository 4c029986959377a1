"""What the worker says of a job, as `WorkerClient.poll` gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..support.structure import StructureMask
from .exchange import SentMask


@dataclass(frozen=True)
class DeviceFound:
    """The network is loaded: on "cpu" or "cuda", and in words why."""

    device: str
    why: str


@dataclass(frozen=True)
class Progress:
    """Share of the work that is done, 0 to 1, and what is being worked on."""

    share: float
    what: str


@dataclass(frozen=True)
class Preview:
    """The first mask of a structure; its file is there until the job ends."""

    mask: SentMask


@dataclass(frozen=True)
class ItemState:
    """The state of one image of a batch has changed; see batch.BatchProgress.

    image, output: file names, "" while there is no row. found: name and millilitres of each structure.
    """

    item: str
    state: str
    finished: int
    total: int
    reason: str = ""
    image: str = ""
    output: str = ""
    found: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Finished:
    """The job is done."""

    structures: tuple[StructureMask, ...]
    report: dict[str, Any]
    task: bytes = b""
    """The content of the task file, of a job that learned."""


@dataclass(frozen=True)
class Stopped:
    """The job was cancelled; nothing is left of it."""


@dataclass(frozen=True)
class Failed:
    """The job cannot be done; `message` is a sentence for the user. The next job works all the same."""

    message: str


Message = DeviceFound | Progress | Preview | ItemState | Finished | Stopped | Failed
