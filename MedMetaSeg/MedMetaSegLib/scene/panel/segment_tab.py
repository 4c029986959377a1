"""The Segment tab: from what is painted to whole structures, and into the user's own segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from ...results.millilitres import millilitres_text
from ..space import CHANGED, PREVIEW_ATTRIBUTE
from ..uncertainty_overlay import UncertaintyOverlay
from .answers import Answers
from .channels import ChannelMenu, votesText
from .expectations import Expectations
from .host import Host
from .legend import Legend
from .next_slice import NextSliceButton
from .painted_segments import Painting, describePainting, supportIds
from .parameters import Role
from .region import RegionSelector, regionText
from .run_options import runOptions
from .segment_editor import EmbeddedEditor, openSegmentEditor
from .segment_files import SegmentFileButton
from .segment_table import SegmentTable

if TYPE_CHECKING:
    from .worker_run import Job

_DESCRIBE_AFTER_MS = 300
"""Milliseconds after the last stroke until the table is filled: strokes follow each other."""


class SegmentTab(slicer.util.VTKObservationMixin):
    """Controls the widgets of the tab; the panel calls it when parameters come, change and go."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host, self.ui = host, host.ui
        self._shown: tuple[Any, Any] = (None, None)
        self._described: tuple[Any, ...] = ()
        self._listed: tuple[Any, ...] = ()
        self._painting = Painting()
        self._editor = EmbeddedEditor(self.ui.editorPlace)
        self._answers = Answers(host, self._editor)
        self._expectations = Expectations()
        self._nextSlice = NextSliceButton(host, self._editor)
        self._legend = Legend(self.ui)
        self._channels = ChannelMenu(host)
        self._segmentFile = SegmentFileButton(host)
        self._overlay = UncertaintyOverlay()
        self._region = RegionSelector(host)
        self.ui.paintHereCheck.setVisible(EmbeddedEditor.isThere())
        self._table = SegmentTable(self.ui.segmentTable, self._onTicked, self._onRole)
        self.describeTimer = qt.QTimer()
        self.describeTimer.setSingleShot(True)
        self.describeTimer.setInterval(_DESCRIBE_AFTER_MS)
        self.describeTimer.connect("timeout()", self.describe)
        self.ui.paintButton.connect("clicked()", self.onPaint)
        self.ui.paintHereCheck.connect("toggled(bool)", self.onPaintHere)
        self.ui.segmentButton.connect("clicked()", self.onSegment)
        # Not the button's own, which goes with every change of its text.
        self._shortcut = qt.QShortcut(qt.QKeySequence("Ctrl+Return"), self.ui.segmentButton)
        self._shortcut.connect("activated()", self.ui.segmentButton.click)
        self.ui.acceptButton.connect("clicked()", self.onAccept)
        self.ui.undoButton.connect("clicked()", self.onUndo)
        self.ui.backButton.connect("clicked()", self.onBack)

    # ------------------------------------------------------------ called by the panel

    def connectParameters(self) -> None:
        """Parameters are there: show them."""
        parameters = self._host.parameters
        for name, className in (
            ("volume", "vtkMRMLScalarVolumeNode"),
            ("segmentation", "vtkMRMLSegmentationNode"),
        ):
            if getattr(parameters, name) is None:
                setattr(parameters, name, _firstNode(className))
        self._shown = (parameters.volume, parameters.segmentation)
        self._observeSegmentation(parameters.segmentation)
        self._removeUnwantedOverlay()
        self._region.show()

    def disconnectParameters(self) -> None:
        """Parameters go: let go of all nodes, so that those that left the scene are not kept alive."""
        self.describeTimer.stop()
        self._observeSegmentation(None)
        self._shown, self._described, self._listed = (None, None), (), ()
        self.ui.paintHereCheck.setChecked(False)

    def forget(self) -> None:
        """The scene closes."""
        self._editor.forget()
        self._answers.forget()
        self._overlay.remove()
        self._painting = Painting()
        self._expectations.onPainted()
        self._table.show((), (), {})
        self._nextSlice.show((), {})

    def onParametersModified(self) -> None:
        """Something was chosen, here or in another tab."""
        parameters = self._host.parameters
        volume, segmentation = self._shown
        self._shown = (parameters.volume, parameters.segmentation)
        self._removeUnwantedOverlay()
        self._region.show()
        self._channels.show()
        if segmentation is not parameters.segmentation:
            self._observeSegmentation(parameters.segmentation)
            parameters.untickedSegmentIds = []
            parameters.backgroundSegmentIds = []
            parameters.ignoredSegmentIds = []
            self._answers.forgetAccept()
        if (volume, segmentation) != self._shown:
            # The editor shows what was chosen before.
            self.ui.paintHereCheck.setChecked(False)
        if volume is not None and volume is not parameters.volume:
            # A result of the last volume is no place for one of this.
            parameters.output = None
            self._host.say()
        if self._described != self._toDescribe():
            self.describe()
        elif self._listed != self._toList():
            self._showPainting()

    def _removeUnwantedOverlay(self) -> None:
        """Show no map longer than it is wanted, nor beside another volume."""
        parameters = self._host.parameters
        if not parameters.showUncertainty or parameters.volume is not self._overlay.volumeNode:
            self._overlay.remove()

    def show(self) -> None:
        """The user looks at the tab, which is always filled."""
        self.onPaintHere(self.ui.paintHereCheck.checked)

    def leave(self) -> None:
        """The user looks at another tab: an editor that is not seen must not take strokes."""
        self._editor.hide()

    # ------------------------------------------------------------ what is painted

    def _observeSegmentation(self, node: Any) -> None:
        self.removeObservers(self._onSegmentationModified)
        if node is not None:
            for event in CHANGED:
                self.addObserver(node.GetSegmentation(), event, self._onSegmentationModified)

    def _onSegmentationModified(self, caller: vtk.vtkObject, event: str) -> None:
        if not self._host.isBusy:
            self.describeTimer.start()

    def describe(self) -> None:
        """Fill the table with what is painted now."""
        self.describeTimer.stop()
        parameters = self._host.parameters
        if parameters is None:
            return
        self._described = self._toDescribe()
        self._expectations.onPainted()
        if parameters.volume is None or parameters.segmentation is None:
            self._painting = Painting()
        else:
            self._painting = describePainting(
                parameters.segmentation, parameters.volume, parameters.annotation.value, self._roles()
            )
        self._showPainting()

    def _showPainting(self) -> None:
        self._listed = self._toList()
        parameters, segments = self._host.parameters, self._painting.segments
        expected = self._expectations.of(
            parameters.output, parameters.segmentation, [one.segmentId for one in segments]
        )
        self._table.show(segments, parameters.untickedSegmentIds, expected)
        self._nextSlice.show([one for one in segments if one.segmentId in self._soughtIds()], expected)
        self._host.showIdle()

    def _toDescribe(self) -> tuple[Any, ...]:
        """The choices that a description depends on: it takes too long to be made at every keystroke."""
        parameters = self._host.parameters
        return parameters.volume, parameters.segmentation, parameters.annotation, self._roles()

    def _toList(self) -> tuple[Any, ...]:
        """The choices that the table and the buttons depend on besides."""
        parameters = self._host.parameters
        return parameters.output, list(parameters.untickedSegmentIds)

    def _roles(self) -> dict[str, Role]:
        parameters = self._host.parameters
        roles = dict.fromkeys(parameters.backgroundSegmentIds, Role.BACKGROUND)
        return roles | dict.fromkeys(parameters.ignoredSegmentIds, Role.IGNORE)

    def _onTicked(self) -> None:
        self._host.parameters.untickedSegmentIds = self._table.untickedIds()

    def _onRole(self, segmentId: str, role: Role) -> None:
        parameters = self._host.parameters
        ignored = [one for one in parameters.ignoredSegmentIds if one != segmentId]
        background = [one for one in parameters.backgroundSegmentIds if one != segmentId]
        parameters.ignoredSegmentIds = ignored + ([segmentId] if role is Role.IGNORE else [])
        # One segment says what is not: the last one chosen.
        parameters.backgroundSegmentIds = [segmentId] if role is Role.BACKGROUND else background

    def _soughtIds(self) -> list[str]:
        """Ticked segments that can be segmented."""
        unticked = self._host.parameters.untickedSegmentIds
        return [
            one.segmentId for one in self._painting.segments if one.usable and one.segmentId not in unticked
        ]

    # ------------------------------------------------------------ buttons

    def onPaint(self) -> None:
        """Open the Segment Editor with the volume to paint on; makes a segmentation if none is chosen."""
        self._readyToPaint()
        openSegmentEditor(self._host.parameters.segmentation, self._host.parameters.volume)

    def onPaintHere(self, checked: bool) -> None:
        """Show the Segment Editor in the panel, or hide it."""
        if not checked:
            self._editor.hide()
            return
        self._readyToPaint()
        if not self.ui.paintHereCheck.checked:
            # A new segmentation was chosen, which took the tick away; with the tick this is called again.
            self.ui.paintHereCheck.setChecked(True)
            return
        self._editor.show(self._host.parameters.segmentation, self._host.parameters.volume)

    def _readyToPaint(self) -> None:
        parameters = self._host.parameters
        volume, segmentation = parameters.volume, parameters.segmentation
        if segmentation is None:
            name = slicer.mrmlScene.GenerateUniqueName(_("{volume} painted").format(volume=volume.GetName()))
            segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
            segmentation.CreateDefaultDisplayNodes()
            parameters.segmentation = segmentation
        if segmentation.GetSegmentation().GetNumberOfSegments() == 0:
            segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)

    def onSegment(self) -> None:
        """Start; says in the error line why not."""
        if self.describeTimer.isActive():
            self.describe()
        if self._host.parameters is None or self._advice() or self._host.isBusy:
            return
        self._host.begin(self._job, lambda: _("Cancelled: nothing was changed."))

    def _job(self) -> Job:
        from .segment_job import PaintedSelection, SegmentJob

        parameters, roles = self._host.parameters, self._roles()
        scribbles = parameters.annotation.value == "scribbles"
        there = [one.segmentId for one in self._painting.segments if one.usable or scribbles]
        selection = PaintedSelection(
            parameters.volume,
            parameters.segmentation,
            parameters.output,
            segmentIds=supportIds(there, parameters.annotation.value, roles),
            soughtIds=self._soughtIds(),
            backgroundIds=parameters.backgroundSegmentIds,
            annotation=parameters.annotation.value,
            within=self._region.chosen(),
            channelNodes=self._channels.nodes,
        )
        return SegmentJob(
            selection, runOptions(parameters), self._answers.results, self._overlay, self._onResult
        )

    def _onResult(self, node: Any, report: dict[str, Any], seconds: float) -> None:
        if self._host.parameters is not None:
            self._host.parameters.output = node
            # It may have been painted on while the worker was busy.
            self._expectations.onPainted()
            self._showPainting()
        self._host.say(result=summary(report, seconds))

    def onAccept(self) -> None:
        """Copy the ticked results over what was painted, as one step to undo."""
        self._answers.accept(self._soughtIds())
        self.describe()

    def onUndo(self) -> None:
        """Take the last Accept back."""
        self._answers.undo()
        self.describe()

    def onBack(self) -> None:
        """Go back to the answer before the last press."""
        self._answers.goBack()
        # It told of the answer that was just taken away.
        self._overlay.remove()
        self.describe()

    # ------------------------------------------------------------ showing

    def showBusy(self, busy: bool) -> None:
        """Disable what must not change while something runs."""
        ui = self.ui
        for widget in (
            ui.volumeSelector,
            ui.channelsButton,
            ui.segmentationSelector,
            ui.paintButton,
            ui.segmentFileButton,
            ui.paintHereCheck,
            ui.segmentTable,
            ui.annotationCombo,
            ui.outputSelector,
            ui.previewCheck,
            ui.uncertaintyCheck,
            ui.segmentButton,
            ui.acceptButton,
            ui.undoButton,
            ui.backButton,
        ):
            widget.setEnabled(not busy)
        self._region.showBusy(busy)
        if busy:
            ui.hintLabel.setVisible(False)

    def showIdle(self) -> None:
        """Enable what can be pressed, and say what to do next."""
        parameters, advice = self._host.parameters, self._advice()
        there = parameters is not None and parameters.volume is not None
        self.ui.segmentButton.setEnabled(not advice)
        self.ui.paintButton.setEnabled(there)
        self._channels.showIdle()
        self.ui.segmentFileButton.setEnabled(there)
        self.ui.paintHereCheck.setEnabled(there)
        has_result = there and self._answers.areThere([one.segmentId for one in self._painting.segments])
        self.ui.segmentButton.setText(_("Update") if has_result else _("Segment"))
        self.ui.acceptButton.setEnabled(has_result)
        self.ui.undoButton.setEnabled(self._answers.canUndo)
        self.ui.backButton.setEnabled(self._answers.canGoBack)
        missing = self._host.installation.missing() if not advice else []
        if missing:
            advice = _("The first press asks to install {packages}.").format(packages=", ".join(missing))
        self.ui.hintLabel.setText(advice)
        self.ui.hintLabel.setVisible(bool(advice))

    def _advice(self) -> str:
        """What to do before Segment can be pressed; "" when it can."""
        parameters = self._host.parameters
        if parameters is None or parameters.volume is None:
            return _("Load a CT or MR volume and choose it above.")
        if parameters.segmentation is None:
            return _("Press Paint and paint each structure on a few slices.")
        if self._painting.problem:
            return self._painting.problem
        if not self._soughtIds():
            return _("Tick a segment that is painted.")
        return ""


