"""Whatever the affine, storage, type, slopes and codes: the result lies where the drawing lies.

Read, placed and written as the command does it; a stand-in for the network returns what was drawn.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import SimpleITK as sitk
from hypothesis import event, given, settings
from hypothesis import strategies as st

from affines import rotation
from MedMetaSegLib.imageio.geometry import Geometry, corners
from MedMetaSegLib.imageio.nifti import nifti_holds
from MedMetaSegLib.imageio.volume import Volume, from_sitk, read_image, write_labels
from MedMetaSegLib.support.placement import placed_support
from MedMetaSegLib.support.support import Support

TYPES = ("<u1", "<i2", ">i2", "<u2", "<i4", "<f4", ">f4", "<f8")
SCALINGS = ((1, 0), (0, 0), (0.5, -1024), (2.5, 10), (-1, 3))
CODES = tuple(product((0, 1, 2, 4), repeat=2))
STORAGES = tuple(product(permutations(range(3)), product((1, -1), repeat=3)))
SAVED = ("same header", "first form", "last form, nrrd", "other storage", "other storage, nrrd")
"""How the drawing is saved: by a tool that keeps the header, by one that writes one of the forms, ..."""
SHEARS = (0.0, 0.0, 1e-5, 3e-4, 1e-3, 0.02, 0.2)


@dataclass(frozen=True)
class Drawn:
    """An image's grid, how it is stored, and what was drawn on it."""

    shape: tuple[int, int, int]
    affine: np.ndarray
    other: np.ndarray
    codes: tuple[int, int]
    dtype: str
    scaling: tuple[float, float]
    axis: int
    number: int
    storage: tuple[tuple[int, int, int], tuple[int, int, int]]

    @property
    def labels(self) -> np.ndarray:
        """One slice with a block of label 3 and an outer row of label 1, (k, j, i)."""
        labels = np.zeros(self.shape, np.uint8)
        plane = np.moveaxis(labels, self.axis, 0)[self.number]
        plane[1:5, 1:5] = 3
        plane[0:6, 5:7] = 1
        return labels


@st.composite
def drawings(draw: st.DrawFn) -> Drawn:
    def length(low: float, high: float) -> float:
        return draw(st.floats(low, high, width=32))

    shape = tuple(draw(st.integers(7, 9)) for _ in range(3))
    steps = np.diag([length(0.25, 6) for _ in range(3)] + [1.0])
    shear = np.eye(4)
    shear[draw(st.sampled_from([(0, 1), (0, 2), (1, 2)]))] = draw(st.sampled_from(SHEARS))
    turn = rotation(*(length(-3, 3) for _ in range(3)))
    mirror = np.diag([draw(st.sampled_from((1.0, -1.0))), 1, 1, 1])
    place = turn @ shear @ mirror @ steps
    place[:3, 3] = [length(-300, 300) for _ in range(3)]
    turned = rotation(0, 0, length(-1, 1)) @ turn @ mirror @ steps
    turned[:3, 3] = place[:3, 3] + [length(-20, 20) for _ in range(3)]
    perpendicular = turn @ mirror @ steps
    perpendicular[:3, 3] = place[:3, 3]
    axis = draw(st.integers(0, 2))
    return Drawn(
        shape,
        place,
        draw(st.sampled_from((turned, perpendicular))),
        draw(st.sampled_from(CODES)),
        draw(st.sampled_from(TYPES)),
        draw(st.sampled_from(SCALINGS)),
        axis,
        draw(st.integers(0, shape[axis] - 1)),
        draw(st.sampled_from(STORAGES)),
    )


def write_nifti(path: Path, array: np.ndarray, drawn: Drawn, scaling: tuple[float, float] = (1, 0)) -> Path:
    """The array under a header of both forms, whatever they are."""
    header = nibabel.Nifti1Header(endianness=array.dtype.str[0].replace("|", "<"))
    header.set_data_dtype(array.dtype)
    header.set_data_shape(drawn.shape[::-1])
    header.set_zooms(np.linalg.norm(drawn.other[:3, :3], axis=0))
    header.set_qform(drawn.other, drawn.codes[0])
    header.set_sform(drawn.affine, drawn.codes[1])
    header.set_data_offset(352)
    header["magic"] = b"n+1"
    header["scl_slope"], header["scl_inter"] = scaling
    path.write_bytes(header.binaryblock + bytes(4) + array.tobytes())
    return path


def image_voxels(drawn: Drawn) -> np.ndarray:
    values = np.random.default_rng(7).integers(0, 200, drawn.shape)
    return values.astype(drawn.dtype)


