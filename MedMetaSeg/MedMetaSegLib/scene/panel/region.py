"""The choice "Only within": nowhere, an ROI, a segmentation or one of its segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from ...results.millilitres import millilitres_text
from .host import Host

if TYPE_CHECKING:
    from ...support.search_region import SearchRegion


@dataclass(frozen=True)
class ChosenRegion:
    """A region that was chosen. node: an ROI or a segmentation; segmentId: of one segment, "" for all."""

    node: Any
    segmentId: str = ""

    def read(self, volumeNode: Any) -> SearchRegion:
        """The region on the voxels of a volume. Raises InputError; see `readRegion`."""
        from ..region import readRegion

        return readRegion(self.node, volumeNode, self.segmentId)


class RegionSelector:
    """Controls the two selectors of the row; what is chosen is in the parameters `within` and
    `withinSegmentId`.
    """

    def __init__(self, host: Host) -> None:
        self._host, self._node, self._segment = host, host.ui.withinSelector, host.ui.withinSegmentCombo
        self._ids: list[str] = []
        self._node.connect("currentNodeChanged(vtkMRMLNode*)", self._onNode)
        self._segment.connect("activated(int)", self._onSegment)
        self._segment.setVisible(False)

    def chosen(self) -> ChosenRegion | None:
        """The region; None to look everywhere."""
        parameters = self._host.parameters
        if parameters.within is None:
            return None
        return ChosenRegion(parameters.within, parameters.withinSegmentId)

    def show(self) -> None:
        """Show what is chosen, and the segments that could be."""
        parameters = self._host.parameters
        wasBlocked = self._node.blockSignals(True)
        self._node.setCurrentNode(parameters.within)
        self._node.blockSignals(wasBlocked)
        isSegmentation = parameters.within is not None and parameters.within.IsA("vtkMRMLSegmentationNode")
        self._segment.setVisible(isSegmentation)
        if isSegmentation:
            self._fill(parameters.within.GetSegmentation(), parameters.withinSegmentId)

    def showBusy(self, busy: bool) -> None:
        """Disable the selectors while something runs."""
        self._node.setEnabled(not busy)
        self._segment.setEnabled(not busy)

    def _fill(self, segmentation: Any, chosen: str) -> None:
        ids = list(segmentation.GetSegmentIDs())
        texts = [segmentation.GetSegment(one).GetName() for one in ids]
        if chosen and chosen not in ids:
            # Nothing else is taken in its place: the press says that it is gone.
            ids.append(chosen)
            texts.append(_("(removed)"))
        self._ids = ["", *ids]
        self._segment.clear()
        for text in (_("all segments"), *texts):
            self._segment.addItem(text)
        self._segment.setCurrentIndex(self._ids.index(chosen))

    def _onNode(self, node: Any) -> None:
        parameters = self._host.parameters
        if parameters is not None and node is not parameters.within:
            parameters.withinSegmentId = ""
            parameters.within = node

    def _onSegment(self, row: int) -> None:
        self._host.parameters.withinSegmentId = self._ids[row]


def regionText(report: Mapping[str, Any]) -> list[str]:
    """A line about the region that a result was looked for in; none where it was looked for everywhere."""
    if "within" not in report:
        return []
    region = report["within"]
    text = _("Only within {source}, {volume}\N{NO-BREAK SPACE}ml.")
    return [text.format(source=region["source"], volume=millilitres_text(region["millilitres"]))]
