"""Lists that a user writes as CSV, in whatever way a spreadsheet saves them."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from ..errors import InputError

_SEPARATORS = ",;\t"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

Line = dict[str, str | None]
"""The cells of a line by the name of their column; None where the line ends before it."""


def read_list(path: Path, columns: Sequence[str], required: Sequence[str]) -> list[tuple[int, Line]]:
    """The lines of a CSV file below its header, each with its number in the file, counted from 1.

    Names of columns may be spelt in capitals; blank lines count and are passed over. columns: all that may be
    there; required: those that must. Raises InputError for a file that cannot be read, for other columns, for
    a line with more cells than the header, and where there is no line below it.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
        (_, head), *rows = list(_filled_rows(text)) or [(0, [])]
    except OSError as error:
        raise InputError(f"The list {path} cannot be read ({error.strerror}).") from error
    except (ValueError, csv.Error) as error:
        raise InputError(f"The list {path} cannot be read as CSV in UTF-8; save it as such.") from error
    found = [cell.strip().casefold() for cell in head]
    strange = [name for name in found if name not in columns]
    missing = [name for name in required if name not in found]
    if strange:
        problem = f"has the column {strange[0]!r}"
    elif missing:
        problem = f"has no column {missing[0]}"
    elif any(len(row) > len(found) for _, row in rows):
        problem = "has a line with more cells than its header"
    elif not rows:
        problem = "lists no case below its header"
    else:
        return [(number, dict(zip_longest(found, row))) for number, row in rows]
    raise InputError(f"The list {path} {problem}; its columns are {', '.join(columns)}.")


def _filled_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table that are not blank, however cells are separated, each with its line's number."""
    header = next((line for line in text.splitlines() if line.strip(_SEPARATORS + " ")), "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(_SEPARATORS, key=header.count))
    for row in reader:
        if any(cell.strip() for cell in row):
            yield reader.line_num, row
