"""The module's panel in Slicer: Qt widgets over the rooms of `scene`. The only place that imports Qt."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .installation import Installation, SlicerPackages
from .panel import Panel

if TYPE_CHECKING:
    from .worker_run import WorkerRun

__all__ = ["Panel", "makePanel"]


def makePanel(parent: Any, resources: Path, logic: Any) -> Panel:
    """The panel with everything it needs, in the layout of `parent`, the module's widget."""
    installation = Installation(resources / "requirements.txt", SlicerPackages())
    return Panel(parent, resources, logic, makeRun, installation)


def makeRun(onDevice: Callable[[str, str], None]) -> WorkerRun:
    """What works for the panel, made at the first press: SimpleITK and scipy would delay its opening."""
    from ...worker.client import WorkerClient
    from .worker_run import WorkerRun

    # Slicer puts its launcher on the PATH; a plain Python with slicer-core has none and is what is needed.
    python = shutil.which("PythonSlicer") or sys.executable
    return WorkerRun(WorkerClient(python), onDevice)
