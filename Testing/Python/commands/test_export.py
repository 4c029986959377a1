"""The command export nnunet on files: what it writes, and what it refuses with nothing written."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from batch_stand_in import GRID, SHAPE, StandInSegmenter, write_noise
from command_files import assert_refused, files, write_array, write_overlapping
from disk_faults import limited_file_size
from MedMetaSegLib import cli
from MedMetaSegLib.imageio.volume import Geometry, write_labels
from MedMetaSegLib.support.support import Structure, StructureMask, write_segmentation
from nnunet_rules import checked_dataset, image_of, labels_of
from task_phantom import make_task

VERIFY = (
    "import sys; from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity; "
    "verify_dataset_integrity(sys.argv[1], 1)"
)


def painted(slices: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """A rectangle of each structure on its slices."""
    where = {"liver": np.s_[4:12, 3:9], "spleen": np.s_[14:20, 10:17], "background": np.s_[0:3, 0:20]}
    masks = {}
    for name, numbers in slices.items():
        masks[name] = np.zeros(SHAPE, bool)
        for number in numbers:
            masks[name][number][where[name]] = True
    return masks


def write_painted(path: Path, slices: dict[str, list[int]]) -> None:
    masks = painted(slices).items()
    structures = [Structure(name, n, (1, 0, 0)) for n, (name, _) in enumerate(masks, start=1)]
    pairs = zip(structures, (mask for _, mask in masks), strict=True)
    write_segmentation(path, [StructureMask(one, (0, 0, 0), mask) for one, mask in pairs], GRID)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """p0, p1 and p2.nii.gz, in cases.csv: two painted on slices, the last complete without a spleen."""
    for number in range(3):
        write_noise(tmp_path / f"p{number}.nii.gz", number)
    write_painted(tmp_path / "p0.seg.nrrd", {"liver": [2, 6], "spleen": [2, 7]})
    write_painted(tmp_path / "p1.seg.nrrd", {"spleen": [3, 5], "liver": [3, 5]})
    write_painted(tmp_path / "p2.seg.nrrd", {"liver": list(range(2, 7))})
    lines = ["image,segmentation,annotation,name,patient"]
    lines += ["p0.nii.gz,p0.seg.nrrd,,Möller 1,m", "p1.nii.gz,p1.seg.nrrd,slices,,k"]
    lines += ["p2.nii.gz,p2.seg.nrrd,complete,p1,m"]
    (tmp_path / "cases.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def export(folder: Path, *given: str, out: str = "Dataset501_Liver") -> int:
    arguments = [one if one.startswith("-") else str(folder / one) for one in given]
    return cli.run(["export", "nnunet", *arguments, "-o", str(folder / out)])


def test_a_list_becomes_a_training_set(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(folder, "cases.csv") == 0
    out = folder / "Dataset501_Liver"
    about = checked_dataset(out)
    assert about["labels"] == {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}
    assert (about["numTraining"], about["channel_names"]) == (3, {"0": "image"})
    masks = painted({"liver": [2, 6], "spleen": [2, 7]})
    expected = np.full(SHAPE, 3)
    expected[2] = 0
    expected[masks["liver"]], expected[masks["spleen"]] = 1, 2
    np.testing.assert_array_equal(labels_of(out, "M_ller_1"), expected)
    np.testing.assert_array_equal(labels_of(out, "p1_2"), painted({"liver": list(range(2, 7))})["liver"])
    for name, source in (("M_ller_1", "p0"), ("p1", "p1"), ("p1_2", "p2")):
        written = image_of(out, name)
        assert written.dtype == np.float32
        np.testing.assert_array_equal(
            written, np.random.default_rng(int(source[1])).normal(40, 20, SHAPE).astype("f4")
        )
    with (out / "cases.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [one["image"] for one in rows] == ["p0.nii.gz", "p1.nii.gz", "p2.nii.gz"]
    assert [one["spleen voxels"] for one in rows] == ["84", "84", "0"]
    assert [one["known_percent"] for one in rows] == ["11.88", "20", "100"]
    assert rows[2]["notes"] == "No voxel of spleen: there is none."
    told = capsys.readouterr().out
    for said in (
        "p1_2: No voxel of spleen: there is none.",
        "have the label ignore",
        "Of one patient are M_ller_1, p1_2",
        "fold `all`",
        "3 cases, image; labels: 0 background, 1 liver, 2 spleen, 3 ignore",
    ):
        assert said in told


def test_nnunet_takes_it_for_a_training_set(folder: Path) -> None:
    """By nnU-Net's own check, in the Python of $NNUNET_PYTHON, else in this one."""
    python = os.environ.get("NNUNET_PYTHON", sys.executable)
    found = subprocess.run([python, "-c", "import nnunetv2"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"{python} has no nnU-Net; name one that has in NNUNET_PYTHON")
    assert export(folder, "cases.csv") == 0
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    check = subprocess.run(
        [python, "-c", VERIFY, str(folder / "Dataset501_Liver")],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert check.returncode == 0, check.stderr
    assert "verify_dataset_integrity Done" in check.stdout
    assert "mismatch" not in check.stdout


def test_without_anything_unknown_there_is_no_ignore(folder: Path) -> None:
    assert export(folder, "p2.nii.gz", "p2.seg.nrrd", "--annotation=complete", "--channel-name=T1") == 0
    about = checked_dataset(folder / "Dataset501_Liver")
    assert about["labels"] == {"background": 0, "liver": 1}
    assert about["channel_names"] == {"0": "T1"}


def test_scribbles_know_what_was_painted(folder: Path) -> None:
    slices = {"liver": [2, 6], "background": [2, 5]}
    write_painted(folder / "p0.seg.nrrd", slices)
    assert export(folder, "p0.nii.gz", "p0.seg.nrrd", "--annotation=scribbles") == 0
    checked_dataset(folder / "Dataset501_Liver")
    masks, expected = painted(slices), np.full(SHAPE, 2)
    expected[masks["background"]], expected[masks["liver"]] = 0, 1
    np.testing.assert_array_equal(labels_of(folder / "Dataset501_Liver", "p0"), expected)


def test_an_oblique_image_stays_as_it_is(folder: Path, oblique_affine: np.ndarray) -> None:
    grid = Geometry(SHAPE, oblique_affine)
    array = np.random.default_rng(5).integers(-1000, 900, SHAPE).astype(np.int16)
    write_array(folder / "ct.nrrd", array, grid)
    labels = np.zeros(SHAPE, np.uint8)
    labels[[2, 6], 4:12, 3:9] = 4
    write_labels(folder / "painted.nrrd", labels, grid)
    assert export(folder, "ct.nrrd", "painted.nrrd") == 0
    about = checked_dataset(folder / "Dataset501_Liver")
    assert about["labels"] == {"background": 0, "Label 4": 1, "ignore": 2}
    assert about["channel_names"] == {"0": "CT"}
    image = image_of(folder / "Dataset501_Liver", "ct")
    assert image.dtype == np.int16
    np.testing.assert_array_equal(image, array)


def test_results_of_apply_are_exported_with_their_images(folder: Path, segmenter: StandInSegmenter) -> None:
    make_task().write(folder / "two.medmetaseg")
    (folder / "in").mkdir()
    for number in range(3):
        shutil.move(folder / f"p{number}.nii.gz", folder / "in")
    assert (
        cli.run(
            ["apply", *(str(folder / one) for one in ("two.medmetaseg", "in")), "-o", str(folder / "out")]
        )
        == 0
    )
    images, task = f"--images={folder / 'in'}", f"--task={folder / 'two.medmetaseg'}"
    assert export(folder, "out", images, task) == 0
    about = checked_dataset(folder / "Dataset501_Liver")
    assert about["labels"] == {"background": 0, "Niere rechts": 1, "left kidney": 2}
    assert about["description"] == "Cases by annotation: 3 complete (result of apply, accept)."
    block = np.zeros(SHAPE, int)
    block[3:6, 4:9, 5:12] = 1
    for name in ("p0", "p1", "p2"):
        np.testing.assert_array_equal(labels_of(folder / "Dataset501_Liver", name), block)


def test_a_training_set_is_replaced_only_when_asked_and_only_one_of_ours(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ("p0.nii.gz", "p0.seg.nrrd")
    assert export(folder, *pair) == 0
    capsys.readouterr()
    assert_refused(
        folder, capsys, partial(export, folder, *pair), "is there already; replace it with --overwrite"
    )
    assert export(folder, "p1.nii.gz", "p1.seg.nrrd", "--overwrite") == 0
    out = folder / "Dataset501_Liver"
    assert sorted(path.name for path in (out / "labelsTr").iterdir()) == ["p1.nii.gz"]
    capsys.readouterr()
    again = partial(export, folder, *pair, "--overwrite")
    inside = partial(export, folder, "p0.nii.gz", "Dataset501_Liver/labelsTr/p1.nii.gz", "--overwrite")
    assert_refused(folder, capsys, inside, "which would be replaced")
    (out / "imagesTs").mkdir()
    assert_refused(folder, capsys, again, "holds imagesTs, which --overwrite would remove")
    (out / "imagesTs").rmdir()
    (out / "dataset.json").write_text(json.dumps({"converted_by": "me"}), encoding="utf-8")
    assert_refused(folder, capsys, again, "was not exported by this command")


@pytest.mark.parametrize(
    ("given", "out", "says"),
    [
        (["p0.nii.gz", "p0.seg.nrrd"], "Dataset5_Liver", "DatasetXXX_Name with three digits"),
        (["p0.nii.gz", "p0.seg.nrrd"], "Dataset501_Löwe", "in ASCII letters"),
        (["p0.nii.gz", "p0.seg.nrrd"], "nowhere/Dataset501_A", "no folder"),
        (["p0.nii.gz", "p0.seg.nrrd"], "Dataset502_A", "Dataset502_B has the number 502, too"),
        (["p0.nii.gz"], "Dataset501_A", "Give each image with its support"),
        (["gone.nii.gz", "p0.seg.nrrd"], "Dataset501_A", "There is no image"),
        (["p0.nii.gz", "gone.seg.nrrd"], "Dataset501_A", "There is no segmentation"),
        (["two.medmetaseg"], "Dataset501_A", "keeps its patients only as reduced images"),
        (["p0.nii.gz", "p0.seg.nrrd", "--images=p1.nii.gz"], "Dataset501_A", "go with a folder of results"),
        (
            ["p0.nii.gz", "p0.seg.nrrd", "--structure=lung"],
            "Dataset501_A",
            "No case has a structure called lung",
        ),
        (
            ["p0.nii.gz", "p0.seg.nrrd", "p0.nii.gz", "p1.seg.nrrd"],
            "Dataset501_A",
            "p0 and p0_2 have the same image",
        ),
        (["p0.nii.gz", "apart.seg.nrrd"], "Dataset501_A", "No voxel is known to be background"),
        (["p0.nii.gz", "painted.seg.nrrd"], "Dataset501_A", "Case p0: liver and lesion overlap, on slice 4"),
        (
            ["p0.nii.gz", "p0.seg.nrrd", "p1.nii.gz", "labels.nii.gz"],
            "Dataset501_A",
            "Case p1 has a label map",
        ),
        (
            ["p0.nii.gz", "p0.seg.nrrd", "ct.nii.gz", "p1.seg.nrrd"],
            "Dataset501_A",
            "p0 is no CT and case ct is CT",
        ),
        (["p0.nii.gz", "far.nii.gz"], "Dataset501_A", "Case p0: The support lies outside the image"),
        (["bad.csv"], "Dataset501_A", "Line 2 of the list"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], given: list[str], out: str, says: str
) -> None:
    (folder / "Dataset502_B").mkdir()
    make_task().write(folder / "two.medmetaseg")
    write_painted(folder / "apart.seg.nrrd", {"liver": [2], "spleen": [7]})
    write_overlapping(folder)
    labels = np.zeros(SHAPE, np.uint8)
    labels[[2, 6], 4:12, 3:9] = 4
    write_labels(folder / "labels.nii.gz", labels, GRID)
    far = GRID.affine.copy()
    far[2, 3] += 500
    write_labels(folder / "far.nii.gz", labels, Geometry(SHAPE, far))
    array = np.random.default_rng(5).integers(-1000, 900, SHAPE).astype(np.int16)
    write_array(folder / "ct.nii.gz", array)
    (folder / "bad.csv").write_text(
        "image,segmentation,annotation\np0.nii.gz,p0.seg.nrrd,some\n", encoding="utf-8"
    )
    assert_refused(folder, capsys, partial(export, folder, *given, out=out), says)


def test_a_full_disk_leaves_what_was_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "Dataset501_Liver"
    assert export(folder, "p0.nii.gz", "p0.seg.nrrd") == 0
    size = (out / "imagesTr" / "p0_0000.nii.gz").stat().st_size
    before = files(folder)
    for limit in (0, size // 2, size - 1):
        capsys.readouterr()
        with limited_file_size(limit):
            assert export(folder, "p1.nii.gz", "p1.seg.nrrd", "--overwrite") == 2
        error = capsys.readouterr().err
        assert error.startswith(f"medmetaseg: {out} cannot be written: there is no room left")
        assert files(folder) == before
