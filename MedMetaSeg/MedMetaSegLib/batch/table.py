"""The table of a batch: a row per image, as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..imageio.cells import path_cell, text_cell, yes_no
from ..imageio.writing import write_csv
from ..results.millilitres import rounded_millilitres
from .paths import result_names
from .request import NAMES
from .states import LEFT_OUT, BatchRow, StructureRow

COLUMNS = ("image", "output", "status", "reason", "notes", "seconds", "task")
IMAGE_COLUMNS = ("triage", "unlike")
"""Of each image, behind the columns of millilitres and found."""
CONFIDENCE_COLUMNS = (
    "present",
    "predicted_dice",
    "predicted_dice_low",
    "predicted_dice_high",
    "doubtful",
    "next_slice",
)
"""Of each structure, at the end; empty where no confidence was asked for."""


def write_table(
    path: Path,
    rows: Sequence[BatchRow],
    structures: Sequence[str],
    left_out: Sequence[tuple[str, str]] = (),
) -> None:
    """Write a row per image: COLUMNS, of each structure millilitres and whether it was found, IMAGE_COLUMNS,
    and of each structure CONFIDENCE_COLUMNS.

    left_out: names and reasons of what is no image, in rows at the end. Whole or not at all. Raises
    WriteError when the place cannot be written.
    """
    names = result_names([(name, ()) for name in structures], NAMES)
    columns = [
        *COLUMNS,
        *(text_cell(f"{name} {what}") for name in names for what in ("ml", "found")),
        *IMAGE_COLUMNS,
        *(text_cell(f"{name} {what}") for name in names for what in CONFIDENCE_COLUMNS),
    ]
    cells = [_cells(row, names) for row in rows]
    cells += [
        {"image": path_cell(name), "status": LEFT_OUT, "reason": text_cell(why)} for name, why in left_out
    ]
    write_csv(path, columns, cells)


def _cells(row: BatchRow, names: Sequence[str]) -> dict[str, object]:
    cells: dict[str, object] = {
        "image": path_cell(row.image),
        "output": path_cell(row.output),
        "status": row.status,
        "reason": text_cell(row.reason),
        "notes": text_cell(" ".join(row.notes)),
        "seconds": row.seconds,
        "task": row.task,
        "triage": row.triage,
        "unlike": text_cell(" ".join(row.unlike)),
    }
    # In the order of the task's, two of which may have one name; a failed row has none.
    for name, one in zip(names, row.structures, strict=False):
        cells[text_cell(f"{name} ml")] = rounded_millilitres(one.millilitres)
        cells[text_cell(f"{name} found")] = "yes" if one.found else f"no: {one.reason}"
        cells |= {text_cell(f"{name} {what}"): value for what, value in _confidence(one).items()}
    return cells


def _confidence(one: StructureRow) -> dict[str, object]:
    """The cells of CONFIDENCE_COLUMNS."""
    if one.present is None:
        return {}
    cells = {what: getattr(one, what) for what in CONFIDENCE_COLUMNS}
    return {**cells, "doubtful": yes_no(one.doubtful)}
