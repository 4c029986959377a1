"""The table of painted segments: a tick, the name in its colour, and what is painted of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from .painted_segments import PaintedSegment

_SWATCH_PIXELS = 12


class SegmentTable:
    """Shows painted segments in a QTableWidget; `onTicked` is called when the user ticks or unticks one."""

    def __init__(self, widget: Any, onTicked: Callable[[], None]) -> None:
        self._widget, self._onTicked = widget, onTicked
        self._ids: list[str] = []
        widget.setColumnCount(2)
        widget.setHorizontalHeaderLabels([_("Segment"), _("Painted")])
        widget.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)

    def show(self, segments: Sequence[PaintedSegment], unticked: Sequence[str]) -> None:
        """Fill the table anew; `onTicked` is not called."""
        self._ids = [one.segmentId for one in segments]
        wasBlocked = self._widget.blockSignals(True)
        self._widget.setRowCount(len(segments))
        for row, one in enumerate(segments):
            self._widget.setItem(row, 0, _nameItem(one, one.segmentId not in unticked))
            item = qt.QTableWidgetItem(one.painted)
            item.setFlags(qt.Qt.ItemIsEnabled)
            item.setToolTip(one.details)
            self._widget.setItem(row, 1, item)
        self._widget.blockSignals(wasBlocked)

    def untickedIds(self) -> list[str]:
        """Ids of the segments that are to be left out."""
        return [
            segmentId
            for row, segmentId in enumerate(self._ids)
            if self._widget.item(row, 0).checkState() != qt.Qt.Checked
        ]

    def _onItemChanged(self, item: Any) -> None:
        self._onTicked()


def _nameItem(segment: PaintedSegment, ticked: bool) -> Any:
    item = qt.QTableWidgetItem(segment.name)
    item.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
    item.setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)
    swatch = qt.QPixmap(_SWATCH_PIXELS, _SWATCH_PIXELS)
    swatch.fill(qt.QColor(*(round(255 * part) for part in segment.color)))
    item.setIcon(qt.QIcon(swatch))
    item.setToolTip(_("Ticked segments are segmented; the others keep what you painted from them."))
    return item
