"""How exact measurements are: ellipsoids of known size, and what ITK and Slicer say of them.

`python -m MedMetaSegLib.evaluation.measurement_accuracy OUT.md`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import typer
from scipy.spatial.transform import Rotation
from scipy.special import elliprg

from ..imageio.geometry import Geometry, index3
from ..imageio.itk import to_sitk
from ..imageio.volume import Volume
from ..imageio.writing import write_text
from ..measurements.diameters import axial_diameters
from ..measurements.measure import measure
from ..measurements.measurements import StructureMeasurements
from ..support.structure import Structure, StructureMask, default_color

_MARGIN_VOXELS = 2
_ELLIPSES, _SEED = 1000, 7
"""Random ellipses of the table, and the seed they are drawn with."""


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid whose size is known: half axes in mm, turned by angles in degrees about x, y and z.

    centre_mm: off the centre of a voxel, in RAS.
    """

    name: str
    half_axes_mm: tuple[float, float, float]
    angles: tuple[float, float, float] = (0, 0, 0)
    centre_mm: tuple[float, float, float] = (0, 0, 0)

    @property
    def matrix(self) -> np.ndarray:
        """3x3, of the quadratic form that is 1 on the surface."""
        turn = Rotation.from_euler("xyz", self.angles, degrees=True).as_matrix()
        return np.asarray(turn @ np.diag(np.array(self.half_axes_mm) ** -2.0) @ turn.T)

    @property
    def volume_cm3(self) -> float:
        """4/3 pi a b c."""
        return float(4 / 3 * np.pi * np.prod(self.half_axes_mm) / 1000)

    @property
    def surface_mm2(self) -> float:
        """By Carlson's symmetric elliptic integral of the second kind."""
        a, b, c = np.square(self.half_axes_mm)
        return float(4 * np.pi * elliprg(a * b, a * c, b * c))

    def diameters_mm(self, geometry: Geometry) -> tuple[float, float]:
        """The longest diameter in any slice k of a grid, and the one perpendicular to it."""
        basis, _ = np.linalg.qr(geometry.affine[:3, :2])
        longest, across = 2 / np.sqrt(np.linalg.eigvalsh(basis.T @ self.matrix @ basis))
        return float(longest), float(across)

    def on(self, geometry: Geometry) -> np.ndarray:
        """The mask (k, j, i) of voxels whose centres lie inside."""
        index = np.indices(geometry.shape).reshape(3, -1).T
        away = geometry.index_to_world(index) - self.centre_mm
        return (np.einsum("nx,xy,ny->n", away, self.matrix, away) <= 1).reshape(geometry.shape)

    def grid(self, steps: np.ndarray) -> Geometry:
        """A grid of these steps (3x3, columns i, j, k in mm) that holds all of it."""
        reach = np.sqrt(np.diag(np.linalg.inv(steps) @ np.linalg.inv(self.matrix) @ np.linalg.inv(steps).T))
        half = np.ceil(reach).astype(int) + _MARGIN_VOXELS
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = steps, -steps @ half
        return Geometry(index3(2 * half[::-1] + 1), affine)


@dataclass(frozen=True)
class Shape:
    """What programs say of one shape: voxels, cm3, mm2, mm and RAS mm."""

    voxel_count: float
    volume_cm3: float
    surface_area_mm2: float
    feret_diameter_mm: float
    centroid_ras: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """One ellipsoid on one grid: what was measured, what is true, and what other programs say of it."""

    ellipsoid: Ellipsoid
    grid_name: str
    geometry: Geometry
    measured: StructureMeasurements
    itk: Shape
    slicer: Shape | None

    @property
    def diameter_errors_voxels(self) -> tuple[float, float]:
        """Measured less true, longest and perpendicular, in voxels of the slice's coarser side."""
        lesion = self.measured.lesions[0]
        side = max(self.geometry.spacing_mm[1:])
        longest, across = self.ellipsoid.diameters_mm(self.geometry)
        return (
            (lesion.longest.length_mm - longest) / side,
            (lesion.perpendicular.length_mm - across) / side,
        )

    def difference(self, other: Shape) -> float:
        """The largest relative difference to another program; of the centre, relative to the diameter."""
        ours = self.measured
        pairs = [
            (ours.voxel_count, other.voxel_count),
            (ours.volume_cm3, other.volume_cm3),
            (ours.surface_area_mm2, other.surface_area_mm2),
            (ours.feret_diameter_mm, other.feret_diameter_mm),
        ]
        away = np.linalg.norm(np.subtract(ours.centroid_ras or (), other.centroid_ras))
        relative = [abs(one - reference) / reference for one, reference in pairs]
        return float(max(*relative, away / ours.feret_diameter_mm))


