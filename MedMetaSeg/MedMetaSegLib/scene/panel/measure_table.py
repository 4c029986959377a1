"""The table of segments in the Measure tab: which are lesions, and what was measured of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import qt
from slicer.i18n import tr as _

from ...measurements.measurements import StructureMeasurements
from ...results.millilitres import millilitres_text
from .measure_text import meanText, structureDetails
from .segment_table import swatch

_WIDTHS = (108, 56, 60, 96, 40)
"""Of the columns in pixels, in a panel 420 wide; the last takes what is left."""
_LESIONS = 1
"""The column with the ticks."""


@dataclass(frozen=True)
class MeasureRow:
    """A segment. isLesions: its parts are lesions. measured: None until it was measured."""

    segmentId: str
    name: str
    color: tuple[float, float, float]
    isLesions: bool
    measured: StructureMeasurements | None = None


class MeasureTable:
    """Shows segments in a QTableWidget; onTicked: the user said of one that its parts are lesions, or not."""

    def __init__(self, widget: Any, onTicked: Callable[[], None]) -> None:
        self._widget, self._onTicked = widget, onTicked
        self._ids: list[str] = []
        titles = [_("Segment"), _("Lesions"), _("cm³"), _("Mean ± SD"), _("Border")]
        widget.setColumnCount(len(titles))
        widget.setHorizontalHeaderLabels(titles)
        for column, width in enumerate(_WIDTHS):
            widget.setColumnWidth(column, width)
        widget.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)

    def show(self, rows: Sequence[MeasureRow]) -> None:
        """Fill the table anew; nobody is called."""
        self._ids = [one.segmentId for one in rows]
        wasBlocked = self._widget.blockSignals(True)
        self._widget.setRowCount(len(rows))
        for number, row in enumerate(rows):
            for column, item in enumerate(_items(row)):
                self._widget.setItem(number, column, item)
        self._widget.blockSignals(wasBlocked)

    def lesionIds(self) -> list[str]:
        """Ids of the ticked segments."""
        return [
            segmentId
            for row, segmentId in enumerate(self._ids)
            if self._widget.item(row, _LESIONS).checkState() == qt.Qt.Checked
        ]

    def _onItemChanged(self, item: Any) -> None:
        self._onTicked()


def _items(row: MeasureRow) -> list[Any]:
    """The cells of a segment's row, from left to right."""
    one = row.measured
    texts = [row.name, "", "", "", ""]
    details = _("{name}: press Measure.").format(name=row.name)
    if one is not None:
        border = _("yes") if one.touches_border else ""
        texts[2:] = [millilitres_text(one.volume_cm3), meanText(one.intensity), border]
        details = structureDetails(one)
    items = [qt.QTableWidgetItem(text) for text in texts]
    for item in items:
        item.setFlags(qt.Qt.ItemIsEnabled)
        item.setToolTip(details)
    items[0].setIcon(swatch(row.color))
    items[_LESIONS].setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
    items[_LESIONS].setCheckState(qt.Qt.Checked if row.isLesions else qt.Qt.Unchecked)
    items[_LESIONS].setToolTip(
        _("Tick it when its connected parts are lesions; with none ticked, the parts of all are listed.")
    )
    return items
