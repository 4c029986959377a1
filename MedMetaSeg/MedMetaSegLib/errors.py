"""The errors a user can meet; every message is a sentence that says what to do."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave cannot be used; nothing was written."""


class WeightsError(InputError):
    """The network's weights are missing, damaged or of another version."""


class Cancelled(RuntimeError):
    """The user asked to stop; nothing was written."""
