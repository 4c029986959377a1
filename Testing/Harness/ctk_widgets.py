"""Slicer's `ctk` module, by name only: Slicer's own sources ask for some, the panel uses none."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets


def __getattr__(name: str) -> Any:
    if not name.startswith("ctk"):
        raise AttributeError(f"ctk has no {name}")
    made = type(name, (QtWidgets.QWidget,), {"__doc__": "By name only."})
    globals()[name] = made
    return made
