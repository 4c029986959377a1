"""A folder of tasks: listed, named, thrown away, copied in and out."""

from __future__ import annotations

import pytest

from MedMetaSegLib.errors import InputError, TaskError
from MedMetaSegLib.task.library import TaskFolder
from task_phantom import make_task


@pytest.fixture
def folder(tmp_path):
    one = TaskFolder(tmp_path / "my tasks")
    make_task().write(tmp_path / "kidneys.medmetaseg")
    one.import_task(tmp_path / "kidneys.medmetaseg")
    return one


def names(folder):
    return [one.name for one in folder.entries()]


def test_a_task_is_listed_with_what_it_holds(folder):
    (entry,) = folder.entries()
    assert (entry.name, entry.structures, entry.supports) == ("kidneys", ("Niere rechts", "left kidney"), 2)
    assert (entry.version, entry.problem) == ("0.1.0", "")
    assert len(entry.date) == 10
    rows, columns, colours = entry.thumbnail.shape
    # The phantom's close image is 12 x 11 voxels of 1.5 x 1.25 mm.
    assert (rows, columns, colours) == (96, round(96 * 11 * 1.25 / (12 * 1.5)), 3)
    assert entry.thumbnail.std() > 10


def test_a_file_that_is_no_task_is_listed_with_the_reason(folder):
    (folder.path / "broken.medmetaseg").write_bytes(b"no task")
    entry = folder.entries()[0]
    assert entry.name == "broken"
    assert "damaged" in entry.problem
    assert entry.thumbnail is None


def test_a_folder_that_is_not_there_holds_nothing_and_is_made_for_the_first_task(tmp_path):
    folder = TaskFolder(tmp_path / "a" / "b")
    assert folder.entries() == []
    assert not (tmp_path / "a").exists()
    make_task().write(tmp_path / "one.medmetaseg")
    assert folder.add("new", (tmp_path / "one.medmetaseg").read_bytes()).is_file()
    assert names(folder) == ["new"]


def test_a_file_is_read_again_only_when_it_changed(folder):
    before = folder.entries()[0]
    assert folder.entries()[0] is before
    (folder.path / "kidneys.medmetaseg").write_bytes(b"changed")
    assert folder.entries()[0].problem


def test_a_task_is_renamed(folder):
    path = folder.rename(folder.entries()[0].path, " both kidneys ")
    assert path.name == "both kidneys.medmetaseg"
    assert names(folder) == ["both kidneys"]
    assert folder.rename(path, "both kidneys") == path


@pytest.mark.parametrize("name", ["", "  ", "a/b", "..", ".hidden", "a\nb", "con:", "x" * 101, "KIDNEYS"])
def test_a_name_that_cannot_be_is_refused_and_nothing_changes(folder, name):
    (folder.path / "spleen.medmetaseg").write_bytes((folder.path / "kidneys.medmetaseg").read_bytes())
    with pytest.raises(InputError) as caught:
        folder.rename(folder.path / "spleen.medmetaseg", name)
    assert "\n" not in str(caught.value)
    assert names(folder) == ["kidneys", "spleen"]


def test_a_discarded_task_lies_in_the_trash_beside_others_of_its_name(folder):
    content = (folder.path / "kidneys.medmetaseg").read_bytes()
    first = folder.discard(folder.path / "kidneys.medmetaseg")
    folder.add("kidneys", content)
    second = folder.discard(folder.path / "kidneys.medmetaseg")
    assert names(folder) == []
    assert [first.name, second.name] == ["kidneys.medmetaseg", "kidneys 2.medmetaseg"]
    assert first.parent == second.parent == folder.path / "trash"
    assert first.read_bytes() == second.read_bytes() == content


def test_a_task_is_copied_out_and_in_again_byte_by_byte(folder, tmp_path):
    inside = folder.path / "kidneys.medmetaseg"
    outside = folder.export_task(inside, tmp_path / "for you")
    assert outside.name == "for you.medmetaseg"
    assert folder.import_task(outside).read_bytes() == inside.read_bytes() == outside.read_bytes()
    assert names(folder) == ["for you", "kidneys"]
    with pytest.raises(InputError, match="the task itself"):
        folder.export_task(inside, inside)
    with pytest.raises(InputError, match="already"):
        folder.import_task(outside)


def test_what_is_no_task_is_not_taken_in(folder, tmp_path):
    (tmp_path / "strange.medmetaseg").write_bytes(b"strange")
    with pytest.raises(TaskError, match="damaged"):
        folder.import_task(tmp_path / "strange.medmetaseg")
    assert names(folder) == ["kidneys"]
