"""Images of several frames: which one is meant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError


class SequenceError(InputError):
    """A file has several frames, and none was chosen.

    frames: how many.
    """

    def __init__(self, path: Path, frames: int) -> None:
        super().__init__(
            f"{path} is a sequence of {frames} frames; choose one with --volume 0 to {frames - 1}, or all "
            "with --volume all."
        )
        self.frames = frames


def chosen_frame(path: Path, frames: int, frame: int | None) -> int:
    """The frame to read, counted from 0: the only one where none is chosen.

    Raises SequenceError when one has to be chosen, InputError when there is no such frame.
    """
    if frame is None:
        if frames > 1:
            raise SequenceError(path, frames)
        return 0
    if not 0 <= frame < frames:
        have = "1 frame, number 0" if frames == 1 else f"{frames} frames, numbers 0 to {frames - 1}"
        raise InputError(f"{path} has no frame {frame}; it has {have}.")
    return frame


def by(sizes: Sequence[object]) -> str:
    """Sizes in words: "6 x 5 x 4"."""
    return " x ".join(str(size) for size in sizes)