def stored_otherwise(labels: np.ndarray, affine: np.ndarray, drawn: Drawn) -> tuple[np.ndarray, np.ndarray]:
    """The same drawing with its axes in another order and direction, and the affine of that."""
    order, steps = drawn.storage
    moved = labels.transpose(order)[tuple(slice(None, None, step) for step in steps)]
    to_source = np.zeros((4, 4))
    to_source[3, 3] = 1
    for axis, (source, step) in enumerate(zip(order, steps, strict=True)):
        to_source[2 - source, 2 - axis] = step
        to_source[2 - source, 3] = labels.shape[source] - 1 if step < 0 else 0
    return np.ascontiguousarray(moved), affine @ to_source


def write_nrrd(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    header = {
        "space": "right-anterior-superior",
        "space directions": affine[:3, :3].T,
        "space origin": affine[:3, 3],
    }
    nrrd.write(str(path), array.transpose(2, 1, 0), header)
    return path


def result_of(image: Volume, support: Support, folder: Path) -> Path:
    """What was drawn, on the image's grid, as NIfTI or as NRRD where that cannot hold it."""
    labels = placed_support(support, image).on(image.geometry).labels()
    suffix = ".nii.gz" if nifti_holds(image.geometry, image.forms) else ".nrrd"
    event(f"written as {suffix}")
    write_labels(folder / f"out{suffix}", labels, image.geometry, image.forms)
    return folder / f"out{suffix}"


def grid_of_itk(path: Path) -> Geometry | None:
    """The grid as SimpleITK reads it; None when it refuses the file."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        return from_sitk(sitk.ReadImage(str(path)))[1]
    except RuntimeError:
        return None
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def assert_same_world(image: Path, out: Path, geometry: Geometry) -> None:
    """The result lies where the image lies, as nibabel and as SimpleITK read both.

    Where SimpleITK refuses the image, it reads the result where nibabel does, but for the shear.
    """
    if out.suffix == ".nrrd":
        assert grid_of_itk(out).same_grid(geometry)
        return
    np.testing.assert_array_equal(nibabel.load(out).affine, nibabel.load(image).affine)
    in_itk = grid_of_itk(image)
    if in_itk is not None:
        assert grid_of_itk(out).same_grid(in_itk)
    else:
        assert_but_for_shear(grid_of_itk(out), geometry)


def assert_but_for_shear(found: Geometry, expected: Geometry) -> None:
    ends = corners(expected.shape)
    away = np.linalg.norm(found.index_to_world(ends) - expected.index_to_world(ends), axis=1).max()
    extent = np.linalg.norm(np.multiply(expected.shape, expected.spacing_mm))
    assert away <= (expected.shear + 1e-5) * extent + 1e-4
    assert expected.shear < 0.0015


@settings(max_examples=150, deadline=None, derandomize=True)
@given(drawings(), st.sampled_from(SAVED))
def test_the_result_lies_where_a_nifti_image_and_its_drawing_lie(drawn: Drawn, saved: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = write_nifti(folder / "image.nii", image_voxels(drawn), drawn, drawn.scaling)
        image = read_image(path)
        slope, intercept = drawn.scaling if drawn.scaling[0] else (1, 0)
        np.testing.assert_allclose(image.array, image_voxels(drawn) * np.float64(slope) + intercept)
        affine = nibabel.load(path).affine
        np.testing.assert_allclose(image.geometry.affine, affine, atol=1e-12)
        support = folder / "support.nii.gz"
        if saved == "same header":
            support = write_nifti(folder / "support.nii", drawn.labels, drawn)
        elif saved == "first form":
            nibabel.Nifti1Image(drawn.labels.T, affine).to_filename(support)
        elif saved == "last form, nrrd":
            assert image.forms is not None
            last = image.forms.readings[-1].geometry.affine
            support = write_nrrd(folder / "support.nrrd", drawn.labels, last)
        else:
            labels, stored = stored_otherwise(drawn.labels, affine, drawn)
            if saved.endswith("nrrd"):
                support = write_nrrd(folder / "support.nrrd", labels, stored)
            else:
                nibabel.Nifti1Image(labels.T, stored).to_filename(support)
        event(saved)
        out = result_of(image, Support.read(support), folder)
        np.testing.assert_array_equal(read_image(out).array, drawn.labels)
        assert_same_world(path, out, image.geometry)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(drawings())
def test_the_result_lies_where_a_nrrd_image_lies(drawn: Drawn) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        voxels = image_voxels(drawn).astype(np.int16)
        path = write_nrrd(folder / "image.nrrd", voxels, drawn.affine)
        image = read_image(path)
        np.testing.assert_allclose(image.geometry.affine, drawn.affine, atol=1e-9)
        labels, stored = stored_otherwise(drawn.labels, drawn.affine, drawn)
        out = result_of(image, Support.read(write_nrrd(folder / "support.nrrd", labels, stored)), folder)
        np.testing.assert_array_equal(read_image(out).array, drawn.labels)
        grid = read_image(out).geometry
        assert grid.same_grid(image.geometry, 1e-3)
        if out.suffix == ".gz":
            assert_but_for_shear(grid_of_itk(out), image.geometry)
