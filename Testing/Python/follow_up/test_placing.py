"""Parts of two times laid upon one another: overlaps in mm3 between grids that differ."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from MedMetaSegLib.follow_up.alignment import Alignment
from MedMetaSegLib.follow_up.changes import Fit
from MedMetaSegLib.follow_up.placing import TimeParts, in_view, overlaps
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.support.structure import Structure, StructureMask

FINE = Geometry((40, 40, 40), np.eye(4))
# Its first voxel covers the first four of FINE along each axis; its axes are permuted, one is flipped.
COARSE = Geometry((10, 10, 10), np.array([[0, 0, 4, 1.5], [4, 0, 0, 1.5], [0, -4, 0, 37.5], [0, 0, 0, 1]]))


def parts(grid: Geometry, low: tuple[float, float, float], high: tuple[float, float, float]) -> TimeParts:
    """The voxels whose centres lie between two places."""
    index = np.indices(grid.shape).reshape(3, -1).T
    places = grid.index_to_world(index)
    mask = ((places > low) & (places < high)).all(1).reshape(grid.shape)
    return TimeParts.of(StructureMask(Structure("one", 1, (1, 0, 0)), (0, 0, 0), mask), grid, 26, 1)


def overlap(now: TimeParts, before: TimeParts, transform: sitk.Transform | None = None) -> float:
    chosen = sitk.Transform(3, sitk.sitkIdentity) if transform is None else transform
    found = overlaps(before, now, Alignment(chosen, "given", Fit(1, 0, 1), now.grid))
    assert found.shape == (len(before.parts), len(now.parts))
    return float(found.sum())


def test_the_same_place_on_two_grids_overlaps_by_its_volume():
    coarse, fine = (parts(grid, (7, 7, 7), (16, 16, 16)) for grid in (COARSE, FINE))
    assert coarse.volumes_mm3 == pytest.approx([512])
    assert fine.volumes_mm3 == pytest.approx([512])
    assert overlap(coarse, fine) == pytest.approx(512)
    assert overlap(fine, coarse) == pytest.approx(512)


def test_what_lies_between_the_centres_of_coarse_voxels_is_found():
    """Eight voxels in the corner of a voxel of 4 mm, away from its centre."""
    before = parts(FINE, (7.5, 7.5, 7.5), (9.5, 9.5, 9.5))
    assert before.volumes_mm3 == pytest.approx([8])
    assert overlap(parts(COARSE, (7, 7, 7), (16, 16, 16)), before) == pytest.approx(8)


def test_the_transform_leads_from_now_to_before():
    """+4 along ITK's right-to-left axis is 4 mm to the left: what is there now lay further left."""
    now, before = parts(FINE, (20, 20, 20), (26, 26, 26)), parts(FINE, (16, 20, 20), (22, 26, 26))
    shift = sitk.TranslationTransform(3, (4.0, 0.0, 0.0))
    assert overlap(now, before, shift) == pytest.approx(now.volumes_mm3[0])
    assert overlap(now, before) < 0.5 * now.volumes_mm3[0]


def test_no_part_at_one_time_overlaps_nothing():
    nothing = parts(FINE, (0, 0, 0), (0, 0, 0))
    assert overlap(nothing, parts(FINE, (20, 20, 20), (26, 26, 26))) == 0
    assert nothing.centres.shape == (0, 3)


def test_in_view_is_most_of_what_is_known():
    inside, outside, unknown = [5.0, 5, 5], [500.0, 5, 5], [np.nan] * 3
    assert in_view(np.array([inside, inside, outside]), FINE)
    assert in_view(np.array([inside, outside]), FINE)
    assert not in_view(np.array([inside, outside, unknown]), FINE)
