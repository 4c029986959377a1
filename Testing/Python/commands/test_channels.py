"""`--channel` of `medmetaseg segment`: names and files, with a stand-in for the network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from command_files import assert_refused, run_segment
from MedMetaSegLib import cli
from MedMetaSegLib.commands.channels import channel_files
from MedMetaSegLib.imageio.volume import read_image


@pytest.fixture
def with_t1(folder: Path) -> Path:
    """A folder with t1.nii.gz beside ct.nii.gz."""
    shutil.copy(folder / "ct.nii.gz", folder / "t1.nii.gz")
    return folder


def test_a_channel_is_called_as_it_is_named_or_as_its_file(tmp_path: Path) -> None:
    strange = tmp_path / "a=b.nii.gz"
    strange.touch()
    texts = ["FLAIR=scans/p1.nii.gz", "scans/t1.nii.gz", str(strange), "T2=a=c.nii.gz"]
    found = [(one.name, one.path, one.is_named) for one in channel_files(texts)]
    assert found == [
        ("FLAIR", Path("scans/p1.nii.gz"), True),
        ("t1", Path("scans/t1.nii.gz"), False),
        ("a=b", strange, False),
        ("T2", Path("a=c.nii.gz"), True),
    ]


def test_a_channel_is_read_and_handed_over(with_t1: Path, segmenter) -> None:
    assert run_segment(with_t1, "--channel", f"T1={with_t1 / 't1.nii.gz'}") == 0
    ((channel,),) = segmenter.channels
    assert channel.name == "T1"
    np.testing.assert_array_equal(channel.volume.array, read_image(with_t1 / "t1.nii.gz").array)


def test_without_channels_none_are_handed_over(folder: Path, segmenter) -> None:
    assert run_segment(folder) == 0
    assert segmenter.channels == [()]


def test_how_each_image_voted_is_told_and_reported(
    with_t1: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the network: the same image twice."""
    monkeypatch.setenv("COLUMNS", "200")
    report = with_t1 / "out/report.json"
    assert run_segment(with_t1, "--channel", str(with_t1 / "t1.nii.gz"), "--report", str(report)) == 0
    shown = capsys.readouterr().out
    told = json.loads(report.read_text(encoding="utf-8"))
    assert [one["name"] for one in told["channels"]] == ["ct", "t1"]
    for structure in told["structures"]:
        ct, t1 = structure["channels"]
        assert (ct.pop("name"), t1.pop("name")) == ("ct", "t1")
        assert ct == t1
        assert f"{structure['name']}: ct alone " in shown


def test_a_channel_that_is_not_there_is_refused(folder: Path, segmenter, capsys) -> None:
    missing = str(folder / "t2.nii.gz")
    assert_refused(folder, capsys, lambda: run_segment(folder, "--channel", missing), "no channel t2")


def test_the_image_is_no_channel_of_its_own(folder: Path, segmenter, capsys) -> None:
    again = f"again={folder / 'ct.nii.gz'}"
    assert_refused(folder, capsys, lambda: run_segment(folder, "--channel", again), "is the image itself")


def test_the_support_is_no_channel(folder: Path, segmenter, capsys) -> None:
    painted = str(folder / "painted.nii.gz")
    assert_refused(folder, capsys, lambda: run_segment(folder, "--channel", painted), "is the support itself")


def test_a_sequence_is_no_channel(folder: Path, segmenter, capsys) -> None:
    image = sitk.ReadImage(str(folder / "ct.nii.gz"))
    sitk.WriteImage(sitk.JoinSeries([image, image]), str(folder / "cine.nii.gz"))
    cine = str(folder / "cine.nii.gz")
    assert_refused(folder, capsys, lambda: run_segment(folder, "--channel", cine), "a sequence of 2 frames")


def test_two_channels_of_one_name_are_refused(with_t1: Path, segmenter, capsys) -> None:
    twice = ["--channel", str(with_t1 / "t1.nii.gz")] * 2
    assert_refused(with_t1, capsys, lambda: run_segment(with_t1, *twice), "Two images are called t1")


def test_a_channel_is_never_overwritten(with_t1: Path, segmenter, capsys) -> None:
    channel = str(with_t1 / "t1.nii.gz")
    run = lambda: run_segment(with_t1, "--channel", channel, out="t1.nii.gz")  # noqa: E731
    assert_refused(with_t1, capsys, run, "the channel t1 itself")


def test_a_task_takes_only_channels_with_names(with_t1: Path, segmenter, capsys) -> None:
    more = ["--channel", str(with_t1 / "t1.nii.gz"), "--save-task", str(with_t1 / "out/t.medmetaseg")]
    assert_refused(with_t1, capsys, lambda: run_segment(with_t1, *more), "--channel NAME=PATH")


# --- learn


def run_learn(folder: Path, *more: str, patients: int = 1) -> int:
    pair = [str(folder / "ct.nii.gz"), str(folder / "painted.nii.gz")]
    return cli.run(["learn", *pair * patients, "-o", str(folder / "out/t.medmetaseg"), *more])


def test_each_patient_has_the_channels_in_their_order(with_t1: Path, segmenter) -> None:
    files = {"T1": ("t1", "other_t1"), "T2": ("t2", "other_t2")}
    for file in ("other_t1", "t2", "other_t2"):
        shutil.copy(with_t1 / "t1.nii.gz", with_t1 / f"{file}.nii.gz")
    channels = [f"{name}={with_t1 / file}.nii.gz" for name in files for file in files[name]]
    more = [text for channel in channels for text in ("--channel", channel)]
    assert run_learn(with_t1, *more, patients=2) == 0
    (given,) = segmenter.learned_channels
    told = [[(one.name, one.volume.name) for one in patient] for patient in given]
    assert told == [[("T1", "t1"), ("T2", "t2")], [("T1", "other_t1"), ("T2", "other_t2")]]


def test_a_channel_of_some_patients_only_is_refused(with_t1: Path, segmenter, capsys) -> None:
    channel = f"T1={with_t1 / 't1.nii.gz'}"
    says = "T1 is given 1 times for 2 images"
    assert_refused(with_t1, capsys, lambda: run_learn(with_t1, "--channel", channel, patients=2), says)


def test_a_task_is_not_learned_with_a_channel_without_a_name(with_t1: Path, segmenter, capsys) -> None:
    channel = str(with_t1 / "t1.nii.gz")
    assert_refused(with_t1, capsys, lambda: run_learn(with_t1, "--channel", channel), "--channel NAME=PATH")


def test_one_file_under_two_names_is_refused(with_t1: Path, segmenter, capsys) -> None:
    again = str(with_t1 / "t1.nii.gz")
    run = lambda: run_segment(with_t1, "--channel", f"T1={again}", "--channel", f"FLAIR={again}")  # noqa: E731
    assert_refused(with_t1, capsys, run, "The channel FLAIR is the channel T1 itself")
