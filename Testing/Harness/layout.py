"""Whether everything in a window can be read: nothing is cut off at the width it has."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

LEAST_HEIGHT = 520
"""Of the panel in pixels."""
_TEXTS = (QtWidgets.QLabel, QtWidgets.QPushButton, QtWidgets.QCheckBox, QtWidgets.QTabBar)


def fit(window: Any, width: int) -> None:
    """Give a panel this width, and the height that its tab on top then needs, as a scroll area does."""
    window.resize(width, max(LEAST_HEIGHT, window.minimumSizeHint().height()))
    QtWidgets.QApplication.processEvents()
    tab = window.findChild(QtWidgets.QTabWidget).currentWidget()
    missing = tab.layout().totalHeightForWidth(tab.width) - tab.height
    if missing > 0:
        window.resize(width, window.height + missing)


def clipped(window: Any) -> list[str]:
    """Names of the visible widgets that are too small for their text, or that reach out of the window.

    A table counts whose columns are wider than it, and a row of tabs that does not show all of them.
    """
    found = []
    for widget in window.findChildren(QtWidgets.QWidget):
        if not widget.isVisible() or not widget.objectName:
            continue
        corner = widget.mapTo(window, QtCore.QPoint(0, 0))
        outside = corner.x() < 0 or corner.x() + widget.width > window.width
        if isinstance(widget, QtWidgets.QTableWidget):
            outside = outside or widget.horizontalHeader().length() > widget.viewport().width
        if isinstance(widget, QtWidgets.QTabBar):
            outside = outside or widget.tabRect(widget.count - 1).right() >= widget.width
        if outside or (isinstance(widget, _TEXTS) and _tooSmall(widget)):
            found.append(widget.objectName)
    return found


def _tooSmall(widget: Any) -> bool:
    if isinstance(widget, QtWidgets.QLabel) and widget.wordWrap:
        return widget.heightForWidth(widget.width) > widget.height
    needed = widget.minimumSizeHint()
    return needed.width() > widget.width or needed.height() > widget.height
