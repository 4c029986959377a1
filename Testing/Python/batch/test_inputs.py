"""What a batch is given becomes single images with names of their own; what is no image is said."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from batch_stand_in import write_noise
from dicom_frames import along_z, write_slices
from dicom_phantom import OTHER_IDENTIFIERS, write_report_object, write_series
from MedMetaSegLib.batch.inputs import BatchItem, find_items
from MedMetaSegLib.batch.item import read_item
from MedMetaSegLib.batch.paths import result_names
from MedMetaSegLib.batch.request import BatchRequest
from MedMetaSegLib.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.nii.gz", "deep/er/b.nrrd", "deep/a.nii.gz", "out/old.nii.gz", ".hidden/c.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_noise(tmp_path / name)
    (tmp_path / "deep" / "notes.txt").write_text("no image")
    (tmp_path / "a.seg.nrrd").write_bytes(b"NRRD0004")
    return tmp_path


def found(folder: Path, *inputs: str, **options: object) -> tuple[dict[str, BatchItem], dict[str, str]]:
    """Items by name and what was left out, of inputs relative to the folder."""
    given = tuple(str(folder / one) for one in inputs)
    items, skipped = find_items(BatchRequest(folder / "t", given, folder / "out", **options), ".nii.gz")
    return {item.name: item for item in items}, dict(skipped)


def test_a_folder_is_searched_to_its_depth_but_for_the_results_and_hidden_folders(folder: Path):
    items, skipped = found(folder, ".")
    assert list(items) == ["a", "deep/a", "deep/er/b"]
    assert skipped == {"a.seg.nrrd": "a segmentation, no image"}
    assert items["deep/a"].output == "deep/a.nii.gz"
    assert items["deep/a"].image == "deep/a.nii.gz"


def test_patterns_and_files_name_an_image_once(folder: Path):
    items, _ = found(folder, "deep/**/*.n*", "deep/a.nii.gz", "deep")
    assert list(items) == ["a", "er/b"]


def test_a_list_gives_names_and_options(folder: Path):
    (folder / "list.csv").write_text(
        "image,name,allow_nonfinite\na.nii.gz,first,yes\ndeep/a.nii.gz,,\ngone.nii.gz,,no\n"
    )
    items, _ = found(folder, "list.csv", allow_nonfinite=True)
    assert list(items) == ["first", "deep/a", "gone"]
    assert [item.allow_nonfinite for item in items.values()] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("image;name\ndeep/a.nii.gz;ä\n", "utf-8-sig"),
        ("image\tname\ndeep/a.nii.gz\tä\n", "utf-16"),
        (" Image , Name\r\ndeep/a.nii.gz , ä.nii.gz\r\n", "utf-8"),
    ],
)
def test_a_list_may_come_from_a_spreadsheet(folder: Path, text: str, encoding: str):
    (folder / "list.csv").write_bytes(text.encode(encoding))
    assert list(found(folder, "list.csv")[0]) == ["ä"]


def test_an_image_that_is_listed_under_two_names_has_two_results(folder: Path):
    (folder / "list.csv").write_text("image,name\na.nii.gz,one\na.nii.gz,two\na.nii.gz,two\n")
    assert list(found(folder, "list.csv")[0]) == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path\na.nii.gz\n", "the column 'path'"),
        ("name\nx\n", "no column image"),
        ("image,nonfinite\na.nii.gz,yes\n", "'nonfinite'"),
        ("image\n\n", "lists no case"),
        ("\n\nimage,name\n\n,x\n", "Line 5"),
        ("image,name\n,x\n", "Line 2"),
        ("image,name\na.nii.gz,../x\n", "Line 2"),
        ("image,allow_nonfinite\na.nii.gz,perhaps\n", "Line 2"),
        ("image\na.nii.gz,more\n", "its columns are"),
        ("", "no column image"),
    ],
)
def test_a_list_that_cannot_be_understood_is_refused(folder: Path, text: str, says: str):
    (folder / "list.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        found(folder, "list.csv")


def test_a_region_for_the_image_and_another_in_the_list_are_refused(folder: Path):
    (folder / "list.csv").write_text("image,within\na.nii.gz,region.nii.gz\n", encoding="utf-8")
    with pytest.raises(InputError, match="Regions are given twice"):
        found(folder, "list.csv", within=folder / "other.nii.gz")


@pytest.mark.parametrize(
    ("given", "says"),
    [("none*", "Nothing matches"), ("none", "There is no image"), (".hidden/..", "no error")],
)
def test_an_input_that_is_not_there_is_refused(folder: Path, given: str, says: str):
    if says == "no error":
        assert found(folder, given)[0]
        return
    with pytest.raises(InputError, match=says):
        found(folder, given)


def test_a_folder_without_images_says_so(tmp_path: Path):
    with pytest.raises(InputError, match="There is no image in what was given"):
        found(tmp_path, ".")


def test_results_would_not_overwrite_inputs(folder: Path):
    with pytest.raises(InputError, match="would overwrite"):
        find_items(BatchRequest(folder / "t", (folder / "a.nii.gz",), folder), ".nii.gz")


def test_every_image_series_of_a_study_is_an_item_and_the_others_are_listed(tmp_path: Path):
    study = tmp_path / "study"
    write_series(study, number=3, slices=4)
    write_series(study, number=5, slices=3)
    write_series(study, number=1, slices=1)
    write_series(study, number=2, slices=3, image_type="ORIGINAL\\PRIMARY\\LOCALIZER")
    write_report_object(study / "report.dcm")
    write_series(tmp_path / "single", number=7, slices=3)
    items, _ = found(tmp_path, ".")
    assert sorted(items) == ["single", "study_series3", "study_series5"]
    assert len(items["study_series3"].files) == 4
    items_skipped, skipped_all = find_items(
        BatchRequest(tmp_path / "t", (study,), tmp_path / "out"), ".nii.gz"
    )
    assert len(items_skipped) == 2
    assert sorted(skipped_all) == [
        ("DICOM CT", "a localizer"),
        ("DICOM CT", "a single slice"),
        ("DICOM SR", "no image"),
    ]


def test_a_folder_named_after_its_patient_gives_a_neutral_name(tmp_path: Path):
    write_series(tmp_path / "doe_jane", number=3, slices=3)
    ((name, item),) = found(tmp_path, "doe_jane")[0].items()
    assert name.startswith("series_")
    assert item.public(f"{item.path}/1.dcm of DOE^JANE is odd") == f"{name}/1.dcm of ... is odd"
    ((_, known),) = found(tmp_path, "doe_jane", with_identifiers=True)[0].items()
    assert known.image == str(tmp_path / "doe_jane")


def given_series(
    tmp_path: Path, *series: list[Path]
) -> tuple[tuple[BatchItem, ...], tuple[tuple[str, str], ...]]:
    request = BatchRequest(tmp_path / "t", (), tmp_path / "out", series=tuple(map(tuple, series)))
    return find_items(request, ".nii.gz")


def test_series_given_by_their_files_are_items_with_neutral_names_wherever_they_lie(tmp_path: Path):
    write_series(tmp_path / "a", number=3, slices=4)
    write_series(tmp_path / "a", number=5, slices=3)
    write_series(tmp_path / "b", number=3, slices=5, identifiers=OTHER_IDENTIFIERS)
    first, second = (sorted((tmp_path / "a").glob(f"s{n}_*")) for n in (3, 5))
    third = sorted((tmp_path / "b").iterdir())
    items, skipped = given_series(tmp_path, first[::-1], second, third, first)
    assert skipped == ()
    assert [item.files for item in items] == [tuple(first), tuple(second), tuple(third)]
    names = [item.name for item in items]
    assert all(re.fullmatch(r"series_[0-9a-f]{10}", name) for name in names)
    assert len(set(names)) == 3
    assert [item.image for item in items] == names
    assert all(item.series for item in items)
    # Of their headers, not of their place or company, so that results are found again.
    (tmp_path / "a").rename(tmp_path / "c")
    moved = sorted((tmp_path / "c").glob("s5_*"))
    assert [item.name for item in given_series(tmp_path, moved)[0]] == names[1:2]


def test_what_is_no_image_among_series_given_by_their_files_is_listed(tmp_path: Path):
    write_series(tmp_path, number=1, slices=1)
    write_series(tmp_path, number=3, slices=3)
    write_report_object(tmp_path / "report.dcm")
    volume = sorted(tmp_path.glob("s3_*"))
    items, skipped = given_series(tmp_path, [tmp_path / "report.dcm"], [tmp_path / "s1_0.dcm"], [], volume)
    assert len(items) == 1
    assert skipped == (
        ("DICOM SR", "no image"),
        ("DICOM CT", "a single slice"),
        ("DICOM object", "its files are not on this computer"),
    )
    with pytest.raises(InputError, match=r"There is no image in what was given \(DICOM SR: no image\)"):
        given_series(tmp_path, [tmp_path / "report.dcm"])


def test_a_series_whose_files_are_gone_is_one_item(tmp_path: Path):
    write_series(tmp_path / "a", number=3, slices=4)
    files = sorted((tmp_path / "a").iterdir())
    files[0].unlink()
    gone = [tmp_path / "b" / str(n) for n in range(3)]
    items, _ = given_series(tmp_path, files, gone)
    assert [sorted(item.files) for item in items] == [files, gone]
    assert len({item.name for item in items}) == 2


def test_names_of_results_never_meet():
    given = [("ct", ("x",)), ("CT", ("y",)), ("ct", ("y",)), ("mr", ()), ("ct", ()), ("y_ct", ())]
    assert result_names(given, "folders") == ["x/ct", "y/CT", "y/ct_2", "mr", "ct", "y_ct"]
    assert result_names(given, "names") == ["x_ct", "y_CT", "y_ct_2", "mr", "ct", "y_ct_3"]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"something")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("in",), ["p1/s1/ct", "p1/s2/ct", "p2/s1/ct"]),
        (("in/p1",), ["s1/ct", "s2/ct"]),
        (("in/p1", "in/p2"), ["p1/s1/ct", "p1/s2/ct", "p2/s1/ct"]),
        (("in/p1/s1/ct.nii.gz", "in/p2/s1/ct.nii.gz"), ["p1/s1/ct", "p2/s1/ct"]),
        (("in/p2/s1/ct.nii.gz",), ["ct"]),
        (("in/*/s1/*.nii.gz",), ["p1/s1/ct", "p2/s1/ct"]),
        (("in/**/ct.nii.gz",), ["p1/s1/ct", "p1/s2/ct", "p2/s1/ct"]),
        (("in/list.csv",), ["p1/s1/ct", "other"]),
        (("far.csv",), ["p1/s1/ct", "p2/s1/ct"]),
    ],
)
def test_results_follow_the_folders_that_images_came_from(
    tmp_path: Path, given: tuple[str, ...], expected: list[str]
):
    touch(tmp_path, *(f"in/{place}/ct.nii.gz" for place in ("p1/s1", "p1/s2", "p2/s1")), "lists/x")
    (tmp_path / "in/list.csv").write_text("image,name\np1/s1/ct.nii.gz,\np2/s1/ct.nii.gz,other\n")
    absolute = "\n".join(str(tmp_path / "in" / place / "ct.nii.gz") for place in ("p1/s1", "p2/s1"))
    (tmp_path / "lists/far.csv").write_text(f"image\n{absolute}\n")
    places = [one if one != "far.csv" else "lists/far.csv" for one in given]
    items, _ = found(tmp_path, *places)
    assert list(items) == expected
    flat, _ = found(tmp_path, *places, layout="names")
    assert list(flat) == [name.replace("/", "_") for name in expected]
    assert [one.image for one in flat.values()] == [one.image for one in items.values()]
    # What else lies there has no say.
    touch(tmp_path, "in/p3/s1/mr.nii.gz")
    assert set(expected) <= set(found(tmp_path, *places)[0])


def test_what_lies_beside_images_and_could_be_one_is_listed(tmp_path: Path):
    taken = ["ct.nii.gz", "pair.hdr", "pair.img", "v.mhd", "v.raw"]
    listed = ["lone.hdr", "sub/lone2.img", "x.dcm", "y.IMA", "z.gipl", "b.mnc", "t.tif", "c.nii.bz2"]
    touch(tmp_path, *taken, *listed, "notes.txt", "list.csv", ".x.dcm", "a.json", "README")
    (tmp_path / "v.mhd").write_bytes(b"ElementDataFile = v.raw\n")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "sub")
    items, skipped = found(tmp_path, ".")
    assert sorted(items) == ["ct", "pair", "v"]
    assert [path.name for path in items["pair"].files] == ["pair.hdr", "pair.img"]
    assert sorted(skipped) == sorted([*listed, "elsewhere"])
    assert skipped["sub/lone2.img"] == "the .hdr file that belongs to it is missing"
    assert "damaged?" in skipped["x.dcm"]


def test_a_pair_given_by_either_file_is_one_image(tmp_path: Path):
    touch(tmp_path, "pair.hdr", "pair.img")
    assert list(found(tmp_path, "pair.*")[0]) == ["pair"]
    assert [one.path.name for one in found(tmp_path, "pair.img")[0].values()] == ["pair.hdr"]


@pytest.mark.parametrize("given", ["in", "in/**/*.nii.gz", "in/*/*.nii.gz"])
def test_a_folder_that_cannot_be_read_is_listed(tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch):
    touch(tmp_path, "in/open/ct.nii.gz", "in/closed/ct.nii.gz")
    with closed_folder(tmp_path / "in/closed", monkeypatch):
        items, skipped = found(tmp_path, given)
    assert list(items) == ["open/ct"]
    assert skipped == {"closed": "a folder that cannot be read (Permission denied)"}


def test_files_without_permission_fail_or_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    touch(tmp_path, "ct.nii.gz", "IM0001", "notes.txt")
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).suffix == ".txt" and real(path, mode))
    items, skipped = found(tmp_path, ".")
    assert list(items) == ["ct"]
    assert skipped == {"IM0001": "a file that cannot be read (Permission denied)"}


def test_a_result_with_no_place_is_an_item_with_a_problem(tmp_path: Path):
    touch(tmp_path, f"{'L' * 250}.nii", "p1/ct.nii.gz", "ok.nii.gz")
    touch(tmp_path / "out", "p1")
    items, _ = found(tmp_path, ".")
    problems = {name[:5]: one.problem for name, one in items.items()}
    assert "too long" in problems["LLLLL"]
    assert "is a file and no folder" in problems["p1/ct"]
    assert problems["ok"] == ""


def test_names_that_are_not_utf_8_are_shown_with_their_bytes(tmp_path: Path):
    name = os.fsdecode(b"p\xe9re.nii.gz")
    touch(tmp_path, name, os.fsdecode(b"p\xe9re.dcm"))
    items, skipped = found(tmp_path, ".")
    (item,) = items.values()
    assert item.output == name
    assert item.image == "p\\xe9re.nii.gz"
    assert item.public(f"{item.path} is odd") == "p\\xe9re.nii.gz is odd"
    assert list(skipped) == ["p\\xe9re.dcm"]


@contextmanager
def closed_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder that says what it would to somebody who may not read it, to root too."""
    real_scandir, real_access = os.scandir, os.access

    def scandir(path: object = ".") -> object:
        if os.fspath(path) == str(folder):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        patch.setattr(os, "access", lambda path, mode: Path(path) != folder and real_access(path, mode))
        yield


