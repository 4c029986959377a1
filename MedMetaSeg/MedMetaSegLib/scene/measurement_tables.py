"""Measurements as table nodes; columns, units and titles are those of Slicer's Segment Statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import vtk

from ..measurements.measurements import Lesion, Measurements, StructureMeasurements

if TYPE_CHECKING:
    from .measure import MeasuredScene

_MEASURED_ROLE = "MedMetaSeg.Measured"
"""Role of the reference from a table to the segmentation it tells of."""
_KIND_ATTRIBUTE = "MedMetaSeg.Table"
"""Attribute of a table: structures or lesions."""
_STRUCTURES, _LESIONS = "structures", "lesions"
_NOWHERE = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class _Column:
    """name: for programs, as Segment Statistics has it. title: shown before the unit; "" for the name.

    value: of a row; one for each of `components` where there are some. array: VTK's, of the values.
    """

    name: str
    description: str
    value: Callable[[Any], Any]
    array: Callable[[], Any] = vtk.vtkDoubleArray
    unit: str = ""
    title: str = ""
    components: str = ""


@dataclass(frozen=True)
class MeasurementTables:
    """Table nodes: of the structures, and of the lesions, None where there never were any."""

    structures: Any
    lesions: Any


def writeTables(measured: MeasuredScene) -> MeasurementTables:
    """Put measurements into the scene, in tables named after the segmentation.

    Tables that were made of the same segmentation before are filled anew, unless they were renamed.
    """
    node, measurements = measured.segmentationNode, measured.measurements
    name = f"{node.GetName()} measurements"
    structures = _existing(node, _STRUCTURES, name) or _added(node, _STRUCTURES, name)
    _fill(structures, _STRUCTURE_COLUMNS, measurements.structures)
    rows, name = lesionRows(measurements), f"{node.GetName()} lesions"
    lesions = _existing(node, _LESIONS, name)
    if lesions is None and rows:
        lesions = _added(node, _LESIONS, name)
    if lesions is not None:
        _fill(lesions, _LESION_COLUMNS, rows)
    return MeasurementTables(structures, lesions)


def lesionRows(measurements: Measurements) -> list[tuple[StructureMeasurements, Lesion]]:
    """Every lesion with its structure, structure by structure, largest first."""
    return [(one, lesion) for one in measurements.structures for lesion in one.lesions]


def _existing(segmentationNode: Any, kind: str, name: str) -> Any:
    """The table of this kind and name that was made of a segmentation; None without one."""
    scene = segmentationNode.GetScene()
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLTableNode")):
        table = scene.GetNthNodeByClass(number, "vtkMRMLTableNode")
        isOf = table.GetNodeReference(_MEASURED_ROLE) is segmentationNode
        if isOf and table.GetAttribute(_KIND_ATTRIBUTE) == kind and table.GetName().startswith(name):
            return table
    return None


def _added(segmentationNode: Any, kind: str, name: str) -> Any:
    scene = segmentationNode.GetScene()
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
    table.SetAttribute(_KIND_ATTRIBUTE, kind)
    table.SetNodeReferenceID(_MEASURED_ROLE, segmentationNode.GetID())
    return table


def _fill(table: Any, columns: Iterable[_Column], rows: Sequence[Any]) -> None:
    wasModified = table.StartModify()
    table.RemoveAllColumns()
    for column in columns:
        table.AddColumn(_array(column, rows))
        title = column.title or column.name
        table.SetColumnTitle(column.name, f"{title} [{column.unit}]" if column.unit else title)
        table.SetColumnUnitLabel(column.name, column.unit)
        table.SetColumnDescription(column.name, column.description)
    table.SetUseColumnTitleAsColumnHeader(True)
    table.Modified()
    table.EndModify(wasModified)


def _array(column: _Column, rows: Sequence[Any]) -> Any:
    array = column.array()
    array.SetName(column.name)
    if column.components:
        array.SetNumberOfComponents(len(column.components))
        for number, component in enumerate(column.components):
            array.SetComponentName(number, component)
    insert = array.InsertNextTuple if column.components else array.InsertNextValue
    for row in rows:
        insert(column.value(row))
    return array


def _intensity(name: str, field: str) -> _Column:
    def value(one: StructureMeasurements) -> float:
        return math.nan if one.intensity is None else float(getattr(one.intensity, field))

    return _Column(name, "Of the volume's values in the segment.", value)


def _volume(structureOrLesion: Callable[[Any], Any]) -> tuple[_Column, _Column]:
    return (
        _Column(
            "Voxel count",
            "Number of voxels.",
            lambda row: structureOrLesion(row).voxel_count,
            vtk.vtkLongArray,
        ),
        _Column(
            "Volume cm3",
            "Sum of the voxels.",
            lambda row: structureOrLesion(row).volume_cm3,
            unit="cm3",
            title="Volume",
        ),
    )


def _place(structureOrLesion: Callable[[Any], Any]) -> tuple[_Column, _Column]:
    return (
        _Column(
            "Centroid",
            "Location of the centroid in RAS.",
            lambda row: structureOrLesion(row).centroid_ras or _NOWHERE,
            components="ras",
        ),
        _Column(
            "Touches border",
            "1 where a voxel lies at the border of the image: part of it may be outside.",
            lambda row: int(structureOrLesion(row).touches_border),
            vtk.vtkLongArray,
        ),
    )


_STRUCTURE_COLUMNS = (
    _Column("Segment", "Name of the segment.", lambda one: one.name, vtk.vtkStringArray),
    *_volume(lambda one: one),
    _Column(
        "Surface mm2",
        "Surface area of the voxels.",
        lambda one: one.surface_area_mm2,
        unit="mm2",
        title="Surface area",
    ),
    _Column(
        "Feret diameter mm",
        "Feret diameter of the voxels.",
        lambda one: one.feret_diameter_mm,
        unit="mm",
        title="Feret diameter",
    ),
    *_place(lambda one: one),
    _intensity("Mean", "mean"),
    _intensity("Median", "median"),
    _intensity("Standard deviation", "stdev"),
    _intensity("Minimum", "min"),
    _intensity("Maximum", "max"),
    _intensity("Percentile 5", "percentile_05"),
    _intensity("Percentile 95", "percentile_95"),
    _Column("Parts", "Connected parts of any size.", lambda one: one.part_count, vtk.vtkLongArray),
    _Column(
        "Small parts",
        "Parts that are too small to be counted as lesions.",
        lambda one: one.small_count,
        vtk.vtkLongArray,
    ),
    _Column(
        "Small parts cm3",
        "Of all parts that are too small to be counted as lesions.",
        lambda one: one.small_volume_cm3,
        unit="cm3",
        title="Volume of small parts",
    ),
)

# A row is a structure and one of its lesions.
_LESION_COLUMNS = (
    _Column("Segment", "Whose connected part it is.", lambda row: row[0].name, vtk.vtkStringArray),
    _Column("Lesion", "1 for the largest of its segment.", lambda row: row[1].number, vtk.vtkLongArray),
    *_volume(lambda row: row[1]),
    _Column(
        "Longest diameter mm",
        "The longest in any axial slice of the grid.",
        lambda row: row[1].longest.length_mm,
        unit="mm",
        title="Longest diameter",
    ),
    _Column(
        "Perpendicular diameter mm",
        "The longest at right angles to it in the same slice.",
        lambda row: row[1].perpendicular.length_mm,
        unit="mm",
        title="Perpendicular diameter",
    ),
    _Column("Slice", "Of both diameters, from 0.", lambda row: row[1].slice_index, vtk.vtkLongArray),
    *_place(lambda row: row[1]),
    _Column(
        "Nearest segment",
        "The closest other segment.",
        lambda row: row[1].nearest_structure,
        vtk.vtkStringArray,
    ),
    _Column(
        "Nearest segment mm",
        "Between the surfaces of the two, 0 where they touch.",
        lambda row: math.nan if row[1].nearest_mm is None else row[1].nearest_mm,
        unit="mm",
        title="Distance to it",
    ),
)
