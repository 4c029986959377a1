"""The panel: what the user chooses, presses and reads. The work is SegmentationRun's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from ...errors import InputError
from .installation import Installation
from .painted_segments import Painting, describePainting
from .parameters import Annotation, SegmentParameters
from .segment_table import SegmentTable

if TYPE_CHECKING:
    from .segmentation_run import SegmentationRun

_DESCRIBE_AFTER_MS = 300
"""Strokes follow each other: the table is filled when the user pauses."""


class SegmentPanel(slicer.util.VTKObservationMixin):
    """The widgets of Resources/UI/MedMetaSeg.ui in the layout of `parent`, the module's widget.

    getParameterNode: gives the module's parameter node, made anew after the scene was closed. The module
    calls `enter` and `exit` as the user comes and goes, and `cleanup` in the end. Leaving while a
    segmentation runs cancels it; closing the scene and removing the volume end the worker too. `makeRun` is
    called at the first press.
    """

    def __init__(
        self,
        parent: Any,
        uiPath: Path,
        getParameterNode: Callable[[], Any],
        makeRun: Callable[[], SegmentationRun],
        installation: Installation,
    ) -> None:
        super().__init__()
        self._parent, self._getParameterNode = parent, getParameterNode
        self._makeRun, self._installation = makeRun, installation
        self._run: SegmentationRun | None = None
        self._parameters: Any = None
        self._guiTag: int | None = None
        self._shown: tuple[Any, Any] = (None, None)
        self._painting = Painting()

        widget = slicer.util.loadUI(str(uiPath))
        parent.layout().addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self._table = SegmentTable(self.ui.segmentTable, self._onTicked)
        self._describeTimer = qt.QTimer()
        self._describeTimer.setSingleShot(True)
        self._describeTimer.setInterval(_DESCRIBE_AFTER_MS)
        self._describeTimer.connect("timeout()", self._describe)
        self.ui.paintButton.connect("clicked()", self.onPaint)
        self.ui.segmentButton.connect("clicked()", self.onSegment)
        self.ui.cancelButton.connect("clicked()", self.onCancel)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self._onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self._onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self._onNodeRemoved)
        self._showIdle()

    # ------------------------------------------------------------ coming and going

    def enter(self) -> None:
        """The user opens the module."""
        self._connectParameters()

    def exit(self) -> None:
        """The user goes to another module."""
        if self._run is not None:
            self._run.cancel()
        self._disconnectParameters()

    def cleanup(self) -> None:
        """The module goes away."""
        if self._run is not None:
            self._run.close()
        self._disconnectParameters()
        self.removeObservers()

    def _connectParameters(self) -> None:
        self._disconnectParameters()
        self._parameters = SegmentParameters(self._getParameterNode())  # type: ignore[call-arg]
        for name, className in (
            ("volume", "vtkMRMLScalarVolumeNode"),
            ("segmentation", "vtkMRMLSegmentationNode"),
        ):
            if getattr(self._parameters, name) is None:
                setattr(self._parameters, name, _firstNode(className))
        self._shown = (self._parameters.volume, self._parameters.segmentation)
        self._guiTag = self._parameters.connectGui(self.ui)
        self.addObserver(
            self._parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersModified
        )
        self._observeSegmentation(self._parameters.segmentation)
        self._describe()

    def _disconnectParameters(self) -> None:
        if self._parameters is None:
            return
        self._describeTimer.stop()
        self._observeSegmentation(None)
        self._parameters.disconnectGui(self._guiTag)
        self.removeObserver(
            self._parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersModified
        )
        self._parameters = None
        # Not to keep nodes that have left the scene, and their voxels, alive.
        self._shown = (None, None)

    def _onSceneStartClose(self, caller: Any, event: str) -> None:
        if self._run is not None:
            self._run.close()
        self._disconnectParameters()
        self._painting = Painting()
        self._table.show((), ())
        self._say()

    def _onSceneEndClose(self, caller: Any, event: str) -> None:
        if self._parent.isEntered:
            self._connectParameters()

    def _onNodeRemoved(self, caller: Any, event: str) -> None:
        if self._run is not None:
            self._run.onNodeRemoved()
        parameters = self._parameters
        if parameters is not None and self._shown != (parameters.volume, parameters.segmentation):
            self._onParametersModified()

    def _isBusy(self) -> bool:
        return self._run is not None and self._run.isBusy

    # ------------------------------------------------------------ what is painted

    def _observeSegmentation(self, node: Any) -> None:
        self.removeObservers(self._onSegmentationModified)
        if node is not None:
            segmentation = node.GetSegmentation()
            for event in (
                segmentation.SegmentAdded,
                segmentation.SegmentRemoved,
                segmentation.SegmentModified,
                segmentation.SourceRepresentationModified,
            ):
                self.addObserver(segmentation, event, self._onSegmentationModified)

    def _onSegmentationModified(self, caller: Any, event: str) -> None:
        if not self._isBusy():
            self._describeTimer.start()

    def _onParametersModified(self, caller: Any = None, event: str = "") -> None:
        parameters = self._parameters
        volume, segmentation = self._shown
        self._shown = (parameters.volume, parameters.segmentation)
        if segmentation is not parameters.segmentation:
            self._observeSegmentation(parameters.segmentation)
            parameters.untickedSegmentIds = []
        if volume is not None and volume is not parameters.volume:
            # A result of the last volume is no place for one of this.
            parameters.output = None
            self._say()
        self._describe()

    def _describe(self) -> None:
        self._describeTimer.stop()
        parameters = self._parameters
        if parameters is None:
            return
        if parameters.volume is None or parameters.segmentation is None:
            self._painting = Painting()
        else:
            self._painting = describePainting(
                parameters.segmentation, parameters.volume, parameters.annotation.value
            )
        self._table.show(self._painting.segments, parameters.untickedSegmentIds)
        self._showIdle()

    def _onTicked(self) -> None:
        self._parameters.untickedSegmentIds = self._table.untickedIds()

    def _chosenIds(self) -> list[str]:
        """Ticked segments that can be segmented, and the background, which scribbles need."""
        unticked = self._parameters.untickedSegmentIds
        scribbles = self._parameters.annotation is Annotation.SCRIBBLES
        return [
            one.segmentId
            for one in self._painting.segments
            if one.segmentId not in unticked and (one.usable or scribbles)
        ]

    def _advice(self) -> str:
        """What to do before Segment can be pressed; "" when it can."""
        parameters = self._parameters
        if parameters is None or parameters.volume is None:
            return _("Load a CT or MR volume and choose it above.")
        if parameters.segmentation is None:
            return _("Press Paint and paint each structure on a few slices.")
        if self._painting.problem:
            return self._painting.problem
        unticked = parameters.untickedSegmentIds
        if not any(one.usable and one.segmentId not in unticked for one in self._painting.segments):
            return _("Tick a segment that is painted.")
        return ""

    # ------------------------------------------------------------ buttons

    def onPaint(self) -> None:
        """Open the Segment Editor with the volume to paint on; makes a segmentation if none is chosen."""
        volume, segmentation = self._parameters.volume, self._parameters.segmentation
        if segmentation is None:
            name = slicer.mrmlScene.GenerateUniqueName(_("{volume} painted").format(volume=volume.GetName()))
            segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
            segmentation.CreateDefaultDisplayNodes()
            self._parameters.segmentation = segmentation
        if segmentation.GetSegmentation().GetNumberOfSegments() == 0:
            segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.SegmentEditorWidget.editor
        editor.setSegmentationNode(segmentation)
        editor.setSourceVolumeNode(volume)

    def onSegment(self) -> None:
        """Start; says in the error line why not."""
        if self._describeTimer.isActive():
            self._describe()
        if self._isBusy() or self._advice():
            return
        self._say()
        parameters = self._parameters
        try:
            self._installation.ensure()
            if self._run is None:
                self._run = self._makeRun()
                self._run.listener = self
            self._run.begin(
                parameters.volume,
                parameters.segmentation,
                parameters.output,
                self._chosenIds(),
                parameters.annotation.value,
                parameters.device.value,
            )
        except InputError as error:
            self._say(error=str(error))
        except OSError as error:
            self._say(
                error=_(
                    "The segmentation could not be started ({reason}): see whether the disk is full, "
                    "then press Segment again."
                ).format(reason=error.strerror)
            )
        else:
            self._showRunning()
        if not self._isBusy():
            self._showIdle()

    def onCancel(self) -> None:
        """Ask the running segmentation to stop."""
        self.ui.cancelButton.setEnabled(False)
        self.ui.timeLabel.setText(_("Stopping ..."))
        if self._run is not None:
            self._run.cancel()

    # ------------------------------------------------------------ what SegmentationRun tells

    def onDeviceFound(self, device: str, why: str) -> None:
        self.ui.deviceFoundLabel.setText(f"{device.upper()}: {why}" if why else device.upper())

    def onTick(self, share: float, what: str, seconds: float) -> None:
        # Before the first structure the network is being loaded, and nobody knows how long that takes.
        self.ui.progressBar.setMaximum(100 if what else 0)
        self.ui.progressBar.setValue(round(100 * share))
        if self.ui.cancelButton.enabled:
            doing = what or _("Starting")
            self.ui.timeLabel.setText(_("{doing}, {seconds:.0f} s").format(doing=doing, seconds=seconds))

    def onFinished(self, node: Any, report: dict[str, Any], seconds: float) -> None:
        if self._parameters is not None:
            self._parameters.output = node
        self._say(result=_summary(report, seconds))
        self._showIdle()

    def onStopped(self) -> None:
        self._say(result=_("Cancelled: nothing was changed."))
        self._showIdle()

    def onFailed(self, sentence: str) -> None:
        self._say(error=sentence)
        self._showIdle()

    # ------------------------------------------------------------ showing

    def _say(self, result: str = "", error: str = "") -> None:
        self.ui.resultLabel.setText(result)
        self.ui.resultLabel.setVisible(bool(result))
        self.ui.errorLabel.setText(error)
        self.ui.errorLabel.setVisible(bool(error))

    def _showRunning(self) -> None:
        self._showBusy(True)
        self.ui.cancelButton.setEnabled(True)
        self.ui.hintLabel.setVisible(False)
        self.onTick(0.0, "", 0.0)

    def _showIdle(self) -> None:
        if self._isBusy():
            return
        self._showBusy(False)
        advice = self._advice()
        self.ui.segmentButton.setEnabled(not advice)
        self.ui.paintButton.setEnabled(self._parameters is not None and self._parameters.volume is not None)
        missing = self._installation.missing() if not advice else []
        if missing:
            advice = _("The first press asks to install {packages}.").format(packages=", ".join(missing))
        self.ui.hintLabel.setText(advice)
        self.ui.hintLabel.setVisible(bool(advice))

    def _showBusy(self, busy: bool) -> None:
        for widget in (
            self.ui.volumeSelector,
            self.ui.segmentationSelector,
            self.ui.paintButton,
            self.ui.segmentTable,
            self.ui.annotationCombo,
            self.ui.outputSelector,
            self.ui.deviceCombo,
            self.ui.segmentButton,
        ):
            widget.setEnabled(not busy)
        for widget in (self.ui.cancelButton, self.ui.progressBar, self.ui.timeLabel):
            widget.setVisible(busy)


def _firstNode(className: str) -> Any:
    """The first node of exactly this class: a label map is a scalar volume too, and nothing to segment."""
    scene = slicer.mrmlScene
    everyNode = (
        scene.GetNthNodeByClass(n, className) for n in range(scene.GetNumberOfNodesByClass(className))
    )
    return next((node for node in everyNode if node.GetClassName() == className), None)


def _summary(report: dict[str, Any], seconds: float) -> str:
    """Structures with their volume, the time it took, and what the user should know."""
    structures = ", ".join(
        _("{name} {volume:.1f}\N{NO-BREAK SPACE}ml").format(name=one["name"], volume=one["millilitres"])
        for one in report["structures"]
    )
    lines = [
        _("{structures} in {seconds:.1f}\N{NO-BREAK SPACE}s").format(structures=structures, seconds=seconds)
    ]
    lines += [
        _("{name} was left out: {reason}.").format(name=one["name"], reason=one["reason"])
        for one in report.get("skipped", [])
    ]
    return "\n".join([*lines, *report.get("notes", [])])
