"""Reading and writing images, and where their voxels lie."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from errno import ENOSPC
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from affines import offset
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio import volume as volume_module
from MedMetaSegLib.imageio.volume import (
    Geometry,
    Volume,
    check_volume,
    from_sitk,
    read_image,
    read_volume,
    to_sitk,
    write_image,
    write_labels,
)

SUFFIXES = [".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"]
STORAGES = [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]


def save(volume: Volume, path: Path, compressed: bool = True) -> Path:
    sitk.WriteImage(to_sitk(volume.array, volume.geometry), str(path), useCompression=compressed)
    return path


def error_of(path: Path, **options: bool) -> str:
    with pytest.raises(InputError) as caught:
        read_volume(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---- reading


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_every_format_keeps_voxels_type_and_place(
    patient: Volume, tmp_path: Path, suffix: str, dtype: str
) -> None:
    array = np.abs(patient.array).astype(dtype) if dtype != "uint8" else patient.array.astype(dtype)
    volume = read_volume(save(Volume(array, patient.geometry), tmp_path / f"a.b{suffix}"))
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == dtype
    assert volume.geometry.same_grid(patient.geometry)
    assert volume.name == "a.b"


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize(("order", "flips"), STORAGES[::5])
def test_left_handed_and_permuted_files_land_in_the_same_place(
    patient: Volume, tmp_path: Path, store_otherwise: Callable, suffix: str, order: tuple, flips: tuple
) -> None:
    array, affine = store_otherwise(patient.array, patient.geometry.affine, order, flips)
    volume = read_volume(save(Volume.from_array(array, affine), tmp_path / f"x{suffix}"))
    canonical, _ = volume.canonical()
    expected, _ = patient.canonical()
    np.testing.assert_array_equal(canonical.array, expected.array)
    assert canonical.geometry.same_grid(expected.geometry)


@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior"])
def test_a_sheared_nrrd_loads_exactly(tmp_path: Path, space: str) -> None:
    import nrrd

    array = np.random.default_rng(1).integers(0, 99, (4, 5, 6)).astype(np.int16)
    columns = np.array([[0.9, 0.0, 0.0], [0.3, 2.0, 0.0], [0.1, 0.4, 3.0]])
    header = {"space": space, "space directions": columns, "space origin": [1.0, 2.0, 3.0]}
    nrrd.write(str(tmp_path / "s.nrrd"), array.transpose(2, 1, 0), header)
    volume = read_volume(tmp_path / "s.nrrd")
    expected = np.eye(4)
    expected[:3, :3], expected[:3, 3] = columns.T, (1.0, 2.0, 3.0)
    if space.startswith("left"):
        expected = np.diag([-1, -1, 1, 1]) @ expected
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.geometry.affine, expected, atol=1e-12)
    assert volume.geometry.is_sheared
    write_labels(tmp_path / "out.nrrd", (array > 50).astype(np.uint8), volume.geometry)
    assert read_image(tmp_path / "out.nrrd").geometry.same_grid(volume.geometry)


def test_simpleitk_and_back_is_exact(patient: Volume) -> None:
    array, geometry = from_sitk(to_sitk(patient.array, patient.geometry))
    np.testing.assert_array_equal(array, patient.array)
    np.testing.assert_allclose(geometry.affine, patient.geometry.affine, atol=1e-12)


def test_a_nifti_agrees_with_nibabel(patient: Volume, tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    path = save(patient, tmp_path / "x.nii.gz")
    np.testing.assert_allclose(nibabel.load(path).affine, read_volume(path).geometry.affine, atol=1e-4)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_fourth_dimension_of_one_is_3d(patient: Volume, tmp_path: Path, suffix: str) -> None:
    image = sitk.JoinSeries([to_sitk(patient.array, patient.geometry)])
    sitk.WriteImage(image, str(tmp_path / f"x{suffix}"))
    volume = read_volume(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(volume.array, patient.array)
    assert volume.geometry.same_grid(patient.geometry)


def test_nifti_scaling_is_applied(patient: Volume, tmp_path: Path) -> None:
    path = save(patient, tmp_path / "x.nii", compressed=False)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([0.5, 10.0], dtype="<f4").tobytes()
    path.write_bytes(content)
    np.testing.assert_allclose(read_volume(path).array, patient.array * 0.5 + 10)


def test_a_nifti_of_several_gzip_members_is_whole(patient: Volume, tmp_path: Path) -> None:
    content = save(patient, tmp_path / "x.nii").read_bytes()
    (tmp_path / "y.nii.gz").write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]))
    np.testing.assert_array_equal(read_volume(tmp_path / "y.nii.gz").array, patient.array)


# ---- bad input


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "There is no file" in error_of(tmp_path / "none.nii.gz")


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".seg.nrrd", ".txt", ""])
def test_a_file_that_is_no_image_is_refused(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture
) -> None:
    path = tmp_path / f"letter{suffix}"
    path.write_text("Dear colleague,\nthank you for referring\nthis patient = ours.\n" * 40)
    assert "is not an image" in error_of(path)
    path.write_bytes(b"")
    assert "is empty" in error_of(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("kept", [0.3, 0.9, 0.998])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_truncated_file_is_refused(
    patient: Volume, tmp_path: Path, capfd: pytest.CaptureFixture, suffix: str, kept: float, compressed: bool
) -> None:
    path = save(patient, tmp_path / f"x{suffix}", compressed)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert "is truncated or damaged" in error_of(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("suffix", "data"), [(".mhd", "x.raw"), (".nhdr", "x.raw")])
def test_a_truncated_or_missing_data_file_is_refused(
    patient: Volume, tmp_path: Path, capfd: pytest.CaptureFixture, suffix: str, data: str
) -> None:
    path = save(patient, tmp_path / f"x{suffix}", compressed=False)
    content = (tmp_path / data).read_bytes()
    (tmp_path / data).write_bytes(content[:-100])
    assert "truncated or damaged" in error_of(path)
    (tmp_path / data).unlink()
    assert str(path) in error_of(path)
    assert capfd.readouterr().err == ""


def test_a_damaged_byte_in_a_compressed_nifti_is_noticed(patient: Volume, tmp_path: Path) -> None:
    path = save(patient, tmp_path / "x.nii.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = b"\xff" * 40
    path.write_bytes(content)
    assert "truncated or damaged" in error_of(path)


def test_2d_4d_and_colour_images_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flat = sitk.GetImageFromArray(rng.integers(0, 9, (20, 30)).astype(np.int16))
    sitk.WriteImage(flat, str(tmp_path / "flat.nrrd"))
    assert "2D image (30 x 20 voxels)" in error_of(tmp_path / "flat.nrrd")
    slab = sitk.GetImageFromArray(rng.integers(0, 9, (1, 20, 30)).astype(np.int16))
    sitk.WriteImage(slab, str(tmp_path / "slab.nii.gz"))
    assert "single slice" in error_of(tmp_path / "slab.nii.gz")
    film = sitk.JoinSeries([sitk.Image(6, 5, 4, sitk.sitkInt16)] * 3)
    sitk.WriteImage(film, str(tmp_path / "film.nii.gz"))
    assert "sequence of 3 frames; choose one with --volume 0 to 2" in error_of(tmp_path / "film.nii.gz")
    colour = sitk.GetImageFromArray(rng.integers(0, 9, (4, 5, 6, 3)).astype(np.uint8), isVector=True)
    sitk.WriteImage(colour, str(tmp_path / "colour.mha"))
    assert "3 values per voxel" in error_of(tmp_path / "colour.mha")
    with pytest.raises(InputError, match="4 dimensions"):
        Volume.from_array(np.zeros((2, 3, 4, 5)), np.eye(4))


def test_nonfinite_voxels_are_counted_and_replaced_only_when_allowed(patient: Volume, tmp_path: Path) -> None:
    array = patient.array.astype(np.float32)
    array[1, 2, 3:6] = np.nan
    array[0, 0, 0], array[5, 5, 5] = np.inf, -np.inf
    path = save(Volume(array, patient.geometry), tmp_path / "x.nrrd")
    assert "5 NaN or infinite voxels" in error_of(path)
    read = read_volume(path, allow_nonfinite=True)
    finite = np.isfinite(array)
    np.testing.assert_array_equal(read.array[finite], array[finite])
    assert (read.array[~finite] == array[finite].min()).all()
    assert read.array.dtype == np.float32
    with pytest.raises(InputError, match="no finite voxel"):
        check_volume(Volume(np.full((2, 2, 2), np.nan), Geometry((2, 2, 2), np.eye(4))), True)


def test_a_constant_image_is_refused(patient: Volume, tmp_path: Path) -> None:
    path = save(Volume(np.full_like(patient.array, -1000), patient.geometry), tmp_path / "x.nii.gz")
    assert "the value -1000 everywhere" in error_of(path)


# ---- writing


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("largest", [1, 255, 256, 65535])
def test_labels_are_written_as_small_as_they_fit(
    patient: Volume, tmp_path: Path, suffix: str, largest: int
) -> None:
    labels = (np.arange(patient.array.size).reshape(patient.array.shape) % (largest + 1)).astype(np.int64)
    labels[0, 0, 0] = largest
    write_labels(tmp_path / f"out{suffix}", labels, patient.geometry)
    read = read_image(tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(read.array, labels)
    assert read.array.dtype == (np.uint8 if largest <= 255 else np.uint16)
    assert read.geometry.same_grid(patient.geometry)
    assert [one.name for one in tmp_path.iterdir()] == [f"out{suffix}"]


def test_an_output_that_cannot_be_written_leaves_nothing(patient: Volume, tmp_path: Path) -> None:
    labels = patient.array > 0
    (tmp_path / "file").write_text("in the way")
    for path, words in [
        (tmp_path / "none" / "x.nii.gz", "there is no folder"),
        (tmp_path / "file" / "x.nii.gz", "there is no folder"),
        (tmp_path / "x.txt", "no suffix for a label map"),
    ]:
        with pytest.raises(InputError, match=words):
            write_labels(path, labels, patient.geometry)
    (tmp_path / "x.nrrd").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write_labels(tmp_path / "x.nrrd", labels, patient.geometry)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "x.nrrd"]


@pytest.mark.parametrize(
    ("suffix", "writer", "function", "error"),
    [
        (".nrrd", sitk, "WriteImage", RuntimeError("no space left")),
        (".nii.gz", volume_module, "write_nifti", OSError(ENOSPC, "no space left")),
    ],
)
def test_a_failed_write_keeps_the_former_file(
    patient: Volume,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    writer: object,
    function: str,
    error: Exception,
) -> None:
    path = tmp_path / f"x{suffix}"
    write_labels(path, patient.array > 0, patient.geometry)
    before = path.read_bytes()

    def full_disk(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(writer, function, full_disk)
    with pytest.raises(InputError, match="cannot be written"):
        write_labels(path, patient.array > 5, patient.geometry)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_sheared_grid_is_not_written_as_nifti(patient: Volume, tmp_path: Path) -> None:
    affine = patient.geometry.affine.copy()
    affine[:3, 2] += [0, 0.5, 0]
    with pytest.raises(InputError, match="not perpendicular"):
        write_labels(tmp_path / "x.nii.gz", patient.array > 0, Geometry(patient.array.shape, affine))


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        (bool, "uint8"),
        ("int16", "int16"),
        ("float16", "float32"),
        ("float64", "float64"),
        ("int64", "int32"),
        ("uint64", "int32"),
    ],
)
def test_an_image_is_written_voxel_by_voxel(patient: Volume, tmp_path: Path, dtype: str, stored: str) -> None:
    array = (patient.array.clip(0) if "u" in str(dtype) else patient.array).astype(dtype)
    write_image(tmp_path / "image.nii.gz", replace(patient, array=array))
    written = read_image(tmp_path / "image.nii.gz")
    assert written.array.dtype == stored
    np.testing.assert_array_equal(written.array, array)
    assert written.geometry.same_grid(patient.geometry)


def test_an_image_that_nifti_does_not_hold_is_refused(patient: Volume, tmp_path: Path) -> None:
    wide = patient.array.astype(np.int64)
    wide[0, 0, 0] = 2**33
    with pytest.raises(InputError, match="which 32 bits do not hold"):
        write_image(tmp_path / "image.nii.gz", replace(patient, array=wide))
    affine = patient.geometry.affine.copy()
    affine[0, 2] += 0.5
    sheared = replace(patient, geometry=Geometry(patient.geometry.shape, affine))
    with pytest.raises(InputError, match="axes that are not perpendicular"):
        write_image(tmp_path / "image.nii.gz", sheared)
    assert list(tmp_path.iterdir()) == []


def test_labels_that_are_no_labels_are_a_programming_error(patient: Volume, tmp_path: Path) -> None:
    for wrong in (patient.array.astype(float), np.minimum(patient.array, -1), patient.array[1:] > 0):
        with pytest.raises(ValueError, match="abels"):
            write_labels(tmp_path / "x.nii.gz", wrong, patient.geometry)
    assert not list(tmp_path.iterdir())


def test_a_digest_tells_a_voxel_a_place_and_a_modality_and_copies_nothing() -> None:
    array = np.random.default_rng(0).integers(-9, 9, (5, 6, 7)).astype(np.int16)
    volume = Volume.from_array(array, np.diag([-1.0, -1.0, 2.0, 1.0]))
    known = volume.digest()
    assert len(known) == 32
    assert Volume.from_array(array.copy(), volume.geometry).digest() == known
    edited = array.copy()
    edited[4, 5, 6] ^= 1
    moved = Geometry(array.shape, volume.geometry.affine + offset(0, 0, 1e-3))
    others = [
        Volume.from_array(edited, volume.geometry),
        Volume.from_array(array, moved),
        replace(volume, modality="CT"),
        replace(volume, padding=(-9.0, -9.0)),
        replace(volume, array=array.astype(np.int32)),
        Volume.from_array(array[:, ::-1], volume.geometry),
    ]
    assert len({known, *(one.digest() for one in others)}) == 1 + len(others)
    canonical = volume.canonical()[0]
    before = canonical.digest()
    array[0, 0, 0] += 1
    assert canonical.digest() != before, "an image that is edited in place is another"
