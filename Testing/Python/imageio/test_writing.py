"""Files are written whole or not at all, whatever the disk says; what was there stays as it was."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from disk_faults import failing, limited_file_size
from MedMetaSegLib.errors import InputError, WriteError
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import read_image, write_labels
from MedMetaSegLib.imageio.writing import (
    NotWritten,
    replace_all,
    replace_folder,
    replace_whole,
    write_bytes,
    write_csv,
)

LABELS = np.random.default_rng(0).integers(0, 3, (12, 24, 30)).astype(np.uint8)
GRID = Geometry(LABELS.shape, np.diag([0.8, 0.9, 2.0, 1.0]))


def write_whole(path: Path) -> None:
    path.write_text("whole")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["o.nii", "o.nii.gz", "o.nrrd", "o.mha"])
def test_a_label_map_that_a_disk_takes_in_part_is_refused(tmp_path: Path, name: str):
    path = tmp_path / name
    write_labels(path, LABELS, GRID)
    size = path.stat().st_size
    path.write_bytes(b"yesterday's")
    for limit in (0, 100, size // 2, size - 12, size - 8, size - 4, size - 1):
        with limited_file_size(limit), pytest.raises(WriteError, match="no room left") as caught:
            write_labels(path, LABELS, GRID)
        assert str(caught.value).startswith(f"{path} cannot be written")
        assert contents(tmp_path) == {name: b"yesterday's"}
    with limited_file_size(size):
        write_labels(path, LABELS, GRID)
    np.testing.assert_array_equal(read_image(path).array, LABELS)


def test_a_label_map_of_zeros_at_its_end_is_not_taken_for_whole(tmp_path: Path):
    labels = LABELS.copy()
    labels[4:] = 0
    with limited_file_size(352 + labels[:6].size), pytest.raises(WriteError, match="no room left"):
        write_labels(tmp_path / "o.nii", labels, GRID)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_what_the_system_refuses_at_any_step_leaves_what_was_there(tmp_path: Path, code: int):
    before = {"a.txt": b"yesterday's", "b.txt": b"the day before's"}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    steps, done = 0, False
    while not done:
        with failing(steps, code) as faults:
            said = refusal_of({tmp_path / name: write_whole for name in before})
        done = not faults.failed
        # A second name and a folder's place on the disk are not needed where all else goes well.
        assert contents(tmp_path) == (before if said else dict.fromkeys(before, b"whole"))
        assert ".partial" not in said
        for name, content in before.items():
            (tmp_path / name).write_bytes(content)
        steps += 1
    assert steps >= 9
    assert said == ""


@pytest.mark.parametrize("before", [{}, {"old.txt": b"yesterday's"}])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_folder_is_put_in_place_whole_or_not_at_all(tmp_path: Path, code: int, before: dict[str, bytes]):
    steps, done = 0, False
    while not done:
        shutil.rmtree(tmp_path / "set", ignore_errors=True)
        if before:
            (tmp_path / "set").mkdir()
        for name, content in before.items():
            (tmp_path / "set" / name).write_bytes(content)
        with failing(steps, code) as faults:
            said = refusal_of_folder(tmp_path / "set")
        done = not faults.failed
        there = {f"set/{name}": content for name, content in before.items()}
        assert contents(tmp_path) == (there if said else {"set/new.txt": b"whole"})
        assert said == "" or said.startswith(f"{tmp_path / 'set'} cannot be written: ")
        assert sorted(path.name for path in tmp_path.iterdir()) in ([], ["set"])
        steps += 1
    assert steps >= 6
    assert said == ""


def test_a_folder_that_is_not_filled_takes_no_name(tmp_path: Path):
    filling = replace_folder(tmp_path / "set")
    write_whole(filling.__enter__() / "new.txt")
    interrupt = KeyboardInterrupt()
    assert not filling.__exit__(KeyboardInterrupt, interrupt, None)
    assert list(tmp_path.iterdir()) == []


def refusal_of_folder(path: Path) -> str:
    """What the error says of a folder with new.txt, "" where there is none."""
    try:
        with replace_folder(path) as folder:
            write_bytes(folder / "new.txt", b"whole")
    except WriteError as error:
        return str(error)
    return ""


def refusal_of(writers: dict[Path, Callable[[Path], None]]) -> str:
    """What the error says, "" where there is none."""
    try:
        replace_all(writers)
    except WriteError as error:
        return str(error)
    return ""


def test_the_reason_is_a_sentence_about_the_path_that_was_given(tmp_path: Path):
    with failing(0, errno.ENOSPC), pytest.raises(InputError) as caught:
        write_bytes(tmp_path / "a.txt", b"1")
    assert str(caught.value) == (
        f"{tmp_path / 'a.txt'} cannot be written: there is no room left (No space left on device); "
        "make room or choose another place."
    )


@pytest.mark.parametrize("length", [255, 256])
def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path, length: int):
    path = tmp_path / ("x" * (length - len(".nii.gz")) + ".nii.gz")
    if length == 255:
        write_labels(path, LABELS, GRID)
        assert list(contents(tmp_path)) == [path.name]
    else:
        with pytest.raises(WriteError, match="too long"):
            write_labels(path, LABELS, GRID)
        assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("write", "check"),
    [(write_whole, lambda path: path.read_text(encoding="utf-8") == "other"), (lambda path: _fail(), None)],
    ids=["reads back otherwise", "a library fails without a word"],
)
def test_a_file_that_is_not_what_it_should_be_takes_no_name(
    tmp_path: Path, write: Callable[[Path], None], check: Callable[[Path], bool] | None
):
    with pytest.raises(WriteError, match="does not read back as it was written"):
        replace_whole(tmp_path / "a.txt", write, check)
    assert contents(tmp_path) == {}


def _fail() -> None:
    raise NotWritten


def test_when_the_second_file_cannot_be_put_in_place_the_first_new_one_is_taken_back(tmp_path: Path):
    writers = {tmp_path / name: write_whole for name in ("a.txt", "b.txt")}

    def make_folder(path: Path) -> None:
        write_whole(path)
        (tmp_path / "b.txt").mkdir()

    with pytest.raises(WriteError, match=r"b\.txt"):
        replace_all({**writers, tmp_path / "b.txt": make_folder})
    assert [path.name for path in tmp_path.iterdir()] == ["b.txt"]


def test_a_table_replaces_what_was_there(tmp_path: Path):
    (tmp_path / "a.csv").write_text("old")
    write_csv(tmp_path / "a.csv", ["x", "y"], [{"x": 1}, {"x": "Ä", "y": 2}])
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "x,y\n1,\nÄ,2\n"
    assert list(contents(tmp_path)) == ["a.csv"]


def test_a_process_that_is_killed_leaves_the_old_file_and_nothing_in_the_way(tmp_path: Path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    code = f"""
import os, signal
from pathlib import Path
from MedMetaSegLib.imageio.writing import replace_whole
def write(path):
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
replace_whole(Path({str(path)!r}), write)
"""
    killed = subprocess.run([sys.executable, "-c", code], env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert all(one.name == "a.bin" or one.name.startswith(".partial-") for one in tmp_path.iterdir())
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
