"""One press of Segment: nodes read here, segmented in the worker, the result written here; nothing waits."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import qt

from ...errors import InputError
from ...worker.client import DeviceFound, Failed, Finished, Progress, Stopped, WorkerClient
from ..reader import isBent, readSupport, readVolume
from ..results import ResultSegments
from ..space import CLOSED_SURFACE
from ..writer import checkOutput

_POLL_MS = 100


class RunListener(Protocol):
    """Who is told how a run goes, on the main thread. Of the last three exactly one is called for a run."""

    def onDeviceFound(self, device: str, why: str) -> None: ...
    def onTick(self, share: float, what: str, seconds: float) -> None: ...
    def onFinished(self, node: Any, report: dict[str, Any], seconds: float) -> None: ...
    def onStopped(self) -> None: ...
    def onFailed(self, sentence: str) -> None: ...


@dataclass
class _Press:
    """What was asked for."""

    volumeNode: Any
    segmentationNode: Any
    outputNode: Any
    bent: bool
    begun: float
    share: float = 0.0
    what: str = ""


class SegmentationRun:
    """Runs one segmentation at a time; the worker lives on between them, with network and features.

        run = SegmentationRun(WorkerClient(), ResultSegments())
        run.listener = panel
        run.begin(volumeNode, segmentationNode, None, segmentIds, "slices", "auto")

    All nodes are touched on the main thread, from a timer.
    """

    def __init__(self, client: WorkerClient, results: ResultSegments) -> None:
        self.listener: RunListener | None = None
        self._client, self._results = client, results
        self._press: _Press | None = None
        # The volume whose voxels and features the worker holds.
        self._heldVolume: Any = None
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._onTimeout)

    @property
    def isBusy(self) -> bool:
        """True from `begin` until the listener was told how it ended."""
        return self._press is not None

    @property
    def workerPid(self) -> int | None:
        """Process id of the worker, if it runs and has said it."""
        return self._client.pid

    def begin(
        self,
        volumeNode: Any,
        segmentationNode: Any,
        outputNode: Any,
        segmentIds: Sequence[str],
        annotation: str,
        device: str,
    ) -> None:
        """Start to segment the chosen painted segments; the listener is told the rest.

        outputNode: None for a new segmentation. Raises InputError for what cannot be segmented, OSError when
        the disk is full; nothing is running then.
        """
        if outputNode is not None:
            checkOutput(outputNode)
        volume = readVolume(volumeNode)
        support = readSupport(segmentationNode, volumeNode, annotation=annotation, segmentIds=segmentIds)  # type: ignore[arg-type]
        self._client.segment(volume, support, device, volume_key=_key(volumeNode, volume.geometry.affine))
        self._heldVolume = volumeNode
        bent = isBent(segmentationNode, volumeNode)
        self._press = _Press(volumeNode, segmentationNode, outputNode, bent, time.monotonic())
        self._timer.start()

    def cancel(self) -> None:
        """Ask it to stop; `onStopped` comes within two seconds."""
        self._client.cancel()

    def onNodeRemoved(self) -> None:
        """To be called when nodes left the scene: stops when one of them was needed, forgets the volume."""
        press = self._press
        needed = () if press is None else (press.volumeNode, press.segmentationNode, press.outputNode)
        gone = [node for node in needed if node is not None and node.GetScene() is None]
        volumeGone = self._heldVolume is not None and self._heldVolume.GetScene() is None
        if gone or volumeGone:
            self.close()

    def close(self) -> None:
        """End the worker and what it is doing, and remove its files; `onStopped` is called if it was busy."""
        wasBusy = self.isBusy
        self._timer.stop()
        self._client.close()
        self._press = self._heldVolume = None
        if wasBusy and self.listener is not None:
            self.listener.onStopped()

    def _onTimeout(self) -> None:
        press, listener = self._press, self.listener
        if press is None or listener is None:
            return
        seconds = time.monotonic() - press.begun
        for said in self._client.poll():
            if isinstance(said, DeviceFound):
                listener.onDeviceFound(said.device, said.why)
            elif isinstance(said, Progress):
                press.share, press.what = said.share, said.what
            else:
                self._timer.stop()
                self._press = None
                self._end(press, said, seconds)
                return
        listener.onTick(press.share, press.what, seconds)

    def _end(self, press: _Press, said: Finished | Stopped | Failed, seconds: float) -> None:
        assert self.listener is not None
        if isinstance(said, Stopped):
            self.listener.onStopped()
        elif isinstance(said, Failed):
            self.listener.onFailed(said.message)
        else:
            withSurface = press.segmentationNode.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)
            try:
                node = self._results.write(
                    said.structures, press.volumeNode, press.outputNode, withSurface=withSurface
                )
            except (InputError, RuntimeError) as error:
                # The writer has put the scene back as it was; what the user needs is the reason.
                self.listener.onFailed(str(error))
                return
            report = dict(said.report)
            if press.bent:
                note = "The drawn slices were resampled through a transform that is not linear."
                report["notes"] = [*report.get("notes", []), note]
            self.listener.onFinished(node, report, seconds)


def _key(volumeNode: Any, affine: Any) -> Hashable:
    """The same as long as neither voxels nor place have changed."""
    return volumeNode.GetID(), volumeNode.GetImageData().GetMTime(), affine.tobytes()
