"""An image and a painting as files, for tests of the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from batch_stand_in import GRID, SHAPE
from MedMetaSegLib import cli
from MedMetaSegLib.imageio.volume import Geometry, to_sitk, write_labels
from MedMetaSegLib.support.support import Structure, StructureMask, write_segmentation


def write_image_and_painting(folder: Path) -> None:
    """ct.nii.gz and painted.nii.gz (labels 3 and 7 on two slices each), and a folder `out`."""
    rng = np.random.default_rng(1)
    write_array(folder / "ct.nii.gz", rng.normal(40, 20, SHAPE).astype(np.float32))
    write_labels(folder / "painted.nii.gz", painting(), GRID)
    (folder / "out").mkdir()


def painting() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[[2, 6], 4:12, 3:9] = 3
    labels[[3, 7], 14:20, 10:17] = 7
    return labels


def write_array(path: Path, array: np.ndarray, geometry: Geometry = GRID) -> None:
    sitk.WriteImage(to_sitk(array, geometry), str(path))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_segment(
    folder: Path, *more: str, image="ct.nii.gz", support="painted.nii.gz", out="out/seg.nii.gz"
) -> int:
    return cli.run(["segment", str(folder / image), str(folder / support), "-o", str(folder / out), *more])


def assert_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], run: Callable[[], int], says: str
) -> None:
    before = files(folder)
    assert run() == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("medmetaseg: ")
    assert shown.err.count("\n") == 1
    assert says in shown.err
    assert files(folder) == before


def not_finite(folder: Path) -> None:
    array = np.full(SHAPE, 1.5, np.float32)
    array[0], array[3, 3, 3:6] = 0, np.nan
    write_array(folder / "ct.nrrd", array)


def write_overlapping(folder: Path, one: str = "liver", other: str = "lesion") -> None:
    """painted.seg.nrrd with two structures of these names, drawn on one slice, that overlap."""
    first, second = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    first[4, 2:10, 2:10] = second[4, 6:14, 6:14] = True
    structures = [Structure(one, 1, (1, 0, 0)), Structure(other, 2, (0, 1, 0))]
    pairs = zip(structures, (first, second), strict=True)
    masks = [StructureMask(structure, (0, 0, 0), mask) for structure, mask in pairs]
    write_segmentation(folder / "painted.seg.nrrd", masks, GRID)
