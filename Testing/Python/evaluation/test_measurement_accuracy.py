"""Measurements of ellipsoids against the truth, SimpleITK and Slicer's Segment Statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from MedMetaSegLib.evaluation import measurement_accuracy
from MedMetaSegLib.evaluation.measurement_accuracy import ELLIPSOIDS, GRIDS, Row, rows

SMALL = ELLIPSOIDS[:2] + ELLIPSOIDS[3:]


@pytest.fixture(scope="module")
def found() -> list[Row]:
    return list(rows(SMALL, slicer=False))


def test_numbers_are_those_of_simpleitk_where_axes_are_perpendicular(found: list[Row]) -> None:
    upright = [row for row in found if not row.geometry.is_sheared]
    assert len(upright) == 4 * len(SMALL)
    assert max(row.difference(row.itk) for row in upright) < 1e-12


def test_numbers_are_those_of_segment_statistics() -> None:
    pytest.importorskip("slicer")
    asked = [row for row in rows((ELLIPSOIDS[1], ELLIPSOIDS[4])) if not row.geometry.is_sheared]
    assert len(asked) == 8
    assert max(row.difference(row.slicer) for row in asked if row.slicer) < 1e-12


def test_diameters_are_within_a_voxel_of_the_truth(found: list[Row]) -> None:
    errors = np.array([row.diameter_errors_voxels for row in found])
    assert np.abs(errors).max() <= 1


def test_diameters_of_random_ellipses_are_within_a_voxel_of_the_truth() -> None:
    errors = measurement_accuracy.ellipse_errors(100, seed=1)
    assert errors.shape == (100, 2)
    assert np.abs(errors).max() <= 1


def test_sizes_are_close_to_the_truth_on_sheared_grids_too(found: list[Row]) -> None:
    large = [row for row in found if row.measured.voxel_count > 500]
    assert sum(row.geometry.is_sheared for row in large) == len(SMALL) - 1
    for row in large:
        assert row.measured.volume_cm3 == pytest.approx(row.ellipsoid.volume_cm3, rel=0.015)
        assert row.measured.surface_area_mm2 == pytest.approx(row.ellipsoid.surface_mm2, rel=0.15)
        assert row.measured.feret_diameter_mm == pytest.approx(max(row.ellipsoid.half_axes_mm) * 2, rel=0.04)
        away = np.subtract(row.measured.centroid_ras, row.ellipsoid.centre_mm)
        assert np.linalg.norm(away) < 0.1 * max(row.geometry.spacing_mm)


def test_the_truth_of_a_sphere_is_known() -> None:
    assert ELLIPSOIDS[1].surface_mm2 == pytest.approx(4 * np.pi * 100)
    assert ELLIPSOIDS[1].volume_cm3 == pytest.approx(4 / 3 * np.pi)


def test_the_table_has_a_row_for_every_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement_accuracy, "_ELLIPSES", 20)
    monkeypatch.setattr(measurement_accuracy, "rows", lambda: rows(SMALL[:1], slicer=False))
    measurement_accuracy.main(tmp_path / "table.md")
    lines = (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()
    rows_of_table = [line for line in lines if line.startswith("|")]
    assert len(rows_of_table) == 2 + len(GRIDS)
    assert len({line.count("|") for line in rows_of_table}) == 1
    assert lines[2].startswith("| sphere, 6 mm | 1 mm | 113 |")
    assert lines[-1].startswith("20 random ellipses (seed 7)")
