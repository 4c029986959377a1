"""The only rooms that know MRML: nodes in, segments out. They import `slicer`, never Qt or torch."""

from __future__ import annotations

from .logic import SceneLogic
from .reader import readSupport, readVolume
from .writer import writeSegments

__all__ = ["SceneLogic", "readSupport", "readVolume", "writeSegments"]
