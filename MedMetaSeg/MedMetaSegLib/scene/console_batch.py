"""A batch from Slicer's Python console: in the worker, while the windows stay free."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ..batch.request import BatchProgress, BatchRequest, BatchResult
from ..errors import Cancelled, InputError
from ..worker.client import WorkerClient
from ..worker.messages import Failed, Finished, Stopped

_POLL_S = 0.05
_ENDING_S = 5.0
"""So long a batch may take to end by itself when the console gives it up."""


def runBatch(
    request: BatchRequest,
    progress: Callable[[BatchProgress], None] | None,
    cancelled: Callable[[], bool] | None,
) -> BatchResult:
    """Run a batch to its end; without `progress` every finished image is printed.

    Raises InputError for what cannot be right and when the batch cannot go on, Cancelled when it stopped
    before it began; of one that was cancelled later the result says so.
    """
    python = shutil.which("PythonSlicer") or sys.executable
    client = WorkerClient(python, cancel_patience_s=math.inf)
    client.batch(request)
    ended: Finished | Stopped | Failed | None = None
    try:
        while ended is None:
            for event in client.poll():
                if isinstance(event, BatchProgress):
                    (progress or _print)(event)
                elif isinstance(event, (Finished, Stopped, Failed)):
                    ended = event
            if cancelled is not None and cancelled():
                client.cancel()
            _letWindowsLive()
    finally:
        client.close(_ENDING_S)
    if isinstance(ended, Failed):
        raise InputError(_whyFailed(ended))
    if ended.batch is None:
        raise Cancelled("Cancelled: what is finished is in place.")
    if ended.batch.stopped:
        raise InputError(ended.batch.stopped)
    return ended.batch


def plainRows(result: BatchResult) -> list[dict[str, Any]]:
    """Rows without their pictures."""
    rows = [asdict(row) for row in result.rows]
    for row in rows:
        del row["thumbnail"]
    return rows


def _print(progress: BatchProgress) -> None:
    if progress.row is not None:
        count = f"{progress.finished} of {progress.total}"
        print(f"{count}: {progress.item}, {progress.state} {progress.reason}".strip())


def _whyFailed(failed: Failed) -> str:
    """The sentence of a batch that did not end by itself; in the console there is no button to press."""
    if failed.cause:
        return f"The batch ended unexpectedly ({failed.cause}): go on with resume, nothing finished is lost."
    return failed.message


def _letWindowsLive() -> None:
    """A moment for Slicer's windows; without an application just a moment."""
    import slicer

    application = getattr(slicer, "app", None)
    if application is not None:
        application.processEvents()
    time.sleep(_POLL_S)
