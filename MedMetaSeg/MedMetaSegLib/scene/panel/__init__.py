"""The module's panel in Slicer: Qt widgets over the rooms of `scene`. The only place that imports Qt."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .installation import Installation, SlicerPackages
from .panel import SegmentPanel

if TYPE_CHECKING:
    from .segmentation_run import SegmentationRun

__all__ = ["SegmentPanel", "makePanel"]


def makePanel(parent: Any, resources: Path, getParameterNode: Callable[[], Any]) -> SegmentPanel:
    """The panel with everything it needs, in the layout of `parent`, the module's widget."""
    installation = Installation(resources / "requirements.txt", SlicerPackages())
    uiPath = resources / "UI" / "MedMetaSeg.ui"
    return SegmentPanel(parent, uiPath, getParameterNode, makeRun, installation)


def makeRun() -> SegmentationRun:
    """What segments for the panel, made at the first press: SimpleITK and scipy would delay its opening."""
    from ...worker.client import WorkerClient
    from ..results import ResultSegments
    from .segmentation_run import SegmentationRun

    # Slicer puts its launcher on the PATH; a plain Python with slicer-core has none and is what is needed.
    python = shutil.which("PythonSlicer") or sys.executable
    return SegmentationRun(WorkerClient(python), ResultSegments())
