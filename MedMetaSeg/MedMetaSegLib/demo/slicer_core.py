"""Slicer's own MRML, logics and `slicer.util` from the slicer-core package, without the Slicer application.

Needs `slicer-core` (pip). In the application itself nothing is booted: its scene is handed back.
"""

from __future__ import annotations

import sys
import tempfile
import types
from dataclasses import dataclass
from typing import Any

# Module name in `slicer.modules` -> class of its logic in slicer-core.
_MODULE_LOGICS = {
    "Colors": "vtkMRMLColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Models": "vtkSlicerModelsLogic",
    "Markups": "vtkSlicerMarkupsLogic",
}


class SlicerCoreMissingError(RuntimeError):
    """Neither the Slicer application nor the slicer-core package is there."""


@dataclass(frozen=True)
class SlicerCore:
    """A scene and the application logic that serves it; keeps alive what only C++ points at."""

    scene: Any
    applicationLogic: Any
    keptAlive: tuple[Any, ...] = ()


@dataclass(frozen=True)
class _Module:
    """What scripts expect of `slicer.modules.<name>`: a name and a logic."""

    name: str
    moduleLogic: Any
    path: str = ""

    def logic(self) -> Any:
        return self.moduleLogic


_booted: SlicerCore | None = None


def boot() -> SlicerCore:
    """Bring slicer-core into a state `slicer.util` accepts; a second call gives back the first one's scene.

    Raises SlicerCoreMissingError when there is no `slicer` to import.
    """
    global _booted
    if _booted is not None:
        return _booted
    try:
        import slicer
    except ImportError as error:
        raise SlicerCoreMissingError(
            "Slicer's libraries are missing: run inside 3D Slicer or `pip install slicer-core`."
        ) from error
    if getattr(slicer, "app", None) is not None:
        _booted = SlicerCore(slicer.mrmlScene, slicer.app.applicationLogic())
    else:
        _booted = _bootCore(slicer)
    return _booted


def _bootCore(slicer: Any) -> SlicerCore:
    scene = slicer.vtkMRMLScene()
    applicationLogic = _applicationLogic(slicer, scene)
    ioLogics = _dataInputOutput(slicer, scene, applicationLogic)
    slicer.mrmlScene = scene
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    modules = types.ModuleType("slicer.modules")
    for name, className in _MODULE_LOGICS.items():
        logic = getattr(slicer, className)()
        if hasattr(logic, "SetMRMLApplicationLogic"):
            logic.SetMRMLApplicationLogic(applicationLogic)
        logic.SetMRMLScene(scene)
        applicationLogic.SetModuleLogic(name, logic)
        setattr(modules, name.lower(), _Module(name, logic))
    slicer.modules = sys.modules["slicer.modules"] = modules
    slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
    return SlicerCore(scene, applicationLogic, (*ioLogics, modules))


def _applicationLogic(slicer: Any, scene: Any) -> Any:
    import vtk

    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetMRMLScene(scene)
    logic.GetColorLogic().SetMRMLScene(scene)
    logic.GetColorLogic().AddDefaultColorNodes()
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    logic.SetTemporaryPath(tempfile.gettempdir())
    return logic


def _dataInputOutput(slicer: Any, scene: Any, applicationLogic: Any) -> tuple[Any, Any]:
    """The logics storage nodes ask for when they read and write; the scene holds no reference to them."""
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLScene(scene)
    remote.SetMRMLApplicationLogic(applicationLogic)
    remote.GetCacheManager().SetRemoteCacheDirectory(tempfile.mkdtemp(prefix="slicer-cache-"))
    manager = slicer.vtkDataIOManagerLogic()
    manager.SetMRMLScene(scene)
    manager.SetMRMLApplicationLogic(applicationLogic)
    manager.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    return remote, manager
