"""What is prepared of real patients: kept beside the data, made anew when anything about it changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedMetaSegLib.errors import InputError
from MedMetaSegLib.training import prepared
from MedMetaSegLib.training.anatomy import Anatomy
from MedMetaSegLib.training.prepared import FOLDER, real_anatomies
from MedMetaSegLib.training.real import case_anatomies
from training_phantom import labelled_image

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def patients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two patients; they are prepared in this process."""
    monkeypatch.setattr(prepared, "available_cores", lambda: 1)
    folder = tmp_path / "patients"
    for number in (1, 2):
        labelled_image(folder, f"kidney_{number}", seed=number)
    return folder


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the cases whose anatomies are made from now on."""
    names: list[str] = []
    make = prepared.case_anatomies

    def noted(case):
        names.append(case.case)
        return make(case)

    monkeypatch.setattr(prepared, "case_anatomies", noted)
    return names


def assert_same(some: Sequence[Anatomy], others: Sequence[Anatomy]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.structures, other.structures)
        assert one.image.dtype == other.image.dtype
        assert one.structures.dtype == other.structures.dtype
        assert (one.aspect, one.scattered) == (other.aspect, other.scattered)


def replaced_label(path: Path) -> None:
    """One voxel more is labelled."""
    image = sitk.ReadImage(str(path))
    image[0, 0, 0] = 300
    sitk.WriteImage(image, str(path))


def test_patients_are_prepared_once(patients: Path, made: list[str]) -> None:
    first = real_anatomies(patients)
    assert made == ["kidney_1_0000", "kidney_2_0000"]
    again = real_anatomies(patients)
    assert len(made) == 2, "prepared once more"
    assert_same(again, first)
    assert_same(real_anatomies(patients, keep=False), first)


def test_an_image_that_both_details_share_is_kept_once(patients: Path) -> None:
    anatomies = real_anatomies(patients)
    voxels = sum(one.structures.nbytes for one in anatomies)
    images = sum(one.image.nbytes for one in anatomies) / 2
    held = sum(file.stat().st_size for file in (patients / FOLDER).iterdir())
    assert voxels + images <= held < 1.02 * (voxels + images) + 4000


@pytest.mark.parametrize("part", ["imagesTr/kidney_1_0000.nii.gz", "labelsTr/kidney_1.nii.gz"])
def test_a_patient_whose_files_changed_is_prepared_anew(patients: Path, made: list[str], part: str) -> None:
    real_anatomies(patients)
    replaced_label(patients / part)
    anatomies = real_anatomies(patients)
    assert made[2:] == ["kidney_1_0000"]
    assert_same(anatomies, real_anatomies(patients, keep=False))


def test_other_settings_prepare_everything_anew(
    patients: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real_anatomies(patients)
    monkeypatch.setattr(prepared, "SETTINGS", (*prepared.SETTINGS, "another"))
    real_anatomies(patients)
    assert len(made) == 4


@pytest.mark.parametrize("kept", [40, 4000], ids=["in its header", "in its voxels"])
def test_a_kept_file_that_was_cut_short_is_made_anew(patients: Path, made: list[str], kept: int) -> None:
    first = real_anatomies(patients)
    for file in (patients / FOLDER).iterdir():
        file.write_bytes(file.read_bytes()[:kept])
    assert_same(real_anatomies(patients), first)
    assert len(made) == 4
    real_anatomies(patients)
    assert len(made) == 4


def test_a_folder_that_moved_keeps_what_was_prepared(patients: Path, made: list[str]) -> None:
    real_anatomies(patients)
    real_anatomies(patients.rename(patients.with_name("moved")))
    assert len(made) == 2


def test_voxels_beside_their_header_are_never_taken_from_a_kept_file(patients: Path, made: list[str]) -> None:
    for file in [*(patients / "imagesTr").iterdir(), *(patients / "labelsTr").iterdir()]:
        plain = sitk.GetImageFromArray(sitk.GetArrayFromImage(sitk.ReadImage(str(file))))
        sitk.WriteImage(plain, str(file).replace(".nii.gz", ".mhd"))
        file.unlink()
    before = real_anatomies(patients)
    raw = patients / "imagesTr/kidney_1_0000.raw"
    np.fromfile(raw, np.float32)[::-1].tofile(raw)
    after = real_anatomies(patients)
    assert not np.array_equal(before[0].image, after[0].image)


def test_what_is_prepared_is_kept_in_a_folder_of_choice(
    patients: Path, tmp_path: Path, made: list[str]
) -> None:
    kept = tmp_path / "kept" / "here"
    first = real_anatomies(patients, prepared=kept)
    assert not (patients / FOLDER).exists()
    assert_same(real_anatomies(patients, prepared=kept), first)
    assert len(made) == 2
    labelled_image(tmp_path / "others" / "patients", "kidney_1", seed=9)
    real_anatomies(tmp_path / "others" / "patients", prepared=kept)
    assert_same(real_anatomies(patients, prepared=kept), first)
    assert len(made) == 3


def test_whom_an_anatomy_shows_is_kept_too(patients: Path) -> None:
    first, again = real_anatomies(patients), real_anatomies(patients)
    subjects = [one.subject for one in first]
    assert [one.subject for one in again] == subjects
    assert {one.patient for one in subjects if one} == {"kidney_1", "kidney_2"}
    assert {one.names for one in subjects if one} == {("300",)}


def test_a_folder_that_cannot_be_written_is_told_and_does_no_harm(patients: Path, capsys) -> None:
    (patients / FOLDER).write_text("in the way")
    assert_same(real_anatomies(patients), real_anatomies(patients, keep=False))
    assert "is not kept for the next run" in capsys.readouterr().err


def test_several_processes_prepare_the_same_and_refuse_in_the_same_words(
    patients: Path, monkeypatch: pytest.MonkeyPatch, made: list[str]
) -> None:
    label = patients / "labelsTr/kidney_3.nii.gz"
    labelled_image(patients, "kidney_3", seed=3)
    whole = label.read_bytes()
    sitk.WriteImage(sitk.Cast(sitk.ReadImage(str(label)), sitk.sitkInt16) * 0, str(label))
    with monkeypatch.context() as several:
        several.setattr(prepared, "available_cores", lambda: 2)
        several.setattr(prepared, "case_anatomies", case_anatomies)
        with pytest.raises(InputError, match=r"kidney_3\.nii\.gz has no structure"):
            real_anatomies(patients)
    label.write_bytes(whole)
    anatomies = real_anatomies(patients)
    assert made == ["kidney_3_0000"]
    assert_same(anatomies, real_anatomies(patients, keep=False))
