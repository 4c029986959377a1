"""The page of a batch: one file, failures on top, and a real browser shows, sorts and searches it."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedMetaSegLib.batch.page import page, write_page
from MedMetaSegLib.batch.request import BatchResult
from MedMetaSegLib.batch.states import DONE, FAILED, BatchRow, StructureRow
from MedMetaSegLib.batch.thumbnail import thumbnail_png
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.support.structure import Structure, StructureMask

NAMES = ("left <kidney>", "tumour")


def made_result(rows: int, volume: Volume) -> BatchResult:
    """So many rows, every 50th failed, with thumbnails."""
    mask = np.ones((4, 8, 8), bool)
    picture = thumbnail_png(volume, [StructureMask(Structure("a", 1, (1.0, 0.2, 0.1)), (4, 5, 6), mask)])
    made = []
    for n in range(rows):
        structures = (
            StructureRow(NAMES[0], True, 100.0 + n),
            StructureRow(NAMES[1], False, 0.0, "not there"),
        )
        failed = n % 50 == 7
        made.append(
            BatchRow(
                f"p{n}",
                f"p{n}.nii.gz",
                f"p{n}.nii.gz",
                FAILED if failed else DONE,
                "<b>cut</b>" if failed else "",
                1.5,
                "abc",
                () if failed else structures,
                b"" if failed else picture,
            )
        )
    return BatchResult(tuple(made), (("DICOM SR", "no image"),), rows)


@pytest.fixture
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs chromium (Debian: apt-get install chromium)")
    return found


def browse(chromium: str, folder: Path, *arguments: str) -> str:
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
    ]
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000"]
    return subprocess.run(
        [*command, *offline, *arguments], capture_output=True, encoding="utf-8", timeout=240, check=True
    ).stdout


def test_the_page_is_one_file_that_loads_nothing_and_runs_no_foreign_text(patient: Volume):
    text = page(made_result(60, patient), NAMES, "abc")
    HTMLParser().feed(text)
    assert not re.search(r"https?://|src=\"(?!data:)|<link|@import|url\(", text)
    assert "<b>cut" not in text
    assert "left &lt;kidney&gt; (ml)" in text
    assert text.index("p57.nii.gz") < text.index("p0.nii.gz")


def test_a_thumbnail_shows_the_slice_with_the_contour_of_what_was_found(patient: Volume, tmp_path: Path):
    mask = np.ones((4, 8, 8), bool)
    (tmp_path / "t.png").write_bytes(
        thumbnail_png(patient, [StructureMask(Structure("a", 1, (1.0, 0.0, 0.0)), (4, 5, 6), mask)])
    )
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "t.png")))
    red = (picture[..., 0] == 255) & (picture[..., 1] == 0) & (picture[..., 2] == 0)
    assert 20 < red.sum() < 0.1 * red.size
    assert max(picture.shape[:2]) == 144


def test_a_browser_shows_500_rows_sorts_and_finds(chromium: str, tmp_path: Path, patient: Volume):
    result = made_result(500, patient)
    write_page(tmp_path / "r.html", result, NAMES, "abc")
    check = """
    const shown = () => [...document.querySelectorAll("tbody tr")].filter(row => !row.hidden);
    const first = () => shown()[0].cells[1].firstChild.textContent;
    const before = first();
    const heads = document.querySelectorAll("th button");
    heads[2].click(); heads[2].click(); const largest = first();
    const box = document.querySelector("input"); box.value = "P31";
    box.dispatchEvent(new Event("input"));
    const broken = [...document.images].filter(one => !(one.complete && one.naturalWidth === 144)).length;
    document.title = [before, largest, shown().length, document.images.length, broken].join(" ");
    """
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    (tmp_path / "checked.html").write_text(
        text.replace("</body>", f"<script>onload = () => {{ {check} }}</script></body>"), encoding="utf-8"
    )
    shown = browse(chromium, tmp_path, "--dump-dom", (tmp_path / "checked.html").as_uri())
    title = re.search(r"<title>(.*?)</title>", shown)
    assert title is not None
    assert title[1].split() == ["p7.nii.gz", "p499.nii.gz", "11", "490", "0"]
    browse(
        chromium,
        tmp_path,
        f"--screenshot={tmp_path / 'r.png'}",
        "--window-size=1100,900",
        (tmp_path / "r.html").as_uri(),
    )
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "r.png")))
    assert picture.shape[:2] == (900, 1100)
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 200
