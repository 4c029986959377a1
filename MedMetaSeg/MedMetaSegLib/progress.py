"""How long work tells how far it is, and how it is asked to stop."""

from __future__ import annotations

from collections.abc import Callable

from .errors import Cancelled

Progress = Callable[[float, str], None]
"""Called with the share of the work that is done, 0 to 1, and what is being worked on."""


def silent(share: float, what: str) -> None:
    """Progress that nobody watches."""


def never() -> bool:
    """Answer for work that nobody cancels."""
    return False


def check_cancelled(cancelled: Callable[[], bool]) -> None:
    """Raise Cancelled when the work is not wanted any more."""
    if cancelled():
        raise Cancelled("Cancelled: nothing was written.")
