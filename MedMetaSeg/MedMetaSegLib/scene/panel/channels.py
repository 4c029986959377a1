"""Further volumes that are used with the one that was painted on: chosen in a menu, and how they voted."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ...results.millilitres import millilitres_text
from ..space import PREVIEW_ATTRIBUTE
from .host import Host

_NAMED = 2
"""Volumes that the button names; of more it tells the number."""


class ChannelMenu:
    """Controls the button beside the volume, with a menu of the other volumes, which can be ticked."""

    def __init__(self, host: Host) -> None:
        self._host, self._button = host, host.ui.channelsButton
        self._menu = qt.QMenu(self._button)
        # Before the menu is set, which then opens after it is filled.
        self._button.connect("pressed()", self.fill)
        self._button.setMenu(self._menu)

    @property
    def nodes(self) -> list[Any]:
        """The ticked volumes, without the one that was painted on."""
        parameters = self._host.parameters
        return [] if parameters is None else [n for n in parameters.channels if n is not parameters.volume]

    def fill(self) -> None:
        """List the volumes of the scene as they are now."""
        self._menu.clear()
        chosen = self.nodes
        for node in _otherVolumes(self._host.parameters.volume):
            # An ampersand would underline the letter after it.
            action = self._menu.addAction(node.GetName().replace("&", "&&"))
            action.setCheckable(True)
            action.setChecked(node in chosen)
            action.connect("toggled(bool)", partial(self._onToggled, node))

    def show(self) -> None:
        """Show on the button what is ticked."""
        names = [node.GetName() for node in self.nodes]
        text = _("Also use ...")
        if names:
            text = _("Also: {names}").format(names=", ".join(names))
        if len(names) > _NAMED:
            text = _("Also {count} volumes").format(count=len(names))
        self._button.setText(text.replace("&", "&&"))
        explanation = _(
            "Further volumes of the same patient, in the same place: T1 and FLAIR, CT and MR. Each is "
            "segmented by itself from what you painted, and the mean of all is the result."
        )
        self._button.setToolTip("\n".join([explanation, *names]))

    def showIdle(self) -> None:
        """Enable the button where there is a volume to add others to."""
        parameters = self._host.parameters
        self._button.setEnabled(parameters is not None and parameters.volume is not None)
        self.show()

    def _onToggled(self, node: Any, checked: bool) -> None:
        others = [one for one in self.nodes if one is not node]
        self._host.parameters.chooseChannels([*others, node] if checked else others)


def votesText(report: Mapping[str, Any]) -> list[str]:
    """A line for each structure: what each volume by itself says of it; none without further volumes."""
    return [
        _("{name}: {votes}.").format(name=one["name"], votes=", ".join(map(_voteText, one["channels"])))
        for one in report["structures"]
        if "channels" in one
    ]


def _voteText(vote: Mapping[str, Any]) -> str:
    if vote["millilitres"] is None:
        return _("{volume} has no say").format(volume=vote["name"])
    text = _("{volume} alone {millilitres}\N{NO-BREAK SPACE}ml (Dice with the result {dice:.2f})")
    return text.format(
        volume=vote["name"],
        millilitres=millilitres_text(vote["millilitres"]),
        dice=vote["dice_with_result"],
    )


def _otherVolumes(volumeNode: Any) -> list[Any]:
    """The scalar volumes of the scene that lists show, without label maps, previews and the one given."""
    scene = slicer.mrmlScene
    count = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    nodes = (scene.GetNthNodeByClass(n, "vtkMRMLScalarVolumeNode") for n in range(count))
    return [
        node
        for node in nodes
        if node is not volumeNode
        and node.GetClassName() == "vtkMRMLScalarVolumeNode"
        and not node.GetHideFromEditors()
        and not node.GetAttribute(PREVIEW_ATTRIBUTE)
    ]
