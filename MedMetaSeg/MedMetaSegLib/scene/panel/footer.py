"""Below the tabs: progress with Cancel while something runs, and the last result or error."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

_ESTIMATE_FROM = 0.1
"""Fraction of the work after which the time left is estimated from the time it took."""


class Footer:
    """The progress bar, its time, the result line and the error line of the panel."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self.showBusy(False)
        self.say()

    def say(self, result: str = "", error: str = "") -> None:
        """Show a result or an error, and take away what was said before."""
        for label, text in ((self._ui.resultLabel, result), (self._ui.errorLabel, error)):
            label.setText(text)
            label.setVisible(bool(text))

    def showBusy(self, busy: bool) -> None:
        """Show or hide the progress."""
        for widget in (self._ui.progressBar, self._ui.cancelButton, self._ui.timeLabel):
            widget.setVisible(busy)
        self._ui.cancelButton.setEnabled(busy)

    def stopping(self) -> None:
        """Cancel was pressed."""
        self._ui.cancelButton.setEnabled(False)
        self._ui.timeLabel.setText(_("Stopping ..."))

    def tick(self, share: float, what: str, seconds: float) -> None:
        """share: of the work, 0 to 1. what: is being done, "" while the network is being loaded."""
        # Nobody knows how long loading takes: the bar then only moves.
        self._ui.progressBar.setMaximum(100 if what else 0)
        self._ui.progressBar.setValue(round(100 * share))
        if self._ui.cancelButton.enabled:
            self._ui.timeLabel.setText(timeText(share, what or _("Starting"), seconds))


def timeText(share: float, what: str, seconds: float) -> str:
    """What is being done, the seconds it took, and about how many are left once that can be guessed."""
    if not _ESTIMATE_FROM <= share < 1 or seconds < 1:
        return _("{doing}, {seconds:.0f} s").format(doing=what, seconds=seconds)
    left = seconds * (1 - share) / share
    return _("{doing}, {seconds:.0f} s, about {left:.0f} s left").format(
        doing=what, seconds=seconds, left=left
    )
