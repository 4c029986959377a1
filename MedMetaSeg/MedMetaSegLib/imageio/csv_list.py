"""Lists that a user writes as CSV, in whatever way a spreadsheet saves them."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError

_SEPARATORS = ",;\t"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

Line = dict[str, str | None]
"""The cells of a line by the name of their column; None where the line ends before it."""


def read_list(path: Path, columns: Sequence[str], required: Sequence[str]) -> list[Line]:
    """The lines of a CSV file below its header, whose names may be spelt in capitals.

    columns: all that may be there; required: those that must. Raises InputError for a file that cannot be
    read, for other columns, and for a line with more cells than the header.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
        lines = list(csv.DictReader(_with_plain_header(text)))
        found = [name for name in (lines[0] if lines else {}) if name is not None]
    except OSError as error:
        raise InputError(f"The list {path} cannot be read ({error.strerror}).") from error
    except (ValueError, csv.Error) as error:
        raise InputError(f"The list {path} cannot be read as CSV in UTF-8; save it as such.") from error
    strange = [name for name in found if name not in columns]
    missing = [name for name in required if name not in found]
    if strange:
        problem = f"has the column {strange[0]!r}"
    elif missing:
        problem = f"has no column {missing[0]}"
    elif any(None in line for line in lines):
        problem = "has a line with more cells than its header"
    else:
        return lines
    raise InputError(f"The list {path} {problem}; its columns are {', '.join(columns)}.")


def _with_plain_header(text: str) -> io.StringIO:
    """A table as programs write it: commas, however a spreadsheet separates cells and spells its header."""
    header = text.lstrip("\r\n").partition("\n")[0]
    separator = max(_SEPARATORS, key=header.count)
    result = io.StringIO(newline="")
    writer = csv.writer(result)
    for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=separator)):
        writer.writerow([cell.strip().casefold() for cell in row] if number == 0 else row)
    result.seek(0)
    return result
