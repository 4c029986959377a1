"""`medmetaseg learn` and `medmetaseg inspect`: supports in, a task file out; and what a task file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .outputs import check_task_output, publish
from .terminal import progress_bar, show_task

if TYPE_CHECKING:
    from ..imageio.volume import Volume
    from ..support.support import Annotation, Support


@dataclass(frozen=True)
class LearnRequest:
    """The arguments of `medmetaseg learn`.

    pairs: image and support of each patient.
    """

    pairs: tuple[tuple[Path, Path], ...]
    out: Path
    annotation: Annotation = "slices"
    plane: str | None = None
    device: str = "auto"
    allow_nonfinite: bool = False
    resample_uneven: bool = False


def in_pairs(files: Sequence[Path]) -> tuple[tuple[Path, Path], ...]:
    """IMAGE SUPPORT IMAGE SUPPORT ... as pairs. Raises InputError for an odd number."""
    if not files or len(files) % 2:
        raise InputError("Give each image with its support: IMAGE SUPPORT, one pair after another.")
    return tuple(zip(files[::2], files[1::2], strict=True))


def learn_files(request: LearnRequest) -> None:
    """Learn a task from files. Raises InputError with nothing written."""
    for image, support in request.pairs:
        for path, what in ((image, "image"), (support, "support")):
            if not path.exists():
                raise InputError(f"There is no {what} {path}; check the path.")
    check_task_output(request.out, [path for pair in request.pairs for path in pair])
    with progress_bar() as progress:
        progress(0.0, "Reading")
        pairs = [_read(image, support, request) for image, support in request.pairs]
        progress(0.02, "Loading the network")
        from ..segmenter import Segmenter

        task = Segmenter.load(device=request.device).learn(pairs, progress=progress)
        progress(1.0, "Writing")
        publish({request.out: task.write})
    show_task(task, request.out)


def inspect_file(path: Path) -> None:
    """Show what a task file holds. Raises TaskError."""
    from ..task.task_file import Task

    show_task(Task.read(path), path)


def _read(image: Path, support: Path, request: LearnRequest) -> tuple[Volume, Support]:
    from ..imageio.volume import read_volume
    from ..support.support import Support, check_overlap, check_something_left

    painted = Support.read(support, annotation=request.annotation, plane=request.plane)
    volume = read_volume(
        image, allow_nonfinite=request.allow_nonfinite, resample_uneven=request.resample_uneven
    )
    check_overlap(painted, volume.geometry)
    if request.annotation != "complete":
        check_something_left(painted, volume.geometry)
    return volume, painted
