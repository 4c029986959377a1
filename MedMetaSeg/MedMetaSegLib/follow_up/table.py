"""The table of what changed, as CSV: a row per structure, and one per lesion or group of them.

Numbers have seven digits; a cell is empty where there is nothing to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ..imageio.cells import number_cell, text_cell, yes_no
from ..imageio.writing import Writer, write_csv
from .changes import Change, FollowUp, LesionChange, Size, StructureChange

Row = Mapping[str, object]

WHOLE = "whole structure"
"""Status of the row that tells of a structure, all of it."""
_MEASURES = ("volume_cm3", "longest_mm", "perpendicular_mm")
COLUMNS = (
    "structure",
    "status",
    "lesions_before",
    "lesions_now",
    *(f"{name}_{what}" for name in _MEASURES for what in ("before", "now", "change", "change_percent")),
    "centroid_ras_r",
    "centroid_ras_a",
    "centroid_ras_s",
    "found_by",
    "touches_border",
)
"""lesions_before and lesions_now: numbers of lesions with a space between them; of a whole structure how
many there are. The centroid is in the present image.
"""


def changes_path(table: Path) -> Path:
    """The table of changes that goes with a table of structures: TABLE_changes.csv beside TABLE.csv."""
    return table.with_name(f"{table.stem}_changes{table.suffix}")


def change_writers(table: Path, result: FollowUp | None) -> dict[Path, Writer]:
    """What writes the table of changes that goes with a table of structures; nothing without a comparison.

    An older table of changes, which would seem to belong to the new one, is replaced by one without rows.
    """
    path = changes_path(table)
    if result is None and not path.exists():
        return {}
    return {path: partial(write_csv, columns=COLUMNS, rows=[] if result is None else change_rows(result))}


def change_rows(result: FollowUp) -> list[Row]:
    """The rows of the table, under COLUMNS."""
    rows: list[Row] = []
    for one in result.structures:
        rows.append(_structure_row(one, result.options.asks_for(one.name)))
        rows += [_lesion_row(one.name, change) for change in one.lesions]
    return rows


def _structure_row(one: StructureChange, listed: bool) -> Row:
    return {
        "structure": text_cell(one.name),
        "status": WHOLE,
        **({"lesions_before": one.lesions_before, "lesions_now": one.lesions_now} if listed else {}),
        "volume_cm3_before": number_cell(one.volume_before_cm3),
        "volume_cm3_now": number_cell(one.volume_now_cm3),
        **_change("volume_cm3", one.volume),
    }


def _lesion_row(structure: str, one: LesionChange) -> Row:
    changes = dict(zip(_MEASURES, (one.volume, one.longest, one.perpendicular), strict=True))
    row: dict[str, object] = {
        "structure": text_cell(structure),
        "status": one.status,
        "lesions_before": _numbers(one.before),
        "lesions_now": _numbers(one.now),
        "found_by": one.found_by,
        "touches_border": yes_no(one.touches_border),
    }
    for name, change in changes.items():
        row[f"{name}_before"] = _size(one.size_before, name)
        row[f"{name}_now"] = _size(one.size_now, name)
        row |= _change(name, change)
    if one.centroid_ras is not None:
        row |= {
            f"centroid_ras_{axis}": number_cell(v) for axis, v in zip("ras", one.centroid_ras, strict=True)
        }
    return row


def _numbers(lesions: Sequence[int]) -> str:
    return " ".join(str(number) for number in lesions)


def _size(size: Size | None, name: str) -> float | str:
    return number_cell(None if size is None else getattr(size, name))


def _change(name: str, change: Change | None) -> Row:
    if change is None:
        return {}
    return {
        f"{name}_change": number_cell(change.absolute),
        f"{name}_change_percent": number_cell(change.percent),
    }
