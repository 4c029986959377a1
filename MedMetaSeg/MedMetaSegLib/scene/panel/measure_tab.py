"""The Measure tab: segments and their lesions in figures, in tables and in the views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from ...errors import InputError
from ...measurements.measurements import MeasureOptions
from ..diameter_lines import DiameterLines
from ..measurement_tables import lesionRows, writeTables
from ..space import CHANGED
from .host import Host
from .lesion_table import LesionTable, Row
from .measure_table import MeasureRow, MeasureTable
from .measure_text import definitionsText, limitsText, summaryText

if TYPE_CHECKING:
    from ..measure import MeasuredScene

_LOOK_AFTER_MS = 300
"""Milliseconds after the last change until it is seen whether the figures are out of date."""


class MeasureTab(slicer.util.VTKObservationMixin):
    """Controls the widgets of the tab. What was measured is shown until something else is chosen."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host, self.ui = host, host.ui
        self._measured: MeasuredScene | None = None
        self._shown: tuple[Any, Any] = (None, None)
        self._isStale = False
        self._lines = DiameterLines()
        self._segments = MeasureTable(self.ui.measureTable, self._onTicked)
        self._lesions = LesionTable(self.ui.lesionTable, self.showIdle, self._goTo)
        self.ui.measureLimitsLabel.setText(limitsText())
        self.lookTimer = qt.QTimer()
        self.lookTimer.setSingleShot(True)
        self.lookTimer.setInterval(_LOOK_AFTER_MS)
        self.lookTimer.connect("timeout()", self._look)
        for button, slot in (
            (self.ui.measureButton, self.onMeasure),
            (self.ui.goToLesionButton, self.onGoTo),
            (self.ui.diametersButton, self.onDiameters),
            (self.ui.showStructuresButton, self.onShowStructures),
            (self.ui.showLesionsButton, self.onShowLesions),
            (self.ui.saveTableButton, self.onSave),
        ):
            button.connect("clicked()", slot)

    # ------------------------------------------------------------ called by the panel

    def connectParameters(self) -> None:
        """Parameters are there: what they choose is what is shown from now on."""
        self._choose()

    def show(self) -> None:
        """The user looks at the tab: what Segment used is chosen unless something is."""
        parameters = self._host.parameters
        if parameters.measureVolume is None:
            parameters.measureVolume = parameters.volume
        if parameters.measureSegmentation is None:
            parameters.measureSegmentation = parameters.output or parameters.segmentation
        self._observe()
        self._look()

    def leave(self) -> None:
        """The user looks at something else: changes are seen when they come back."""
        self.lookTimer.stop()
        self.removeObservers()

    def onParametersModified(self) -> None:
        """Something was chosen, here or in another tab."""
        segmentation = self._shown[1]
        self._choose()
        if segmentation is not self._shown[1]:
            self._host.parameters.lesionSegmentIds = []
        if self._isLookedAt():
            self._fill()

    def _choose(self) -> None:
        """Take note of the chosen nodes; of others nothing is shown any more."""
        parameters = self._host.parameters
        chosen = parameters.measureVolume, parameters.measureSegmentation
        if chosen != self._shown:
            self._shown = chosen
            self._forgetMeasured()
            self._observe()

    def onNodeRemoved(self) -> None:
        """A node left the scene: of what is not there any more nothing is shown."""
        if self._measured is None:
            return
        if None in (self._measured.volumeNode.GetScene(), self._measured.segmentationNode.GetScene()):
            self._forgetMeasured()
            self._showMeasured()

    def forget(self) -> None:
        """The scene closes."""
        self.leave()
        self._lines.forget()
        self._forgetMeasured()
        self._shown = (None, None)
        self._segments.show(())
        self._showMeasured()

    # ------------------------------------------------------------ what changes

    def _observe(self) -> None:
        """Hear of changes of the chosen nodes, while the tab is looked at."""
        self.removeObservers()
        volume, segmentation = self._shown
        if not self._isLookedAt():
            return
        if volume is not None:
            # Spacing and origin have no event of their own.
            for event in (
                vtk.vtkCommand.ModifiedEvent,
                volume.ImageDataModifiedEvent,
                volume.TransformModifiedEvent,
            ):
                self.addObserver(volume, event, self._onChanged)
        if segmentation is not None:
            self.addObserver(segmentation, segmentation.TransformModifiedEvent, self._onChanged)
            for event in CHANGED:
                self.addObserver(segmentation.GetSegmentation(), event, self._onChanged)

    def _onChanged(self, caller: Any, event: str) -> None:
        self.lookTimer.start()

    def _isLookedAt(self) -> bool:
        return self._host.parameters is not None and self.ui.tabs.currentWidget() == self.ui.measureTab

    def _look(self) -> None:
        """See whether the figures are those of what is in the scene now."""
        self.lookTimer.stop()
        if self._host.parameters is None:
            return
        self._isStale = self._measured is not None and not self._measured.isUpToDate()
        self._fill()

    def _forgetMeasured(self) -> None:
        self._measured, self._isStale = None, False
        self._lines.remove()

    # ------------------------------------------------------------ buttons

    def onMeasure(self) -> None:
        """Measure; says in the error line why not."""
        # It brings SimpleITK and scipy, which the opening of the panel does not wait for.
        from ..measure import measureScene

        volume, segmentation = self._shown
        options = self._options()
        self._forgetMeasured()
        measured = self._host.workHere(
            lambda progress: measureScene(volume, segmentation, options, progress=progress),
            _("Cancelled: nothing was measured."),
        )
        # Somebody may have chosen, changed or removed something meanwhile.
        if measured is not None and self._shown == (volume, segmentation):
            self._measured = measured
        self._look()

    def _options(self) -> MeasureOptions:
        parameters, segmentation = self._host.parameters, self._shown[1].GetSegmentation()
        segments = (segmentation.GetSegment(one) for one in parameters.lesionSegmentIds)
        return MeasureOptions(
            tuple(one.GetName() for one in segments if one is not None),
            parameters.neighbours.value,
            parameters.smallestLesionMm3,
        )

    def onGoTo(self) -> None:
        """Move the slice views to the first lesion that is chosen."""
        self._goTo(self._lesions.chosen()[0])

    def _goTo(self, row: Row) -> None:
        from ..answer_quality import pointInWorld
        from ..slice_views import jumpTo, shownViews

        assert self._measured is not None
        views = shownViews(slicer.mrmlScene)
        if not views:
            self._host.say(error=_("No slice view is shown: choose a layout with one."))
            return
        (r, a, s), (r2, a2, s2) = row[1].longest.ends_ras
        middle = self._measured.inVolume(((r + r2) / 2, (a + a2) / 2, (s + s2) / 2))
        jumpTo(views, pointInWorld(self._measured.volumeNode, middle))

    def onDiameters(self) -> None:
        """Draw the diameters of the chosen lesions, of all without a choice, or take them away."""
        self._host.say()
        if self._lines.areShown:
            self._lines.remove()
        elif self._measured is not None:
            rows = self._lesions.chosen() or lesionRows(self._measured.measurements)
            shown = self._lines.show(self._measured, rows)
            if len(shown) < len(rows):
                text = _("Diameters of the {count} largest of {all} lesions are shown.")
                self._host.say(result=text.format(count=len(shown), all=len(rows)))
        self.showIdle()

    def onShowStructures(self) -> None:
        """Put the figures of the segments into a table of the scene and show it."""
        if self._measured is not None:
            showTable(writeTables(self._measured).structures)

    def onShowLesions(self) -> None:
        """Put the figures of the lesions into a table of the scene and show it."""
        if self._measured is not None:
            showTable(writeTables(self._measured).lesions)

    def onSave(self) -> None:
        """Write the figures to files where the user says."""
        from .measure_files import saveTables

        if self._measured is None:
            return
        self._host.say()
        try:
            files = saveTables(self._measured.measurements, self._measured.segmentationNode.GetName())
        except InputError as error:
            self._host.say(error=str(error))
        else:
            if files:
                names = ", ".join(str(one) for one in files)
                self._host.say(result=_("Saved: {names}").format(names=names))

    # ------------------------------------------------------------ showing

    def _fill(self) -> None:
        """Show the segments that are there, and what was measured."""
        parameters, segmentationNode = self._host.parameters, self._shown[1]
        measured = {} if self._measured is None else self._measured.bySegment
        rows = []
        if segmentationNode is not None:
            segmentation = segmentationNode.GetSegmentation()
            for segmentId in segmentation.GetSegmentIDs():
                segment = segmentation.GetSegment(segmentId)
                rows.append(
                    MeasureRow(
                        segmentId,
                        segment.GetName() or segmentId,
                        tuple(segment.GetColor()),
                        segmentId in parameters.lesionSegmentIds,
                        measured.get(segmentId),
                    )
                )
        self._segments.show(rows)
        self._showMeasured()

    def _showMeasured(self) -> None:
        """Show the lesions, and what has to be said of the figures."""
        measurements = None if self._measured is None else self._measured.measurements
        self._lesions.show(() if measurements is None else lesionRows(measurements))
        summary = "" if measurements is None else summaryText(measurements)
        texts = (self.ui.measureSummaryLabel, summary), (self.ui.measureStaleLabel, self._stale())
        for label, text in texts:
            label.setText(text)
            label.setVisible(bool(text))
        self.ui.measureLegendLabel.setText(definitionsText(measurements))
        self.showIdle()

    def _stale(self) -> str:
        """Why the figures are not those that Measure would give now; "" when they are."""
        if self._measured is None:
            return ""
        if self._isStale:
            return _("Out of date: the volume or the segmentation has changed. Press Measure.")
        if self._host.parameters is not None and self._options() != self._measured.measurements.options:
            return _("Measured with other choices than those above. Press Measure.")
        return ""

    def _onTicked(self) -> None:
        self._host.parameters.lesionSegmentIds = self._segments.lesionIds()

    def showBusy(self, busy: bool) -> None:
        """Disable what must not change while something runs."""
        ui = self.ui
        for widget in (
            ui.measureVolumeSelector,
            ui.measureSegmentationSelector,
            ui.measureTable,
            ui.neighboursCombo,
            ui.smallestSpin,
            ui.measureButton,
        ):
            widget.setEnabled(not busy)

    def showIdle(self) -> None:
        """Enable what can be pressed, and say what to do next."""
        isMeasured, hasLesions = self._measured is not None, self.ui.lesionTable.rowCount > 0
        for widget in (self.ui.showStructuresButton, self.ui.saveTableButton):
            widget.setEnabled(isMeasured)
        for widget in (self.ui.diametersButton, self.ui.showLesionsButton):
            widget.setEnabled(hasLesions)
        self.ui.goToLesionButton.setEnabled(len(self._lesions.chosen()) == 1)
        self.ui.diametersButton.setChecked(self._lines.areShown)
        if self._host.isBusy:
            return
        hint = self._hint()
        self.ui.measureButton.setEnabled(not hint)
        self.ui.measureHintLabel.setText(hint)
        self.ui.measureHintLabel.setVisible(bool(hint))

    def _hint(self) -> str:
        """What to do before Measure can be pressed; "" when it can."""
        volume, segmentation = self._shown
        if volume is None:
            return _("Choose a volume.")
        if segmentation is None:
            return _("Choose a segmentation.")
        if segmentation.GetSegmentation().GetNumberOfSegments() == 0:
            return _("The segmentation has no segments.")
        return ""


def showTable(table: Any) -> None:
    """Show a table node in a layout that has a table, as Segment Statistics does."""
    layoutManager = slicer.app.layoutManager()
    logic = slicer.modules.tables.logic()
    layoutManager.setLayout(logic.GetLayoutWithTable(layoutManager.layout))
    slicer.app.applicationLogic().GetSelectionNode().SetActiveTableID(table.GetID())
    slicer.app.applicationLogic().PropagateTableSelection()
