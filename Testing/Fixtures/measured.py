"""What was measured, made up, for tests of tables and pages."""

from __future__ import annotations

from dataclasses import replace

from MedMetaSegLib.measurements.measurements import (
    Diameter,
    IntensityStatistics,
    Lesion,
    Measurements,
    MeasureOptions,
    StructureMeasurements,
)


def make_lesion(number: int = 1, **changes: object) -> Lesion:
    """A lesion of 0.5 cm3, 12 mm by 8 mm, in slice 4."""
    one = Lesion(
        number=number,
        voxel_count=250,
        volume_cm3=0.5,
        centroid_ras=(1.0, -2.0, 3.0),
        slice_index=4,
        longest=Diameter(12.0, ((0.0, 0.0, 3.0), (12.0, 0.0, 3.0))),
        perpendicular=Diameter(8.0, ((6.0, -4.0, 3.0), (6.0, 4.0, 3.0))),
        nearest_structure="liver",
        nearest_mm=0.0,
        touches_border=False,
    )
    return replace(one, **changes)


def make_structure(name: str = "tumour", **changes: object) -> StructureMeasurements:
    """A structure of two lesions, and of one part that is too small."""
    one = StructureMeasurements(
        name=name,
        label=2,
        voxel_count=400,
        volume_cm3=0.75,
        surface_area_mm2=123.456789,
        feret_diameter_mm=15.0,
        centroid_ras=(1.0, -2.0, 3.0),
        intensity=IntensityStatistics(-50.5, -48.0, 10.0, -90.0, 30.0, -70.0, 10.0),
        touches_border=True,
        part_count=3,
        small_count=1,
        small_volume_cm3=0.002,
        lesions=(make_lesion(), make_lesion(2, volume_cm3=0.25, nearest_structure="", nearest_mm=None)),
    )
    return replace(one, **changes)


def make_empty(name: str = "spleen") -> StructureMeasurements:
    """A structure without voxels."""
    return StructureMeasurements(name, 3, 0, 0.0, 0.0, 0.0, None, None, False, 0, 0, 0.0)


def make_measurements(*structures: StructureMeasurements, **options: object) -> Measurements:
    """Measurements of these structures, or of one with lesions and one without voxels."""
    return Measurements(
        structures or (make_structure(), make_empty()), MeasureOptions(**options), ("A note.",)
    )
