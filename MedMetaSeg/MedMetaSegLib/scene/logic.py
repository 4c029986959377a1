"""The module's work on a scene: read nodes, segment, write segments.

logic = SceneLogic()
node = logic.segment(volumeNode, segmentationNode)
logic.lastReport["structures"]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import Cancelled, InputError
from ..imageio.channel import Channel
from ..imageio.volume import Volume
from ..measurements.measurements import SMALLEST_LESION_MM3, Connectivity, MeasureOptions
from ..progress import Progress, check_cancelled, never, silent
from ..support.search_region import SearchRegion
from ..support.structure import StructureMask
from ..support.support import Annotation, Support
from .channels import readChannels
from .reader import isBent, readSupport, readVolume
from .region import regionOf
from .sequence import sequenceOf, writeSequence
from .space import CLOSED_SURFACE
from .uncertainty_overlay import UncertaintyOverlay
from .writer import checkOutput, writeSegments

if TYPE_CHECKING:
    from ..batch.request import BatchProgress
    from ..task.task_file import Task


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
        within: SearchRegion | None = None,
        channels: Sequence[Channel] = (),
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
        within: SearchRegion | None = None,
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
        within: Any = None,
        channels: Sequence[Any] = (),
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Any:
        """Segment the whole of what `segmentationNode` shows on a few slices; returns the output node.

        The painted segments are never changed. The result goes to a new node named after the volume, or is
        added to `outputSegmentationNode` (which may be the painted one) under unique names. `segmentIds`
        chooses among the painted segments. quality, confidence: see Segmenter.segment. uncertainty: show in
        the slice views where the answer is unsure, until the next call. within: outside it nothing is found
        but what was painted: an ROI node, a segmentation node (all of its segments), or a tuple of one and
        the name of a segment. channels: further volumes of the
        patient, where their transforms put them beside the first; see Segmenter.segment. Afterwards
        `lastReport` holds the report.

        Raises InputError for what cannot be segmented and Cancelled when `cancelled` says so; the scene is
        then as before.
        """
        if outputSegmentationNode is not None:
            checkOutput(outputSegmentationNode)
        volume = readVolume(volumeNode)
        support = readSupport(segmentationNode, volumeNode, annotation=annotation, segmentIds=segmentIds)
        withSurface = segmentationNode.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)
        bent = isBent(segmentationNode, volumeNode)
        region = regionOf(within, volumeNode)
        result = self._segmenter(device).segment(
            volume,
            support,
            progress=progress,
            cancelled=cancelled,
            quality=quality,
            confidence=confidence,
            within=region,
            channels=readChannels(channels, volumeNode),
        )
        unsure = result.largest_uncertainty(cancelled or never) if uncertainty else None
        check_cancelled(cancelled or never)
        for node in (volumeNode, outputSegmentationNode, *channels):
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
        within: Any = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Any:
        """Segment a task's structures in a volume on which nothing is painted; returns the output node.

        Structures that were not found get no segment; `lastReport` says why, with the probability that they
        are there. keepDoubtful, force (names of structures) and confidence: see Segmenter.apply. within: as
        of `segment`. Raises InputError and Cancelled; the scene is then as before.
        """
        from ..task.task_file import Task

        if outputSegmentationNode is not None:
            checkOutput(outputSegmentationNode)
        task = Task.read(path)
        volume, region = readVolume(volumeNode), regionOf(within, volumeNode)
        result = self._segmenter(device).apply(
            task,
            volume,
            progress=progress,
            cancelled=cancelled,
            keep_doubtful=keepDoubtful,
            force=force,
            confidence=confidence,
            within=region,
        )
        for node in (volumeNode, outputSegmentationNode):
            if node is not None and node.GetScene() is None:
                raise InputError(f"'{node.GetName()}' was removed from the scene: nothing was written.")
        found = [one for one in result.structures if one.mask.any()]
        node = writeSegments(found, volumeNode, outputSegmentationNode, algorithmType="AUTOMATIC")
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
        from ..batch.request import BatchRequest
        from .console_batch import plainRows, runBatch

        many = (inputs,) if isinstance(inputs, (str, Path)) else tuple(inputs)
        for place in ("report", "uncertainty"):
            if options.get(place) is not None:
                options[place] = Path(options[place])
        request = BatchRequest(Path(path), many, Path(outputFolder), **options)
        result = runBatch(request, progress, cancelled)
        self.lastReport = {"rows": plainRows(result), "skipped": [list(one) for one in result.skipped]}
        if result.cancelled:
            raise Cancelled(f"Cancelled: {len(result.finished)} of {result.total} images are done.")
        return plainRows(result)

    def loadSegments(self, path: str | Path, volumeNode: Any) -> Any:
        """Read a .seg.nrrd, DICOM SEG, RTSTRUCT or label map into a new segmentation node beside a volume.

        Returns the node; `lastReport["notes"]` says what was not plain. Raises InputError for a file that
        cannot be read or was not drawn on this volume; the scene is then as before.
        """
        from .segment_files import loadSegments

        loaded = loadSegments(path, volumeNode)
        self.lastReport = {
            "path": str(path),
            "segmentation": loaded.node.GetName(),
            "structures": list(loaded.names),
            "notes": list(loaded.notes),
        }
        return loaded.node

    def measure(
        self,
        volumeNode: Any,
        segmentationNode: Any,
        *,
        segmentIds: Sequence[str] | None = None,
        lesions: Sequence[str] = (),
        connectivity: Connectivity = 26,
        smallest_mm3: float = SMALLEST_LESION_MM3,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> dict[str, Any]:
        """Measure segments and their lesions, and put the figures into tables of the scene; returns a report.

        The segments lie on the voxels of the volume; all are measured unless `segmentIds` chooses. lesions:
        names of segments whose connected parts are lesions, every segment's when empty; connectivity and
        smallest_mm3 as in MeasureOptions. The report is that of Measurements.as_dict, with the names of
        volume, segmentation and tables; `lastReport` holds it, too. Tables of the same segmentation are
        filled anew; the segmentation is not changed.

        Raises InputError for what cannot be measured and Cancelled when `cancelled` says so; the scene is
        then as before.
        """
        from .measure import measureScene
        from .measurement_tables import writeTables

        def tell(share: float, what: str) -> None:
            check_cancelled(cancelled or never)
            (progress or silent)(share, what)

        options = MeasureOptions(tuple(lesions), connectivity, smallest_mm3)
        measured = measureScene(volumeNode, segmentationNode, options, segmentIds=segmentIds, progress=tell)
        tables = writeTables(measured)
        self.lastReport = {
            **measured.measurements.as_dict(),
            "volume": volumeNode.GetName(),
            "segmentation": segmentationNode.GetName(),
            "table": tables.structures.GetName(),
            "lesion_table": None if tables.lesions is None else tables.lesions.GetName(),
        }
        return self.lastReport

    def _segmenter(self, device: str) -> SegmentsVolumes:
        if device not in self._segmenters:
            self._segmenters[device] = self._load(device)
        return self._segmenters[device]


def _ofItem(progress: Progress, number: int, total: int) -> Progress:
    """Progress of one item, as progress of the whole sequence."""

    def itemProgress(share: float, what: str) -> None:
        progress((number + share) / total, f"{what}, item {number + 1} of {total}")

    return itemProgress
