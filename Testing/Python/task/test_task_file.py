"""The task file: all of it comes back, and whatever is wrong with it is said in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MedMetaSegLib.errors import InputError, TaskError
from MedMetaSegLib.task.atlas import Place
from MedMetaSegLib.task.task_file import Task
from task_phantom import WEIGHTS, make_task


@pytest.fixture
def task() -> Task:
    """Two structures, the second of which the first of two patients lacks."""
    return make_task()


@pytest.fixture
def path(task: Task, tmp_path: Path) -> Path:
    task.write(tmp_path / "kidneys.medmetaseg")
    return tmp_path / "kidneys.medmetaseg"


def refusal(path: Path) -> str:
    with pytest.raises(TaskError) as caught:
        Task.read(path)
    assert isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def header_of(content: bytes) -> dict:
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def with_header(content: bytes, header: dict) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + int.from_bytes(content[:8], "little") :]


def test_a_task_comes_back_as_it_was_written(task: Task, path: Path):
    again = Task.read(path)
    assert again.structures == task.structures
    assert (again.overlapping, again.modality, again.weights_sha256) == (False, "CT", WEIGHTS)
    assert again.provenance == task.provenance
    for one, other in zip(again.atlases, task.atlases, strict=True):
        np.testing.assert_array_equal(one.close.intensity, other.close.intensity)
        np.testing.assert_array_equal(one.overview.intensity, other.overview.intensity)
        np.testing.assert_array_equal(one.close.spacing_mm, other.close.spacing_mm)
        np.testing.assert_array_equal(one.close.start_mm, other.close.start_mm)
        np.testing.assert_array_equal(one.axes, other.axes)
        for place, same in zip(one.places, other.places, strict=True):
            assert (place is None) == (same is None)
            if place is not None and same is not None:
                assert place.offset == same.offset
                np.testing.assert_array_equal(place.occupancy, same.occupancy)
    np.testing.assert_array_equal(again.prototypes[1].ridge, task.prototypes[1].ridge)


def test_the_same_task_makes_the_same_file(task: Task, path: Path, tmp_path: Path):
    Task.read(path).write(tmp_path / "again.medmetaseg")
    assert (tmp_path / "again.medmetaseg").read_bytes() == path.read_bytes()


def test_it_is_a_safetensors_file(path: Path):
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        assert json.loads(file.metadata()["medmetaseg task"])["format"] == 1
        assert "atlas.1.place.1" in file.keys()  # noqa: SIM118 (not a dict)


def test_reading_needs_no_torch(path: Path):
    code = f"import sys\nfrom MedMetaSegLib import Task\nTask.read({str(path)!r})\n"
    code += "assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_file_is_said(tmp_path: Path):
    assert "There is no task file" in refusal(tmp_path / "none.medmetaseg")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.999])
def test_a_truncated_file_is_refused(path: Path, share: float):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "damaged" in refusal(path)


def test_one_wrong_bit_anywhere_is_noticed(path: Path):
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    places = [0, 5, *range(8, start, 7), *range(start, len(content), 41), len(content) - 1]
    for number, place in enumerate(places):
        flipped = bytearray(content)
        flipped[place] ^= 1 << number % 8
        path.write_bytes(bytes(flipped))
        refusal(path)


def test_a_file_that_goes_on_after_its_end_is_refused(path: Path):
    path.write_bytes(path.read_bytes() + b"more")
    assert "damaged" in refusal(path)


def test_a_header_that_claims_to_be_huge_is_refused_without_reading_it(path: Path):
    path.write_bytes((2**62).to_bytes(8, "little") + path.read_bytes()[8:])
    assert "damaged" in refusal(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dtype", "F64"),
        ("dtype", ["U8"]),
        ("shape", [2**40, 2**40]),
        ("shape", [-6, -8, 9]),
        ("shape", "large"),
        ("data_offsets", [0, 2**50]),
        ("data_offsets", [10, 0]),
        ("data_offsets", [True, False]),
    ],
)
def test_arrays_of_the_wrong_kind_are_refused(path: Path, key: str, value: object):
    content = path.read_bytes()
    header = header_of(content)
    header["atlas.0.overview"][key] = value
    path.write_bytes(with_header(content, header))
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/tmp/x", "atlas.0.over view", "", "atlas..0"])
def test_names_that_are_paths_are_refused(path: Path, name: str):
    content = path.read_bytes()
    header = header_of(content)
    header[name] = header.pop("atlas.0.overview")
    path.write_bytes(with_header(content, header))
    assert "damaged" in refusal(path)


def test_a_pickle_and_another_safetensors_file_are_no_tasks(tmp_path: Path):
    import pickle

    from safetensors.numpy import save

    (tmp_path / "a.medmetaseg").write_bytes(pickle.dumps({"structures": list(range(1000))}))
    assert "no task file" in refusal(tmp_path / "a.medmetaseg")
    (tmp_path / "b.medmetaseg").write_bytes(save({"some.weights": np.zeros(3, np.float32)}))
    assert "no task file" in refusal(tmp_path / "b.medmetaseg")


def test_a_file_from_a_newer_version_says_to_update(path: Path):
    content = path.read_bytes()
    header = header_of(content)
    sealed = json.loads(header["__metadata__"]["medmetaseg task"])
    header["__metadata__"]["medmetaseg task"] = json.dumps({**sealed, "format": 3})
    path.write_bytes(with_header(content, header))
    assert "update MedMetaSeg" in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        {"modality": "PET"},
        {"structures": ()},
        {"weights_sha256": "short"},
        {"prototypes": ()},
        {"atlases": ()},
    ],
)
def test_contents_that_do_not_belong_together_are_refused_though_the_checksum_is_right(
    task: Task, tmp_path: Path, change: dict
):
    replace(task, **change).write(tmp_path / "odd.medmetaseg")
    assert "do not belong together" in refusal(tmp_path / "odd.medmetaseg")


@pytest.mark.parametrize("axes", [np.eye(2), np.zeros((3, 3)), 2 * np.eye(3), np.full((3, 3), np.nan)])
def test_directions_that_are_none_are_refused(task: Task, tmp_path: Path, axes: np.ndarray):
    atlas = replace(task.atlases[0], axes=axes)
    replace(task, atlases=(atlas, task.atlases[1])).write(tmp_path / "odd.medmetaseg")
    assert "do not belong together" in refusal(tmp_path / "odd.medmetaseg")


def test_a_place_outside_its_image_is_refused(task: Task, tmp_path: Path):
    place = Place((8, 2, 3), np.zeros((4, 3, 2), np.uint8))
    atlas = replace(task.atlases[0], places=(place, None))
    replace(task, atlases=(atlas,)).write(tmp_path / "odd.medmetaseg")
    assert "do not belong together" in refusal(tmp_path / "odd.medmetaseg")


def test_other_weights_are_refused(task: Task):
    task.check_weights(WEIGHTS)
    with pytest.raises(TaskError, match="other weights"):
        task.check_weights("cd" * 32)


def test_nothing_appears_where_a_task_cannot_be_written(task: Task, tmp_path: Path):
    with pytest.raises(InputError, match="no folder"):
        task.write(tmp_path / "none" / "a.medmetaseg")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder"):
        task.write(tmp_path / "folder")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder"]


def test_what_it_says_of_itself(task: Task):
    about = task.describe()
    assert [one["supports"] for one in about["structures"]] == [2, 1]
    assert about["structures"][0]["prototypes"] == [3, 5]
    assert about["intensity"] == "CT"
