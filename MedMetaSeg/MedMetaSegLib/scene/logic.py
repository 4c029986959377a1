"""The module's work on a scene: read nodes, segment, write segments.

logic = SceneLogic()
node = logic.segment(volumeNode, segmentationNode)
logic.lastReport["structures"]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import Cancelled, InputError
from ..support import Annotation, Support
from ..volume import Volume
from .reader import isBent, readSupport, readVolume
from .space import CLOSED_SURFACE
from .writer import SegmentedStructure, checkOutput, writeSegments

if TYPE_CHECKING:
    from ..batch import BatchProgress, BatchResult
    from ..task import Task

Progress = Callable[[float, str], None]


class Result(Protocol):
    """What a segmenter hands back, as far as a scene needs it."""

    @property
    def structures(self) -> Sequence[SegmentedStructure]: ...
    @property
    def report(self) -> dict[str, Any]: ...


class SegmentsVolumes(Protocol):
    """What the logic needs of a segmenter."""

    def segment(
        self,
        volume: Volume,
        support: Support,
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
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
        if package in ("monai", "safetensors"):
            raise InputError(
                f"The Python package '{package}' is not installed: run slicer.util.pip_install('{package}')."
            ) from error
        raise
    return Segmenter.load(device=device)


class SceneLogic:
    """Segments volumes of a scene from painted slices, and carries what was learned to others.

    `load` makes a segmenter for a device; one is kept for each, so that only the first call waits for it.
    """

    def __init__(self, load: Callable[[str], SegmentsVolumes] = loadSegmenter) -> None:
        self._load = load
        self._segmenters: dict[str, SegmentsVolumes] = {}
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
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Any:
        """Segment the whole of what `segmentationNode` shows on a few slices; returns the output node.

        The painted segments are never changed. The result goes to a new node named after the volume, or is
        added to `outputSegmentationNode` (which may be the painted one) under unique names. `segmentIds`
        chooses among the painted segments. Afterwards `lastReport` holds the report.

        Raises InputError for what cannot be segmented and Cancelled when `cancelled` says so; the scene is
        then as before.
        """
        if outputSegmentationNode is not None:
            checkOutput(outputSegmentationNode)
        volume = readVolume(volumeNode)
        support = readSupport(segmentationNode, volumeNode, annotation=annotation, segmentIds=segmentIds)
        withSurface = segmentationNode.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)
        bent = isBent(segmentationNode, volumeNode)
        result = self._segmenter(device).segment(volume, support, progress=progress, cancelled=cancelled)
        if cancelled is not None and cancelled():
            raise Cancelled("Segmentation was cancelled.")
        for node in (volumeNode, outputSegmentationNode):
            if node is not None and node.GetScene() is None:
                raise InputError(f"'{node.GetName()}' was removed from the scene: nothing was written.")
        node = writeSegments(result.structures, volumeNode, outputSegmentationNode, withSurface=withSurface)
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
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Any:
        """Segment a task's structures in a volume on which nothing is painted; returns the output node.

        Structures that were not found get no segment; `lastReport` says why. Raises InputError and
        Cancelled; the scene is then as before.
        """
        from ..task import Task

        if outputSegmentationNode is not None:
            checkOutput(outputSegmentationNode)
        task = Task.read(path)
        volume = readVolume(volumeNode)
        result = self._segmenter(device).apply(task, volume, progress=progress, cancelled=cancelled)
        for node in (volumeNode, outputSegmentationNode):
            if node is not None and node.GetScene() is None:
                raise InputError(f"'{node.GetName()}' was removed from the scene: nothing was written.")
        found = [one for one in result.structures if one.mask.any()]
        node = writeSegments(found, volumeNode, outputSegmentationNode)
        self.lastReport = dict(result.report)
        return node

    def batch(
        self,
        path: str | Path,
        inputFolder: str | Path,
        outputFolder: str | Path,
        *,
        pattern: str = "",
        format: str = "seg.nrrd",
        overwrite: bool = False,
        device: str = "auto",
        progress: Callable[[BatchProgress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> BatchResult:
        """Apply a task to every image in a folder; results and `report.csv` go to another, nothing into the
        scene.

        pattern: of file names, such as "*.nii.gz"; "" for all images and DICOM series. What is done already
        is left, or made anew with `overwrite`. Raises InputError with nothing written for what cannot be
        right; an image that fails is a row of the result with the reason.
        """
        from ..batch import BatchRequest, run_batch

        given = str(Path(inputFolder) / "**" / pattern) if pattern else str(inputFolder)
        out = Path(outputFolder)
        request = BatchRequest(
            Path(path),
            (given,),
            out,
            report=out / "report.csv",
            format=format,
            resume=not overwrite,
            overwrite=overwrite,
            device=device,
        )
        return run_batch(request, progress, cancelled)

    def _segmenter(self, device: str) -> SegmentsVolumes:
        if device not in self._segmenters:
            self._segmenters[device] = self._load(device)
        return self._segmenters[device]
