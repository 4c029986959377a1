"""The module's work on a scene: read nodes, segment, write segments.

logic = SceneLogic()
node = logic.segment(volumeNode, segmentationNode)
logic.lastReport["structures"]
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import Cancelled, InputError
from ..imageio.volume import Volume
from ..progress import Progress, check_cancelled, never
from ..support.structure import StructureMask
from ..support.support import Annotation, Support
from .reader import isBent, readSupport, readVolume
from .sequence import sequenceOf, writeSequence
from .space import CLOSED_SURFACE
from .uncertainty_overlay import UncertaintyOverlay
from .writer import checkOutput, writeSegments

if TYPE_CHECKING:
    from ..batch.request import BatchProgress, BatchResult
    from ..task.task_file import Task
    from ..worker.messages import Failed

_POLL_S = 0.05
_ENDING_S = 5.0
"""So long a batch may take to end by itself when the console gives it up."""


class Result(Protocol):
    """What a segmenter hands back, as far as a scene needs it."""

    @property
    def structures(self) -> Sequence[StructureMask]: ...
    @property
    def report(self) -> dict[str, Any]: ...
    def largest_uncertainty(self, cancelled: Callable[[], bool] = ...) -> np.ndarray: ...


class SegmentsVolumes(Protocol):
    """What the logic needs of a segmenter."""

    def segment(
        self,
        volume: Volume,
        support: Support,
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        quality: str = "balanced",
        confidence: bool = True,
    ) -> Result: ...

    def learn(
        self,
        pairs: Sequence[tuple[Volume, Support]],
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Task: ...

    def apply(
        self,
        task: Task,
        volume: Volume,
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        keep_doubtful: bool = True,
        force: Sequence[str] = (),
        confidence: bool = True,
    ) -> Result: ...


def loadSegmenter(device: str) -> SegmentsVolumes:
    """The shipped segmenter on "auto", "cpu" or "cuda"; InputError when a package it needs is missing."""
    try:
        from ..segmenter import Segmenter
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "torch":
            raise InputError(
                "PyTorch is not installed: install the PyTorch extension, then PyTorch with its module."
            ) from error
        raise InputError(
            f"The Python package '{package}' is not installed: press Install or repair in the settings of "
            "MedMetaSeg."
        ) from error
    return Segmenter.load(device=device)


class SceneLogic:
    """Segments volumes of a scene from painted slices, and carries what was learned to others.

    `load` makes a segmenter for a device; one is kept for each, so that only the first call waits for it.
    """

    def __init__(self, load: Callable[[str], SegmentsVolumes] = loadSegmenter) -> None:
        self._load = load
        self._segmenters: dict[str, SegmentsVolumes] = {}
        self._overlay = UncertaintyOverlay()
        self.lastReport: dict[str, Any] | None = None

    def segment(
        self,
        volumeNode: Any,
        segmentationNode: Any,
        outputSegmentationNode: Any = None,
        *,
        segmentIds: Sequence[str] | None = None,
        annotation: Annotation = "slices",
        device: str = "auto",
        quality: str = "balanced",
        confidence: bool = True,
        uncertainty: bool = False,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Any:
        """Segment the whole of what `segmentationNode` shows on a few slices; returns the output node.

        The painted segments are never changed. The result goes to a new node named after the volume, or is
        added to `outputSegmentationNode` (which may be the painted one) under unique names. `segmentIds`
        chooses among the painted segments. quality, confidence: see Segmenter.segment. uncertainty: show in
        the slice views where the answer is unsure, until the next call. Afterwards `lastReport` holds the
        report.

        Raises InputError for what cannot be segmented and Cancelled when `cancelled` says so; the scene is
        then as before.
        """
        if outputSegmentationNode is not None:
            checkOutput(outputSegmentationNode)
        volume = readVolume(volumeNode)
        support = readSupport(segmentationNode, volumeNode, annotation=annotation, segmentIds=segmentIds)
        withSurface = segmentationNode.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)
        bent = isBent(segmentationNode, volumeNode)
        result = self._segmenter(device).segment(
            volume, support, progress=progress, cancelled=cancelled, quality=quality, confidence=confidence
        )
        unsure = result.largest_uncertainty(cancelled or never) if uncertainty else None
        check_cancelled(cancelled or never)
        for node in (volumeNode, outputSegmentationNode):
            if node is not None and node.GetScene() is None:
                raise InputError(f"'{node.GetName()}' was removed from the scene: nothing was written.")
        node = writeSegments(result.structures, volumeNode, outputSegmentationNode, withSurface=withSurface)
        self._overlay.remove()
        if unsure is not None:
            self._overlay.show(unsure, volumeNode)
        report = dict(result.report)
        if bent:
            note = "The drawn slices were resampled through a transform that is not linear."
            report["notes"] = [*report.get("notes", []), note]
        self.lastReport = report
        return node

    def learn(
        self,
        pairs: Sequence[tuple[Any, Any]],
        path: str | Path,
        *,
        annotation: Annotation = "slices",
        device: str = "auto",
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Learn a task from (volume node, segmentation node) pairs and write it to `path` (.medmetaseg).

        `annotation` "complete" for finished segmentations, "slices" for painted slices, which are segmented
        first. Raises InputError and Cancelled; no file appears then.
        """
        read = [
            (readVolume(volume), readSupport(segmentation, volume, annotation=annotation))
            for volume, segmentation in pairs
        ]
        task = self._segmenter(device).learn(read, progress=progress, cancelled=cancelled)
        task.write(path)

    def apply(
        self,
        path: str | Path,
        volumeNode: Any,
        outputSegmentationNode: Any = None,
        *,
        device: str = "auto",
        keepDoubtful: bool = True,
        force: Sequence[str] = (),
        confidence: bool = True,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Any:
        """Segment a task's structures in a volume on which nothing is painted; returns the output node.

        Structures that were not found get no segment; `lastReport` says why, with the probability that they
        are there. keepDoubtful, force (names of structures) and confidence: see Segmenter.apply. Raises
        InputError and Cancelled; the scene is then as before.
        """
        from ..task.task_file import Task

        if outputSegmentationNode is not None:
            checkOutput(outputSegmentationNode)
        task = Task.read(path)
        volume = readVolume(volumeNode)
        result = self._segmenter(device).apply(
            task,
            volume,
            progress=progress,
            cancelled=cancelled,
            keep_doubtful=keepDoubtful,
            force=force,
            confidence=confidence,
        )
        for node in (volumeNode, outputSegmentationNode):
            if node is not None and node.GetScene() is None:
                raise InputError(f"'{node.GetName()}' was removed from the scene: nothing was written.")
        found = [one for one in result.structures if one.mask.any()]
        node = writeSegments(found, volumeNode, outputSegmentationNode)
        self.lastReport = dict(result.report)
        return node

    def applyToSequence(
        self,
        path: str | Path,
        volumeNode: Any,
        *,
        device: str = "auto",
        keepDoubtful: bool = True,
        force: Sequence[str] = (),
        confidence: bool = True,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Any:
        """Segment a task's structures in every item of the sequence that `volumeNode` shows.

        The results are a sequence in the same browser: the returned segmentation node shows the item that
        is selected. None when nothing was found in any item. `lastReport["items"]` holds a report for each.
        The other options: see `apply`. Raises InputError, also when the volume is of no sequence, and
        Cancelled; the scene is then as before.
        """
        from ..task.task_file import Task

        sequence = sequenceOf(volumeNode)
        if sequence is None:
            raise InputError("Choose a volume that shows an item of a sequence.")
        task, segmenter, total = Task.read(path), self._segmenter(device), len(sequence)
        results: list[Sequence[StructureMask]] = []
        items: list[dict[str, Any]] = []
        for number, index in enumerate(sequence.indexValues):
            if cancelled is not None and cancelled():
                raise Cancelled(f"Cancelled at item {number + 1} of {total}.")
            itemProgress = None if progress is None else _ofItem(progress, number, total)
            volume = sequence.read(number)
            result = segmenter.apply(
                task,
                volume,
                progress=itemProgress,
                cancelled=cancelled,
                keep_doubtful=keepDoubtful,
                force=force,
                confidence=confidence,
            )
            results.append([one for one in result.structures if one.mask.any()])
            items.append({"index": index, **result.report})
        if cancelled is not None and cancelled():
            raise Cancelled("Cancelled: nothing was written.")
        node = writeSequence(sequence, results)
        self.lastReport = {"items": items}
        return node

    def batch(
        self,
        path: str | Path,
        inputs: str | Path | Sequence[str | Path],
        outputFolder: str | Path,
        *,
        progress: Callable[[BatchProgress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Apply a task to many image files, in a process of its own; returns a row per image.

        inputs: files, patterns, folders, DICOM folders or CSV files, one or several. options: the other
        fields of `BatchRequest` (report, resume, overwrite, format, workers, device, keep_doubtful, force,
        accept_above, paint_below, ...). Windows stay free meanwhile; without `progress` every finished image
        is printed. Nothing in the scene is touched.

        Raises InputError for what cannot be right and when the batch cannot go on, Cancelled when `cancelled`
        says so; what is finished is in place then, and resume=True goes on.
        """
        from ..batch.request import BatchProgress, BatchRequest
        from ..worker.client import WorkerClient
        from ..worker.messages import Failed, Finished, Stopped

        many = (inputs,) if isinstance(inputs, (str, Path)) else tuple(inputs)
        for place in ("report", "uncertainty"):
            if options.get(place) is not None:
                options[place] = Path(options[place])
        python = shutil.which("PythonSlicer") or sys.executable
        client = WorkerClient(python, cancel_patience_s=math.inf)
        client.batch(BatchRequest(Path(path), many, Path(outputFolder), **options))
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
        result = ended.batch
        if result is None:
            raise Cancelled("Cancelled: what is finished is in place.")
        if result.stopped:
            raise InputError(result.stopped)
        self.lastReport = {"rows": _plainRows(result), "skipped": [list(one) for one in result.skipped]}
        if result.cancelled:
            raise Cancelled(f"Cancelled: {len(result.finished)} of {result.total} images are done.")
        return _plainRows(result)

    def _segmenter(self, device: str) -> SegmentsVolumes:
        if device not in self._segmenters:
            self._segmenters[device] = self._load(device)
        return self._segmenters[device]


def _ofItem(progress: Progress, number: int, total: int) -> Progress:
    """Progress of one item, as progress of the whole sequence."""

    def itemProgress(share: float, what: str) -> None:
        progress((number + share) / total, f"{what}, item {number + 1} of {total}")

    return itemProgress


def _plainRows(result: BatchResult) -> list[dict[str, Any]]:
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
