"""The Settings tab: sets of parameters, the device, memory, and what is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from ...errors import InputError
from .host import Host

if TYPE_CHECKING:
    from .worker_run import Job


class SettingsTab:
    """Controls the widgets of the tab. logic: the module's, for the parameter nodes of the scene."""

    def __init__(self, host: Host, logic: Any) -> None:
        self._host, self.ui, self._logic = host, host.ui, logic
        self._setIds: list[str] = []
        self.ui.parameterSetCombo.connect("activated(int)", self.onSetChosen)
        self.ui.newSetButton.connect("clicked()", self.onNewSet)
        self.ui.removeSetButton.connect("clicked()", self.onRemoveSet)
        self.ui.checkDeviceButton.connect("clicked()", self.onCheckDevice)
        self.ui.installButton.connect("clicked()", self.onInstall)

    def show(self) -> None:
        """The user looks at the tab."""
        self.ui.packagesFoundLabel.setText(self._host.installation.describe())

    def forget(self) -> None:
        """The scene closes."""
        self.ui.parameterSetCombo.clear()
        self._setIds = []

    # ------------------------------------------------------------ sets of parameters

    def showSets(self, current: Any) -> None:
        """List the parameter nodes of the scene."""
        nodes = self._logic.getAllParameterNodes()
        self._setIds = [node.GetID() for node in nodes]
        self.ui.parameterSetCombo.clear()
        self.ui.parameterSetCombo.addItems([node.GetName() for node in nodes])
        self.ui.parameterSetCombo.setCurrentIndex(self._setIds.index(current.GetID()))
        self.ui.removeSetButton.setEnabled(current.GetSingletonTag() is None)

    def onSetChosen(self, index: int) -> None:
        """Show another set."""
        self._host.chooseParameterSet(slicer.mrmlScene.GetNodeByID(self._setIds[index]))

    def onNewSet(self) -> None:
        """Make a copy of the set that is shown, and show it."""
        self._host.chooseParameterSet(self._logic.copyParameterNode(self._host.parameters.parameterNode))

    def onRemoveSet(self) -> None:
        """Remove the set that is shown, and show the first."""
        node = self._host.parameters.parameterNode
        self._host.chooseParameterSet(self._logic.getParameterNode())
        slicer.mrmlScene.RemoveNode(node)

    # ------------------------------------------------------------ device and packages

    def onCheckDevice(self) -> None:
        """Start the worker and say what it found."""
        self._host.begin(self._deviceCheckJob, lambda: _("Cancelled."))

    def _deviceCheckJob(self) -> Job:
        from .device_check import DeviceCheckJob

        return DeviceCheckJob(self._host.parameters.device.value, self.onDeviceFound)

    def onDeviceFound(self, device: str, why: str) -> None:
        """The network was loaded."""
        self.ui.deviceFoundLabel.setText(f"{device.upper()}: {why}" if why else device.upper())

    def onInstall(self) -> None:
        """Install what is missing, or install anew when nothing is."""
        self._host.say()
        try:
            if self._host.installation.missing():
                self._host.installation.ensure()
                result = _("Installed.")
            else:
                self._host.installation.repair()
                result = _("Installed anew: restart Slicer, so that it is used.")
        except InputError as error:
            self._host.say(error=str(error))
        else:
            self._host.say(result=result)
        self.show()
        self._host.showIdle()

    # ------------------------------------------------------------ showing

    def showBusy(self, busy: bool) -> None:
        """Disable what must not change while something runs."""
        ui = self.ui
        for widget in (
            ui.parameterSetCombo,
            ui.newSetButton,
            ui.deviceCombo,
            ui.checkDeviceButton,
            ui.qualityCombo,
            ui.memoryCombo,
            ui.keepCheck,
            ui.installButton,
        ):
            widget.setEnabled(not busy)
        parameters = self._host.parameters
        first = parameters is None or parameters.parameterNode.GetSingletonTag() is not None
        ui.removeSetButton.setEnabled(not busy and not first)

    def showIdle(self) -> None:
        """Nothing depends on what is in the scene."""
