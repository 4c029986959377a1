"""NaN and infinity in NIfTI files, whatever the storage: counted, refused, replaced when allowed."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio import nifti as nifti_values
from MedMetaSegLib.imageio import volume
from MedMetaSegLib.imageio.volume import read_image, read_volume
from MedMetaSegLib.support.support import Support

AFFINE = np.array([[2.0, 0, 0, -20], [0, 2.5, 0, 30], [0, 0, 3.0, 7], [0, 0, 0, 1]])
CODES = {"f4": 16, "f8": 64, "i2": 4}


def holed() -> np.ndarray:
    """Voxels (k, j, i) of which five are not finite and some are 0."""
    array = np.random.default_rng(3).normal(20, 9, (5, 6, 7)).astype(np.float32)
    array[2, :2] = 0
    array[1, 2, 3:6] = np.nan
    array[0, 0, 0], array[4, 5, 6] = np.inf, -np.inf
    return array


def header(
    shape: tuple[int, ...], kind: str, scaling: tuple[float, float], offset: int, magic: bytes
) -> bytes:
    """A NIfTI-1 header; kind: as "<f4"."""
    order, k, j, i = kind[0], *shape
    content = bytearray(offset)
    struct.pack_into(order + "i", content, 0, 348)
    struct.pack_into(order + "8h", content, 40, 3, i, j, k, 1, 1, 1, 1)
    struct.pack_into(order + "2h", content, 70, CODES[kind[1:]], 8 * int(kind[-1]))
    struct.pack_into(order + "8f", content, 76, 1, 2.0, 2.5, 3.0, 1, 1, 1, 1)
    struct.pack_into(order + "3f", content, 108, offset if magic == b"n+1\0" else 0, *scaling)
    struct.pack_into(order + "2h", content, 252, 0, 1)
    for row in range(3):
        struct.pack_into(order + "4f", content, 280 + 16 * row, *AFFINE[row])
    content[344:348] = magic
    return bytes(content)


def single_file(
    path: Path, array: np.ndarray, kind: str, scaling: tuple[float, float] = (1, 0), offset: int = 352
) -> Path:
    content = header(array.shape, kind, scaling, offset, b"n+1\0") + array.astype(kind).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def assert_counted_and_replaced(path: Path, expected: np.ndarray) -> None:
    with pytest.raises(InputError, match="has 5 NaN or infinite voxels"):
        read_volume(path)
    read = read_volume(path, allow_nonfinite=True)
    finite = np.isfinite(expected)
    np.testing.assert_allclose(read.array[finite], expected[finite], rtol=1e-6)
    assert (read.array[~finite] == read.array[finite].min()).all()
    np.testing.assert_allclose(read.geometry.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize(
    ("scaling", "offset"), [((1, 0), 352), ((0, 0), 400), ((2, 0), 352), ((-0.5, 3), 352)]
)
def test_every_storage_of_floats_tells_its_nonfinite_voxels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, scaling: tuple, offset: int
) -> None:
    monkeypatch.setattr(nifti_values, "_PIECE", 64)
    slope, intercept = scaling
    path = single_file(tmp_path / name, holed(), kind, scaling, offset)
    assert_counted_and_replaced(path, holed() * (slope or 1) + intercept)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("asked", ["hdr", "img"])
def test_a_pair_of_header_and_voxels_tells_its_nonfinite_voxels(
    tmp_path: Path, ending: str, asked: str
) -> None:
    head, voxels = header(holed().shape, "<f4", (1, 0), 352, b"ni1\0"), holed().tobytes()
    for kind, content in (("hdr", head), ("img", voxels)):
        (tmp_path / f"x.{kind}{ending}").write_bytes(gzip.compress(content) if ending else content)
    assert_counted_and_replaced(tmp_path / f"x.{asked}{ending}", holed())


def test_what_is_finite_is_read_as_it_is(tmp_path: Path) -> None:
    array = np.where(np.isfinite(holed()), holed(), 0)
    read = read_volume(single_file(tmp_path / "x.nii.gz", array, ">f4", (2, 1)))
    np.testing.assert_array_equal(read.array, array * 2 + 1)


def test_an_image_of_nothing_but_nan_is_refused(tmp_path: Path) -> None:
    path = single_file(tmp_path / "x.nii.gz", np.full((3, 4, 5), np.nan), "<f4")
    with pytest.raises(InputError, match="no finite voxel"):
        read_volume(path, allow_nonfinite=True)


def test_a_label_map_with_nan_is_refused(tmp_path: Path) -> None:
    array = np.where(np.isfinite(holed()), 1, np.nan)
    with pytest.raises(InputError, match="not whole numbers"):
        Support.read(single_file(tmp_path / "x.nii.gz", array, "<f8"))


def test_files_of_integers_are_not_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(60).reshape(3, 4, 5)
    plain = single_file(tmp_path / "plain.nii.gz", array, "<i2")
    scaled = single_file(tmp_path / "scaled.nii.gz", array, "<i2", (0.5, 0))
    monkeypatch.setattr(nifti_values.np, "frombuffer", pytest.fail)
    np.testing.assert_array_equal(read_image(scaled).array, array / 2)
    monkeypatch.setattr(volume, "restore_nonfinite", pytest.fail)
    np.testing.assert_array_equal(read_image(plain).array, array)


def test_floats_without_a_suspicious_voxel_are_not_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = single_file(tmp_path / "x.nii.gz", np.arange(1, 61).reshape(3, 4, 5), "<f4")
    monkeypatch.setattr(nifti_values.np, "frombuffer", pytest.fail)
    assert read_image(path).array.max() == 60


def test_other_formats_keep_their_own_nonfinite_voxels(tmp_path: Path) -> None:
    for suffix in (".nrrd", ".mha"):
        sitk.WriteImage(sitk.GetImageFromArray(holed()), str(tmp_path / f"x{suffix}"))
        np.testing.assert_array_equal(read_image(tmp_path / f"x{suffix}").array, holed())
