"""Files that commands write, checked before anything is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError, WriteError
from ..imageio.files import same_file
from ..imageio.writing import check_output, reason

TASK_SUFFIX = ".medmetaseg"


def check_task_output(out: Path, inputs: Sequence[Path]) -> None:
    """Raise InputError when a task cannot be written there, without writing anything."""
    if out.suffix.lower() != TASK_SUFFIX:
        raise InputError(f"{out} is no name for a task; let it end in {TASK_SUFFIX}.")
    check_output(out)
    for taken in inputs:
        if same_file(out, taken):
            raise InputError(f"{out} is one of the inputs, which are never overwritten; choose another name.")


def check_outputs(outputs: Sequence[Path], inputs: Mapping[str, Path]) -> None:
    """Raise InputError when a file cannot be written or is an input, without writing anything.

    inputs: by what the message calls them, such as "the image".
    """
    for path in outputs:
        check_output(path)
    check_apart(outputs, inputs)


def check_suffix(path: Path, wanted: str) -> None:
    """Raise InputError when the name of a file does not end as it must, such as in ".csv"."""
    if path.suffix.lower() != wanted:
        raise InputError(f"{path} has another suffix than its content; let it end in {wanted}.")


def check_apart(outputs: Sequence[Path], others: Mapping[str, Path]) -> None:
    """Raise InputError when an output is one of other files, named by what the message calls them."""
    for path in outputs:
        for what, taken in others.items():
            if same_file(path, taken):
                raise InputError(f"{path} is {what} itself, which is never overwritten; choose another name.")


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make a folder for outputs if it is not there; one that stays empty is removed. Raises WriteError."""
    made = not folder.is_dir()
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise WriteError(folder, reason(error)) from error
    try:
        yield
    finally:
        if made:
            with suppress(OSError):
                folder.rmdir()
