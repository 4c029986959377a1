"""`medmetaseg learn` and `medmetaseg inspect`: supports in, a task file out; and what a task file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..imageio.files import check_output, same_file
from .segment import progress_bar, publish

if TYPE_CHECKING:
    from ..imageio.volume import Volume
    from ..support.support import Annotation, Support
    from ..task.task_file import Task

SUFFIX = ".medmetaseg"


@dataclass(frozen=True)
class LearnRequest:
    """The arguments of `medmetaseg learn`; pairs: image and support of each patient."""

    pairs: tuple[tuple[Path, Path], ...]
    out: Path
    annotation: Annotation = "slices"
    plane: str | None = None
    device: str = "auto"
    allow_nonfinite: bool = False


def in_pairs(files: Sequence[Path]) -> tuple[tuple[Path, Path], ...]:
    """IMAGE SUPPORT IMAGE SUPPORT ... as pairs. Raises InputError for an odd number."""
    if not files or len(files) % 2:
        raise InputError("Give each image with its support: IMAGE SUPPORT, one pair after another.")
    return tuple(zip(files[::2], files[1::2], strict=True))


def check_task_output(out: Path, inputs: Sequence[Path]) -> None:
    """Raise InputError when a task cannot be written there, without writing anything."""
    if out.suffix.lower() != SUFFIX:
        raise InputError(f"{out} is no name for a task; let it end in {SUFFIX}.")
    check_output(out)
    for taken in inputs:
        if same_file(out, taken):
            raise InputError(f"{out} is one of the inputs, which are never overwritten; choose another name.")


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


def show_task(task: Task, path: Path) -> None:
    """A table of the task's structures, and where they come from."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    about = task.describe()
    table = Table("structure", "label", "supports", "prototypes")
    for column in table.columns[1:]:
        column.justify = "right"
    for one in about["structures"]:
        foreground, background = one["prototypes"]
        counts = (str(one["label"]), str(one["supports"]), f"{foreground} + {background}")
        table.add_row(Text(one["name"]), *counts)
    console = Console()
    console.print(table)
    atlases = "; ".join(
        f"{_by(atlas['voxels'])} voxels of {_by(atlas['spacing_mm'])} mm" for atlas in about["atlases"]
    )
    lines = [
        f"learned on: {about['intensity']}, {len(about['atlases'])} patient(s)",
        f"annotation: {', '.join(about['provenance'].get('annotations', []))}",
        f"reduced images (k x j x i): {atlases}",
        f"weights: {about['weights_sha256'][:12]}, medmetaseg {about['provenance'].get('medmetaseg', '')}",
        f"format: {about['format']}",
        str(path),
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _read(image: Path, support: Path, request: LearnRequest) -> tuple[Volume, Support]:
    from ..imageio.volume import read_volume
    from ..support.support import Support, check_overlap, check_something_left

    painted = Support.read(support, annotation=request.annotation, plane=request.plane)
    volume = read_volume(image, allow_nonfinite=request.allow_nonfinite)
    check_overlap(painted, volume.geometry)
    if request.annotation != "complete":
        check_something_left(painted, volume.geometry)
    return volume, painted


def _by(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
