"""Slice and 3D views drawn off screen by Slicer's own displayable managers, as RGB arrays.

    core = boot()
    with SliceView(core, "Axial") as view:
        view.show(volumeNode, offset_mm=12.0)
        rgb = view.render()                     # (height, width, 3) uint8

Needs slicer-core and an OpenGL driver that draws without a screen.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import Any

import numpy as np

from .slicer_core import SlicerCore

_SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
)
_THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
)
_PROBE = (
    "import vtk; w = vtk.vtkRenderWindow(); w.SetOffScreenRendering(1); w.SetSize(8, 8); w.Render(); "
    "assert 'OpenGL vendor' in w.ReportCapabilities()"
)
_WINDOW_CHOICE = "VTK_DEFAULT_OPENGL_WINDOW"


class RenderingUnavailableError(RuntimeError):
    """This machine has no OpenGL driver that can draw off screen."""


@functools.cache
def require_rendering() -> None:
    """Choose a way to draw off screen; RenderingUnavailableError names the packages when there is none.

    Tried in a process of its own, because VTK ends the process it draws in when the driver is missing.
    A choice already made in VTK_DEFAULT_OPENGL_WINDOW is kept.
    """
    if _WINDOW_CHOICE in os.environ:
        choices: tuple[str | None, ...] = (os.environ[_WINDOW_CHOICE],)
    elif sys.platform == "linux":
        choices = ("vtkEGLRenderWindow", "vtkOSOpenGLRenderWindow")
    else:
        choices = (None,)
    for choice in choices:
        environment = dict(os.environ) if choice is None else {**os.environ, _WINDOW_CHOICE: choice}
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE], env=environment, capture_output=True, timeout=120
        )
        if probe.returncode == 0:
            os.environ.update(environment)
            return
    raise RenderingUnavailableError(
        "No OpenGL driver can draw off screen here: on Debian or Ubuntu run "
        "`apt-get install libegl1 libgl1-mesa-dri` (or `libosmesa6`)."
    )


class _OffscreenView:
    """A render window without a screen and the displayable managers that fill it."""

    def __init__(
        self, core: SlicerCore, factoryClass: str, managers: tuple[str, ...], size: tuple[int, int]
    ) -> None:
        require_rendering()
        import slicer
        import vtk

        self._core = core
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.ShowWindowOff()
        self._window.SetMultiSamples(0)
        self._window.SetSize(*size)
        self._renderer = vtk.vtkRenderer()
        self._window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.Initialize()
        factory = getattr(slicer, factoryClass).GetInstance()
        factory.SetMRMLApplicationLogic(core.applicationLogic)
        for manager in managers:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self._renderer)
        self._group.Initialize(factory, self._renderer)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def render(self) -> np.ndarray:
        """Draw and return RGB as (height, width, 3) uint8, top row first."""
        import vtk
        from vtk.util.numpy_support import vtk_to_numpy

        self._window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self._window)
        grab.SetInputBufferTypeToRGB()
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        width, height, _ = image.GetDimensions()
        pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 3)
        return np.ascontiguousarray(pixels[::-1])

    def close(self) -> None:
        """Let go of the window; the view's nodes leave the scene."""
        self._group.SetMRMLDisplayableNode(None)
        self._window.Finalize()


class SliceView(_OffscreenView):
    """One slice view, "Axial", "Coronal" or "Sagittal", with segments drawn as Slicer draws them."""

    def __init__(
        self, core: SlicerCore, orientation: str = "Axial", size: tuple[int, int] = (400, 400)
    ) -> None:
        super().__init__(core, "vtkMRMLSliceViewDisplayableManagerFactory", _SLICE_MANAGERS, size)
        import slicer
        import vtk

        self._renderer.GetActiveCamera().ParallelProjectionOn()
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        background = vtk.vtkActor2D()
        background.SetMapper(self._mapper)
        background.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(background)
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(core.applicationLogic)
        core.applicationLogic.GetSliceLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(core.scene)
        self._node = self._logic.AddSliceNode(core.scene.GenerateUniqueName(f"MedMetaSeg{orientation}"))
        self._node.SetOrientation(orientation)
        self._group.SetMRMLDisplayableNode(self._node)

    def show(self, volumeNode: Any, offset_mm: float | None = None) -> None:
        """Fit the volume to the view; `offset_mm` along the slice normal, else the middle slice."""
        self._logic.GetSliceCompositeNode().SetBackgroundVolumeID(volumeNode.GetID())
        self._logic.ResizeSliceNode(*self._window.GetSize())
        self._logic.FitSliceToBackground()
        if offset_mm is None:
            self._logic.SnapSliceOffsetToIJK()
        else:
            self._logic.SetSliceOffset(offset_mm)
        self._mapper.SetInputConnection(self._logic.GetImageDataConnection())

    def close(self) -> None:
        super().close()
        nodes = (
            self._logic.GetSliceModelDisplayNode(),
            self._logic.GetSliceModelTransformNode(),
            self._logic.GetSliceModelNode(),
            self._logic.GetSliceCompositeNode(),
            self._node,
        )
        self._core.applicationLogic.GetSliceLogics().RemoveItem(self._logic)
        # First the logic lets go of the scene: it would make its nodes anew.
        self._logic.SetMRMLScene(None)
        for node in nodes:
            self._core.scene.RemoveNode(node)


class ThreeDView(_OffscreenView):
    """A 3D view of everything visible in the scene; segments need their closed surface."""

    def __init__(self, core: SlicerCore, size: tuple[int, int] = (400, 400)) -> None:
        super().__init__(core, "vtkMRMLThreeDViewDisplayableManagerFactory", _THREE_D_MANAGERS, size)
        import slicer

        node = slicer.vtkMRMLViewNode()
        node.SetLayoutName(core.scene.GenerateUniqueName("MedMetaSeg3D"))
        node.SetBoxVisible(False)
        node.SetAxisLabelsVisible(False)
        self._node = core.scene.AddNode(node)
        self._group.SetMRMLDisplayableNode(self._node)

    def show(self, azimuth_degrees: float = 0.0, elevation_degrees: float = 0.0) -> None:
        """Look at everything from the front, turned by the two angles."""
        self._window.Render()
        camera = self._renderer.GetActiveCamera()
        centre = np.array(camera.GetFocalPoint())
        camera.SetPosition(*(centre + (0.0, 500.0, 0.0)))
        camera.SetViewUp(0.0, 0.0, 1.0)
        camera.Azimuth(azimuth_degrees)
        camera.Elevation(elevation_degrees)
        self._renderer.ResetCamera()

    def close(self) -> None:
        super().close()
        layoutName = self._node.GetLayoutName()
        cameras = self._core.scene.GetNodesByClass("vtkMRMLCameraNode")
        cameras.UnRegister(None)
        for camera in [cameras.GetItemAsObject(index) for index in range(cameras.GetNumberOfItems())]:
            if camera.GetLayoutName() == layoutName:
                self._core.scene.RemoveNode(camera)
        self._core.scene.RemoveNode(self._node)
