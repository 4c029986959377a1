"""The only rooms that know MRML: nodes in, segments out. Qt is imported in `panel` alone, torch nowhere.

A name is loaded when it is first used, so that Slicer starts without waiting for SimpleITK and scipy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .logic import SceneLogic
    from .reader import readSupport, readVolume
    from .writer import writeSegments

__all__ = ["SceneLogic", "readSupport", "readVolume", "writeSegments"]

_HOMES = {"SceneLogic": "logic", "readSupport": "reader", "readVolume": "reader", "writeSegments": "writer"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
