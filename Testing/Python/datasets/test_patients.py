"""Labelled images of the user's own: which folders are read, how others are refused, and training on one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from MedMetaSegLib import cli
from MedMetaSegLib.datasets.cases import read_cases
from MedMetaSegLib.datasets.patients import training_cases, training_label_maps
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.network.weights import load_network
from MedMetaSegLib.training.prepared import real_anatomies
from MedMetaSegLib.training.run import WEIGHTS
from training_phantom import QUICK_TOML, labelled_image

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """A folder of two patients as nnU-Net has it."""
    folder = tmp_path / "patients"
    for seed, name in enumerate(("kidney_1", "kidney_2")):
        labelled_image(folder, name, seed)
    return folder


def test_images_and_label_maps_are_paired_by_their_names(patients: Path) -> None:
    found = training_cases(patients)
    assert [case.case for case in found] == ["kidney_1_0000", "kidney_2_0000"]
    assert [case.labels.name for case in found] == ["kidney_1.nii.gz", "kidney_2.nii.gz"]


def test_channels_are_images_of_their_own(patients: Path) -> None:
    images = patients / "imagesTr"
    shutil.copy(images / "kidney_1_0000.nii.gz", images / "kidney_1_0001.nii.gz")
    found = training_cases(patients)
    assert [case.image.name[:13] for case in found] == ["kidney_1_0000", "kidney_1_0001", "kidney_2_0000"]
    assert {case.patient for case in found} == {"kidney_1", "kidney_2"}


def test_plain_names_do_as_well(patients: Path) -> None:
    for old, new in (("imagesTr", "images"), ("labelsTr", "labels")):
        (patients / old).rename(patients / new)
    for image in (patients / "images").iterdir():
        image.rename(image.with_name(image.name.replace("_0000", "")))
    assert [case.case for case in training_cases(patients)] == ["kidney_1", "kidney_2"]


def test_a_manifest_of_own_patients_is_taken_whole(patients: Path) -> None:
    entry = {
        "dataset": "own",
        "case": "one",
        "patient": "one",
        "modality": "CT",
        "image": "imagesTr/kidney_1_0000.nii.gz",
        "label": "labelsTr/kidney_1.nii.gz",
        "labels": {"300": "kidney"},
    }
    held_out = {**entry, "dataset": "hippocampus", "case": "001", "patient": "hippocampus_001"}
    (patients / "manifest.json").write_text(json.dumps([entry, held_out]))
    assert [case.dataset for case in training_cases(patients)] == ["own"]


def test_label_maps_without_images_are_listed_apart(patients: Path) -> None:
    entry = {
        "dataset": "maps",
        "case": "one",
        "patient": "one",
        "modality": "CT (image not here)",
        "label": "labelsTr/kidney_1.nii.gz",
        "labels": {"300": "kidney"},
    }
    (patients / "manifest.json").write_text(json.dumps([entry]), encoding="utf-8")
    assert training_cases(patients) == []
    assert read_cases(patients) == ()
    (found,) = training_label_maps(patients)
    assert (found.patient, found.modality, found.names) == ("one", "CT", {300: "kidney"})


def test_labels_of_any_value_become_structures(patients: Path) -> None:
    anatomies = real_anatomies(patients, keep=False)
    assert len(anatomies) == 4
    for one in anatomies:
        middle = tuple(n // 2 for n in one.structures.shape)
        assert one.structures[middle] == 1
        assert one.structures.max() < 300


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "labelsTr/kidney_2.nii.gz").unlink(), "has no label map"),
        (lambda folder: (folder / "imagesTr/kidney_2_0000.nii.gz").unlink(), "has no image"),
        (lambda folder: (folder / "labelsTr").rename(folder / "other"), "no folder .*labelsTr"),
        (lambda folder: (folder / "imagesTr").rename(folder / "other"), "no folder .*imagesTr"),
        (lambda folder: [one.unlink() for one in (folder / "imagesTr").iterdir()], "has no image: .nii.gz"),
        (lambda folder: [one.rename(folder / f"x{one.name}") for one in folder.iterdir()], "imagesTr"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "no patient"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "labelsTr/kidney_1.nii.gz").write_bytes(b"no"), "kidney_1.nii.gz"),
        (lambda folder: labelled_image(folder, "small", side=12), None),
    ],
)
def test_a_bad_folder_is_refused_in_a_sentence(patients: Path, spoil, says: str | None, capsys) -> None:
    spoil(patients)
    if says is None:
        assert len(real_anatomies(patients, keep=False)) == 4
        assert "left out: small_0000" in capsys.readouterr().err
        return
    with pytest.raises(InputError, match=says):
        real_anatomies(patients, keep=False)


@pytest.mark.parametrize(("value", "says"), [(0, "has no structure"), (-1, "negative values")])
def test_a_label_map_that_says_nothing_is_refused(patients: Path, value: int, says: str) -> None:
    import SimpleITK as sitk

    path = str(patients / "labelsTr/kidney_1.nii.gz")
    image = sitk.Cast(sitk.ReadImage(path), sitk.sitkInt16)
    sitk.WriteImage(image * 0 + value, path)
    with pytest.raises(InputError, match=says):
        real_anatomies(patients, keep=False)


def test_label_maps_on_another_grid_are_refused(patients: Path) -> None:
    other = patients.parent / "other"
    labelled_image(other, "kidney_1", side=30)
    (other / "labelsTr/kidney_1.nii.gz").replace(patients / "labelsTr/kidney_1.nii.gz")
    with pytest.raises(InputError, match="does not lie on the grid"):
        real_anatomies(patients, keep=False)


def test_too_small_images_alone_are_refused(tmp_path: Path) -> None:
    labelled_image(tmp_path, "small", side=12)
    with pytest.raises(InputError, match="too small"):
        real_anatomies(tmp_path, keep=False)


def test_the_command_learns_from_own_patients_and_begins_with_given_weights(
    patients: Path, tmp_path: Path, capsys
) -> None:
    settings = tmp_path / "own.toml"
    settings.write_text('data = "patients"\n' + QUICK_TOML + "real_share = 1.0\n")
    first, second = tmp_path / "first", tmp_path / "second"
    assert cli.run(["train", "--config", str(settings), "--out", str(first), "--device", "cpu"]) == 0
    more = ["--start", str(first / WEIGHTS), "--out", str(second), "--device", "cpu"]
    assert cli.run(["train", "--config", str(settings), *more]) == 0
    about = load_network(second / WEIGHTS)[1]
    assert about["began_with"]["steps"] == 1
    assert about["real_share"] == 1.0
    assert about["data_sets"] == ["patients"]
    missing = tmp_path / "none"
    assert cli.run(["train", "--data", str(missing), "--out", str(tmp_path / "x"), "--device", "cpu"]) == 2
    assert f"no folder {missing}" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
