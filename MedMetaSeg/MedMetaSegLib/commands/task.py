"""`medmetaseg task`: tasks put together, a structure renamed, a file checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from .outputs import check_task_output
from .terminal import show_task


def merge_files(tasks: Sequence[Path], out: Path) -> None:
    """Write a task with the supports of several. Raises InputError with nothing written."""
    from ..task.editing import merged_tasks
    from ..task.task_file import Task

    if len(tasks) < 2:
        raise InputError("There is nothing to merge; give two tasks or more.")
    check_task_output(out, tasks)
    merged = merged_tasks([Task.read(path) for path in tasks])
    merged.write(out)
    show_task(merged, out)


def rename_in_file(path: Path, old: str, new: str, out: Path) -> None:
    """Write a task with another name for a structure. Raises InputError with nothing written."""
    from ..task.editing import with_renamed_structure
    from ..task.task_file import Task

    check_task_output(out, [path])
    renamed = with_renamed_structure(Task.read(path), old, new)
    renamed.write(out)
    show_task(renamed, out)


def verify_file(path: Path) -> None:
    """Say that a task file is whole and for the weights that are here. Raises TaskError when it is not."""
    from ..network.shipped import shipped_sha256
    from ..task.task_file import Task

    task = Task.read(path)
    task.check_weights(shipped_sha256())
    print(f"{path} is whole: {len(task.structures)} structures, {len(task.atlases)} supports, these weights.")
