"""Measurements saved as CSV files, where the user says."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer.util
from slicer.i18n import tr as _

from ...follow_up.table import change_writers
from ...imageio.writing import replace_all
from ...measurements.measurements import Measurements
from ...measurements.table import table_writers

_FILTER = _("Tables (*.csv)")


def saveTables(measurements: Measurements, name: str) -> list[Path]:
    """Ask where, and write the table of segments and that of lesions; returns the files, none when refused.

    name: of the file that is proposed. Raises InputError when they cannot be written.
    """
    chosen = qt.QFileDialog.getSaveFileName(None, _("Save table"), f"{name}.csv", _FILTER)
    if not chosen:
        return []
    path = Path(chosen)
    table = path if path.suffix.casefold() == ".csv" else path.with_name(f"{path.name}.csv")
    writers = table_writers(table, measurements) | change_writers(table, None)
    # The dialog has asked about the name that was chosen.
    there = [one.name for one in writers if one != path and one.exists()]
    question = _("These files are there already; replace them? {names}").format(names=", ".join(there))
    if there and not slicer.util.confirmOkCancelDisplay(question):
        return []
    replace_all(writers)
    return list(writers)
