"""One job at a time in the worker, for every tab: sent here, its events read from a timer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import qt
from slicer.i18n import tr as _

from ...errors import InputError
from ...worker.client import WorkerClient
from ...worker.messages import DeviceFound, Failed, Finished, Progress, Stopped

_POLL_MS = 50
"""Milliseconds between two looks at the events of the worker: twenty times a second."""
_UNFORESEEN = _(
    "The result could not be put into the scene: press the button again, and report it if it recurs (the "
    "Python console tells more)."
)


class Job(Protocol):
    """What is to be done. `nodes`: when one of them leaves the scene, the job is stopped."""

    @property
    def nodes(self) -> Sequence[Any]: ...

    def send(self, client: WorkerClient) -> None:
        """Read what is needed and send it. InputError, or OSError when the disk is full: nothing runs."""

    def handle_event(self, event: Any) -> None:
        """Take note of Progress, and of the events of this kind of job alone."""

    def work(self) -> None:
        """A moment on the main thread, some milliseconds, at every tick."""

    def end(self) -> None:
        """It is over, however: take away what was in the scene only while it ran. Comes before `finish`."""

    def finish(self, finished: Finished, seconds: float) -> Job | None:
        """Put the answer in place; the next job of a series, or None. Raises InputError, RuntimeError.

        A job of several steps gives itself until its last one; its time goes on.
        """


class RunListener(Protocol):
    """Who is told how a job goes, on the main thread. Of the last three exactly one is called for a run."""

    def onTick(self, share: float, what: str, seconds: float) -> None: ...
    def onFinished(self) -> None: ...
    def onStopped(self) -> None: ...
    def onFailed(self, sentence: str) -> None: ...


@dataclass
class _Running:
    """A job that was sent."""

    job: Job
    begun: float
    share: float = 0.0
    what: str = ""


class WorkerRun:
    """Runs one job at a time; the worker lives on between them, with network and features.

        run = WorkerRun(WorkerClient(), onDevice)
        run.begin(SegmentJob(...), listener)

    All nodes are touched on the main thread, from a timer. keepsWorker: False gives its memory back after
    every run. onDevice(device, why) is called when the network was loaded.
    """

    def __init__(self, client: WorkerClient, onDevice: Callable[[str, str], None]) -> None:
        self.keepsWorker = True
        self._client, self._onDevice = client, onDevice
        self._running: _Running | None = None
        self._listener: RunListener | None = None
        # Volumes whose voxels the worker may hold.
        self._held: list[Any] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._onTimeout)

    @property
    def isBusy(self) -> bool:
        """True from `begin` until the listener was told how it ended."""
        return self._running is not None

    @property
    def workerPid(self) -> int | None:
        """Process id of the worker, if it runs and has sent it."""
        return self._client.pid

    def begin(self, job: Job, listener: RunListener) -> None:
        """Start a job; the listener is told the rest. Raises InputError when it cannot be started."""
        self._send(job)
        self._listener = listener
        self._timer.start()

    def setProgress(self, share: float, what: str) -> None:
        """What the next tick tells, for a job that says by itself how far it is."""
        if self._running is not None:
            self._running.share, self._running.what = share, what

    def cancel(self) -> None:
        """Ask it to stop; `onStopped` comes within two seconds."""
        self._client.cancel()

    def onNodeRemoved(self) -> None:
        """To be called when nodes left the scene: stops when one of them was needed, forgets volumes."""
        needed = () if self._running is None else self._running.job.nodes
        if any(node is not None and node.GetScene() is None for node in (*needed, *self._held)):
            self.close()

    def close(self) -> None:
        """End the worker and what it is doing, and remove its files; `onStopped` is called if it was busy."""
        running, self._running = self._running, None
        self._timer.stop()
        self._client.close()
        self._held = []
        if running is not None:
            running.job.end()
        if running is not None and self._listener is not None:
            self._listener.onStopped()

    def _send(self, job: Job, seconds: float = 0.0) -> None:
        try:
            job.send(self._client)
        except OSError as error:
            raise InputError(
                _(
                    "It could not be started ({reason}): see whether the disk is full, then press the button "
                    "again."
                ).format(reason=error.strerror)
            ) from error
        self._held = [node for node in job.nodes if node is not None and node.IsA("vtkMRMLVolumeNode")]
        self._running = _Running(job, time.monotonic() - seconds)

    def _onTimeout(self) -> None:
        running, listener = self._running, self._listener
        if running is None or listener is None:
            return
        seconds = time.monotonic() - running.begun
        for event in self._client.poll():
            if isinstance(event, DeviceFound):
                self._onDevice(event.device, event.why)
            elif isinstance(event, Progress):
                running.share, running.what = event.share, event.what
                running.job.handle_event(event)
            elif isinstance(event, (Finished, Stopped, Failed)):
                self._timer.stop()
                self._running = None
                self._end(running.job, listener, event, seconds)
                return
            else:
                running.job.handle_event(event)
        running.job.work()
        listener.onTick(running.share, running.what, seconds)

    def _end(
        self, job: Job, listener: RunListener, event: Finished | Stopped | Failed, seconds: float
    ) -> None:
        following = None
        job.end()
        if isinstance(event, Finished):
            try:
                following = job.finish(event, seconds)
                if following is not None:
                    self._send(following, seconds if following is job else 0.0)
                    self._timer.start()
                    return
            except (InputError, RuntimeError) as error:
                # The scene is as it was before this answer; what the user needs is the reason.
                event = Failed(str(error))
            except Exception:
                # A fault of this program: the Python console shows it, and the panel can be used on.
                self._tell(listener, Failed(_UNFORESEEN))
                raise
        self._tell(listener, event)

    def _tell(self, listener: RunListener, event: Finished | Stopped | Failed) -> None:
        """Say how it ended, and give the worker's memory back where that is wanted."""
        if not self.keepsWorker:
            self._client.close()
            self._held = []
        if isinstance(event, Stopped):
            listener.onStopped()
        elif isinstance(event, Failed):
            listener.onFailed(event.message)
        else:
            listener.onFinished()
