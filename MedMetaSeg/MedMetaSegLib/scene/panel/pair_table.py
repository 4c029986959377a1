"""The table of the scene's volumes: which segmentation of each to learn from, which to apply a task to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _


class PairTable:
    """Shows every scalar volume of the scene in a QTableWidget; onChanged: the user chose something."""

    def __init__(self, widget: Any, onChanged: Callable[[], None]) -> None:
        self._widget, self._onChanged = widget, onChanged
        # By node id, so that no node is kept alive.
        self._volumeIds: list[str] = []
        self._segmentationIds: list[str] = []
        self._ticked: set[str] = set()
        self._learnFrom: dict[str, str] = {}
        widget.setColumnCount(2)
        widget.setHorizontalHeaderLabels([_("Apply to"), _("Segmentation")])
        widget.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)

    def show(self, current: Any) -> None:
        """Fill the table anew from the scene; what was chosen stays. current: the volume ticked at first."""
        volumes = _nodes("vtkMRMLScalarVolumeNode")
        segmentations = _nodes("vtkMRMLSegmentationNode")
        if not self._volumeIds and current is not None:
            self._ticked = {current.GetID()}
        self._volumeIds = [node.GetID() for node in volumes]
        self._segmentationIds = [node.GetID() for node in segmentations]
        wasBlocked = self._widget.blockSignals(True)
        self._widget.setRowCount(len(volumes))
        for row, volume in enumerate(volumes):
            item = qt.QTableWidgetItem(volume.GetName())
            item.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
            item.setCheckState(qt.Qt.Checked if volume.GetID() in self._ticked else qt.Qt.Unchecked)
            item.setToolTip(_("Ticked volumes get the structures of the chosen task."))
            self._widget.setItem(row, 0, item)
            self._widget.setCellWidget(row, 1, self._combo(volume.GetID(), segmentations))
        self._widget.blockSignals(wasBlocked)

    def forget(self) -> None:
        """The scene closes."""
        self._volumeIds, self._segmentationIds, self._ticked, self._learnFrom = [], [], set(), {}
        self._widget.setRowCount(0)

    def ticked(self) -> list[Any]:
        """The volumes to apply a task to."""
        return _present(one for one in self._volumeIds if one in self._ticked)

    def pairs(self) -> list[tuple[Any, Any]]:
        """(volume, segmentation) to learn from."""
        scene = slicer.mrmlScene
        chosen = [
            (scene.GetNodeByID(one), scene.GetNodeByID(self._learnFrom[one]))
            for one in self._volumeIds
            if one in self._learnFrom
        ]
        return [pair for pair in chosen if None not in pair]

    def _combo(self, volumeId: str, segmentations: list[Any]) -> Any:
        combo = qt.QComboBox()
        combo.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        combo.addItem(_("nothing"))
        combo.addItems([one.GetName() for one in segmentations])
        chosen = self._learnFrom.get(volumeId)
        if chosen in self._segmentationIds:
            combo.setCurrentIndex(1 + self._segmentationIds.index(chosen))
        combo.setToolTip(_("The segmentation of this volume to learn from."))

        def onActivated(index: int) -> None:
            self._learnFrom.pop(volumeId, None)
            if index > 0:
                self._learnFrom[volumeId] = self._segmentationIds[index - 1]
            self._onChanged()

        combo.connect("activated(int)", onActivated)
        return combo

    def _onItemChanged(self, item: Any) -> None:
        self._ticked = {
            volumeId
            for row, volumeId in enumerate(self._volumeIds)
            if self._widget.item(row, 0).checkState() == qt.Qt.Checked
        }
        self._onChanged()


def _nodes(className: str) -> list[Any]:
    """Nodes of exactly this class that the user is to see; a preview goes by itself."""
    from ..space import PREVIEW_ATTRIBUTE

    scene = slicer.mrmlScene
    nodes = [scene.GetNthNodeByClass(n, className) for n in range(scene.GetNumberOfNodesByClass(className))]
    return [
        node
        for node in nodes
        if node.GetClassName() == className
        and not node.GetHideFromEditors()
        and not node.GetAttribute(PREVIEW_ATTRIBUTE)
    ]


def _present(ids: Any) -> list[Any]:
    nodes = (slicer.mrmlScene.GetNodeByID(one) for one in ids)
    return [node for node in nodes if node is not None]
