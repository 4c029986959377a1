"""What a test must not leave behind unsaid: errors of VTK, Qt, logging, and exceptions that nobody caught."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from typing import Any

_OF_THE_OFFSCREEN_PLATFORM = "This plugin does not support propagateSizeHints()"
"""What Qt says of every window that is shown without a screen."""
_WITHOUT_HIERARCHY_PLUGINS = ("DataNodeCache inconsistency found", "Subject hierarchy items not found")
"""What the subject hierarchy says where no plugins, which are Slicer's own, keep items for nodes."""


class ErrorLog(logging.Handler):
    """Collects error lines while it is open.

        with ErrorLog() as log:
            log.expect("could not be read")
            ...
        assert log.unexpected() == []

    VTK prints exceptions of its observers, PySide6 those of slots, through sys.excepthook; both go on.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []
        self._expected: list[str] = []

    def expect(self, pattern: str) -> None:
        """A line that matches this regular expression must come, and is no fault."""
        self._expected.append(pattern)

    def unexpected(self) -> list[str]:
        """The lines that no test asked for, and what was asked for and did not come."""
        found = [one for one in self.lines if not any(re.search(each, one) for each in self._expected)]
        lacking = [each for each in self._expected if not any(re.search(each, one) for one in self.lines)]
        return found + [f"expected, but not there: {each}" for each in lacking]

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"logging: {record.getMessage()}")

    def __enter__(self) -> ErrorLog:
        import vtk

        logging.getLogger().addHandler(self)
        self._hooks = sys.excepthook, sys.unraisablehook
        sys.excepthook, sys.unraisablehook = self._onException, self._onUnraisable
        self._window = vtk.vtkOutputWindow.GetInstance()
        self._text = vtk.vtkStringOutputWindow()
        vtk.vtkOutputWindow.SetInstance(self._text)
        return self

    def __exit__(self, *_: object) -> None:
        import vtk

        vtk.vtkOutputWindow.SetInstance(self._window)
        sys.excepthook, sys.unraisablehook = self._hooks
        logging.getLogger().removeHandler(self)
        said = [one.strip() for one in self._text.GetOutput().split("\n\n")]
        said = [one for one in said if not any(harmless in one for harmless in _WITHOUT_HIERARCHY_PLUGINS)]
        self.lines += [f"VTK: {one}" for one in said if re.search("error|warn", one, re.IGNORECASE)]

    def onQtMessage(self, kind: Any, context: Any, text: str) -> None:
        """For qInstallMessageHandler: what is more than a note is an error."""
        if kind.name not in ("QtDebugMsg", "QtInfoMsg") and text != _OF_THE_OFFSCREEN_PLATFORM:
            self.lines.append(f"Qt: {text}")

    def _onException(self, kind: type, error: BaseException, trace: Any) -> None:
        self.lines.append("".join(traceback.format_exception(kind, error, trace)))

    def _onUnraisable(self, unraisable: Any) -> None:
        self.lines.append(
            f"unraisable: {unraisable.err_msg}: {unraisable.exc_value!r} in {unraisable.object!r}"
        )
