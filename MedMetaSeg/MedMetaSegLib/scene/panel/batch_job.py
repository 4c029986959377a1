"""A task applied to many files, in the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...worker.client import WorkerClient
from ...worker.messages import Finished, ItemState

REPORT = "report.csv"


@dataclass(frozen=True)
class BatchOrder:
    """What is asked for. images: a folder, None for `series` alone. pattern: of file names, "" for all images
    in `images` and its folders. series: the files of DICOM series.
    """

    task: Path
    images: Path | None
    pattern: str
    out: Path
    ending: str
    overwrite: bool
    device: str
    series: tuple[tuple[str, ...], ...] = ()

    def request(self) -> dict[str, Any]:
        """The fields of a batch.BatchRequest, paths as text."""
        inputs = []
        if self.images is not None:
            inputs = [str(self.images / "**" / self.pattern) if self.pattern else str(self.images)]
        return {
            "task": str(self.task),
            "inputs": inputs,
            "series": self.series,
            "out": str(self.out),
            "report": str(self.out / REPORT),
            "format": self.ending.removeprefix("."),
            "resume": not self.overwrite,
            "overwrite": self.overwrite,
        }


class BatchJob:
    """onItem(state): told when an image begins and ends; onDone(report): in the end."""

    def __init__(
        self,
        order: BatchOrder,
        onItem: Callable[[ItemState], None],
        onDone: Callable[[dict[str, Any]], None],
    ) -> None:
        self._order, self._onItem, self._onDone = order, onItem, onDone

    @property
    def nodes(self) -> Sequence[Any]:
        return ()

    def send(self, client: WorkerClient) -> None:
        client.batch(self._order.request(), self._order.device)

    def hear(self, said: Any) -> None:
        if isinstance(said, ItemState):
            self._onItem(said)

    def work(self) -> None:
        """Nothing to do meanwhile."""

    def end(self) -> None:
        """Nothing to take away."""

    def finish(self, finished: Finished, seconds: float) -> None:
        self._onDone(finished.report)
