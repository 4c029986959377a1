"""What a tab needs of the panel around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ...progress import Progress

if TYPE_CHECKING:
    from .installation import Installation
    from .worker_run import Job


_Result = TypeVar("_Result")


class Host(Protocol):
    """The panel: its widgets, what the user chose, and the one job that can run at a time."""

    ui: Any
    installation: Installation

    @property
    def parameters(self) -> Any:
        """The wrapped parameter node; None while the panel is not open."""

    @property
    def isBusy(self) -> bool:
        """True while a job runs."""

    def begin(self, makeJob: Callable[[], Job], stopped: Callable[[], str]) -> None:
        """Start a job after seeing that everything is installed; what goes wrong is shown in the error line.

        makeJob may raise InputError. stopped: what to say when it was cancelled.
        """

    def workHere(self, work: Callable[[Progress], _Result], stopped: str) -> _Result | None:
        """The result of work of seconds, done here and now with progress and Cancel; needs no worker.

        None when it was cancelled, for which `stopped` is said, and after an InputError, which is shown.
        """

    def showProgress(self, share: float, what: str) -> None:
        """Show how far a job is that reports its progress itself."""

    def say(self, result: str = "", error: str = "") -> None:
        """Show a result or an error below the tabs."""

    def chooseParameterSet(self, node: Any) -> None:
        """Show another of the scene's parameter nodes."""

    def showIdle(self) -> None:
        """Enable what can be pressed, in every tab."""
