"""What is measured of the results of a batch, as they are made or, of one that stands, from its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..imageio.volume import Volume
from ..measurements.measure import measure
from ..measurements.measurements import MeasureOptions
from ..measurements.segmented import read_segmented
from ..support.structure import Structure, StructureMask
from .request import DICOM
from .states import BatchRow


def is_measured(row: BatchRow, options: MeasureOptions | None) -> bool:
    """Whether a row has the measurements that are asked for; True where none are."""
    return options is None or (row.measurements is not None and row.measurements.options == options)


def measured_row(
    row: BatchRow, path: Path, volume: Volume, structures: Sequence[Structure], options: MeasureOptions
) -> BatchRow:
    """The row of a result that stands, with what is measured of the result's file.

    structures: of the task, in whose order they are measured. Raises InputError when the file cannot be read.
    """
    measurements = measure(volume, _masks(path, volume, structures), options)
    notes = tuple(dict.fromkeys((*row.notes, *measurements.notes)))
    return replace(row, measurements=measurements, notes=notes)


def _masks(path: Path, volume: Volume, structures: Sequence[Structure]) -> list[StructureMask]:
    """The structures of a task in a result; a label map does not hold those that were not found.

    A DICOM segmentation holds all of them, numbered from 1.
    """
    found = {one.structure.label: one for one in read_segmented(path, volume, may_be_empty=True).masks}
    nothing = np.zeros((0, 0, 0), bool)
    is_dicom = path.name.endswith(f".{DICOM}")
    masks = []
    for number, structure in enumerate(structures, 1):
        there = found.get(number if is_dicom else structure.label)
        offset, mask = ((0, 0, 0), nothing) if there is None else (there.offset, there.mask)
        masks.append(StructureMask(structure, offset, mask))
    return masks
