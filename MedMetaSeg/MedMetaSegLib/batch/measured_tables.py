"""What a batch measured, as two CSV files in the folder of the results, tidy: each row names its image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ..errors import InputError
from ..imageio.cells import path_cell, text_cell
from ..imageio.files import same_file
from ..imageio.writing import Writer, replace_all, write_csv
from ..measurements.table import LESION_COLUMNS, STRUCTURE_COLUMNS, Row, lesion_rows, structure_rows
from .request import BatchRequest
from .states import BatchRow

MEASUREMENTS, LESIONS = "measurements.csv", "lesions.csv"
IMAGE_COLUMNS = ("image", "output", "status")
"""Before the columns of `measurements.table`."""


def measured_paths(request: BatchRequest) -> tuple[Path, ...]:
    """The two tables of a batch that measures, none of another."""
    return () if request.measure is None else (request.out / MEASUREMENTS, request.out / LESIONS)


def check_measured_paths(request: BatchRequest) -> None:
    """Raise InputError when a table would take the place of an input or of the report."""
    for path in measured_paths(request):
        if request.report is not None and same_file(path, request.report):
            raise InputError(f"{path} is where the measurements go; give the report another name.")
        for taken in (*map(Path, request.inputs), request.task):
            if same_file(path, taken):
                raise InputError(f"{path} is an input, which is never overwritten; move it.")


def write_measured(request: BatchRequest, rows: Sequence[BatchRow]) -> tuple[Path, ...]:
    """Write both tables, whole and together, and return where. Raises WriteError.

    An image without measurements has one row with the reason.
    """
    paths = measured_paths(request)
    if paths:
        tables: tuple[Writer, Writer] = (
            partial(write_csv, columns=(*IMAGE_COLUMNS, *STRUCTURE_COLUMNS), rows=list(_structures(rows))),
            partial(write_csv, columns=(*IMAGE_COLUMNS, *LESION_COLUMNS), rows=list(_lesions(rows))),
        )
        replace_all(dict(zip(paths, tables, strict=True)))
    return paths


def _structures(rows: Sequence[BatchRow]) -> Iterator[Row]:
    for row in rows:
        if row.measurements is None:
            yield {**_image(row), "reason": text_cell(row.reason)}
            continue
        for one, cells in zip(row.structures, structure_rows(row.measurements), strict=True):
            # Why it was not found says more than that it has no voxels.
            yield {**_image(row), **cells, **({"reason": text_cell(one.reason)} if one.reason else {})}


def _lesions(rows: Sequence[BatchRow]) -> Iterator[Row]:
    for row in rows:
        if row.measurements is not None:
            yield from ({**_image(row), **cells} for cells in lesion_rows(row.measurements))


def _image(row: BatchRow) -> Row:
    return {"image": path_cell(row.image), "output": path_cell(row.output), "status": row.status}
