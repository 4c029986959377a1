"""The table of lesions in the Measure tab."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from ...measurements.measurements import Lesion, StructureMeasurements
from ...results.millilitres import millilitres_text
from .measure_text import diametersText, lesionDetails, nearestText

_WIDTHS = (98, 52, 92, 38, 80)
"""Of the columns in pixels, in a panel 420 wide; the last takes what is left."""

Row = tuple[StructureMeasurements, Lesion]


class LesionTable:
    """Shows lesions in a QTableWidget.

    onChosen: called when the user selects others; onOpened(row): when one is double-clicked.
    """

    def __init__(self, widget: Any, onChosen: Callable[[], None], onOpened: Callable[[Row], None]) -> None:
        self._widget, self._onOpened = widget, onOpened
        self._rows: list[Row] = []
        titles = [_("Lesion"), _("cm³"), _("mm × mm"), _("Slice"), _("Nearest")]
        widget.setColumnCount(len(titles))
        widget.setHorizontalHeaderLabels(titles)
        for column, width in enumerate(_WIDTHS):
            widget.setColumnWidth(column, width)
        widget.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        widget.connect("itemSelectionChanged()", onChosen)
        widget.connect("cellDoubleClicked(int,int)", self._onDoubleClicked)

    def show(self, rows: Sequence[Row]) -> None:
        """Fill the table anew, with nothing chosen; what is chosen among the same lesions stays."""
        if list(rows) == self._rows:
            return
        self._rows = list(rows)
        self._widget.clearSelection()
        self._widget.setRowCount(len(rows))
        for number, row in enumerate(rows):
            for column, item in enumerate(_items(*row)):
                self._widget.setItem(number, column, item)

    def chosen(self) -> list[Row]:
        """The selected lesions, from top to bottom."""
        selected = {index.row() for index in self._widget.selectionModel().selectedRows()}
        return [row for number, row in enumerate(self._rows) if number in selected]

    def _onDoubleClicked(self, row: int, column: int) -> None:
        self._onOpened(self._rows[row])


def _items(structure: StructureMeasurements, lesion: Lesion) -> list[Any]:
    """The cells of a lesion's row, from left to right."""
    texts = (
        f"{structure.name} {lesion.number}",
        millilitres_text(lesion.volume_cm3),
        diametersText(lesion),
        str(lesion.slice_index),
        nearestText(lesion),
    )
    items = [qt.QTableWidgetItem(text) for text in texts]
    details = lesionDetails(structure, lesion)
    for item in items:
        item.setToolTip(details)
    return items
