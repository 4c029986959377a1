"""Images painted on label maps: pairs of one contrast, nothing unlabelled, implanted lesions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedMetaSegLib import cli
from MedMetaSegLib.network.weights import load_network
from MedMetaSegLib.training.label_maps import ReadMap, read_maps, tissue_name
from MedMetaSegLib.training.painted import LESION, PaintedMaps
from training_phantom import QUICK_TOML

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = 40


def a_map(dataset: str, patient: str, names: tuple[str, ...] = ("Brain", "Orbit-Lt", "Orbit-Rt")) -> ReadMap:
    k, j, i = np.indices((40, 60, 60))
    labels = np.zeros(k.shape, np.uint8)
    labels[(k - 20) ** 2 + (j - 30) ** 2 + (i - 30) ** 2 < 400] = 1
    for number, column in ((2, 20), (3, 40)):
        labels[(k - 20) ** 2 + (j - 14) ** 2 + (i - column) ** 2 < 36] = number
    return ReadMap(dataset, patient, "CT", labels, (2.0, 1.0, 1.0), names)


def shape_of_a_lesion() -> ReadMap:
    return ReadMap(
        "lab_stroke", "s", "MR", np.ones((12, 14, 10), np.uint8), (1.0, 1.0, 1.0), ("stroke lesion",)
    )


def test_two_patients_are_painted_in_one_contrast_and_everything_is_known() -> None:
    maps = PaintedMaps([a_map("set", "one"), a_map("set", "two"), shape_of_a_lesion()])
    lesions = patients = 0
    for seed in range(12):
        first, second = maps.drawn(np.random.default_rng(seed), SIDE)
        assert first.subject is not None
        assert second.subject is not None
        assert first.subject.names == ("Brain", "Orbit-Lt", "Orbit-Rt", LESION)
        patients += first.subject.patient != second.subject.patient
        lesions += bool((first.structures == 4).any())
        for one in (first, second):
            assert one.image.shape == one.structures.shape
            assert one.image.dtype == np.float32
            assert np.isfinite(one.image).all()
            assert one.structures.any()
            assert 12 <= one.image.shape[0] <= 1.2 * SIDE
            assert one.aspect * one.subject.spacing_mm >= 2.0 - 1e-6
    assert lesions >= 2
    assert patients >= 5


def test_structures_lie_where_the_image_shows_them() -> None:
    maps = PaintedMaps([a_map("set", "one")])
    explained = []
    for seed in range(8):
        one = maps.drawn(np.random.default_rng(seed), SIDE)[0]
        means = np.array([one.image[one.structures == n].mean() for n in np.unique(one.structures)])
        within = means[np.searchsorted(np.unique(one.structures), one.structures)]
        explained.append(np.corrcoef(within.ravel(), one.image.ravel())[0, 1])
    assert np.median(explained) > 0.7


def test_a_seed_paints_the_same() -> None:
    maps = PaintedMaps([a_map("set", "one"), a_map("set", "two")])
    one, again = (maps.drawn(np.random.default_rng(3), SIDE) for _ in range(2))
    for first, second in zip(one, again, strict=True):
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.structures, second.structures)


def test_lesions_alone_are_no_anatomy() -> None:
    with pytest.raises(ValueError, match="no label map of an anatomy"):
        PaintedMaps([shape_of_a_lesion()])


@pytest.mark.parametrize(
    ("name", "tissue"),
    [
        ("Orbit-Lt", "orbit"),
        ("Orbit_Rt", "orbit"),
        ("left parotid", "parotid"),
        ("Brain", "brain"),
        ("FreeSurfer/SynthSeg label 43", "FreeSurfer 4"),
        ("FreeSurfer/SynthSeg label 4", "FreeSurfer 4"),
        ("FreeSurfer/SynthSeg label 15", "FreeSurfer 15"),
    ],
)
def test_both_sides_are_one_tissue(name: str, tissue: str) -> None:
    assert tissue_name(name) == tissue


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two label maps without images."""
    folder = tmp_path / "maps"
    folder.mkdir()
    entries = []
    for patient in ("one", "two"):
        image = sitk.GetImageFromArray(a_map("set", patient).labels.astype(np.int16) * 10)
        image.SetSpacing((1.0, 1.0, 2.0))
        sitk.WriteImage(image, str(folder / f"{patient}.nii.gz"))
        names = {"10": "Brain", "20": "Orbit-Lt", "30": "Orbit-Rt"}
        entry = {"dataset": "set", "case": patient, "patient": patient, "modality": "CT (image not here)"}
        entries.append({**entry, "label": f"{patient}.nii.gz", "labels": names})
    (folder / "manifest.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


def test_label_maps_are_read_from_a_folder(folder: Path) -> None:
    maps = read_maps([folder])
    assert [one.patient for one in maps] == ["one", "two"]
    assert maps[0].names == ("Brain", "Orbit-Lt", "Orbit-Rt")
    assert maps[0].spacing_mm == (2.0, 1.0, 1.0)
    assert set(np.unique(maps[0].labels)) == {0, 1, 2, 3}


def test_the_command_learns_from_label_maps_alone(folder: Path, tmp_path: Path) -> None:
    settings = tmp_path / "own.toml"
    settings.write_text(QUICK_TOML, encoding="utf-8")
    more = ["--data", str(folder), "--painted-share", "1", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert cli.run(["train", "--config", str(settings), *more]) == 0
    assert load_network(tmp_path / "out" / "medmetaseg.safetensors")[1]["data_sets"] == ["set"]


@pytest.mark.parametrize(
    ("share", "what"), [("--painted-share", "no label maps"), ("--real-share", "no patients")]
)
def test_a_share_of_what_is_not_there_is_refused(
    share: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.run(["train", share, "0.2", "--steps", "1", "--device", "cpu", "--out", str(out)]) == 2
    assert what in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
