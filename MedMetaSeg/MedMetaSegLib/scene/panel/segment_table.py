"""The table of painted segments: name, what is painted, role, and how good the answer is expected to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import qt
from slicer.i18n import tr as _

from .expectations import Expectation
from .painted_segments import PaintedSegment
from .parameters import Role

_SWATCH_PIXELS = 12
_WIDTHS = (110, 92, 104, 60)
"""Of the columns in pixels, in a panel 420 wide; the last takes what is left."""
_ROLES = list(Role)


class SegmentTable:
    """Shows painted segments in a QTableWidget.

    onTicked: called when the user ticks or unticks one; onRole(segment id, role): chooses a role.
    """

    def __init__(
        self, widget: Any, onTicked: Callable[[], None], onRole: Callable[[str, Role], None]
    ) -> None:
        self._widget, self._onTicked, self._onRole = widget, onTicked, onRole
        self._ids: list[str] = []
        widget.setColumnCount(4)
        widget.setHorizontalHeaderLabels([_("Segment"), _("Painted"), _("Role"), _("Expected")])
        for column, width in enumerate(_WIDTHS):
            widget.setColumnWidth(column, width)
        widget.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)

    def show(
        self,
        segments: Sequence[PaintedSegment],
        unticked: Sequence[str],
        expectations: Mapping[str, Expectation],
    ) -> None:
        """Fill the table anew; nobody is called. expectations: of the answers there are, by segment id."""
        self._ids = [one.segmentId for one in segments]
        wasBlocked = self._widget.blockSignals(True)
        self._widget.setRowCount(len(segments))
        for row, one in enumerate(segments):
            self._widget.setItem(row, 0, _nameItem(one, one.segmentId not in unticked))
            item = qt.QTableWidgetItem(one.painted)
            item.setFlags(qt.Qt.ItemIsEnabled)
            item.setToolTip(one.details)
            self._widget.setItem(row, 1, item)
            self._widget.setCellWidget(row, 2, self._roleCombo(one))
            self._widget.setItem(row, 3, _expectedItem(expectations.get(one.segmentId)))
        self._widget.blockSignals(wasBlocked)

    def untickedIds(self) -> list[str]:
        """Ids of the segments that are not to be segmented."""
        return [
            segmentId
            for row, segmentId in enumerate(self._ids)
            if self._widget.item(row, 0).checkState() != qt.Qt.Checked
        ]

    def _roleCombo(self, segment: PaintedSegment) -> Any:
        combo = qt.QComboBox()
        combo.addItems([one.label() for one in _ROLES])
        combo.setCurrentIndex(_ROLES.index(segment.role))
        combo.setToolTip(
            _(
                "Structure: to be segmented. Background: scribbles on what is no structure. "
                "Ignore: has no part in the segmentation."
            )
        )
        combo.connect("activated(int)", partial(self._onActivated, segment.segmentId))
        return combo

    def _onActivated(self, segmentId: str, index: int) -> None:
        self._onRole(segmentId, _ROLES[index])

    def _onItemChanged(self, item: Any) -> None:
        self._onTicked()


def _nameItem(segment: PaintedSegment, ticked: bool) -> Any:
    item = qt.QTableWidgetItem(segment.name)
    item.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
    item.setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)
    item.setIcon(swatch(segment.color))
    explanation = _("Ticked segments are segmented; the others keep what you painted of them.")
    item.setToolTip(f"{segment.name}\n{explanation}")
    return item


def _expectedItem(expected: Expectation | None) -> Any:
    item = qt.QTableWidgetItem("" if expected is None else expected.text)
    item.setFlags(qt.Qt.ItemIsEnabled)
    if expected is None:
        item.setToolTip(_("How good the answer is expected to be is shown here after Segment."))
    else:
        item.setIcon(expected.light.icon())
        item.setToolTip(expected.details)
    return item


def swatch(color: Sequence[float]) -> Any:
    """A small square of a colour (red, green, blue, 0 to 1) as an icon."""
    pixmap = qt.QPixmap(_SWATCH_PIXELS, _SWATCH_PIXELS)
    pixmap.fill(qt.QColor(*(round(255 * part) for part in color)))
    return qt.QIcon(pixmap)
