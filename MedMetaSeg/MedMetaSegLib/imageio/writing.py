"""Files written whole or not at all: filled beside their place, read back, then put there in one step.

Every file that a user keeps takes its name here. A process that is killed may leave something hidden named
`.partial-...`, which nothing reads and anyone may remove.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..errors import InputError, WriteError

Writer = Callable[[Path], None]
"""Fills a file. Raises OSError, or NotWritten where a library does not say why it failed."""
Check = Callable[[Path], bool]
"""Whether a file reads back as it was meant to; InputError of a reader means that it does not."""

_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_PROBE_BYTES = 1 << 16
_PROBES = 16
"""Blocks written to learn why a disk refused a file; it has room for them where it is not full."""


class NotWritten(Exception):
    """A library could not write a file and does not say what the system said."""


def replace_whole(path: Path, write: Writer, check: Check | None = None) -> None:
    """Let `write` fill a file beside `path`, have `check` read it back, then put it in place in one step.

    `write` and `check` are given a file of the same name in a hidden folder, which is gone whatever happens.
    Raises WriteError, with what was at `path` untouched, when the folder does not exist, the disk refuses or
    the file reads back otherwise.
    """
    replace_all({path: write}, check)


def replace_all(writers: Mapping[Path, Writer], check: Check | None = None) -> None:
    """Let every writer fill a file beside its place, then put all in place: all of them or none.

    Raises WriteError with every file that was there untouched.
    """
    with ExitStack() as stack:
        filled = {path: stack.enter_context(_filled(path, write, check)) for path, write in writers.items()}
        _put_in_place(filled)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """A hidden folder to fill, which takes its place when the context ends well, and is gone otherwise.

    A folder that was at `path` is removed then. Raises WriteError, with what was there untouched.
    """
    folder = _hidden_beside(path)
    try:
        try:
            folder.mkdir()
            yield folder
            _put_folder_in_place(folder, path)
        except OSError as error:
            raise WriteError(path, reason(error)) from error
        except WriteError as error:
            raise WriteError(path, error.why) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file of these bytes. Raises WriteError as `replace_whole` does."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    replace_whole(path, write, lambda temporary: temporary.read_bytes() == content)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, line ends as they are. Raises WriteError as `replace_whole` does."""
    write_bytes(path, text.encode("utf-8"))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV file in UTF-8 with a header; a cell that a row lacks is empty. Raises WriteError."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def check_folder(path: Path) -> None:
    """Raise WriteError when no file can be at `path`: there is no folder for it, or a folder is there."""
    try:
        if not path.parent.is_dir():
            raise WriteError(path, f"there is no folder {path.parent}; create it first")
        if path.is_dir():
            raise WriteError(path, "it is a folder; give the name of a file")
    except OSError as error:
        raise WriteError(path, reason(error)) from error


def check_output(path: Path) -> None:
    """Raise WriteError when a file cannot be written there, without writing anything."""
    check_folder(path)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise WriteError(path, f"{path.parent} is read-only; choose another folder")


def reason(error: OSError) -> str:
    """The end of a sentence: why the system refused to write, and what to do."""
    said = error.strerror or str(error)
    if error.errno in _FULL:
        return f"there is no room left ({said}); make room or choose another place"
    if error.errno == errno.ENAMETOOLONG:
        return "its name or path is too long; choose a shorter one"
    if error.errno in _FORBIDDEN:
        return f"the system forbids it ({said}); choose another place"
    return f"{said[:1].lower()}{said[1:]}; check the disk or choose another place"


def fsync_folder(folder: Path) -> None:
    """See to it that a rename in the folder outlives a power failure, where the system can do that.

    Windows cannot, nor can some network disks, nor is it done for a folder that may not be listed.
    """
    if os.name == "nt":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _filled(path: Path, write: Writer, check: Check | None) -> Iterator[Path]:
    """A whole file on the disk, under its own name in a hidden folder beside its place."""
    check_folder(path)
    folder = _hidden_beside(path)
    try:
        try:
            folder.mkdir()
            _fill(folder / path.name, write, check)
        except OSError as error:
            raise WriteError(path, reason(error)) from error
        except WriteError as error:
            raise WriteError(path, error.why) from error
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fill(temporary: Path, write: Writer, check: Check | None) -> None:
    try:
        write(temporary)
    except NotWritten as error:
        raise _refusal(temporary) from error
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    if check is not None and not _reads_back(temporary, check):
        raise _refusal(temporary)


def _reads_back(temporary: Path, check: Check) -> bool:
    try:
        return check(temporary)
    except InputError:
        return False


def _refusal(temporary: Path) -> OSError:
    """What the system says to who writes more, where a library did not pass it on."""
    try:
        with temporary.open("ab", buffering=0) as file:
            for _ in range(_PROBES):
                file.write(bytes(_PROBE_BYTES))
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return OSError(errno.EIO, "It does not read back as it was written")


def _put_in_place(filled: Mapping[Path, Path]) -> None:
    """Rename every file to its place; when one cannot be, those before it are undone."""
    earlier: dict[Path, Path | None] = {}
    renamed: list[Path] = []
    try:
        for path, temporary in filled.items():
            earlier[path] = _second_name(path) if len(filled) > 1 else None
            os.replace(temporary, path)
            renamed.append(path)
    except OSError as error:
        for done in renamed:
            _undo(done, earlier[done])
        raise WriteError(path, reason(error)) from error
    finally:
        for old in filter(None, earlier.values()):
            old.unlink(missing_ok=True)
    for folder in {path.parent for path in filled}:
        fsync_folder(folder)


def _put_folder_in_place(folder: Path, path: Path) -> None:
    """Rename a folder to its place; what was there comes back when that cannot be."""
    if not os.path.lexists(path):
        os.replace(folder, path)
    else:
        # No system changes two folders for one another in one step.
        old, placed = _hidden_beside(path), False
        os.replace(path, old)
        try:
            os.replace(folder, path)
            placed = True
        finally:
            if not placed:
                os.replace(old, path)
        shutil.rmtree(old, ignore_errors=True)
    fsync_folder(path.parent)


def _undo(path: Path, old: Path | None) -> None:
    if old is None:
        path.unlink(missing_ok=True)
    else:
        os.replace(old, path)


def _second_name(path: Path) -> Path | None:
    """Another name of the file that is at `path`, or a copy where a disk gives no second name."""
    if not os.path.lexists(path):
        return None
    old = _hidden_beside(path)
    try:
        os.link(path, old, follow_symlinks=False)
    except OSError:
        shutil.copy2(path, old, follow_symlinks=False)
    return old


def _hidden_beside(path: Path) -> Path:
    """A new name in the same folder that nothing reads."""
    return path.with_name(f".partial-{os.urandom(4).hex()}")
