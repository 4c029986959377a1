"""Names of files that not everything takes: for ITK, which wants UTF-8, and for people and reports."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..errors import InputError
from .files import is_gzip, suffix, with_data_file


def shown(text: object) -> str:
    """A text or path for people and reports: bytes of a file's name that are not UTF-8 become \\xNN."""
    return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@contextmanager
def itk_paths(paths: Sequence[str | Path]) -> Iterator[list[str]]:
    """Names under which ITK reads or writes files, for as long as the context lasts.

    ITK ends the process over a name that is not UTF-8, and goes by the name where a gzip stream is called
    .nii: such a file gets a link. Raises InputError where the system makes none.
    """
    with ExitStack() as stack:
        yield [_itk_path(Path(path), stack) for path in paths]


@contextmanager
def itk_path(path: Path) -> Iterator[str]:
    """See `itk_paths`."""
    with itk_paths([path]) as (taken,):
        yield taken


def _itk_path(path: Path, stack: ExitStack) -> str:
    is_utf8 = _is_utf8(str(path))
    is_called_otherwise = suffix(path) == ".nii" and os.path.isfile(path) and is_gzip(path)
    if is_utf8 and not is_called_otherwise:
        return str(path)
    if not is_utf8 and len(with_data_file(path)) > 1:
        raise InputError(f"ITK cannot read {path}, whose name is not UTF-8; rename it.")
    try:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="medmetaseg-"))
        link = Path(folder) / f"image{'.nii.gz' if is_called_otherwise else suffix(path)}"
        link.symlink_to(path.absolute())
    except OSError as error:
        raise InputError(f"ITK cannot take the name {path} ({error.strerror}); rename it.") from error
    return str(link)


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
