"""What the button Segment does: nodes read here, segmented in the worker, the result written here."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from ...worker.client import WorkerClient
from ...worker.messages import Finished, Preview
from ..answer_quality import qualityTags, referToPainted
from ..channels import readChannels
from ..preview import ScenePreview
from ..reader import isBent, readSupport, readVolume
from ..results import ResultSegments
from ..segment_content import SegmentContent, contentOf
from ..space import CLOSED_SURFACE
from ..uncertainty_overlay import UncertaintyOverlay
from ..writer import checkOutput
from .region import ChosenRegion
from .run_options import RunOptions


@dataclass(frozen=True)
class PaintedSelection:
    """What is segmented, and where the result goes.

    outputNode: None for a new segmentation. segmentIds: all that the support holds; soughtIds: those of them
    to be segmented, the others keep what was painted of them. backgroundIds: what is no structure, for
    scribbles. annotation: see `Support`. within: the region outside which nothing is looked for, if any.
    channelNodes: further volumes, see Segmenter.segment.
    """

    volumeNode: Any
    segmentationNode: Any
    outputNode: Any
    segmentIds: Sequence[str]
    soughtIds: Sequence[str]
    backgroundIds: Sequence[str]
    annotation: str
    within: ChosenRegion | None = None
    channelNodes: Sequence[Any] = ()


class SegmentJob:
    """Segments the chosen painted segments of a node.

    overlay: shows where the answer is unsure, or nothing where that was not asked for. onResult(node, report,
    seconds): called when the result is in the scene.
    """

    def __init__(
        self,
        selection: PaintedSelection,
        options: RunOptions,
        results: ResultSegments,
        overlay: UncertaintyOverlay,
        onResult: Callable[[Any, dict[str, Any], float], None],
    ) -> None:
        self._selection, self._options = selection, options
        self._results, self._overlay, self._onResult = results, overlay, onResult
        self._isBent = False
        # What was painted when it was sent.
        self._painted: dict[str, SegmentContent] = {}
        name = _("{volume} (preview)").format(volume=selection.volumeNode.GetName())
        self._preview = ScenePreview(selection.volumeNode, name) if options.preview else None

    @property
    def nodes(self) -> Sequence[Any]:
        chosen = self._selection
        return chosen.volumeNode, chosen.segmentationNode, chosen.outputNode, *chosen.channelNodes

    def send(self, client: WorkerClient) -> None:
        chosen, options = self._selection, self._options
        if chosen.outputNode is not None:
            checkOutput(chosen.outputNode)
        volume = readVolume(chosen.volumeNode)
        channels = readChannels(chosen.channelNodes, chosen.volumeNode)
        support = readSupport(
            chosen.segmentationNode,
            chosen.volumeNode,
            annotation=chosen.annotation,  # type: ignore[arg-type]
            segmentIds=chosen.segmentIds,
            backgroundIds=chosen.backgroundIds,
        )
        within = None if chosen.within is None else chosen.within.read(chosen.volumeNode)
        self._isBent = isBent(chosen.segmentationNode, chosen.volumeNode)
        self._painted = contentOf(chosen.segmentationNode.GetSegmentation(), chosen.soughtIds)
        names = [
            one.structure.name for one in support.structures if one.structure.segment_id in chosen.soughtIds
        ]
        client.segment(
            volume,
            support,
            options.device,
            volumeKey(chosen.volumeNode, volume.geometry.affine),
            structures=names,
            memory=options.memory,
            quality=options.quality,
            preview=options.preview,
            uncertainty=options.uncertainty,
            within=within,
            channels=channels,
            channel_keys=[
                volumeKey(node, one.volume.geometry.affine)
                for node, one in zip(chosen.channelNodes, channels, strict=True)
            ],
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
        chosen = self._selection
        withSurface = chosen.segmentationNode.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)
        node = self._results.write(
            finished.structures,
            chosen.volumeNode,
            chosen.outputNode,
            withSurface=withSurface,
            tags=self._tags(finished),
        )
        referToPainted(node, chosen.segmentationNode)
        self._overlay.remove()
        if finished.uncertainty is not None:
            self._overlay.show(finished.uncertainty, chosen.volumeNode)
        report = dict(finished.report)
        if self._isBent:
            note = "The drawn slices were resampled through a transform that is not linear."
            report["notes"] = [*report.get("notes", []), note]
        self._onResult(node, report, seconds)

    def _tags(self, finished: Finished) -> dict[str, dict[str, str]]:
        """By id of the painted segment: what the report tells of the quality of its answer."""
        ids = {one.structure.label: one.structure.segment_id for one in finished.structures}
        return {
            ids[entry["label"]]: qualityTags(
                entry, self._selection.volumeNode, self._painted[ids[entry["label"]]]
            )
            for entry in finished.report["structures"]
            if entry["label"] in ids
        }


def volumeKey(volumeNode: Any, affine: Any) -> Hashable:
    """The same as long as neither voxels nor place have changed."""
    return volumeNode.GetID(), volumeNode.GetImageData().GetMTime(), affine.tobytes()
