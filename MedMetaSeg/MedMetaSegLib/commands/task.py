"""`medmetaseg task`: tasks put together, a structure renamed, a file checked.

Only what typer needs is imported with the module; numpy comes with the work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .outputs import check_task_output
from .terminal import show_task

app = typer.Typer(help="Put task files together, rename in them, check them.", no_args_is_help=True)

TaskFile = Annotated[Path, typer.Argument(help="A task file.")]
TaskOut = Annotated[Path, typer.Option("--out", "-o", help="The new task file, NAME.medmetaseg.")]


@app.command("merge")
def merge_tasks(
    files: Annotated[
        list[Path], typer.Argument(metavar="TASK TASK...", help="Tasks of the same structures.")
    ],
    out: TaskOut,
) -> None:
    """Make one task with the supports of several, as if learned from all of them."""
    from ..task.editing import merged_tasks
    from ..task.task_file import Task

    if len(files) < 2:
        raise InputError("There is nothing to merge; give two tasks or more.")
    check_task_output(out, files)
    merged = merged_tasks([Task.read(path) for path in files])
    merged.write(out)
    show_task(merged, out)


@app.command("rename-structure")
def rename_structure(
    task: TaskFile,
    old: Annotated[str, typer.Argument(help="The structure's name.")],
    new: Annotated[str, typer.Argument(help="Its new name.")],
    out: TaskOut,
) -> None:
    """Give a structure of a task another name."""
    from ..task.editing import with_renamed_structure
    from ..task.task_file import Task

    check_task_output(out, [task])
    renamed = with_renamed_structure(Task.read(task), old, new)
    renamed.write(out)
    show_task(renamed, out)


@app.command("verify")
def verify_task(task: TaskFile) -> None:
    """Check that a task file is whole and fits the weights that are here."""
    from ..network.shipped import shipped_sha256
    from ..task.task_file import Task

    read = Task.read(task)
    read.check_weights(shipped_sha256())
    print(f"{task} is whole: {len(read.structures)} structures, {len(read.atlases)} supports, these weights.")
