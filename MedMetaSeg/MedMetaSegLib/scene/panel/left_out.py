"""Structures that an application left out, which the user can have segmented anyway."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import qt
from slicer.i18n import tr as _

Report = dict[str, Any]


@dataclass(frozen=True)
class LeftOut:
    """What was left out of one volume. names: of structures. outputId: of the segmentation that holds the
    others, None when there is none, or for a sequence.
    """

    names: tuple[str, ...]
    outputId: str | None


def leftOut(reports: Sequence[Report], outputNode: Any) -> LeftOut:
    """What can be forced after an application: left out as improbable, though the network finds it.

    reports: of a volume, or of the items of its sequence, which gets a sequence of its own.
    """
    names = dict.fromkeys(
        one["name"] for report in reports for one in report["structures"] if one.get("left_out")
    )
    single = outputNode is not None and len(reports) == 1
    return LeftOut(tuple(names), outputNode.GetID() if single else None)


class LeftOutMenu:
    """Controls a button with a menu of what was left out; onForced(by volume id): the user wants these."""

    def __init__(self, button: Any, onForced: Callable[[Mapping[str, LeftOut]], None]) -> None:
        self._button, self._onForced = button, onForced
        self._leftOut: dict[str, LeftOut] = {}
        self._names: list[str] = []
        self._menu = qt.QMenu(button)
        button.setMenu(self._menu)

    def forget(self) -> None:
        """A task is applied anew, or the scene closes."""
        self._leftOut = {}
        self.show()

    def note(self, volumeId: str, left: LeftOut) -> None:
        """A volume is done."""
        self._leftOut[volumeId] = left

    def noteForced(self, volumeId: str, forced: LeftOut) -> None:
        """What was left out of a volume has been segmented."""
        before = self._leftOut[volumeId]
        names = tuple(one for one in before.names if one not in forced.names)
        self._leftOut[volumeId] = LeftOut(names, before.outputId)

    def show(self) -> None:
        """Fill the menu, and enable the button when there is anything in it."""
        names = list(dict.fromkeys(name for one in self._leftOut.values() for name in one.names))
        if names != self._names:
            # Only then: an action that is being chosen must not be removed.
            self._names = names
            self._menu.clear()
            if len(names) > 1:
                self._add(_("all of them"), names)
            for name in names:
                self._add(name, [name])
        self._button.setEnabled(bool(names))
        self._button.setToolTip(
            _("Segments what was left out of the last result as improbable.")
            if names
            else _("Nothing was left out of the last result as improbable.")
        )

    def _add(self, text: str, names: Sequence[str]) -> None:
        # An ampersand would underline the letter after it.
        action = self._menu.addAction(text.replace("&", "&&"))
        action.connect("triggered()", partial(self._onChosen, names))

    def _onChosen(self, names: Sequence[str]) -> None:
        chosen = {
            volumeId: LeftOut(tuple(name for name in one.names if name in names), one.outputId)
            for volumeId, one in self._leftOut.items()
        }
        self._onForced({volumeId: one for volumeId, one in chosen.items() if one.names})
