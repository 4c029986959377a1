"""Files that commands write: checked before anything is read, and put in place whole and all together."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from ..errors import InputError
from ..imageio.files import check_output, same_file

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
        for what, taken in inputs.items():
            if same_file(path, taken):
                raise InputError(f"{path} is {what} itself, which is never overwritten; choose another name.")


def publish(writers: Mapping[Path, Callable[[Path], None]]) -> None:
    """Let every writer fill a temporary file, then put all of them in place.

    When a writer fails, or is interrupted, no file appears and those that were there stay. Raises InputError
    when the disk refuses.
    """
    with ExitStack() as stack:
        staged: dict[Path, Path] = {}
        for path, write in writers.items():
            try:
                folder = tempfile.TemporaryDirectory(prefix=".medmetaseg-", dir=path.parent)
                staged[path] = Path(stack.enter_context(folder)) / path.name
                write(staged[path])
            except OSError as error:
                raise InputError(
                    f"{path} cannot be written ({error.strerror}); choose another place."
                ) from error
        new = [path for path in staged if not path.exists()]
        try:
            for path, temporary in staged.items():
                os.replace(temporary, path)
        except OSError as error:
            for path in new:
                path.unlink(missing_ok=True)
            raise InputError(f"{error.filename2} cannot be written ({error.strerror}).") from error
