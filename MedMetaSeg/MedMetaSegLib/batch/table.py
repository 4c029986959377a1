"""The table of a batch: a row per image, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ..imageio.writing import write_text
from .states import BatchRow

COLUMNS = ("image", "output", "status", "reason", "seconds", "task")


def write_table(path: Path, rows: Sequence[BatchRow], structures: Sequence[str]) -> None:
    """Write a row per image, and two columns per structure: millilitres, and whether it was found.

    Whole or not at all. Raises InputError when the place cannot be written.
    """
    columns = [*COLUMNS, *(f"{name} {what}" for name in structures for what in ("ml", "found"))]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    for row in rows:
        cells: dict[str, object] = {name: getattr(row, name) for name in COLUMNS}
        for one in row.structures:
            cells[f"{one.name} ml"] = one.millilitres
            cells[f"{one.name} found"] = "yes" if one.found else f"no: {one.reason}"
        writer.writerow(cells)
    write_text(path, text.getvalue())
