"""The Batch tab: a task applied to a folder of images or to patients, image by image, and results opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ...errors import InputError
from ..dicom_database import seriesFiles
from .batch_rows import rowItems, worstFirst
from .host import Host
from .parameters import BatchExisting, BatchFormat, BatchSource
from .patient_table import PatientTable
from .tasks_tab import TasksTab

if TYPE_CHECKING:
    from ...batch.request import BatchProgress, BatchResult
    from .worker_run import Job

_DONE = ("done", "there already")
_WIDTHS = (120, 160, 60)
"""Of the table's columns in pixels, in a panel 420 wide; the last takes what is left."""


class BatchTab:
    """Controls the widgets of the tab. tasks: whose folder holds the tasks to choose from."""

    def __init__(self, host: Host, tasks: TasksTab) -> None:
        self._host, self.ui, self._tasks = host, host.ui, tasks
        self._paths: list[Path] = []
        self._rows: list[BatchProgress] = []
        # Where the images and results of the rows are, whatever is chosen by now.
        self._images: Path | None = None
        self._out = Path()
        self._source = BatchSource.FOLDER
        self._patients = PatientTable(self.ui.batchPatientTable, self.showIdle)
        table = self.ui.batchTable
        table.setColumnCount(len(_WIDTHS))
        table.setHorizontalHeaderLabels([_("Image"), _("State"), _("Triage")])
        for column, width in enumerate(_WIDTHS):
            table.setColumnWidth(column, width)
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.connect("itemSelectionChanged()", self.showIdle)
        for button, slot in (
            (self.ui.batchInputButton, self.onChooseInput),
            (self.ui.batchOutputButton, self.onChooseOutput),
            (self.ui.batchButton, self.onBatch),
            (self.ui.openResultButton, self.onOpen),
        ):
            button.connect("clicked()", slot)
        for edit in (self.ui.batchInputEdit, self.ui.batchOutputEdit):
            edit.connect("textChanged(QString)", self._onTextChanged)

    # ------------------------------------------------------------ called by the panel

    def show(self) -> None:
        """The user looks at the tab."""
        before = self._task()
        self._tasks.showTasks()
        entries = [one for one in self._tasks.entries() if not one.problem]
        self._paths = [one.path for one in entries]
        self.ui.batchTaskCombo.clear()
        self.ui.batchTaskCombo.addItems([one.name for one in entries])
        if before in self._paths:
            self.ui.batchTaskCombo.setCurrentIndex(self._paths.index(before))
        self._showSource()

    def onParametersModified(self) -> None:
        """Something was chosen: the patients are read when they are to be looked at."""
        chosen = self._host.parameters.batchSource
        if chosen is not self._source and self.ui.tabs.currentWidget() == self.ui.batchTab:
            self._showSource()

    def forget(self) -> None:
        """The scene closes: the batch has its own files, what it did stays shown."""

    # ------------------------------------------------------------ buttons

    def onChooseInput(self) -> None:
        """Ask for the folder with the images."""
        self._choose(self.ui.batchInputEdit, _("Folder with the images"))

    def onChooseOutput(self) -> None:
        """Ask for the folder for the results."""
        self._choose(self.ui.batchOutputEdit, _("Folder for the results"))

    def _choose(self, edit: Any, title: str) -> None:
        chosen = qt.QFileDialog.getExistingDirectory(None, title, edit.text)
        if chosen:
            edit.setText(chosen)

    def onBatch(self) -> None:
        """Start; the worker says what cannot be right."""
        self._rows = []
        self.ui.batchTable.setRowCount(0)
        self._host.begin(self._job, self._stopped)

    def _job(self) -> Job:
        from .batch_job import BatchJob, batchRequest

        parameters, task = self._host.parameters, self._task()
        if task is None:
            raise InputError(_("Choose a task."))
        series: tuple[tuple[str, ...], ...] = ()
        self._images, self._out = None, Path(parameters.batchOutput)
        if parameters.batchSource is BatchSource.DATABASE:
            series = seriesFiles(self._patients.ticked())
        else:
            self._images = Path(parameters.batchInput)
        request = batchRequest(
            task,
            self._images,
            parameters.batchPattern.strip(),
            self._out,
            overwrite=parameters.batchExisting is BatchExisting.OVERWRITE,
            format=parameters.batchFormat.value.removeprefix("."),
            device=parameters.device.value,
            series=series,
            resample_uneven=parameters.batchResampleUneven,
            keep_doubtful=parameters.batchKeepDoubtful,
            accept_above=parameters.acceptAbove,
            paint_below=parameters.paintBelow,
        )
        return BatchJob(request, self._onItem, self._onDone)

    def _onItem(self, event: BatchProgress) -> None:
        names = [one.item for one in self._rows]
        row = names.index(event.item) if event.item in names else len(names)
        self._rows[row : row + 1] = [event]
        self._showRow(row)
        self._host.showProgress(
            event.finished / max(1, event.total),
            _("{finished} of {total} images").format(finished=event.finished, total=event.total),
        )

    def _showRow(self, row: int) -> None:
        event = self._rows[row]
        self.ui.batchTable.setRowCount(len(self._rows))
        for column, item in enumerate(rowItems(event)):
            self.ui.batchTable.setItem(row, column, item)

    def _onDone(self, result: BatchResult) -> None:
        self._rows = worstFirst(self._rows)
        for row in range(len(self._rows)):
            self._showRow(row)
        total, failed = result.total, len(result.failed)
        text = _("{done} of {total} images are done in {seconds:.0f}\N{NO-BREAK SPACE}s.").format(
            done=total - failed, total=total, seconds=result.seconds
        )
        reports = [_("Report: {path}").format(path=path) for path in result.reports[:1]]
        if result.stopped:
            raise InputError(f"{text} {result.stopped}")
        self._host.say(result="\n".join([text, *reports]))

    def _stopped(self) -> str:
        done = sum(one.state in _DONE for one in self._rows)
        return _("Cancelled: {done} of {total} images are done; run the batch again to go on.").format(
            done=done, total=max((one.total for one in self._rows), default=0)
        )

    def onOpen(self) -> None:
        """Load the chosen result, and its image where it is found."""
        chosen = self._chosen()
        if chosen is None:
            return
        if chosen.output.endswith(BatchFormat.DICOM.value):
            text = _(
                "Import {path} into Slicer's DICOM database and load it from there, or read it onto its "
                "image with From file ... in the Segment tab."
            )
            self._host.say(error=text.format(path=self._out / chosen.output))
            return
        try:
            slicer.util.loadSegmentation(str(self._out / chosen.output))
            image = self._images / chosen.image if self._images and chosen.image else None
            if image is not None and image.is_file():
                slicer.util.loadVolume(str(image))
        except RuntimeError as error:
            self._host.say(error=str(error).splitlines()[0])

    # ------------------------------------------------------------ showing

    def _task(self) -> Path | None:
        index = self.ui.batchTaskCombo.currentIndex
        return self._paths[index] if 0 <= index < len(self._paths) else None

    def _chosen(self) -> BatchProgress | None:
        """The selected image, if it has a result."""
        row = self.ui.batchTable.currentRow()
        if not 0 <= row < len(self._rows) or self._rows[row].state not in _DONE:
            return None
        return self._rows[row]

    def _showSource(self) -> None:
        """By the parameter: the combo box runs through its items while it is being filled."""
        self._source = self._host.parameters.batchSource
        ui, isDatabase = self.ui, self._source is BatchSource.DATABASE
        if isDatabase:
            self._patients.show()
        ui.batchPatientTable.setVisible(isDatabase)
        for widget in (
            ui.batchInputLabel,
            ui.batchInputEdit,
            ui.batchInputButton,
            ui.batchPatternLabel,
            ui.batchPatternEdit,
        ):
            widget.setVisible(not isDatabase)
        self.showIdle()

    def _onTextChanged(self, text: str) -> None:
        self.showIdle()

    def showBusy(self, busy: bool) -> None:
        """Disable what must not change while something runs."""
        ui = self.ui
        for widget in (
            ui.batchTaskCombo,
            ui.batchSourceCombo,
            ui.batchPatientTable,
            ui.batchInputEdit,
            ui.batchInputButton,
            ui.batchPatternEdit,
            ui.batchOutputEdit,
            ui.batchOutputButton,
            ui.batchFormatCombo,
            ui.batchExistingCombo,
            ui.batchResampleCheck,
            ui.acceptAboveSpin,
            ui.paintBelowSpin,
            ui.batchDoubtfulCheck,
            ui.batchButton,
        ):
            widget.setEnabled(not busy)

    def showIdle(self) -> None:
        """Enable what can be pressed, and say what to do next."""
        self.ui.openResultButton.setEnabled(self._chosen() is not None)
        if self._host.isBusy:
            return
        folder, out = self.ui.batchInputEdit.text.strip(), self.ui.batchOutputEdit.text.strip()
        isDatabase = self._source is BatchSource.DATABASE
        hint = ""
        if self._task() is None:
            hint = _("Learn or import a task in the Tasks tab first.")
        elif isDatabase and self._patients.problem:
            hint = self._patients.problem
        elif isDatabase and not (out and self._patients.ticked()):
            hint = _("Tick the patients and choose the folder for the results.")
        elif not out or not (folder or isDatabase):
            hint = _("Choose the folder with the images and the folder for the results.")
        self.ui.batchButton.setEnabled(not hint)
        self.ui.batchHintLabel.setText(hint)
        self.ui.batchHintLabel.setVisible(bool(hint))
