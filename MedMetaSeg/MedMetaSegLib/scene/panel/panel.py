"""The panel: its tabs, the parameters they share, and the one job that can run at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import slicer
import slicer.util
import vtk

from ...errors import Cancelled, InputError
from ...progress import Progress
from .batch_tab import BatchTab
from .footer import Footer
from .foreground_work import ForegroundWork
from .installation import Installation
from .measure_tab import MeasureTab
from .parameters import PanelParameters
from .segment_tab import SegmentTab
from .settings_tab import SettingsTab
from .tasks_tab import TasksTab

if TYPE_CHECKING:
    from .worker_run import Job, WorkerRun


_Result = TypeVar("_Result")


class Panel(slicer.util.VTKObservationMixin):
    """The widgets of Resources/UI/MedMetaSeg.ui in the layout of `parent`, the module's widget.

    logic: the module's; gives parameter nodes, made anew after the scene was closed. The module calls `enter`
    and `exit` as the user comes and goes, and `cleanup` in the end. Leaving while something runs cancels it;
    closing the scene and removing a node that is needed end the worker too. `makeRun(onDevice)` is called at
    the first press.
    """

    def __init__(
        self,
        parent: Any,
        resources: Path,
        logic: Any,
        makeRun: Callable[[Callable[[str, str], None]], WorkerRun],
        installation: Installation,
    ) -> None:
        super().__init__()
        self.parent, self._logic = parent, logic
        self._makeRun, self.installation = makeRun, installation
        self.run: WorkerRun | None = None
        self.parameters: Any = None
        self._chosenSet: Any = None
        self._stopped: Callable[[], str] = lambda: ""

        widget = slicer.util.loadUI(str(resources / "UI" / "MedMetaSeg.ui"))
        parent.layout().addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self._footer = Footer(self.ui)
        self._foreground = ForegroundWork(self.onTick)
        self.segmentTab = SegmentTab(self)
        self.tasksTab = TasksTab(self)
        self.batchTab = BatchTab(self, self.tasksTab)
        self.measureTab = MeasureTab(self)
        self.settingsTab = SettingsTab(self, logic)
        self._tabs = (self.segmentTab, self.tasksTab, self.batchTab, self.measureTab, self.settingsTab)
        self.ui.tabs.setCurrentIndex(0)
        self.ui.tabs.connect("currentChanged(int)", self._onTabChanged)
        self.ui.cancelButton.connect("clicked()", self.onCancel)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self._onSceneEndClose)
        self.addObserver(scene, scene.StartImportEvent, self._onSceneStartImport)
        self.addObserver(scene, scene.EndImportEvent, self._onSceneEndClose)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved)
        self.addObserver(scene, scene.NodeRemovedEvent, self._onNodeRemoved)
        self.addObserver(scene, scene.NodeAddedEvent, self._onNodeAdded)
        self.showIdle()

    # ------------------------------------------------------------ coming and going

    def enter(self) -> None:
        """The user opens the module."""
        self._connectParameters()

    def exit(self) -> None:
        """The user goes to another module."""
        self._foreground.cancel()
        if self.run is not None:
            self.run.cancel()
        self._disconnectParameters()

    def cleanup(self) -> None:
        """The module goes away."""
        self._foreground.cancel()
        if self.run is not None:
            self.run.close()
        self._disconnectParameters()
        self.segmentTab.forget()
        self.measureTab.forget()
        self.removeObservers()

    def chooseParameterSet(self, node: Any) -> None:
        """Show another of the scene's parameter nodes."""
        self._chosenSet = node
        self._connectParameters()

    def _connectParameters(self) -> None:
        self._disconnectParameters()
        node = self._chosenSet
        if node is None or node.GetScene() is not slicer.mrmlScene:
            node = self._chosenSet = self._logic.getParameterNode()
        self.parameters = PanelParameters(node)
        self.segmentTab.connectParameters()
        self.measureTab.connectParameters()
        self.parameters.connectWidgets(self.ui)
        self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
        self.settingsTab.showSets(node)
        self._onTabChanged(self.ui.tabs.currentIndex)
        self.segmentTab.describe()

    def _disconnectParameters(self) -> None:
        if self.parameters is None:
            return
        self.segmentTab.disconnectParameters()
        self.measureTab.leave()
        self.parameters.disconnectWidgets()
        self.removeObserver(
            self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersModified
        )
        self.parameters = None

    def _onParametersModified(self, caller: Any, event: str) -> None:
        self.segmentTab.onParametersModified()
        self.batchTab.onParametersModified()
        self.measureTab.onParametersModified()

    def _onTabChanged(self, index: int) -> None:
        """A tab is filled when it is looked at."""
        if self.parameters is None:
            return
        if self._tabs[index] is not self.segmentTab:
            self.segmentTab.leave()
        if self._tabs[index] is not self.measureTab:
            self.measureTab.leave()
        self._tabs[index].show()

    def _onSceneStartClose(self, caller: Any, event: str) -> None:
        self._foreground.cancel()
        if self.run is not None:
            self.run.close()
        self._disconnectParameters()
        self._chosenSet = None
        for tab in self._tabs:
            tab.forget()
        self.say()

    def _onSceneEndClose(self, caller: Any, event: str) -> None:
        if self.parent.isEntered:
            self._connectParameters()

    def _onSceneStartImport(self, caller: Any, event: str) -> None:
        """The node selectors are emptied and filled anew: that changes no choice."""
        self._disconnectParameters()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, caller: Any, event: str, node: Any) -> None:
        """Before a node selector hears of it: it would choose another node in the place of this one."""
        if self.parameters is not None:
            self.parameters.unchoose(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, caller: Any, event: str, node: Any) -> None:
        if self.run is not None:
            self.run.onNodeRemoved()
        self.tasksTab.onSceneChanged()
        self.measureTab.onNodeRemoved()
        if self.parameters is None or not node.IsA("vtkMRMLScriptedModuleNode"):
            return
        if node is self.parameters.parameterNode:
            self._connectParameters()
        else:
            self.settingsTab.showSets(self.parameters.parameterNode)

    def _onNodeAdded(self, caller: Any, event: str) -> None:
        self.tasksTab.onSceneChanged()

    # ------------------------------------------------------------ one job at a time

    @property
    def isBusy(self) -> bool:
        return self._foreground.isRunning or (self.run is not None and self.run.isBusy)

    def begin(self, makeJob: Callable[[], Job], stopped: Callable[[], str]) -> None:
        """See Host."""
        self.say()
        try:
            self.installation.ensure()
            if self.run is None:
                self.run = self._makeRun(self.settingsTab.onDeviceFound)
            self.run.keepsWorker = self.parameters.keepFeatures
            self.run.begin(makeJob(), self)
        except InputError as error:
            self.say(error=str(error))
            self.showIdle()
            return
        self._stopped = stopped
        self._showBusy()

    def workHere(self, work: Callable[[Progress], _Result], stopped: str) -> _Result | None:
        """See Host."""
        self.say()
        self._showBusy()
        try:
            return self._foreground.run(work)
        except Cancelled:
            self.say(result=stopped)
        except InputError as error:
            self.say(error=str(error))
        finally:
            self.showIdle()
        return None

    def _showBusy(self) -> None:
        for tab in self._tabs:
            tab.showBusy(True)
        self._footer.showBusy(True)
        self._footer.tick(0.0, "", 0.0)

    def onCancel(self) -> None:
        """Ask what runs to stop."""
        self._footer.stopping()
        self._foreground.cancel()
        if self.run is not None:
            self.run.cancel()

    def onTick(self, share: float, what: str, seconds: float) -> None:
        self._footer.tick(share, what, seconds)

    def onFinished(self) -> None:
        self.showIdle()

    def onStopped(self) -> None:
        self.say(result=self._stopped())
        self.showIdle()

    def onFailed(self, sentence: str) -> None:
        self.say(error=sentence)
        self.showIdle()

    # ------------------------------------------------------------ showing

    def say(self, result: str = "", error: str = "") -> None:
        """See Host."""
        self._footer.say(result, error)

    def showProgress(self, share: float, what: str) -> None:
        """See Host."""
        if self.run is not None:
            self.run.setProgress(share, what)

    def showIdle(self) -> None:
        """See Host."""
        if self.isBusy:
            return
        self._footer.showBusy(False)
        for tab in self._tabs:
            tab.showBusy(False)
            tab.showIdle()
