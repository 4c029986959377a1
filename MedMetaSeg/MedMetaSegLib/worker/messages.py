"""The events of a job in the worker, as `WorkerClient.poll` gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..batch.request import BatchProgress, BatchResult
from ..support.structure import StructureMask
from .exchange import SentMask


@dataclass(frozen=True)
class DeviceFound:
    """The network is loaded.

    device: "cpu" or "cuda"; why: in words.
    """

    device: str
    why: str


@dataclass(frozen=True)
class Progress:
    """The work goes on.

    share: of the work that is done, 0 to 1. what: is being worked on.
    """

    share: float
    what: str


@dataclass(frozen=True)
class Preview:
    """The first mask of a structure; its file is there until the job ends."""

    mask: SentMask


@dataclass(frozen=True, eq=False)
class Finished:
    """The job is done.

    structures, report: of a segmentation. task: the content of the task file, of a job that learned. batch:
    what came of a batch. uncertainty: where the answer is unsure, uint8 (k, j, i) on the volume's grid, of a
    job that was asked for it; see Segmentation.largest_uncertainty.
    """

    structures: tuple[StructureMask, ...]
    report: dict[str, Any]
    task: bytes = b""
    batch: BatchResult | None = None
    uncertainty: np.ndarray | None = None


@dataclass(frozen=True)
class Stopped:
    """The job was cancelled; nothing is left of it but the finished images of a batch.

    batch: what was finished, where the batch ended by itself.
    """

    batch: BatchResult | None = None


@dataclass(frozen=True)
class Failed:
    """The job cannot be done; the next one works all the same.

    message: a sentence for the user. cause: where the worker itself ended, the last line of its log or its
    exit status.
    """

    message: str
    cause: str = ""


Event = DeviceFound | Progress | Preview | BatchProgress | Finished | Stopped | Failed
"""An event of a job; the last three end it."""
