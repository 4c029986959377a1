"""Lists as spreadsheets save them, and lists that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.csv_list import read_list

COLUMNS = ("image", "group")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_spreadsheets_save_is_read(tmp_path: Path, separator: str, encoding: str) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(
        f"Image {separator}GROUP\r\na,b.nii{separator}größer\r\n".replace("a,b.nii", '"a,b.nii"').encode(
            encoding
        )
    )
    assert read_list(path, COLUMNS, COLUMNS) == [(2, {"image": "a,b.nii", "group": "größer"})]


def test_a_cell_that_is_not_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("image,group\na\n", encoding="utf-8")
    assert read_list(tmp_path / "list.csv", COLUMNS, ["image"]) == [(2, {"image": "a", "group": None})]


@pytest.mark.parametrize("blank", ["", ";;", " "])
def test_blank_lines_are_passed_over_and_counted(tmp_path: Path, blank: str) -> None:
    lines = [blank, "image;group", blank, "a,1;x", blank, "b,2;y"]
    (tmp_path / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    assert read_list(tmp_path / "list.csv", COLUMNS, COLUMNS) == [
        (4, {"image": "a,1", "group": "x"}),
        (6, {"image": "b,2", "group": "y"}),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"image\na\n", "has no column group"),
        (b"image,group,age\na,b,4\n", "has the column 'age'"),
        (b"image,group\na,b,c\n", "a line with more cells than its header"),
        (b"image,group\n\xff\xfe\xfa,b\n", "cannot be read as CSV in UTF-8"),
        (b"", "has no column image"),
        (b"image,group\n\n", "lists no case"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_list(tmp_path / "list.csv", COLUMNS, COLUMNS)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_list(tmp_path / "none.csv", COLUMNS, COLUMNS)
