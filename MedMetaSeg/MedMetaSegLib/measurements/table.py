"""Tables of what was measured, as CSV: a row per structure, and a row per lesion.

Columns have the names of Slicer's Segment Statistics where it has them. Numbers have seven digits; a cell is
empty where there is nothing to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path

from ..imageio.cells import number_cell, text_cell, yes_no
from ..imageio.writing import Writer, write_csv
from .measurements import (
    IntensityStatistics,
    Lesion,
    Measurements,
    MeasureOptions,
    Point,
    StructureMeasurements,
)

Row = Mapping[str, object]

_CENTROID = ("centroid_ras_r", "centroid_ras_a", "centroid_ras_s")
_INTENSITY = tuple(one.name for one in fields(IntensityStatistics))
STRUCTURE_COLUMNS = (
    "structure",
    "label",
    "voxel_count",
    "volume_cm3",
    "surface_area_mm2",
    "feret_diameter_mm",
    *_CENTROID,
    *_INTENSITY,
    "touches_border",
    "part_count",
    "lesion_count",
    "lesions_cm3",
    "small_count",
    "small_cm3",
    "connectivity",
    "smallest_mm3",
    "reason",
)
"""Of a structure; from lesion_count to smallest_mm3 empty where its lesions were not asked for."""
LESION_COLUMNS = (
    "structure",
    "lesion",
    "voxel_count",
    "volume_cm3",
    *_CENTROID,
    "slice_index",
    "longest_mm",
    "perpendicular_mm",
    "nearest_structure",
    "nearest_mm",
    "touches_border",
)
"""Of a lesion."""
NO_VOXELS = "it has no voxels"
"""Reason why a structure has zeros."""


def lesions_path(table: Path) -> Path:
    """The table of lesions that goes with a table of structures: TABLE_lesions.csv beside TABLE.csv."""
    return table.with_name(f"{table.stem}_lesions{table.suffix}")


def table_writers(table: Path, measurements: Measurements) -> dict[Path, Writer]:
    """What writes the table of structures and, where there are lesions, that of lesions.

    An older table of lesions, which would seem to belong to the new one, is replaced by one without rows.
    """
    writers: dict[Path, Writer] = {
        table: partial(write_csv, columns=STRUCTURE_COLUMNS, rows=structure_rows(measurements))
    }
    rows, lesions = lesion_rows(measurements), lesions_path(table)
    if rows or lesions.exists():
        writers[lesions] = partial(write_csv, columns=LESION_COLUMNS, rows=rows)
    return writers


def structure_rows(measurements: Measurements) -> list[Row]:
    """A row per structure, under STRUCTURE_COLUMNS."""
    return [_structure_row(one, measurements.options) for one in measurements.structures]


def lesion_rows(measurements: Measurements) -> list[Row]:
    """A row per lesion, under LESION_COLUMNS."""
    return [_lesion_row(one.name, lesion) for one in measurements.structures for lesion in one.lesions]


def _structure_row(one: StructureMeasurements, options: MeasureOptions) -> Row:
    return {
        "structure": text_cell(one.name),
        "label": one.label,
        "voxel_count": one.voxel_count,
        "volume_cm3": number_cell(one.volume_cm3),
        "surface_area_mm2": number_cell(one.surface_area_mm2),
        "feret_diameter_mm": number_cell(one.feret_diameter_mm),
        **_centroid(one.centroid_ras),
        **_intensity(one.intensity),
        "touches_border": yes_no(one.touches_border),
        "part_count": one.part_count,
        **(_lesions(one, options) if options.asks_for(one.name) else {}),
        "reason": "" if one.voxel_count else NO_VOXELS,
    }


def _lesions(one: StructureMeasurements, options: MeasureOptions) -> Row:
    return {
        "lesion_count": len(one.lesions),
        "lesions_cm3": number_cell(one.lesions_cm3),
        "small_count": one.small_count,
        "small_cm3": number_cell(one.small_volume_cm3),
        "connectivity": options.connectivity,
        "smallest_mm3": number_cell(options.smallest_mm3),
    }


def _lesion_row(structure: str, lesion: Lesion) -> Row:
    return {
        "structure": text_cell(structure),
        "lesion": lesion.number,
        "voxel_count": lesion.voxel_count,
        "volume_cm3": number_cell(lesion.volume_cm3),
        **_centroid(lesion.centroid_ras),
        "slice_index": lesion.slice_index,
        "longest_mm": number_cell(lesion.longest.length_mm),
        "perpendicular_mm": number_cell(lesion.perpendicular.length_mm),
        "nearest_structure": text_cell(lesion.nearest_structure),
        "nearest_mm": number_cell(lesion.nearest_mm),
        "touches_border": yes_no(lesion.touches_border),
    }


def _centroid(point: Point | None) -> Row:
    return {} if point is None else dict(zip(_CENTROID, map(number_cell, point), strict=True))


def _intensity(statistics: IntensityStatistics | None) -> Row:
    if statistics is None:
        return {}
    return {name: number_cell(getattr(statistics, name)) for name in _INTENSITY}
