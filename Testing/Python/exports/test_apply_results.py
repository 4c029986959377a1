"""Results of a task, exported with the images that the journal says they were made of."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batch_stand_in import GRID, SHAPE, StandInSegmenter, put_in_place, write_noise
from MedMetaSegLib.batch import BatchRequest, run_batch
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.exports.apply_results import ResultsRequest, is_results_folder, result_cases
from MedMetaSegLib.imageio.volume import read_image, write_labels
from task_phantom import make_task


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task applied to in/a/ct.nii.gz, in/b/ct.nii.gz (expected Dice 0.91) and in/bad.nii.gz (0.4)."""
    folder = tmp_path_factory.mktemp("applied")
    for seed, name in enumerate(("a/ct", "b/ct", "bad")):
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        write_noise(folder / "in" / f"{name}.nii.gz", seed)
    make_task().write(folder / "two.medmetaseg")
    stand_in = StandInSegmenter()
    stand_in.dice = {"ct": 0.91, "bad": 0.4}
    with pytest.MonkeyPatch.context() as patch:
        put_in_place(stand_in, patch)
        run_batch(BatchRequest(folder / "two.medmetaseg", (str(folder / "in"),), folder / "out"))
    return folder


@pytest.fixture
def folder(applied: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(applied, tmp_path / "copy"))


def request(folder: Path, **more: object) -> ResultsRequest:
    given = {"images": (folder / "in",), "task": folder / "two.medmetaseg", **more}
    return ResultsRequest(folder / "out", **given)  # type: ignore[arg-type]


def test_a_result_is_put_with_its_image_and_the_names_of_the_task(folder: Path) -> None:
    # Whatever images are called by now.
    shutil.move(folder / "in" / "b", folder / "in" / "moved")
    made = result_cases(request(folder))
    assert [one.name for one in made.cases] == ["a/ct", "b/ct"]
    assert [one.path for one in made.cases] == [folder / "in" / name / "ct.nii.gz" for name in ("a", "moved")]
    for one in made.cases:
        assert one.annotation == "complete"
        assert one.by_network
        assert one.origin == "result of apply, accept"
        assert one.names == {2: "Niere rechts", 300: "left kidney"}
        assert one.declared == ("Niere rechts", "left kidney")
        assert one.notes == ("Not found, so background everywhere: left kidney.",)
        np.testing.assert_array_equal(one.volume().array, read_image(one.path).array)
    assert made.notes == ("Left out, as worse than --least review: bad.nii.gz (paint).",)


def test_every_result_is_taken_where_that_is_asked_for(folder: Path) -> None:
    assert [one.name for one in result_cases(request(folder, least="paint")).cases] == ["a/ct", "b/ct", "bad"]


def test_a_result_that_was_edited_is_taken_and_no_longer_the_networks(folder: Path) -> None:
    labels = np.zeros(SHAPE, np.uint16)
    labels[5, 4:9, 5:12] = 300
    write_labels(folder / "out" / "bad.nii.gz", labels, GRID)
    bad = result_cases(request(folder, least="accept")).cases[-1]
    assert (bad.name, bad.by_network, bad.notes) == ("bad", False, ())
    assert bad.origin == "result of apply, edited since"


def test_what_makes_no_case_is_said(folder: Path) -> None:
    (folder / "out" / "a" / "ct.nii.gz").unlink()
    write_labels(folder / "out" / "mine.nii.gz", np.ones(SHAPE, np.uint8), GRID)
    made = result_cases(request(folder))
    assert [one.name for one in made.cases] == ["b/ct"]
    assert made.notes[1:] == (
        "Left out, as no result of `apply`: mine.nii.gz.",
        "Images without a result: 1, a/ct.nii.gz first.",
    )


def test_images_that_changed_are_not_taken_for_those_of_the_results(folder: Path) -> None:
    write_noise(folder / "in" / "a" / "ct.nii.gz", 77)
    with pytest.raises(InputError, match=r"image that a/ct\.nii\.gz was made of is not among --images"):
        result_cases(request(folder))


def test_without_images_or_the_task_results_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"results without their images.*--images"):
        result_cases(request(folder, images=()))
    with pytest.raises(InputError, match=r"label map, whose labels have no names.*--task"):
        result_cases(request(folder, task=None))
    replace(make_task(), provenance={}).write(folder / "other.medmetaseg")
    with pytest.raises(InputError, match=r"made by another task than .*other\.medmetaseg"):
        result_cases(request(folder, task=folder / "other.medmetaseg"))


def test_a_folder_without_a_good_result_is_refused(folder: Path) -> None:
    assert is_results_folder(folder / "out")
    assert not is_results_folder(folder / "in")
    shutil.rmtree(folder / "out" / "a")
    shutil.rmtree(folder / "out" / "b")
    with pytest.raises(InputError, match="good enough; see --least"):
        result_cases(request(folder))
    (folder / "out" / "bad.nii.gz").unlink()
    with pytest.raises(InputError, match="no result of `apply`"):
        result_cases(request(folder))
