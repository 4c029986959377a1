"""A task applied to many files, in the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...batch.request import BatchProgress, BatchRequest, BatchResult
from ...worker.client import WorkerClient
from ...worker.messages import Finished

REPORT = "report.csv"


def batchRequest(
    task: Path, images: Path | None, pattern: str, out: Path, *, overwrite: bool, **options: Any
) -> BatchRequest:
    """The request for what was chosen in the panel.

    images: a folder, None for `series` alone. pattern: of file names, "" for all images in `images` and its
    folders. options: other fields of BatchRequest.
    """
    inputs: tuple[Path, ...] = ()
    if images is not None:
        inputs = (images / "**" / pattern,) if pattern else (images,)
    return BatchRequest(
        task, inputs, out, report=out / REPORT, resume=not overwrite, overwrite=overwrite, **options
    )


class BatchJob:
    """Applies a task to many files.

    onItem(progress): called when an image begins and ends; onDone(result): in the end.
    """

    def __init__(
        self,
        request: BatchRequest,
        onItem: Callable[[BatchProgress], None],
        onDone: Callable[[BatchResult], None],
    ) -> None:
        self._request, self._onItem, self._onDone = request, onItem, onDone

    @property
    def nodes(self) -> Sequence[Any]:
        return ()

    def send(self, client: WorkerClient) -> None:
        client.batch(self._request)

    def handle_event(self, event: Any) -> None:
        if isinstance(event, BatchProgress):
            self._onItem(event)

    def work(self) -> None:
        """Nothing to do meanwhile."""

    def end(self) -> None:
        """Nothing to take away."""

    def finish(self, finished: Finished, seconds: float) -> None:
        assert finished.batch is not None
        self._onDone(finished.batch)
