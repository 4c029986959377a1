"""A folder with one DICOM series, and the folders that are none."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from dicom_frames import MR, PET, along_z, write_slices
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.dicom_folder import series_in
from MedMetaSegLib.imageio.dicom_series import sorted_series
from MedMetaSegLib.imageio.volume import Volume, read_image, read_volume


def error_of(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def write_series(
    folder: Path,
    array: np.ndarray,
    uid: str = "1.2.3.1",
    description: str = "Abdomen",
    step_lps: tuple[float, float, float] = (0.0, 0.0, 2.5),
    tags: dict[str, str] | None = None,
) -> list[Path]:
    """Write array (k, j, i) as DICOM slices whose file names are out of order; the files by slice."""
    folder.mkdir(exist_ok=True)
    files = []
    for number, plane in enumerate(array):
        image = sitk.GetImageFromArray(plane[np.newaxis])
        image.SetSpacing((0.7, 0.8, 1.0))
        position = np.array([-31.0, 12.5, 140.0]) + number * np.array(step_lps)
        image.SetOrigin(position.tolist())
        fields = {
            "0008|0008": "ORIGINAL\\PRIMARY\\AXIAL",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"{uid}.{number + 1}",
            "0008|0060": "CT",
            "0008|103e": description,
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0020|0013": str(100 - number),
            "0020|0032": "\\".join(f"{value:.6f}" for value in position),
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for key, value in (fields | (tags or {})).items():
            image.SetMetaData(key, value)
        files.append(folder / f"{number * 7 % 23:02d}_{uid}.dcm")
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(files[-1]))
        writer.Execute(image)
    return files


def test_a_dicom_folder_is_sorted_placed_and_named(shared_data: Path) -> None:
    volume = read_volume(shared_data / "totalseg" / "ct_dicom")
    assert volume.array.shape == (20, 512, 512)
    assert volume.array.dtype == np.int16
    assert (volume.modality, volume.name) == ("CT", "ct_dicom")
    np.testing.assert_allclose(volume.geometry.spacing_mm, (2.0, 0.9765625, 0.9765625))
    first = sitk.ReadImage(str(shared_data / "totalseg" / "ct_dicom" / "6592.dcm"))
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(first)[0], volume.array[0])
    np.testing.assert_allclose(volume.geometry.affine[:3, 3], np.multiply(first.GetOrigin(), (-1, -1, 1)))


def test_a_label_stored_with_y_flipped_lands_in_the_right_place(shared_data: Path) -> None:
    volume = read_volume(shared_data / "totalseg" / "ct_dicom")
    label = read_image(shared_data / "totalseg" / "ct_dicom_label.nii.gz")
    assert not label.geometry.same_grid(volume.geometry)
    assert label.geometry.is_parallel(volume.geometry)
    image, mask = volume.canonical()[0], label.canonical()[0]
    assert image.geometry.same_grid(mask.geometry)
    # Bodies are not air: a flip along y would put a good part of the labels outside the patient.
    assert (image.array[mask.array > 0] > -300).mean() > 0.97
    assert (image.array[:, ::-1][mask.array > 0] > -300).mean() < 0.9


def test_dicom_slices_are_ordered_by_position_not_by_name(patient: Volume, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", patient.array)
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, patient.array)
    np.testing.assert_allclose(volume.geometry.spacing_mm, (2.5, 0.8, 0.7))
    np.testing.assert_allclose(volume.geometry.affine[:3, 3], (31.0, -12.5, 140.0))
    assert volume.modality == "CT"


def test_a_tilted_gantry_stays_tilted(patient: Volume, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", patient.array, step_lps=(0.0, 0.9, 2.5))
    geometry = read_volume(tmp_path / "ct").geometry
    assert geometry.is_sheared
    np.testing.assert_allclose(geometry.affine[:3, 2], (0.0, -0.9, 2.5), atol=1e-9)


def test_several_dicom_series_are_listed(patient: Volume, tmp_path: Path) -> None:
    write_series(tmp_path / "mix", patient.array[:6], "1.2.3.1", "Abdomen")
    write_series(tmp_path / "mix", patient.array[:4], "1.2.3.2", "Thorax")
    message = error_of(tmp_path / "mix")
    assert "2 DICOM series" in message
    assert '"Abdomen" CT (6 slices)' in message
    assert '"Thorax" CT (4 slices)' in message


def test_a_missing_dicom_slice_is_noticed(patient: Volume, tmp_path: Path) -> None:
    files = write_series(tmp_path / "gap", patient.array)
    files[9].unlink()
    message = error_of(tmp_path / "gap")
    assert "A slice seems missing between z = 160 and 165 mm (slices 9 and 10)" in message


def test_a_doubled_dicom_slice_is_noticed(patient: Volume, tmp_path: Path) -> None:
    files = write_series(tmp_path / "twice", patient.array)
    shutil.copy(files[3], tmp_path / "twice" / "again.dcm")
    assert "several images at one place" in error_of(tmp_path / "twice")


def test_a_localizer_among_the_slices_is_noticed(patient: Volume, tmp_path: Path) -> None:
    files = write_series(tmp_path / "ct", patient.array)
    write_series(tmp_path / "other", patient.array[:1, :10], tags={"0008|0018": "1.2.3.1.99"})
    (tmp_path / "other" / files[0].name).rename(tmp_path / "ct" / "localizer.dcm")
    assert "differ in size or direction" in error_of(tmp_path / "ct")


def test_a_damaged_dicom_file_is_named_by_its_folder(
    patient: Volume, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    files = write_series(tmp_path / "ct", patient.array)
    files[5].write_bytes(files[5].read_bytes()[:-300])
    assert str(tmp_path / "ct") in error_of(tmp_path / "ct")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("cut", [10, 300, 4000])
def test_a_slice_that_ends_too_early_is_named_and_never_made_up(
    patient: Volume, tmp_path: Path, cut: int
) -> None:
    files = write_series(tmp_path / "ct", patient.array)
    names = tuple(map(str, files))
    whole = files[5].read_bytes()
    files[5].write_bytes(whole[:-cut])
    with pytest.raises(InputError, match=f"{files[5].name} is damaged"):
        sorted_series(tmp_path / "ct", names)
    files[5].write_bytes(whole)
    assert len(sorted_series(tmp_path / "ct", names).headers) == len(files)


def test_a_folder_without_dicom_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    assert "holds no DICOM" in error_of(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    assert "holds no DICOM" in error_of(tmp_path)
    assert capfd.readouterr().err == ""


def test_one_dicom_slice_is_a_single_slice(patient: Volume, tmp_path: Path) -> None:
    files = write_series(tmp_path / "one", patient.array[:1])
    assert "single slice" in error_of(tmp_path / "one")
    assert "single slice" in error_of(files[0])


def planes(kind: type = np.int16) -> np.ndarray:
    """Eight planes (k, j, i) of which no two voxels are alike."""
    return np.arange(8 * 6 * 5).reshape(8, 6, 5).astype(kind)


def test_every_slice_has_its_own_slope(tmp_path: Path) -> None:
    # The first slice's integer slope says nothing of the others.
    rescale = [(1.0, 0.0)] + [(0.001 * (k + 1), -0.5) for k in range(1, 8)]
    for name, sop_class, modality in (("pet", PET, "PT"), ("mr", MR, "MR")):
        write_slices(tmp_path / name, planes(), along_z(range(8)), rescale, sop_class, modality)
        volume = read_volume(tmp_path / name)
        assert volume.array.dtype == np.float32
        for k, (slope, intercept) in enumerate(rescale):
            np.testing.assert_allclose(volume.array[k], planes()[k] * slope + intercept, rtol=1e-6)


def test_one_whole_slope_keeps_the_integers_of_a_series(tmp_path: Path) -> None:
    write_slices(tmp_path / "ct", planes(np.uint16), along_z(range(8)), [(1.0, -1024.0)] * 8)
    volume = read_volume(tmp_path / "ct")
    assert volume.array.dtype.kind == "i"
    np.testing.assert_array_equal(volume.array, planes() - 1024)


@pytest.mark.parametrize(
    ("heights", "told"),
    [
        ([0, 3, 6, 9, 12, 17, 22, 27], "The slice spacing changes from 3 to 5 mm after slice 5"),
        ([0, 3, 6, 9, 15, 18, 21, 24], r"A slice seems missing between z = 9 and 15 mm \(slices 4 and 5\)"),
        ([0, 3, 6, 15, 18, 21, 24, 27], r"2 slices seem missing between z = 6 and 15 mm \(slices 3 and 4\)"),
        ([0, 3, 6, 10.4, 13.4, 16.4, 19.4, 22.4], "4.4 mm between slices 3 and 4, 3 mm elsewhere"),
        ([0, 3, 7, 9, 13, 15, 17.5, 21], "varies between 2 mm .* and 4 mm"),
    ],
    ids=["change", "one missing", "two missing", "one odd gap", "irregular"],
)
def test_what_is_uneven_is_said(tmp_path: Path, heights: list[float], told: str) -> None:
    write_slices(tmp_path / "ct", planes(), along_z(heights))
    message = error_of(tmp_path / "ct")
    assert re.search(told, message)
    assert "--resample-uneven" in message
    assert ("add what is missing" in message) == ("missing between" in message)


def test_small_jitter_leaves_every_slice_within_a_tenth_of_its_place(tmp_path: Path) -> None:
    write_slices(tmp_path / "ct", planes(), along_z([3 * k + 0.2 * (k % 2) for k in range(8)]))
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").array, planes())


def test_uneven_slices_are_resampled_when_asked(tmp_path: Path) -> None:
    heights = np.array([0, 3, 6, 9, 12, 17, 22, 27])
    slope = np.broadcast_to((10 * heights)[:, None, None], (8, 6, 5)).astype(np.int16)
    write_slices(tmp_path / "ct", slope, along_z(heights))
    volume = read_volume(tmp_path / "ct", resample_uneven=True)
    assert volume.array.dtype == np.int16
    np.testing.assert_allclose(volume.geometry.spacing_mm, (3, 0.8, 0.7))
    places = volume.geometry.index_to_world(np.array([[k, 0, 0] for k in range(10)]))[:, 2]
    np.testing.assert_array_equal(volume.array[:, 0, 0], np.rint(10 * places))
    assert "changes from 3 to 5 mm" in volume.notes[0]
    assert "resampled onto 10 even slices, 3 mm apart" in volume.notes[0]
    assert read_volume(tmp_path / "ct", resample_uneven=True).notes == volume.notes


def test_slices_shifted_in_their_plane_are_refused(tmp_path: Path) -> None:
    positions = np.array(along_z(range(8)))
    positions[4, 0] += 5
    write_slices(tmp_path / "ct", planes(), positions)
    assert "shifted against each other in their plane (slice 5 by 5 mm)" in error_of(tmp_path / "ct")


@pytest.mark.parametrize("size", [0, 100, 200, 400, 700])
def test_a_series_with_a_damaged_file_is_not_read_without_it(tmp_path: Path, size: int) -> None:
    files = write_slices(tmp_path / "ct", planes(), along_z(range(8)))
    files[-1].write_bytes(files[-1].read_bytes()[:size])
    assert f"{files[-1].name} is damaged" in error_of(tmp_path / "ct")
    assert [len(one.files) for one in series_in(files)] == [8]


def test_a_file_of_a_series_names_its_folder(tmp_path: Path) -> None:
    files = write_slices(tmp_path / "ct", planes(), along_z(range(8)))
    assert f"give its folder {tmp_path / 'ct'} instead" in error_of(files[3])


def test_the_padding_that_dicom_names_is_kept_as_voxel_values(tmp_path: Path) -> None:
    tags = {"PixelPaddingValue": -2000}
    write_slices(tmp_path / "ct", planes(), along_z(range(8)), [(2.0, -1024.0)] * 8, tags=tags)
    assert read_volume(tmp_path / "ct").padding == (-5024, -5024)


def test_a_compressed_file_cut_in_half_is_named(tmp_path: Path) -> None:
    plane = np.arange(32 * 32).reshape(1, 32, 32).astype(np.int16)
    files = []
    for number, position in enumerate(along_z(range(4))):
        files += write_slices(tmp_path / str(number), plane, [position], compressed="JPEG2000")
        files[-1] = files[-1].rename(tmp_path / f"{number}.dcm")
    assert read_volume(tmp_path).array.shape == (4, 32, 32)
    files[2].write_bytes(files[2].read_bytes()[:-400])
    assert "2.dcm is damaged" in error_of(tmp_path)


@pytest.mark.parametrize("kind", [np.int16, np.uint16])
@pytest.mark.parametrize("compressed", ["", "JPEG2000"])
def test_values_shown_inverted_are_read_as_they_are(tmp_path: Path, kind: type, compressed: str) -> None:
    stored = np.arange(3 * 32 * 32).reshape(3, 32, 32).astype(kind)
    tags = {"PhotometricInterpretation": "MONOCHROME1"}
    rescale = [(1.0, -1024.0)] * 3
    write_slices(tmp_path / "ct", stored, along_z(range(3)), rescale, tags=tags, compressed=compressed)
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, stored.astype(int) - 1024)
    np.testing.assert_allclose(volume.geometry.spacing_mm, (1, 0.8, 0.7))
