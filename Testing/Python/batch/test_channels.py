"""A task with channels over many images: lists with a column for each, one image with options, resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batch_stand_in import StandInSegmenter, write_noise
from dicom_phantom import write_series
from MedMetaSegLib.batch.request import BatchRequest
from MedMetaSegLib.batch.run import run_batch
from MedMetaSegLib.batch.states import DONE, FAILED, KEPT
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.volume import read_image
from MedMetaSegLib.task.task_file import TaskChannel
from task_phantom import make_task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images a and b, flair_a and flair_b, a task with the channel FLAIR, and a list of all."""
    for number, name in enumerate(("a", "b", "flair_a", "flair_b")):
        write_noise(tmp_path / f"{name}.nii.gz", number)
    task = make_task()
    channel = TaskChannel("FLAIR", "MR", task.prototypes)
    replace(task, channels=(channel,)).write(tmp_path / "t.medmetaseg")
    write_list(tmp_path, "image,channel:FLAIR", "a.nii.gz,flair_a.nii.gz", "b.nii.gz,flair_b.nii.gz")
    return tmp_path


def write_list(folder: Path, *lines: str) -> None:
    (folder / "list.csv").write_text("\n".join(lines), encoding="utf-8")


def listed(folder: Path, **options: object) -> BatchRequest:
    return BatchRequest(folder / "t.medmetaseg", (folder / "list.csv",), folder / "out", **options)


def one(folder: Path, *images: str, **options: object) -> BatchRequest:
    return BatchRequest(
        folder / "t.medmetaseg", tuple(folder / name for name in images), folder / "out", **options
    )


def test_each_line_of_a_list_names_its_channels(folder: Path, segmenter: StandInSegmenter) -> None:
    result = run_batch(listed(folder))
    assert [row.status for row in result.rows] == [DONE, DONE]
    for (channel,), name in zip(segmenter.channels, "ab", strict=True):
        assert channel.name == "FLAIR"
        np.testing.assert_array_equal(channel.volume.array, read_image(folder / f"flair_{name}.nii.gz").array)


def test_one_image_has_its_channels_by_option(folder: Path, segmenter: StandInSegmenter) -> None:
    request = one(folder, "a.nii.gz", channels=(("FLAIR", folder / "flair_b.nii.gz"),))
    again = BatchRequest.from_dict(json.loads(json.dumps(request.as_dict())))
    assert run_batch(again).rows[0].status == DONE
    ((channel,),) = segmenter.channels
    assert (channel.name, channel.volume.name) == ("FLAIR", "flair_b")


def test_the_image_itself_is_no_channel(folder: Path, segmenter: StandInSegmenter) -> None:
    write_list(folder, "image,channel:FLAIR", "a.nii.gz,a.nii.gz", "b.nii.gz,flair_b.nii.gz")
    result = run_batch(listed(folder))
    assert [row.status for row in result.rows] == [FAILED, DONE]
    assert result.rows[0].reason == "The channel FLAIR is the image itself; give another image."


def test_a_channel_may_be_a_dicom_folder(folder: Path, segmenter: StandInSegmenter) -> None:
    write_series(folder / "series", number=3, slices=4)
    run_batch(one(folder, "a.nii.gz", channels=(("FLAIR", folder / "series"),)))
    ((channel,),) = segmenter.channels
    assert channel.volume.array.shape == read_image(folder / "series").array.shape


def test_an_image_whose_channel_has_changed_is_done_again(folder: Path, segmenter: StandInSegmenter) -> None:
    run_batch(listed(folder))
    write_noise(folder / "flair_b.nii.gz", 99)
    result = run_batch(listed(folder, resume=True))
    assert [row.status for row in result.rows] == [KEPT, DONE]
    assert segmenter.applied == ["a", "b", "b"]


def test_a_channel_that_is_not_there_is_a_row_that_does_not_tell_its_path(
    folder: Path, segmenter: StandInSegmenter
) -> None:
    (folder / "flair_b.nii.gz").unlink()
    done, failed = run_batch(listed(folder)).rows
    assert (done.status, failed.status) == (DONE, FAILED)
    assert "no channel FLAIR" in failed.reason
    assert "flair_b" not in failed.reason


def test_a_task_with_channels_needs_them(folder: Path, segmenter: StandInSegmenter) -> None:
    with pytest.raises(InputError, match="The task needs FLAIR beside each image"):
        run_batch(one(folder, "a.nii.gz"))
    assert not (folder / "out").exists()


@pytest.mark.parametrize("images", [("a.nii.gz", "b.nii.gz"), ("list.csv",)])
def test_channels_by_option_belong_to_one_image(
    folder: Path, segmenter: StandInSegmenter, images: tuple[str, ...]
) -> None:
    with pytest.raises(InputError, match="Channels are given beside one image"):
        run_batch(one(folder, *images, channels=(("FLAIR", folder / "flair_a.nii.gz"),)))


def test_a_list_with_a_channel_that_the_task_does_not_have_is_refused(
    folder: Path, segmenter: StandInSegmenter
) -> None:
    write_list(folder, "image,channel:T2", "a.nii.gz,flair_a.nii.gz")
    with pytest.raises(InputError, match=r"has the column 'channel:t2'; its columns are .*channel:flair"):
        run_batch(listed(folder))


def test_a_channel_is_never_overwritten(folder: Path, segmenter: StandInSegmenter) -> None:
    (folder / "out").mkdir()
    write_noise(folder / "out" / "a.nii.gz", 5)
    request = one(folder, "a.nii.gz", channels=(("FLAIR", folder / "out" / "a.nii.gz"),), overwrite=True)
    with pytest.raises(InputError, match="would overwrite"):
        run_batch(request)