ELLIPSOIDS = (
    Ellipsoid("sphere, 6 mm", (3, 3, 3), centre_mm=(0.2, -0.3, 0.1)),
    Ellipsoid("sphere, 20 mm", (10, 10, 10), centre_mm=(0.3, 0.1, -0.4)),
    Ellipsoid("sphere, 50 mm", (25, 25, 25)),
    Ellipsoid("ellipsoid, 40 x 24 x 16 mm", (20, 12, 8), centre_mm=(0.1, 0.2, 0.3)),
    Ellipsoid("the same, turned", (20, 12, 8), (25, -35, 50), (0.1, 0.2, 0.3)),
    Ellipsoid("the same, turned in the slice", (20, 12, 8), (0, 0, 33), (0.4, 0.2, 0.3)),
    Ellipsoid("needle, 50 x 8 x 8 mm, turned", (25, 4, 4), (10, 20, 40), (0.1, 0.4, 0.2)),
)
_OBLIQUE = Rotation.from_euler("xyz", (12, -8, 20), degrees=True).as_matrix()
_SHEARED = np.array([[1.0, 0, 0], [0, 1.0, 0.5], [0, 0, 2.0]])
GRIDS = {
    "1 mm": np.eye(3),
    "0.8 x 0.8 x 3 mm": np.diag([0.8, 0.8, 3.0]),
    "0.6 x 1.2 x 2 mm": np.diag([0.6, 1.2, 2.0]),
    "oblique, 0.8 x 0.8 x 2 mm": _OBLIQUE @ np.diag([-0.8, -0.8, 2.0]),
    "sheared, 1 x 1 x 2.06 mm": _SHEARED,
}
"""Steps (3x3, columns i, j, k in RAS mm) by name."""


def rows(ellipsoids: Sequence[Ellipsoid] = ELLIPSOIDS, slicer: bool = True) -> Iterator[Row]:
    """Every ellipsoid on every grid. slicer: ask Slicer, too, which needs slicer-core."""
    for ellipsoid in ellipsoids:
        for name, steps in GRIDS.items():
            geometry = ellipsoid.grid(steps)
            mask = ellipsoid.on(geometry)
            volume = Volume(np.zeros(geometry.shape, np.int16), geometry)
            structure = StructureMask(Structure("it", 1, default_color(1)), (0, 0, 0), mask)
            found = measure(volume, [structure]).structures[0]
            asked = slicer and not geometry.is_sheared
            yield Row(
                ellipsoid,
                name,
                geometry,
                found,
                itk_shape(mask, geometry),
                slicer_shape(mask, geometry) if asked else None,
            )


def ellipse_errors(count: int, seed: int) -> np.ndarray:
    """(count, 2) measured less true diameters of random ellipses, in voxels of the coarser side.

    Half axes are 1.5 voxels to 20 mm, the shorter at least 0.4 of the longer: the tip of a needle holds no
    voxel's centre. Sides of voxels are 0.5 to 1.5 mm; place and angle are random.
    """
    rng = np.random.default_rng(seed)
    errors = np.empty((count, 2))
    for number in range(count):
        sides = rng.uniform(0.5, 1.5, 2)
        largest = float(sides.max())
        long_mm = float(rng.uniform(1.5 * largest, 20))
        half_mm = np.array([long_mm, rng.uniform(max(1.5 * largest, 0.4 * long_mm), long_mm)])
        angle, start = rng.uniform(0, np.pi), rng.uniform(0, 1, 2)
        size = int(2 * long_mm / sides.min()) + 6
        y, x = (np.indices((size, size)) - size / 2 - start[:, None, None]) * sides[:, None, None]
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        mask = ((along / half_mm[0]) ** 2 + (across / half_mm[1]) ** 2 <= 1)[None]
        found = axial_diameters(mask, Geometry(index3(mask.shape), np.diag([sides[1], sides[0], 1.0, 1.0])))
        measured = np.array([found.longest.length_mm, found.perpendicular.length_mm])
        errors[number] = (measured - 2 * half_mm) / largest
    return errors


