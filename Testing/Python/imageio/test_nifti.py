"""NIfTI files, whatever the storage: voxels, NaN and infinity, and the place in the header."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio import nifti
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import from_sitk, read_image, read_volume, write_labels
from MedMetaSegLib.support.support import Support

AFFINE = np.array([[2.0, 0, 0, -20], [0, 2.5, 0, 30], [0, 0, 3.0, 7], [0, 0, 0, 1]])
CODES = {"f4": 16, "f8": 64, "i2": 4, "u2": 512, "i8": 1024}


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
    monkeypatch.setattr(nifti, "_PIECE", 64)
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
    with pytest.raises(InputError, match="voxels of nan; store 0"):
        Support.read(single_file(tmp_path / "x.nii.gz", array, "<f8"))


@pytest.mark.parametrize("kind", ["<i2", ">i2", "<u2", ">f8", "<i8"])
def test_voxels_keep_their_type_unless_they_are_scaled(tmp_path: Path, kind: str) -> None:
    array = np.arange(60).reshape(3, 4, 5)
    plain = read_image(single_file(tmp_path / "plain.nii.gz", array, kind)).array
    scaled = read_image(single_file(tmp_path / "scaled.nii", array, kind, (0.5, -3))).array
    np.testing.assert_array_equal(plain, array)
    np.testing.assert_array_equal(scaled, array / 2 - 3)
    assert plain.dtype == np.dtype(kind).newbyteorder("=")
    assert scaled.dtype == np.float32
    assert plain.flags.c_contiguous
    assert scaled.flags.c_contiguous


def test_other_formats_keep_their_own_nonfinite_voxels(tmp_path: Path) -> None:
    for suffix in (".nrrd", ".mha"):
        sitk.WriteImage(sitk.GetImageFromArray(holed()), str(tmp_path / f"x{suffix}"))
        np.testing.assert_array_equal(read_image(tmp_path / f"x{suffix}").array, holed())


# ---- the place in the header

TURNED = np.array([[0.0, -2.5, 0, 4], [2.0, 0, 0, -9], [0, 0, 3.0, 7], [0, 0, 0, 1]])
SHIFTED = AFFINE + np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 9], [0, 0, 0, 0]])
SHEARED = AFFINE + np.array([[0, 0, 0.3, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
PLACE = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def placed_file(
    path: Path,
    qform: tuple[np.ndarray, int],
    sform: tuple[np.ndarray, int],
    unit: str = "mm",
    kind: type[nibabel.Nifti1Image] = nibabel.Nifti1Image,
    order: str = "<",
) -> Path:
    """An image (k, j, i) = (3, 4, 5) whose header holds these forms and codes."""
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(order + "i2"))
    header.set_data_shape((5, 4, 3))
    header.set_zooms((2.0, 2.5, 3.0))
    header.set_qform(*qform)
    header.set_sform(*sform)
    header.set_xyzt_units(unit, "sec")
    kind(np.arange(60).reshape(3, 4, 5).T, None, header).to_filename(path)
    return path


def written_beside(path: Path) -> Path:
    """A label map on the grid of an image, as the command writes it."""
    image = read_image(path)
    out = path.parent / "out.nii.gz"
    write_labels(out, image.array > 30, image.geometry, image.forms)
    return out


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 4), (0, 2), (1, 0), (0, 0), (4, 1)])
@pytest.mark.parametrize("unit", ["mm", "micron", "meter", "unknown"])
def test_a_label_map_keeps_both_forms_codes_and_units_bit_for_bit(
    tmp_path: Path, codes: tuple[int, int], unit: str
) -> None:
    path = placed_file(tmp_path / "x.nii", (TURNED, codes[0]), (SHIFTED, codes[1]), unit)
    one, other = nibabel.load(path), nibabel.load(written_beside(path))
    for field in PLACE:
        assert one.header[field].tobytes() == other.header[field].tobytes(), field
    np.testing.assert_array_equal(other.affine, one.affine)
    np.testing.assert_array_equal(np.asarray(other.dataobj), np.asarray(one.dataobj) > 30)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_forms_are_kept_from_every_kind_of_header(tmp_path: Path, kind: type, order: str) -> None:
    path = placed_file(tmp_path / "x.nii.gz", (AFFINE, 1), (TURNED, 2), kind=kind, order=order)
    one, other = nibabel.load(path), nibabel.load(written_beside(path))
    for field in PLACE:
        np.testing.assert_array_equal(one.header[field], other.header[field])


@pytest.mark.parametrize(("codes", "affine"), [((1, 2), SHEARED), ((1, 0), TURNED)])
@pytest.mark.parametrize(("unit", "mm"), [("micron", 0.001), ("meter", 1000), ("mm", 1), ("unknown", 1)])
def test_the_place_is_that_of_nibabel_in_millimetres(
    tmp_path: Path, codes: tuple[int, int], affine: np.ndarray, unit: str, mm: float
) -> None:
    path = placed_file(tmp_path / "x.nii", (TURNED, codes[0]), (SHEARED, codes[1]), unit)
    np.testing.assert_allclose(nibabel.load(path).affine, affine, atol=1e-5)
    np.testing.assert_allclose(read_image(path).geometry.affine[:3] / mm, affine[:3], atol=1e-5)


def test_without_codes_the_place_is_nibabels(tmp_path: Path) -> None:
    path = placed_file(tmp_path / "x.nii", (TURNED, 0), (SHEARED, 0))
    read = read_image(path)
    np.testing.assert_array_equal(read.geometry.affine, nibabel.load(path).affine)
    itk = sitk.ReadImage(str(path))
    _, from_itk = from_sitk(itk)
    assert read.forms is not None
    assert read.forms.readings[1].geometry.same_grid(from_itk)


def off_perpendicular(angle: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 2] = 3 * angle
    return affine


@pytest.mark.parametrize("angle", [1e-7, 5e-5, 1e-4, 3e-4, 1e-3, 1e-2, 0.1])
def test_a_sform_off_perpendicular_is_read_as_it_is_and_kept_beside_a_qform(
    tmp_path: Path, angle: float
) -> None:
    path = placed_file(tmp_path / "x.nii", (AFFINE, 1), (off_perpendicular(angle), 2))
    np.testing.assert_allclose(read_image(path).geometry.affine, off_perpendicular(angle), atol=1e-5)
    one, other = nibabel.load(path).header, nibabel.load(written_beside(path)).header
    assert all(one[field].tobytes() == other[field].tobytes() for field in PLACE)


@pytest.mark.parametrize("angle", [1e-7, 5e-5, 1e-4, 3e-4, 1e-3])
def test_a_sform_a_little_off_perpendicular_is_written_so_that_itk_opens_it(
    tmp_path: Path, angle: float
) -> None:
    path = placed_file(tmp_path / "x.nii", (AFFINE, 0), (off_perpendicular(angle), 2))
    out = written_beside(path)
    one, other = nibabel.load(path), nibabel.load(out)
    assert one.header["sform_code"] == other.header["sform_code"]
    np.testing.assert_array_equal(other.affine, one.affine)
    from_itk = from_sitk(sitk.ReadImage(str(out)))[1]
    assert from_itk.same_grid(Geometry((3, 4, 5), one.affine), 0.01)


@pytest.mark.parametrize("angle", [1e-2, 0.1])
def test_a_sheared_sform_alone_is_read_and_written_to_another_format(tmp_path: Path, angle: float) -> None:
    image = read_image(placed_file(tmp_path / "x.nii", (AFFINE, 0), (off_perpendicular(angle), 2)))
    np.testing.assert_allclose(image.geometry.affine, off_perpendicular(angle), atol=1e-5)
    with pytest.raises(InputError, match=r"not perpendicular.*write \.nrrd"):
        write_labels(tmp_path / "o.nii.gz", image.array > 30, image.geometry, image.forms)
    write_labels(tmp_path / "o.nrrd", image.array > 30, image.geometry, image.forms)
    assert read_image(tmp_path / "o.nrrd").geometry.same_grid(image.geometry)


def test_another_grid_is_written_with_both_forms_alike(tmp_path: Path) -> None:
    image = read_image(placed_file(tmp_path / "x.nii", (AFFINE, 1), (SHIFTED, 2)))
    other = Geometry((3, 4, 5), TURNED)
    write_labels(tmp_path / "out.nii", image.array > 30, other, image.forms)
    header = nibabel.load(tmp_path / "out.nii").header
    assert (header["qform_code"], header["sform_code"]) == (1, 1)
    np.testing.assert_allclose(header.get_sform(), TURNED, atol=1e-6)
    np.testing.assert_allclose(header.get_qform(), TURNED, atol=1e-5)
    assert from_sitk(sitk.ReadImage(str(tmp_path / "out.nii")))[1].same_grid(other)


def test_a_sheared_grid_from_elsewhere_is_refused_in_nifti_with_a_way_out(tmp_path: Path) -> None:
    labels = np.ones((3, 4, 5), bool)
    with pytest.raises(InputError, match=r"not perpendicular.*write \.nrrd"):
        write_labels(tmp_path / "x.nii.gz", labels, Geometry((3, 4, 5), SHEARED))
    nearly = off_perpendicular(1e-3)
    write_labels(tmp_path / "x.nii.gz", labels, Geometry((3, 4, 5), nearly))
    assert [one.name for one in tmp_path.iterdir()] == ["x.nii.gz"]
    np.testing.assert_allclose(nibabel.load(tmp_path / "x.nii.gz").affine, nearly, atol=1e-6)
    assert from_sitk(sitk.ReadImage(str(tmp_path / "x.nii.gz")))[1].same_grid(
        Geometry((3, 4, 5), nearly), 0.01
    )


@pytest.mark.parametrize("change", [{"srow_x": np.nan}, {"srow_z": 0}])
def test_a_form_that_is_no_place_is_refused(tmp_path: Path, change: dict[str, float]) -> None:
    path = placed_file(tmp_path / "x.nii", (AFFINE, 1), (AFFINE, 1))
    header = nibabel.load(path).header
    for field, value in change.items():
        header[field] = value
    path.write_bytes(header.binaryblock + path.read_bytes()[348:])
    with pytest.raises(InputError, match="no usable position"):
        read_image(path)


def test_a_quaternion_a_little_too_long_is_read(tmp_path: Path) -> None:
    path = placed_file(tmp_path / "x.nii", (AFFINE, 1), (AFFINE, 0))
    header = nibabel.load(path).header
    header["quatern_c"] = 1.00002
    path.write_bytes(header.binaryblock + path.read_bytes()[348:])
    half_turn = np.diag([-2.0, 2.5, -3.0, 1.0])
    np.testing.assert_allclose(read_image(path).geometry.affine[:3, :3], half_turn[:3, :3], atol=1e-3)


# ---- damage


@pytest.mark.parametrize("at", [-6, -2, 700])
def test_a_wrong_byte_in_a_compressed_file_is_damage(tmp_path: Path, at: int) -> None:
    path = single_file(tmp_path / "x.nii.gz", np.random.default_rng(1).normal(0, 9, (8, 9, 10)), "<f4")
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="truncated or damaged"):
        read_image(path)


def test_a_header_that_promises_more_than_a_file_can_hold_is_refused_before_memory_is_taken(
    tmp_path: Path,
) -> None:
    content = header((30000, 30000, 30000), "<f4", (1, 0), 352, b"n+1\0")
    for name, kept in (("x.nii", content), ("x.nii.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(kept)
        with pytest.raises(InputError, match="truncated or damaged"):
            read_image(tmp_path / name)


def test_a_compressed_file_under_the_other_name_is_read(tmp_path: Path) -> None:
    array = np.arange(60).reshape(3, 4, 5)
    plain, packed = single_file(tmp_path / "a.nii", array, "<i2"), tmp_path / "b.nii"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(read_image(packed).array, array)
    (tmp_path / "c.nii.gz").write_bytes(plain.read_bytes())
    np.testing.assert_array_equal(read_image(tmp_path / "c.nii.gz").array, array)


def test_colour_complex_vectors_and_rare_types_are_refused(tmp_path: Path) -> None:
    colour = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for array, words in [
        (colour, "3 values per voxel"),
        (np.zeros((4, 5, 6, 1, 3), np.float32), "3 values per voxel"),
        (np.zeros((4, 5, 6, 2, 3), np.float32), "5 dimensions"),
        (np.zeros((4, 5, 6), np.complex64), "complex"),
        (np.zeros((4, 5), np.float32), "2D image"),
    ]:
        nibabel.Nifti1Image(array, AFFINE).to_filename(tmp_path / "x.nii")
        with pytest.raises(InputError, match=words):
            read_image(tmp_path / "x.nii")


def test_values_beyond_single_precision_are_refused(tmp_path: Path) -> None:
    array = np.arange(60).reshape(3, 4, 5)
    with pytest.raises(InputError, match=r"more than 3\.4e38"):
        read_image(single_file(tmp_path / "x.nii", array * 1e300, "<f8", (2, 0)))
    with pytest.raises(InputError, match="beyond single precision"):
        read_volume(single_file(tmp_path / "x.nii", array * 1e300, "<f8"))
