"""Slicer's `ctk` module: the one widget that the panel uses, and by name what Slicer's sources ask for."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from . import pythonqt

_HEAD_PIXELS = 24


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A button with a frame below it, whose widgets are hidden while it is collapsed."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        self._head = QtWidgets.QToolButton(self)
        self._head.setToolButtonStyle(QtCore.Qt.ToolButtonTextBesideIcon)
        self._head.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._head.clicked.connect(self.click)
        self._showHead()

    def click(self) -> None:
        """Open or collapse it."""
        self._setCollapsed(not self._collapsed)

    def resizeEvent(self, event: Any) -> None:
        self._head.setGeometry(0, 0, self.width, _HEAD_PIXELS)

    def showEvent(self, event: Any) -> None:
        """What a .ui file puts into it comes after its properties."""
        self._showHead()

    def _setCollapsed(self, collapsed: bool) -> None:
        if collapsed != self._collapsed:
            self._collapsed = collapsed
            self._showHead()
            self.contentsCollapsed.emit(collapsed)

    def _showHead(self) -> None:
        self._head.setArrowType(QtCore.Qt.RightArrow if self._collapsed else QtCore.Qt.DownArrow)
        self.setContentsMargins(0, _HEAD_PIXELS, 0, 0)
        self.setMinimumHeight(_HEAD_PIXELS)
        self.setMaximumHeight(_HEAD_PIXELS if self._collapsed else 16777215)
        for child in self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly):
            if child is not self._head:
                child.setVisible(not self._collapsed)

    collapsed = Property(bool, lambda self: self._collapsed, _setCollapsed)
    text = Property(str, lambda self: self._head.text, lambda self, text: self._head.setText(text))


def __getattr__(name: str) -> Any:
    if not name.startswith("ctk"):
        raise AttributeError(f"ctk has no {name}")
    made = type(name, (QtWidgets.QWidget,), {"__doc__": "By name only."})
    globals()[name] = made
    return made


pythonqt.customWidgets["ctkCollapsibleButton"] = ctkCollapsibleButton