def itk_shape(mask: np.ndarray, geometry: Geometry) -> Shape:
    """What SimpleITK's filter says of a mask (k, j, i), on the whole image."""
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.ComputeFeretDiameterOn()
    statistics.ComputePerimeterOn()
    statistics.Execute(to_sitk(mask.astype(np.uint8), geometry))
    x, y, z = statistics.GetCentroid(1)
    return Shape(
        statistics.GetNumberOfPixels(1),
        statistics.GetPhysicalSize(1) / 1000,
        statistics.GetPerimeter(1),
        statistics.GetFeretDiameter(1),
        (-x, -y, z),
    )


def slicer_shape(mask: np.ndarray, geometry: Geometry) -> Shape:
    """What Slicer says of a mask (k, j, i): the filters of Segment Statistics, set as its plugin sets them.

    Needs slicer-core.
    """
    import slicer
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtk.vtkImageData()
    image.SetDimensions(geometry.shape[::-1])
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(geometry.affine[:3, 3])
    image.GetPointData().SetScalars(numpy_to_vtk(mask.astype(np.uint8).ravel(), deep=True))
    directions = vtk.vtkMatrix4x4()
    for row in range(3):
        for column in range(3):
            directions.SetElement(row, column, geometry.directions[row, column])
    statistics = slicer.vtkITKLabelShapeStatistics()
    statistics.SetInputData(image)
    statistics.SetDirections(directions)
    for name in ("Centroid", "FeretDiameter", "Perimeter"):
        statistics.SetComputeShapeStatistic(name, True)
    statistics.Update()
    table = statistics.GetOutput()
    count = vtk.vtkImageAccumulate()
    count.SetInputData(image)
    count.IgnoreZeroOn()
    count.Update()
    voxels = count.GetVoxelCount()
    return Shape(
        voxels,
        voxels * float(np.prod(geometry.spacing_mm)) / 1000,
        table.GetColumnByName("Perimeter").GetValue(0),
        table.GetColumnByName("FeretDiameter").GetValue(0),
        table.GetColumnByName("Centroid").GetTuple(0),
    )


def table(found: Sequence[Row]) -> str:
    """The rows in Markdown: errors against the truth, and the largest difference to other programs."""
    lines = [
        "| what | grid | voxels | volume | surface | Feret | longest, voxels | perpendicular, voxels "
        "| to SimpleITK | to Slicer |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found:
        one, truth = row.measured, row.ellipsoid
        longest, across = row.diameter_errors_voxels
        feret = 2 * max(truth.half_axes_mm)
        # SimpleITK and Slicer take sheared axes for perpendicular: there the truth alone can be compared.
        itk = "" if row.geometry.is_sheared else f"{row.difference(row.itk):.1e}"
        slicer = "" if row.slicer is None else f"{row.difference(row.slicer):.1e}"
        lines.append(
            f"| {truth.name} | {row.grid_name} | {one.voxel_count} "
            f"| {_percent(one.volume_cm3, truth.volume_cm3)} "
            f"| {_percent(one.surface_area_mm2, truth.surface_mm2)} "
            f"| {_percent(one.feret_diameter_mm, feret)} "
            f"| {longest:+.2f} | {across:+.2f} | {itk} | {slicer} |"
        )
    return "\n".join(lines) + "\n"


def main(out: Path) -> None:
    """Measure ellipsoids on all grids and random ellipses, and write the errors as Markdown."""
    errors = ellipse_errors(_ELLIPSES, _SEED)
    sentences = [f"{_ELLIPSES} random ellipses (seed {_SEED}), measured less true in voxels:"]
    for name, values in zip(("longest", "perpendicular"), errors.T, strict=True):
        low, mean, high = values.min(), values.mean(), values.max()
        sentences.append(f"{name} {low:+.2f} to {high:+.2f}, {mean:+.2f} on average.")
    write_text(out, table(list(rows())) + "\n" + " ".join(sentences) + "\n")


def _percent(value: float, truth: float) -> str:
    return f"{100 * (value / truth - 1):+.1f} %"


if __name__ == "__main__":
    typer.run(main)