def _firstNode(className: str) -> Any:
    """The first node of exactly this class: a label map is a scalar volume too, and nothing to segment. Nor
    is a preview what was painted, or what no list shows.
    """
    scene = slicer.mrmlScene
    everyNode = (
        scene.GetNthNodeByClass(n, className) for n in range(scene.GetNumberOfNodesByClass(className))
    )
    return next(
        (
            node
            for node in everyNode
            if node.GetClassName() == className
            and not node.GetHideFromEditors()
            and not node.GetAttribute(PREVIEW_ATTRIBUTE)
        ),
        None,
    )


def summary(report: dict[str, Any], seconds: float) -> str:
    """Structures with their volume, the time it took, and what the user should know."""
    structures = ", ".join(
        _("{name} {volume}\N{NO-BREAK SPACE}ml").format(
            name=one["name"], volume=millilitres_text(one["millilitres"])
        )
        for one in report["structures"]
    )
    lines = [
        _("{structures} in {seconds:.1f}\N{NO-BREAK SPACE}s").format(structures=structures, seconds=seconds)
    ]
    lines += regionText(report)
    lines += votesText(report)
    lines += [
        _("{name} was left out: {reason}.").format(name=one["name"], reason=one["reason"])
        for one in report.get("skipped", [])
    ]
    return "\n".join([*lines, *report.get("notes", [])])
