"""What was measured of a segmentation, and how it was asked for.

Names are those of Slicer's Segment Statistics. Lengths are millimetres, volumes cubic centimetres, places
right, anterior, superior (RAS) in millimetres, intensities in the image's own unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ..errors import InputError

Point = tuple[float, float, float]
Connectivity = Literal[6, 18, 26]

SMALLEST_LESION_MM3 = 10.0
"""Volume of a connected part in mm^3, below which it is not counted as a lesion."""


@dataclass(frozen=True)
class MeasureOptions:
    """What is asked for besides the statistics of each structure.

    lesions: names of the structures whose connected parts are told one by one, every structure's when empty.
    connectivity: neighbours that a voxel is connected to, 6 (faces), 18 (edges, too) or 26 (corners, too).
    smallest_mm3: volume below which a part is not counted. Raises InputError for another connectivity and
    for a negative or not finite volume.
    """

    lesions: tuple[str, ...] = ()
    connectivity: Connectivity = 26
    smallest_mm3: float = SMALLEST_LESION_MM3

    def __post_init__(self) -> None:
        if self.connectivity not in get_args(Connectivity):
            raise InputError(f"There is no connectivity {self.connectivity}; use 6, 18 or 26 neighbours.")
        if not 0 <= self.smallest_mm3 < float("inf"):
            raise InputError(f"The smallest lesion cannot have {self.smallest_mm3} mm3; give 0 or more.")

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> MeasureOptions:
        """The options that `dataclasses.asdict` gave. Raises KeyError, TypeError and InputError."""
        return cls(**{**fields, "lesions": tuple(fields["lesions"])})

    def asks_for(self, structure: str) -> bool:
        """Whether the connected parts of the structure of this name are told one by one."""
        return not self.lesions or structure in self.lesions


@dataclass(frozen=True)
class Diameter:
    """A line across a lesion in one slice, from the middle of an outer edge of a voxel to another."""

    length_mm: float
    ends_ras: tuple[Point, Point]

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Diameter:
        """The diameter that `dataclasses.asdict` gave."""
        first, second = fields["ends_ras"]
        return cls(fields["length_mm"], (_point(first), _point(second)))


@dataclass(frozen=True)
class Lesion:
    """A connected part of a structure.

    number: 1 for the largest. slice_index: along the grid's axis nearest to superior, of the slice that holds
    both diameters. longest: the longest in any axial slice; perpendicular: the longest at right angles to it
    in the same slice. nearest_structure: the closest other one, and the distance between the two surfaces, 0
    where they touch; "" and None without another. touches_border: a voxel of it lies at the image's border.
    """

    number: int
    voxel_count: int
    volume_cm3: float
    centroid_ras: Point
    slice_index: int
    longest: Diameter
    perpendicular: Diameter
    nearest_structure: str
    nearest_mm: float | None
    touches_border: bool

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Lesion:
        """The lesion that `dataclasses.asdict` gave."""
        diameters = {name: Diameter.from_dict(fields[name]) for name in ("longest", "perpendicular")}
        return cls(**{**fields, **diameters, "centroid_ras": _point(fields["centroid_ras"])})


@dataclass(frozen=True)
class IntensityStatistics:
    """Of the image's finite values in a structure; stdev has the divisor n - 1 (`statistics`)."""

    mean: float
    median: float
    stdev: float
    min: float
    max: float
    percentile_05: float
    percentile_95: float


@dataclass(frozen=True)
class StructureMeasurements:
    """What was measured of one structure.

    One without voxels has zeros, and None for what it does not have: a centre, intensities. lesions: its
    parts from `smallest_mm3` on, largest first; empty when they were not asked for. part_count: of all parts.
    small_count, small_volume_cm3: parts that are too small to be counted.
    """

    name: str
    label: int
    voxel_count: int
    volume_cm3: float
    surface_area_mm2: float
    feret_diameter_mm: float
    centroid_ras: Point | None
    intensity: IntensityStatistics | None
    touches_border: bool
    part_count: int
    small_count: int
    small_volume_cm3: float
    lesions: tuple[Lesion, ...] = ()

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> StructureMeasurements:
        """The measurements that `dataclasses.asdict` gave."""
        centroid, intensity = fields["centroid_ras"], fields["intensity"]
        return cls(
            **{
                **fields,
                "centroid_ras": None if centroid is None else _point(centroid),
                "intensity": None if intensity is None else IntensityStatistics(**intensity),
                "lesions": tuple(Lesion.from_dict(one) for one in fields["lesions"]),
            }
        )

    @property
    def lesions_cm3(self) -> float:
        """Volume of all lesions together, the total burden."""
        return sum(lesion.volume_cm3 for lesion in self.lesions)


@dataclass(frozen=True)
class Measurements:
    """What was measured of a segmentation of one image; notes: sentences that a reader must see."""

    structures: tuple[StructureMeasurements, ...]
    options: MeasureOptions
    notes: tuple[str, ...] = ()

    def structure(self, name: str) -> StructureMeasurements:
        """The first structure of this name; raises KeyError."""
        for one in self.structures:
            if one.name == name:
                return one
        raise KeyError(f"There is no structure {name!r}; there are {[one.name for one in self.structures]}.")

    def as_dict(self) -> Mapping[str, Any]:
        """For JSON: the fields under their own names, tuples as lists."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Measurements:
        """The measurements that `as_dict` gave, also by way of JSON.

        Raises KeyError, TypeError or ValueError when they are none.
        """
        structures = tuple(StructureMeasurements.from_dict(one) for one in fields["structures"])
        return cls(structures, MeasureOptions.from_dict(fields["options"]), tuple(fields["notes"]))


def _point(values: Sequence[float]) -> Point:
    r, a, s = values
    return r, a, s
