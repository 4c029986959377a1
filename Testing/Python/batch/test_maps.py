"""Uncertainty maps of a batch: where they go, that they stand and fall with their results, and resuming."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from batch_stand_in import GRID, SHAPE, StandInSegmenter, results, write_noise
from disk_faults import failing
from MedMetaSegLib.batch.paths import map_names
from MedMetaSegLib.batch.request import BatchRequest
from MedMetaSegLib.batch.run import run_batch
from MedMetaSegLib.batch.states import DONE, FAILED, KEPT
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.volume import read_image, to_sitk
from task_phantom import make_task

MAPS = ("Niere rechts", "left kidney")


@pytest.fixture
def request_for(tmp_path: Path) -> BatchRequest:
    """Two images a and p/b, a task, and a folder of maps inside that of the results."""
    (tmp_path / "in" / "p").mkdir(parents=True)
    write_noise(tmp_path / "in" / "a.nii.gz", 1)
    write_noise(tmp_path / "in" / "p" / "b.nii.gz", 2)
    make_task().write(tmp_path / "two.medmetaseg")
    out = tmp_path / "out"
    return BatchRequest(tmp_path / "two.medmetaseg", (tmp_path / "in",), out, uncertainty=out / "maps")


def maps_in(request: BatchRequest) -> list[str]:
    assert request.uncertainty is not None
    return sorted(
        str(path.relative_to(request.uncertainty))
        for path in request.uncertainty.rglob("*")
        if path.is_file()
    )


EXPECTED = [f"{item}/{name}.nii.gz" for item in ("a", "p/b") for name in MAPS]


def statuses(request: BatchRequest, **options: object) -> list[str]:
    return [row.status for row in run_batch(replace(request, **options)).rows]


def test_every_structure_of_every_image_has_a_map_on_the_images_grid(
    request_for: BatchRequest, segmenter: StandInSegmenter
):
    assert statuses(request_for) == [DONE] * 2
    assert maps_in(request_for) == EXPECTED
    found, absent = (read_image(request_for.uncertainty / f"p/b/{name}.nii.gz") for name in MAPS)
    assert found.geometry.same_grid(GRID)
    assert np.array_equal(found.array > 0, read_image(request_for.out / "p/b.nii.gz").array > 0)
    assert found.array.max() == 255
    assert not absent.array.any()
    # Maps beside images are no images.
    again = replace(request_for, inputs=(request_for.out.parent,), uncertainty=request_for.out.parent / "m")
    run_batch(again)
    assert [row.name for row in run_batch(replace(again, resume=True)).rows] == ["in/a", "in/p/b"]


def test_maps_beside_segmentations_are_nrrd(request_for: BatchRequest, segmenter: StandInSegmenter):
    run_batch(replace(request_for, format="seg.nrrd"))
    assert maps_in(request_for) == [name.replace(".nii.gz", ".nrrd") for name in EXPECTED]


def test_a_map_that_is_lost_or_was_not_wanted_before_is_made_and_a_needless_one_costs_nothing(
    request_for: BatchRequest, segmenter: StandInSegmenter
):
    run_batch(replace(request_for, uncertainty=None))
    assert statuses(request_for, resume=True) == [DONE] * 2
    assert statuses(request_for, resume=True) == [KEPT] * 2
    (request_for.uncertainty / EXPECTED[1]).unlink()
    assert statuses(request_for, resume=True) == [DONE, KEPT]
    assert maps_in(request_for) == EXPECTED
    assert statuses(request_for, resume=True, uncertainty=None) == [KEPT] * 2


def test_a_map_that_somebody_edited_is_not_overwritten(
    request_for: BatchRequest, segmenter: StandInSegmenter
):
    run_batch(request_for)
    edited = request_for.uncertainty / EXPECTED[3]
    sitk.WriteImage(to_sitk(np.ones(SHAPE, np.uint8), GRID), str(edited))
    content = edited.read_bytes()
    assert statuses(request_for, resume=True) == [KEPT, FAILED]
    assert edited.read_bytes() == content
    assert statuses(request_for, resume=True, overwrite=True) == [KEPT, DONE]
    assert edited.read_bytes() != content


def test_maps_that_are_there_need_a_word(request_for: BatchRequest, segmenter: StandInSegmenter):
    run_batch(request_for)
    for path in (request_for.out / "a.nii.gz", request_for.out / "p" / "b.nii.gz"):
        path.unlink()
    with pytest.raises(InputError, match=r"Niere rechts.nii.gz and 3 more is there already"):
        run_batch(request_for)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: {"uncertainty": folder / "out"}, "give the maps one of their own"),
        (lambda folder: {"uncertainty": folder / "two.medmetaseg"}, "is a file"),
        (lambda folder: {"uncertainty": folder / "none" / "maps"}, "there is no folder"),
    ],
)
def test_a_folder_that_cannot_be_is_refused(
    request_for: BatchRequest, segmenter: StandInSegmenter, change: Callable[[Path], dict], says: str
):
    with pytest.raises(InputError, match=says):
        run_batch(replace(request_for, **change(request_for.out.parent)))
    assert not request_for.out.exists()
    assert segmenter.applied == []


def test_a_map_never_takes_the_place_of_an_input_or_a_result(
    request_for: BatchRequest, segmenter: StandInSegmenter
):
    folder = request_for.out.parent
    (folder / "in" / "a").mkdir()
    write_noise(folder / "in" / "a" / "left kidney.nii.gz", 3)
    with pytest.raises(InputError, match=r"would overwrite .*left kidney.nii.gz"):
        run_batch(
            replace(
                request_for,
                inputs=(folder / "in" / "a.nii.gz", folder / "in" / "a"),
                uncertainty=folder / "in",
            )
        )
    assert not request_for.out.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_refuses_at_any_step_is_made_good_when_resumed(
    request_for: BatchRequest, segmenter: StandInSegmenter, code: int
):
    one = replace(request_for, inputs=(request_for.out.parent / "in" / "a.nii.gz",), resume=True)
    steps, done = 0, False
    while not done:
        shutil.rmtree(request_for.out, ignore_errors=True)
        with failing(steps, code) as faults:
            try:
                stopped = run_batch(one).stopped
            except InputError as error:
                stopped = str(error)
        done = not faults.failed
        if stopped:
            # The result is the last to be put in place: without it, its maps are made again.
            assert not list(request_for.out.rglob("a.nii.gz"))
            assert statuses(one) == [DONE]
        assert statuses(one) == [KEPT]
        assert maps_in(request_for) == EXPECTED[:2]
        steps += 1
    assert steps > 10


def test_the_request_comes_out_as_it_went_in(request_for: BatchRequest):
    request = replace(request_for, keep_doubtful=False, force=("x",), accept_above=0.9, paint_below=0.5)
    back = BatchRequest.from_dict(json.loads(json.dumps(request.as_dict())))
    assert replace(back, inputs=request.inputs) == request


def test_names_of_maps_can_be_names_of_files_and_never_meet():
    names = map_names(["liver", "Liver", "a/b:c", "..", "", "x" * 300, "tab\there"])
    assert names == ["liver", "Liver_2", "a_b_c", "_", "__2", "x" * 100, "tab_here"]


def test_nothing_unfinished_is_left(request_for: BatchRequest, segmenter: StandInSegmenter):
    run_batch(request_for)
    assert results(request_for.out) == ["a.nii.gz", "maps", "p"]
    assert not (request_for.out / ".medmetaseg" / "unfinished").exists()
    assert not (request_for.uncertainty / ".medmetaseg").exists()
