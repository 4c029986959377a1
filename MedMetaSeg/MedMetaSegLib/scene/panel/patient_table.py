"""The table of the DICOM database's patients: whose images a batch is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from ...errors import InputError
from ..dicom_database import Patient, patients


class PatientTable:
    """Shows the patients in a QTableWidget; onChanged: the user ticked one or took a tick away.

    Names are on the screen alone: nothing of the choice is kept in the scene.
    """

    def __init__(self, widget: Any, onChanged: Callable[[], None]) -> None:
        self._widget, self._onChanged = widget, onChanged
        self._patients: list[Patient] = []
        # With the name, as another database may call another patient by the same key.
        self._ticked: set[tuple[str, str]] = set()
        self.problem = ""
        widget.setColumnCount(2)
        widget.setHorizontalHeaderLabels([_("Patient"), _("Series")])
        widget.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)

    def show(self) -> None:
        """Fill the table anew; ticks stay. problem: why there is no patient, in a sentence."""
        self.problem = ""
        try:
            self._patients = patients()
        except InputError as error:
            self._patients, self.problem = [], str(error)
        wasBlocked = self._widget.blockSignals(True)
        self._widget.setRowCount(len(self._patients))
        for row, one in enumerate(self._patients):
            name, series = qt.QTableWidgetItem(one.name), qt.QTableWidgetItem(str(len(one.series)))
            name.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
            name.setCheckState(qt.Qt.Checked if (one.key, one.name) in self._ticked else qt.Qt.Unchecked)
            name.setToolTip(_("The images of ticked patients are segmented."))
            series.setFlags(qt.Qt.ItemIsEnabled)
            series.setToolTip(_("Reports, localizers and other series that are no 3D image are left out."))
            self._widget.setItem(row, 0, name)
            self._widget.setItem(row, 1, series)
        self._widget.blockSignals(wasBlocked)

    def ticked(self) -> list[Patient]:
        """The patients whose images are wanted."""
        return [one for one in self._patients if (one.key, one.name) in self._ticked]

    def _onItemChanged(self, item: Any) -> None:
        self._ticked = {
            (one.key, one.name)
            for row, one in enumerate(self._patients)
            if self._widget.item(row, 0).checkState() == qt.Qt.Checked
        }
        self._onChanged()
