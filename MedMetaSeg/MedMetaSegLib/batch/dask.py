"""Several machines: the workers of a Dask cluster that see the same files under the same paths.

The task and the network's weights are sent once to every worker, also to those that join later. When a worker
dies, Dask gives its items to others; only the batch itself puts results in place, so an item that was done
twice appears once. TLS and the like are Dask's own, from its configuration (`distributed.comm.tls`).
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import BatchStopped, Cancelled, InputError
from .executor import POLL_S, Message, Outcome
from .inputs import BatchItem
from .item import failed, process_item
from .options import ItemOptions
from .request import BatchRequest
from .states import SEGMENTING

if TYPE_CHECKING:
    from ..task.task_file import Task

_NAME = "medmetaseg"
_CONNECT_S = 20
NO_WORKERS_S = 120.0
"""How long a cluster may be without workers before the batch stops."""
_PER_WORKER = 2
"""Items that wait at a worker or are worked on there, so that it need not wait for the next."""


class DaskExecutor:
    """The workers of one scheduler. Raises InputError where there is none, or none of them answers."""

    def __init__(self, task: Task, task_bytes: bytes, request: BatchRequest, options: ItemOptions) -> None:
        try:
            import distributed
        except ModuleNotFoundError as error:
            raise InputError("Dask is not installed: pip install 'medmetaseg[cluster]'.") from error
        from ..network.shipped import SHIPPED, shipped_sha256

        task.check_weights(shipped_sha256())
        maps = options.uncertainty
        self._options = replace(
            options, out=options.out.resolve(), uncertainty=None if maps is None else maps.resolve()
        )
        self._given: dict[str, Any] = {
            "task": task_bytes,
            "weights": SHIPPED.read_bytes(),
            "device": request.device,
            "version": __version__,
        }
        try:
            self._client: Any = distributed.Client(
                request.scheduler, timeout=_CONNECT_S, set_as_default=False
            )
        except (OSError, NotInTime, ValueError) as error:
            raise InputError(
                f"No Dask scheduler answers at {request.scheduler}; check the address and that it runs."
            ) from error

    def __enter__(self) -> DaskExecutor:
        from distributed import WorkerPlugin

        given = self._given

        class Prepared(WorkerPlugin):
            """Keeps the network and the task at a worker."""

            name = _NAME

            def setup(self, worker: Any) -> None:
                self.segmenter: Any
                self.task: Any
                self.segmenter, self.task = _prepared(**given)

        try:
            self._client.register_plugin(Prepared(), name=_NAME)
        except Exception as error:
            self._client.close()
            raise InputError(f"The workers of the Dask cluster cannot be prepared: {error}") from error
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def work(self, items: Sequence[BatchItem], cancelled: Callable[[], bool]) -> Iterator[Message]:
        """See `Executor`; at most `_PER_WORKER` items are on their way to each worker."""
        waiting = deque(items)
        running: dict[Any, BatchItem] = {}
        last_seen = time.monotonic()
        while waiting or running:
            if cancelled():
                self._client.cancel(list(running), force=True)
                return
            workers = len(self._client.scheduler_info(n_workers=-1)["workers"])
            if workers:
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > NO_WORKERS_S:
                self._client.cancel(list(running), force=True)
                raise BatchStopped("The Dask cluster has no workers left: start some, go on with --resume.")
            room = _PER_WORKER * max(1, workers)
            while waiting and len(running) < room:
                item = waiting.popleft()
                future = self._client.submit(_work, _whole(item), self._options, pure=False)
                running[future] = item
                yield item, SEGMENTING
            finished = [future for future in running if future.done()]
            for future in finished:
                item = running.pop(future)
                yield item, self._outcome(item, future)
            if not finished:
                time.sleep(POLL_S)

    def _outcome(self, item: BatchItem, future: Any) -> Outcome:
        from distributed import KilledWorker

        try:
            outcome: Outcome = future.result()
        except KilledWorker:
            reason = "every worker that worked on it ended, perhaps of memory; crop it or use larger workers"
            return failed(item, InputError(reason))
        except BatchStopped:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"[:200]
            raise BatchStopped(f"The Dask cluster could not go on ({reason}).") from error
        return replace(outcome, row=replace(outcome.row, image=item.image))


def _whole(item: BatchItem) -> BatchItem:
    """An item with absolute paths, since a worker has a working folder of its own."""
    return replace(
        item,
        path=item.path.resolve(),
        files=tuple(file.resolve() for file in item.files),
        within=None if item.within is None else item.within.resolve(),
        within_files=tuple(file.resolve() for file in item.within_files),
        channels=tuple(one.whole for one in item.channels),
    )


def _prepared(task: bytes, weights: bytes, device: str, version: str) -> tuple[Any, Any]:
    """What a worker keeps. Raises RuntimeError when it has another version."""
    from ..segmenter import Segmenter
    from ..task.task_file import Task

    if version != __version__:
        raise RuntimeError(f"This worker has medmetaseg {__version__}, the batch {version}.")
    with tempfile.TemporaryDirectory(prefix="medmetaseg-") as folder:
        places = Path(folder) / "task.medmetaseg", Path(folder) / "weights.safetensors"
        for place, content in zip(places, (task, weights), strict=True):
            place.write_bytes(content)
        return Segmenter.load(device=device, weights=places[1]), Task.read(places[0])


def _work(item: BatchItem, options: ItemOptions) -> Outcome:
    from distributed import get_worker

    kept: Any = get_worker().plugins[_NAME]
    try:
        return process_item(kept.segmenter, kept.task, item, options, lambda: False)
    except Cancelled as error:
        return failed(item, InputError(str(error)))
