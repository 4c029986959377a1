"""Where a batch writes: checks before anything is written, names of results, and the folder it locks."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import BatchStopped, InputError, WriteError
from ..imageio.files import check_there, same_file
from ..imageio.writing import check_output, reason
from .request import FOLDERS, FORMATS, LAYOUTS, NAMES, BatchRequest

WORKING_FOLDER = ".medmetaseg"
"""In the folder of the results: the journal and, while a batch runs, the lock and what is not finished."""
_STAGED = "unfinished"
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
"""Characters that no file's name may have on some system."""
_MAX_NAME = 100
"""Characters of a structure's name that become part of a file's."""


def check_request(request: BatchRequest) -> None:
    """Raise InputError for what cannot be right in a request, without reading images or writing anything."""
    check_there(request.task, "task file")
    if not (request.inputs or request.series):
        raise InputError("There is no image to segment; give files, folders, patterns or a CSV file.")
    if request.format not in (None, *FORMATS):
        raise InputError(f"There is no format {request.format}; use {' or '.join(FORMATS)}.")
    if request.within is not None:
        check_there(request.within, "region")
    if request.layout not in LAYOUTS:
        raise InputError(f"There is no layout {request.layout}; use {' or '.join(LAYOUTS)}.")
    if request.workers < 1:
        raise InputError(f"{request.workers} workers cannot work; give at least 1.")
    if request.memory_limit_mb is not None and request.memory_limit_mb < 1:
        raise InputError(f"A memory limit of {request.memory_limit_mb} MB is too low; give at least 1.")
    if not (request.keep_doubtful or request.confidence):
        raise InputError("Without confidence nothing is known to be doubtful; leave one of the two out.")
    request.bounds.check()
    check_result_folder(request.out)
    if request.uncertainty is not None:
        _check_maps_folder(request.uncertainty, request.out)
    if request.report is not None:
        if request.report.suffix.lower() != ".csv":
            raise InputError(f"{request.report} is no name for a report; let it end in .csv.")
        if request.report.parent.resolve() != request.out.resolve():
            check_output(request.report)
        listed = (Path(file) for files in request.series for file in files)
        alike = [file for file in listed if file.name.casefold() == request.report.name.casefold()]
        for taken in (*map(Path, request.inputs), *alike, request.task):
            if same_file(request.report, taken):
                raise InputError(f"{request.report} is an input, which is never overwritten.")


def check_result_folder(folder: Path) -> None:
    """Raise InputError when results cannot be written to a folder, which need not be there yet."""
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise InputError(f"{folder} is a file; give a folder for the results.")
    check_output(folder / "result" if os.path.isdir(folder) else folder)


def _check_maps_folder(folder: Path, out: Path) -> None:
    if same_file(folder, out):
        raise InputError(f"{out} is the folder of the results; give the maps one of their own.")
    # In a folder of results that is yet to be made there is nothing to check.
    if os.path.exists(out) or out.resolve() not in folder.resolve().parents:
        check_result_folder(folder)


def check_structures(there: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise InputError for a structure that a task does not have."""
    missing = [name for name in wanted if name not in there]
    if missing:
        raise InputError(f"The task has no structure called {', '.join(missing)}; it has {', '.join(there)}.")


def check_results(request: BatchRequest, outputs: Sequence[Path]) -> None:
    """Raise InputError when results are there, to be neither kept nor replaced."""
    if request.resume or request.overwrite:
        return
    there = [path for path in outputs if os.path.exists(path)]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise InputError(
            f"{there[0]}{more} is there already; go on with --resume, which leaves out what "
            "is done, or replace it with --overwrite."
        )


def result_names(images: Sequence[tuple[str, tuple[str, ...]]], layout: str) -> list[str]:
    """A name, with folders as "a/b/c", for the result of each (name, folders that it came from).

    layout: FOLDERS, for the folders it came from, or NAMES, for their names before its own. What else there
    is has no say, but that a number follows the second of two that are the same. Names that differ in upper
    and lower case only are the same, as some file systems have it.
    """
    between = "/" if layout == FOLDERS else "_"
    taken: set[str] = set()
    names = []
    for name, folders in images:
        wanted = between.join((*folders, name))
        free, number = wanted, 2
        while free.casefold() in taken:
            free, number = f"{wanted}_{number}", number + 1
        taken.add(free.casefold())
        names.append(free)
    return names


def map_names(structures: Sequence[str]) -> list[str]:
    """A file's name without suffix for the map of each structure, all different.

    What some system does not take in a name becomes "_".
    """
    plain = [_FORBIDDEN.sub("_", "".join(c if c.isprintable() else "_" for c in name)) for name in structures]
    return result_names([(name[:_MAX_NAME].strip(" .") or "_", ()) for name in plain], NAMES)


def place_problem(path: Path) -> str:
    """Why a result can never be at `path`, in words; "" if nothing is known against it."""
    place = path.parent
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    try:
        os.stat(place / path.name)
        os.stat(path)
    except FileNotFoundError:
        return ""
    except NotADirectoryError:
        return f"its result cannot be written: {place} is a file and no folder; move it"
    except OSError as error:
        return f"its result cannot be written: {reason(error)}"
    return ""


@contextmanager
def lock_folder(out: Path) -> Iterator[Path]:
    """Make the folder of the results and keep other batches out of it; gives the folder for the journal.

    What was made and stayed empty is removed again. Raises InputError when another batch has it or it cannot
    be made.
    """
    from filelock import FileLock, Timeout

    working = out / WORKING_FOLDER
    made = not os.path.exists(out)
    try:
        working.mkdir(parents=True, exist_ok=True)
        lock = FileLock(working / "lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"Another batch is writing to {out}; wait for it or choose another folder."
        ) from error
    except OSError as error:
        raise InputError(f"{out} cannot be made ({error.strerror}).") from error
    try:
        yield working
    finally:
        # While it is still held, so that no other batch can hold a file that is removed then.
        with suppress(OSError):
            (working / "lock").unlink()
        lock.release()
        with suppress(OSError):
            working.rmdir()
            if made:
                out.rmdir()


def staged_path(out: Path, ending: str) -> Path:
    """A new path for a file that is not finished, on the same disk as the folder of the results."""
    folder = out / WORKING_FOLDER / _STAGED
    folder.mkdir(exist_ok=True)
    return folder / f"{os.urandom(8).hex()}{ending}"


def clear_staged(out: Path) -> None:
    """Remove unfinished files, those too that a killed batch left."""
    shutil.rmtree(out / WORKING_FOLDER / _STAGED, ignore_errors=True)


def stopped_by(path: Path, why: str) -> BatchStopped:
    """The error of a batch whose results cannot be written."""
    return BatchStopped(str(WriteError(path, why)).removesuffix("."))
