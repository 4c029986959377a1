"""The table of saved tasks: a thumbnail and the name, and what the task holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

if TYPE_CHECKING:
    import numpy as np

    from ...task.library import TaskEntry


class TaskTable:
    """Shows tasks in a QTableWidget. onRenamed(path, name): the user typed a name. onChosen: another row."""

    def __init__(
        self, widget: Any, onRenamed: Callable[[Path, str], None], onChosen: Callable[[], None]
    ) -> None:
        self._widget, self._onRenamed = widget, onRenamed
        self._entries: list[TaskEntry] = []
        widget.setColumnCount(2)
        widget.setHorizontalHeaderLabels([_("Task"), _("Holds")])
        widget.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)
        widget.connect("itemSelectionChanged()", onChosen)

    def show(self, entries: Sequence[TaskEntry], chosen: Path | None) -> None:
        """Fill the table anew and choose a task, the first if that is not there; nobody is called."""
        self._entries = list(entries)
        wasBlocked = self._widget.blockSignals(True)
        self._widget.setRowCount(len(entries))
        for row, entry in enumerate(entries):
            name = qt.QTableWidgetItem(entry.name)
            name.setToolTip(str(entry.path))
            if entry.thumbnail is not None:
                name.setIcon(qt.QIcon(pixmap(entry.thumbnail)))
            self._widget.setItem(row, 0, name)
            holds = qt.QTableWidgetItem(_holds(entry))
            holds.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            holds.setToolTip(entry.problem or ", ".join(entry.structures))
            self._widget.setItem(row, 1, holds)
        paths = [entry.path for entry in entries]
        if paths:
            self._widget.selectRow(paths.index(chosen) if chosen in paths else 0)
        self._widget.blockSignals(wasBlocked)

    def chosen(self) -> TaskEntry | None:
        """The task whose row is selected."""
        row = self._widget.currentRow()
        return self._entries[row] if 0 <= row < len(self._entries) else None

    def edit(self) -> None:
        """Let the user type a name for the chosen task."""
        self._widget.editItem(self._widget.item(self._widget.currentRow(), 0))

    def _onItemChanged(self, item: Any) -> None:
        entry = self._entries[item.row()]
        if item.text() != entry.name:
            self._onRenamed(entry.path, item.text())


def _holds(entry: TaskEntry) -> str:
    if entry.problem:
        return _("cannot be used: {problem}").format(problem=entry.problem)
    patients = _("1 support") if entry.supports == 1 else _("{n} supports").format(n=entry.supports)
    about = ", ".join([patients, entry.date, *([f"v{entry.version}"] if entry.version else [])])
    return "\n".join([", ".join(entry.structures), about])


def pixmap(picture: np.ndarray) -> Any:
    """A uint8 (rows, columns, 3) array as a QPixmap, by way of a portable pixmap, which Qt reads."""
    rows, columns = picture.shape[:2]
    made = qt.QPixmap()
    made.loadFromData(qt.QByteArray(f"P6 {columns} {rows} 255\n".encode() + picture.tobytes()))
    return made