def test_a_damaged_file_fails_the_series_it_lies_beside(tmp_path: Path) -> None:
    files = write_slices(tmp_path / "ct", np.zeros((5, 4, 4), np.int16), along_z(range(5)))
    files[-1].write_bytes(files[-1].read_bytes()[:400])
    items, skipped = found(tmp_path, "ct")
    assert [len(item.files) for item in items.values()] == [5]
    assert not skipped
    with pytest.raises(InputError, match=f"{files[-1].name} is damaged") as raised:
        read_item(items["ct"], ".nii.gz")
    # A report does not say the file's name, which may tell of whom it is.
    assert "ct (file 5 of 5 by name) is damaged" in items["ct"].public(str(raised.value))
    items, _ = found(tmp_path, "ct", with_identifiers=True)
    assert f"{files[-1].name} is damaged" in items["ct"].public(str(raised.value))


def test_uneven_slices_fail_or_are_resampled_as_the_request_says(tmp_path: Path) -> None:
    stored = np.arange(5 * 16).reshape(5, 4, 4).astype(np.int16)
    write_slices(tmp_path / "ct", stored, along_z([0, 3, 6, 12, 15]))
    with pytest.raises(InputError, match="A slice seems missing"):
        read_item(found(tmp_path, "ct")[0]["ct"], ".nii.gz")
    items, _ = found(tmp_path, "ct", resample_uneven=True)
    volume = read_item(items["ct"], ".nii.gz").volume
    assert volume.geometry.shape == (6, 4, 4)
    assert "resampled onto 6 even slices" in volume.notes[0]
    request = BatchRequest(tmp_path / "t", (), tmp_path / "out", resample_uneven=True)
    assert BatchRequest.from_dict(request.as_dict()).resample_uneven
