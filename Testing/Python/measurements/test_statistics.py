"""Statistics of one structure against Slicer's filters, SimpleITK and small cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.distance import pdist

from affines import rotation
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.itk import to_sitk
from MedMetaSegLib.measurements.statistics import (
    centroid,
    feret_diameter_mm,
    intensity_statistics,
    surface_area_mm2,
)

STEPS = np.diag([1.0, 2.0, 3.0, 1.0])


def flat_and_tiny() -> dict[str, np.ndarray]:
    """Masks of no extent along one axis or more, and a solid one."""
    shapes = {name: np.zeros((9, 9, 9), bool) for name in ("voxel", "line", "diagonal", "plane", "solid")}
    shapes["voxel"][4, 4, 4] = True
    shapes["line"][4, 4, 2:8] = True
    shapes["diagonal"][range(1, 8), range(1, 8), range(1, 8)] = True
    shapes["plane"][:, 4, :] = True
    shapes["solid"][1:8, 2:7, 3:8] = True
    shapes["solid"][2:4, 1:8, 4] = True
    return shapes


@pytest.mark.parametrize("name", list(flat_and_tiny()))
@pytest.mark.parametrize("affine", [STEPS, rotation(0.4, 0.3, -0.9) @ STEPS])
def test_flat_and_tiny_masks_have_simpleitk_s_numbers(name: str, affine: np.ndarray) -> None:
    mask = flat_and_tiny()[name]
    geometry = Geometry(mask.shape, affine)
    itk = sitk.LabelShapeStatisticsImageFilter()
    itk.ComputeFeretDiameterOn()
    itk.ComputePerimeterOn()
    itk.Execute(to_sitk(mask.astype(np.uint8), geometry))
    assert feret_diameter_mm(mask, geometry) == pytest.approx(itk.GetFeretDiameter(1), abs=1e-9)
    assert surface_area_mm2(mask, geometry) == pytest.approx(itk.GetPerimeter(1), rel=1e-9)
    x, y, z = itk.GetCentroid(1)
    np.testing.assert_allclose(geometry.index_to_world(centroid(mask)[None])[0], (-x, -y, z), atol=1e-9)


def test_many_flat_points_have_the_largest_distance_of_all() -> None:
    plane = np.zeros((3, 40, 50), bool)
    plane[1] = np.add.outer(np.arange(40) ** 2, (np.arange(50) - 20) ** 2) < 900
    points = np.argwhere(plane) @ np.diag([3.0, 2.0, 1.0])
    assert feret_diameter_mm(plane, Geometry(plane.shape, STEPS)) == pytest.approx(pdist(points).max())


def test_the_feret_diameter_of_a_sheared_grid_is_that_of_its_voxels_in_the_world() -> None:
    affine = STEPS.copy()
    affine[1, 2] = 1.5
    geometry = Geometry((9, 9, 9), affine)
    mask = flat_and_tiny()["solid"]
    places = geometry.index_to_world(np.argwhere(mask))
    assert feret_diameter_mm(mask, geometry) == pytest.approx(pdist(places).max())


def test_the_surface_of_a_sheared_grid_is_that_of_the_upright_body() -> None:
    """A tilted gantry images the same ball on slices that are moved against each other."""
    upright = Geometry((40, 60, 60), np.diag([1.0, 1.0, 2.0, 1.0]))
    tilted = upright.affine.copy()
    tilted[1, 2] = 0.8
    sheared = Geometry((40, 60, 60), tilted)
    areas = []
    for grid in (upright, sheared):
        places = grid.index_to_world(np.indices(grid.shape).reshape(3, -1).T)
        middle = grid.index_to_world(np.array([[20.0, 30.0, 30.0]]))
        inside = np.linalg.norm(places - middle, axis=1) <= 20
        areas.append(surface_area_mm2(inside.reshape(grid.shape), grid))
    assert areas[1] == pytest.approx(areas[0], rel=0.03)
    assert areas[1] == pytest.approx(4 * np.pi * 400, rel=0.03)


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 1000])
def test_intensities_are_those_of_segment_statistics(count: int) -> None:
    """Its filters; the histogram's percentiles are up to a bin, 1 for whole numbers, below the voxel's."""
    vtk = pytest.importorskip("vtk")
    from vtk.util.numpy_support import numpy_to_vtk

    values = np.random.default_rng(count).normal(40, 300, count).astype(np.int16)
    image = vtk.vtkImageData()
    image.SetDimensions(count, 1, 1)
    image.GetPointData().SetScalars(numpy_to_vtk(values, deep=True))
    moments, histogram = vtk.vtkImageAccumulate(), vtk.vtkImageHistogramStatistics()
    moments.SetInputData(image)
    moments.Update()
    histogram.SetInputData(image)
    histogram.SetAutoRangePercentiles(5, 95)
    histogram.SetAutoRangeExpansionFactors(0, 0)
    histogram.Update()

    found = intensity_statistics(values)
    assert found is not None
    assert found.mean == pytest.approx(moments.GetMean()[0])
    assert found.stdev == pytest.approx(moments.GetStandardDeviation()[0])
    assert (found.min, found.max) == (moments.GetMin()[0], moments.GetMax()[0])
    low, high = histogram.GetAutoRange()
    pairs = (found.percentile_05 - low, found.median - histogram.GetMedian(), found.percentile_95 - high)
    assert all(0 <= difference <= 1 for difference in pairs)
    assert {found.percentile_05, found.median, found.percentile_95} <= set(values.tolist())


def test_values_that_are_no_numbers_are_left_out() -> None:
    found = intensity_statistics(np.array([np.nan, 1.0, 3.0, np.inf, -np.inf]))
    assert found is not None
    assert (found.mean, found.min, found.max, found.stdev) == (2.0, 1.0, 3.0, pytest.approx(np.sqrt(2)))
    assert intensity_statistics(np.array([np.nan])) is None
    assert intensity_statistics(np.array([], np.int16)) is None


def test_one_value_has_no_spread() -> None:
    found = intensity_statistics(np.array([7], np.uint8))
    assert found is not None
    assert (found.mean, found.stdev, found.median) == (7.0, 0.0, 7.0)
