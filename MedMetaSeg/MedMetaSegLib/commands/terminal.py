"""What commands show on the terminal: a bar while they work, and what a task holds."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..imageio.names import shown
from ..progress import Progress

if TYPE_CHECKING:
    from ..task.task_file import Task


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on stderr when somebody is looking at it; else nothing."""
    if not sys.stderr.isatty():
        yield lambda fraction, text: None
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description:<24}"),
        rich_progress.BarColumn(),
        rich_progress.TimeElapsedColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda fraction, text: bar.update(task, completed=fraction, description=text)


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
        shown(path),
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _by(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
