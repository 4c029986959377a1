"""One press of Segment: nodes read here, segmented in the worker, the result written here."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from slicer.i18n import tr as _

from ...worker.client import WorkerClient
from ...worker.messages import Finished, Preview
from ..preview import ScenePreview
from ..reader import isBent, readSupport, readVolume
from ..results import ResultSegments
from ..space import CLOSED_SURFACE
from ..writer import checkOutput


class SegmentJob:
    """Segments the chosen painted segments of a node.

    outputNode: None for a new segmentation. segmentIds: all that the support holds; soughtIds: those of them
    to be segmented, the others keep what was painted of them. backgroundIds: what is no structure, for
    scribbles. withPreview: show first answers while it runs. onResult(node, report, seconds): told when the
    result is in the scene.
    """

    def __init__(
        self,
        volumeNode: Any,
        segmentationNode: Any,
        outputNode: Any,
        *,
        segmentIds: Sequence[str],
        soughtIds: Sequence[str],
        backgroundIds: Sequence[str],
        annotation: str,
        device: str,
        memory: str,
        quality: str,
        withPreview: bool,
        results: ResultSegments,
        onResult: Callable[[Any, dict[str, Any], float], None],
    ) -> None:
        self._volumeNode, self._segmentationNode, self._outputNode = volumeNode, segmentationNode, outputNode
        self._segmentIds, self._soughtIds, self._backgroundIds = segmentIds, soughtIds, backgroundIds
        self._annotation, self._device = annotation, device
        self._memory, self._quality = memory, quality
        self._results, self._onResult = results, onResult
        self._bent = False
        name = _("{volume} (preview)").format(volume=volumeNode.GetName())
        self._preview = ScenePreview(volumeNode, name) if withPreview else None

    @property
    def nodes(self) -> Sequence[Any]:
        return self._volumeNode, self._segmentationNode, self._outputNode

    def send(self, client: WorkerClient) -> None:
        if self._outputNode is not None:
            checkOutput(self._outputNode)
        volume = readVolume(self._volumeNode)
        support = readSupport(
            self._segmentationNode,
            self._volumeNode,
            annotation=self._annotation,  # type: ignore[arg-type]
            segmentIds=self._segmentIds,
            backgroundIds=self._backgroundIds,
        )
        self._bent = isBent(self._segmentationNode, self._volumeNode)
        names = [
            one.structure.name for one in support.structures if one.structure.segment_id in self._soughtIds
        ]
        key = volumeKey(self._volumeNode, volume.geometry.affine)
        client.segment(
            volume,
            support,
            self._device,
            key,
            structures=names,
            memory=self._memory,
            quality=self._quality,
            preview=self._preview is not None,
        )

    def handle_event(self, event: Any) -> None:
        if isinstance(event, Preview) and self._preview is not None:
            self._preview.add(event.mask)

    def work(self) -> None:
        if self._preview is not None:
            self._preview.work()

    def end(self) -> None:
        if self._preview is not None:
            self._preview.remove()

    def finish(self, finished: Finished, seconds: float) -> None:
        withSurface = self._segmentationNode.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)
        node = self._results.write(
            finished.structures, self._volumeNode, self._outputNode, withSurface=withSurface
        )
        report = dict(finished.report)
        if self._bent:
            note = "The drawn slices were resampled through a transform that is not linear."
            report["notes"] = [*report.get("notes", []), note]
        self._onResult(node, report, seconds)


def volumeKey(volumeNode: Any, affine: Any) -> Hashable:
    """The same as long as neither voxels nor place have changed."""
    return volumeNode.GetID(), volumeNode.GetImageData().GetMTime(), affine.tobytes()
