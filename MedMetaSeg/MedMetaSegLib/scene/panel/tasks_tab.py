"""The Tasks tab: learn tasks from the scene, keep them in a folder, apply them to volumes of the scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ...errors import InputError
from .applied_text import appliedText
from .host import Host
from .left_out import LeftOut, LeftOutMenu, leftOut
from .pair_table import PairTable
from .parameters import SequenceItems
from .run_options import runOptions
from .task_table import TaskTable

if TYPE_CHECKING:
    from ...task.library import TaskEntry, TaskFolder
    from .apply_jobs import Applying
    from .worker_run import Job

_FOLDER_KEY = "MedMetaSeg/TaskFolder"
_SCENE_SETTLES_MS = 200
_FILTER = "MedMetaSeg (*.medmetaseg)"


class TasksTab:
    """Controls the widgets of the tab. The folder is the user's, not the scene's: it is in the settings."""

    def __init__(self, host: Host) -> None:
        self._host, self.ui = host, host.ui
        self._folder: TaskFolder | None = None
        self._entries: list[TaskEntry] = []
        self._applied: list[str] = []
        # The last press of Apply, and of Segment anyway after it.
        self._applying: Applying | None = None
        self._leftOut = LeftOutMenu(self.ui.forceButton, self.onForce)
        self._tasks = TaskTable(self.ui.taskTable, self._onRenamed, self.showIdle)
        self._pairs = PairTable(self.ui.pairTable, self._onPairsChanged)
        self._sceneTimer = qt.QTimer()
        self._sceneTimer.setSingleShot(True)
        self._sceneTimer.setInterval(_SCENE_SETTLES_MS)
        self._sceneTimer.connect("timeout()", self._showPairs)
        for button, slot in (
            (self.ui.taskFolderButton, self.onChooseFolder),
            (self.ui.renameTaskButton, self._tasks.edit),
            (self.ui.deleteTaskButton, self.onDelete),
            (self.ui.exportTaskButton, self.onExport),
            (self.ui.importTaskButton, self.onImport),
            (self.ui.learnButton, self.onLearn),
            (self.ui.applyButton, self.onApply),
        ):
            button.connect("clicked()", slot)
        self.ui.taskNameEdit.connect("textChanged(QString)", self._onNameChanged)
        self._showSequenceChoice(False)

    # ------------------------------------------------------------ called by the panel

    def show(self) -> None:
        """The user looks at the tab."""
        self.showTasks()
        self._showPairs()

    def forget(self) -> None:
        """The scene closes."""
        self._sceneTimer.stop()
        self._pairs.forget()
        self._leftOut.forget()
        self._showSequenceChoice(False)

    def onSceneChanged(self) -> None:
        """Nodes came or went."""
        if self._host.parameters is not None and self.ui.tabs.currentWidget() == self.ui.tasksTab:
            self._sceneTimer.start()

    # ------------------------------------------------------------ the folder

    @property
    def folder(self) -> TaskFolder:
        """The folder of tasks: the one the user chose, or one beside the user's documents."""
        from ...task.library import TaskFolder

        if self._folder is None:
            chosen = qt.QSettings().value(_FOLDER_KEY)
            self._folder = TaskFolder(Path(chosen) if chosen else _documents() / "MedMetaSeg tasks")
        return self._folder

    @folder.setter
    def folder(self, folder: TaskFolder | None) -> None:
        """Use another folder, which is not kept in the settings; None: the user's again."""
        self._folder = folder

    def entries(self) -> list[TaskEntry]:
        """The tasks in the folder, as last shown."""
        return self._entries

    def showTasks(self, chosen: Path | None = None) -> None:
        """Read the folder and fill the table; what cannot be read is shown as an error."""
        before = self._tasks.chosen()
        self.ui.taskFolderEdit.setText(str(self.folder.path))
        try:
            self._entries = [] if self._host.installation.missing() else self.folder.entries()
        except InputError as error:
            self._entries = []
            self._host.say(error=str(error))
        self._tasks.show(self._entries, chosen or (before.path if before is not None else None))
        self.showIdle()

    def onChooseFolder(self) -> None:
        """Ask for the folder of tasks."""
        start = str(self.folder.path if self.folder.path.is_dir() else Path.home())
        chosen = qt.QFileDialog.getExistingDirectory(None, _("Folder of tasks"), start)
        if chosen:
            qt.QSettings().setValue(_FOLDER_KEY, chosen)
            self._folder = None
            self.showTasks()

    def _onRenamed(self, path: Path, name: str) -> None:
        self._do(lambda: self.folder.rename(path, name), _("Renamed: {name}."))

    def onDelete(self) -> None:
        """Move the chosen task to the trash, after asking."""
        entry = self._tasks.chosen()
        if entry is None:
            return
        question = _("Move the task '{name}' to the folder named trash beside your tasks?")
        if slicer.util.confirmOkCancelDisplay(question.format(name=entry.name)):
            self._do(lambda: self.folder.discard(entry.path), _("Moved to the trash: {path}"))

    def onExport(self) -> None:
        """Copy the chosen task to where the user says."""
        entry = self._tasks.chosen()
        if entry is None:
            return
        target = qt.QFileDialog.getSaveFileName(None, _("Export task"), entry.path.name, _FILTER)
        if target:
            self._do(lambda: self.folder.export_task(entry.path, Path(target)), _("Exported: {path}"))

    def onImport(self) -> None:
        """Copy task files into the folder."""
        for source in qt.QFileDialog.getOpenFileNames(None, _("Import tasks"), "", _FILTER):
            self._do(partial(self.folder.import_task, Path(source)), _("Imported: {name}."))

    def _do(self, work: Callable[[], Path], done: str) -> None:
        """Change something in the folder and say how it went."""
        try:
            path = work()
        except InputError as error:
            self._host.say(error=str(error))
            self.showTasks()
        else:
            self._host.say(result=done.format(name=path.name.partition(".medmetaseg")[0], path=path))
            self.showTasks(path)

    # ------------------------------------------------------------ learn and apply

    def onLearn(self) -> None:
        """Learn from the chosen pairs."""
        self._host.begin(self._learnJob, lambda: _("Cancelled: nothing was learned."))

    def _learnJob(self) -> Job:
        from .task_jobs import LearnJob

        parameters = self._host.parameters
        return LearnJob(
            self._pairs.pairs(),
            self.ui.taskNameEdit.text.strip(),
            self.folder,
            annotation=parameters.learnAnnotation.value,
            options=runOptions(parameters),
            confirm=slicer.util.confirmOkCancelDisplay,
            onLearned=self._onLearned,
        )

    def _onLearned(self, path: Path, seconds: float) -> None:
        text = _("Learned in {seconds:.1f}\N{NO-BREAK SPACE}s: {path}").format(seconds=seconds, path=path)
        self._host.say(result=text)
        self.ui.taskNameEdit.setText("")
        self.showTasks(path)

    def onApply(self) -> None:
        """Apply the chosen task to the ticked volumes, one after the other."""
        self._applied = []
        self._host.begin(self._applyJob, self._applyStopped)

    def onForce(self, forced: Mapping[str, LeftOut]) -> None:
        """Segment what was left out of volumes after all; forced: by volume id."""
        self._applied = []
        self._host.begin(partial(self._forceJob, forced), self._applyStopped)

    def _applyJob(self) -> Job:
        from .apply_jobs import Applying, applyJob

        entry, parameters = self._tasks.chosen(), self._host.parameters
        if entry is None:
            raise InputError(_("Choose a task."))
        self._applying = Applying(
            entry.path,
            options=runOptions(parameters),
            allItems=parameters.sequenceItems == SequenceItems.ALL,
            keepDoubtful=parameters.keepDoubtful,
            onApplied=self._onApplied,
            showProgress=self._host.showProgress,
        )
        job = applyJob(self._applying, self._pairs.ticked())
        if job is None:
            raise InputError(_("Tick a volume."))
        self._leftOut.forget()
        return job

    def _forceJob(self, forced: Mapping[str, LeftOut]) -> Job:
        from .apply_jobs import applyJob

        assert self._applying is not None
        nodes = (slicer.mrmlScene.GetNodeByID(one) for one in forced)
        self._applying = replace(self._applying, forced=forced, options=runOptions(self._host.parameters))
        job = applyJob(self._applying, [node for node in nodes if node is not None])
        if job is None:
            raise InputError(_("The volume was removed from the scene."))
        return job

    def _applyStopped(self) -> str:
        if not self._applied:
            return _("Cancelled: nothing was changed.")
        return "\n".join([_("Cancelled; these volumes were done:"), *self._applied])

    def _onApplied(self, volumeNode: Any, node: Any, reports: Sequence[dict[str, Any]]) -> None:
        assert self._applying is not None
        forced = self._applying.forced.get(volumeNode.GetID())
        if forced is None:
            self._leftOut.note(volumeNode.GetID(), leftOut(reports, node))
        else:
            self._leftOut.noteForced(volumeNode.GetID(), forced)
        names = () if forced is None else forced.names
        self._applied.append(appliedText(volumeNode.GetName(), reports, names))
        self._host.say(result="\n".join(self._applied))

    # ------------------------------------------------------------ showing

    def _onNameChanged(self, text: str) -> None:
        self.showIdle()

    def _showPairs(self) -> None:
        parameters = self._host.parameters
        if parameters is not None and not self._host.isBusy:
            self._pairs.show(parameters.volume)
            self._onPairsChanged()

    def _onPairsChanged(self) -> None:
        """Not for `showIdle`: a browser asked while a node is being removed makes Slicer crash."""
        self._showSequenceChoice(_anyOfSequence(self._pairs.ticked()))
        self.showIdle()

    def _showSequenceChoice(self, visible: bool) -> None:
        for widget in (self.ui.sequenceItemsLabel, self.ui.sequenceItemsCombo):
            widget.setVisible(visible)

    def showBusy(self, busy: bool) -> None:
        """Disable what must not change while something runs."""
        ui = self.ui
        for widget in (
            ui.taskFolderButton,
            ui.taskTable,
            ui.pairTable,
            ui.taskNameEdit,
            ui.learnAnnotationCombo,
            ui.sequenceItemsCombo,
            ui.keepDoubtfulCheck,
            ui.forceButton,
            ui.renameTaskButton,
            ui.deleteTaskButton,
            ui.exportTaskButton,
            ui.importTaskButton,
            ui.learnButton,
            ui.applyButton,
        ):
            widget.setEnabled(not busy)

    def showIdle(self) -> None:
        """Enable what can be pressed, and say what to do next."""
        if self._host.isBusy:
            return
        entry = self._tasks.chosen()
        usable = entry is not None and not entry.problem
        pairs, ticked, name = self._pairs.pairs(), self._pairs.ticked(), self.ui.taskNameEdit.text.strip()
        for widget in (self.ui.renameTaskButton, self.ui.deleteTaskButton):
            widget.setEnabled(entry is not None)
        self.ui.exportTaskButton.setEnabled(usable)
        missing = self._host.installation.missing()
        self.ui.importTaskButton.setEnabled(not missing)
        self.ui.learnButton.setEnabled(bool(pairs and name))
        self.ui.applyButton.setEnabled(bool(usable and ticked))
        self._leftOut.show()
        hint = ""
        if missing:
            hint = _("Tasks are shown after {packages} is installed: see Settings.").format(
                packages=", ".join(missing)
            )
        elif not pairs and not self._entries:
            hint = _("To learn a task, choose the segmentation of a volume in the table above.")
        elif pairs and not name:
            hint = _("Give the new task a name.")
        self.ui.tasksHintLabel.setText(hint)
        self.ui.tasksHintLabel.setVisible(bool(hint))


def _documents() -> Path:
    """The user's folder of documents, which has another name or place on many a computer."""
    return Path(qt.QStandardPaths.writableLocation(qt.QStandardPaths.DocumentsLocation) or Path.home())


def _anyOfSequence(volumeNodes: Sequence[Any]) -> bool:
    """True when one of the volumes shows an item of a sequence with several."""
    if not volumeNodes:
        return False
    from ..sequence import sequenceOf

    sequences = [sequenceOf(one) for one in volumeNodes]
    return any(one is not None and len(one) > 1 for one in sequences)
