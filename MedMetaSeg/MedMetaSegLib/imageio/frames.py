"""Images of several frames: which one is meant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..errors import InputError

Frames = int | Literal["all"] | None
"""Which frames of a file are meant: one, counted from 0, all, or None where a file has only one."""


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


def named_frames(text: str | None) -> Frames:
    """What the option --volume names. Raises InputError for anything but a number from 0 and "all"."""
    if text is None:
        return None
    if text.strip().lower() == "all":
        return "all"
    if not text.strip().isdecimal():
        raise InputError(f"--volume {text} names no frame; give a number, counted from 0, or all.")
    return int(text)


def listed_frames(path: Path, frames: int, wanted: Frames) -> list[int | None]:
    """The frames to read, one after the other; None stands for the only one of a 3D image.

    Raises as `chosen_frame`.
    """
    if frames == 1 and wanted in (None, "all"):
        return [None]
    if wanted == "all":
        return list(range(frames))
    return [chosen_frame(path, frames, wanted)]


def by(sizes: Sequence[object]) -> str:
    """Sizes in words: "6 x 5 x 4"."""
    return " x ".join(str(size) for size in sizes)
