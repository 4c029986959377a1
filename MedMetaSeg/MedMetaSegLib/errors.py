"""The errors a user can meet; every message is a sentence that says what to do."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave cannot be used; nothing was written."""


class WriteError(InputError):
    """A file cannot be written; what was there before is as it was.

    path: as the user gave it. why: the end of the sentence, with what to do.
    """

    def __init__(self, path: object, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path} cannot be written: {self.why}."


class WeightsError(InputError):
    """The network's weights are missing, damaged or of another version."""


class TaskError(InputError):
    """A task file is missing, damaged, of a newer version or for other weights."""


class Cancelled(RuntimeError):
    """The user asked to stop; nothing was written."""


class CancelledPartway(Cancelled):
    """The user asked to stop; what was finished by then is in place."""


class BatchStopped(RuntimeError):
    """A batch cannot go on (the disk is full); what was finished by then is in place."""


def is_out_of_memory(error: BaseException) -> bool:
    """True when memory ran out: Python's own error, torch's on CUDA, and what torch and ITK say on the CPU.

    Needs no torch: its error is known by name, for its message may be empty.
    """
    if isinstance(error, MemoryError):
        return True
    message = str(error)
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError"
        or any(phrase in message for phrase in ("out of memory", "allocate memory", "not enough memory"))
    )
