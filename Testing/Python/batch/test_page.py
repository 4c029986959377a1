"""The page of a batch: one file, failures on top, and a real browser shows, sorts and searches it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from browser import browse, find_chromium, title_after
from MedMetaSegLib.batch.page import page, write_page
from MedMetaSegLib.batch.request import BatchResult
from MedMetaSegLib.batch.states import DONE, FAILED, BatchRow, StructureRow
from MedMetaSegLib.batch.thumbnail import thumbnail_png
from MedMetaSegLib.confidence.triage import TriageBounds, triage
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.support.structure import Structure, StructureMask

NAMES = ("left <kidney>", "tumour")


def made_result(rows: int, volume: Volume) -> BatchResult:
    """So many rows, every 50th failed, with thumbnails."""
    mask = np.ones((4, 8, 8), bool)
    picture = thumbnail_png(volume, [StructureMask(Structure("a", 1, (1.0, 0.2, 0.1)), (4, 5, 6), mask)])
    made = []
    for n in range(rows):
        dice = 0.95 - n / 1000
        structures = (
            StructureRow(NAMES[0], True, 100.0 + n, "", 0.99, dice, dice - 0.1, dice + 0.02),
            StructureRow(NAMES[1], False, 0.0, "not there", 0.03),
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
                triage="" if failed else triage(structures, (), TriageBounds()),
            )
        )
    return BatchResult(tuple(made), (("DICOM SR", "no image"),), rows)


@pytest.fixture
def chromium() -> str:
    return find_chromium()


def test_the_page_is_one_file_that_loads_nothing_and_runs_no_foreign_text(patient: Volume):
    text = page(made_result(60, patient), NAMES, "abc", TriageBounds())
    HTMLParser().feed(text)
    assert not re.search(r"https?://|src=\"(?!data:)|<link|@import|url\(", text)
    assert "<b>cut" not in text
    assert "left &lt;kidney&gt; (ml)" in text
    assert text.index("p57.nii.gz") < text.index("p0.nii.gz")


def row_of(name: str, dice: float, **more: object) -> BatchRow:
    structure = StructureRow(
        "liver", True, 9.0, "", 0.98, dice, dice - 0.1, dice + 0.05, next_slice="axial 7"
    )
    sentences = more.get("unlike", ())
    word = triage([structure], sentences, TriageBounds())
    return BatchRow(name, name, name, DONE, structures=(structure,), triage=word, **more)


def page_of(*rows: BatchRow) -> str:
    return page(BatchResult(rows, (), len(rows)), ("liver",), "abc", TriageBounds())


def test_the_worst_come_first():
    strange = row_of("strange", 0.97, unlike=("Cut <off>.",), notes=("Cut <off>.", "A note."))
    rows = [row_of("best", 0.95), row_of("good", 0.85), row_of("fair", 0.7), strange, row_of("bad", 0.3)]
    failed = BatchRow("broken", "broken", "broken", FAILED, "cut")
    text = page_of(*rows, failed)
    places = [text.index(f"<td>{one}<") for one in ("broken", "bad", "fair", "strange", "good", "best")]
    assert places == sorted(places)
    assert "1 to paint, 2 to review, 2 to accept" in text
    assert text.count("Cut &lt;off&gt;.") == 1
    assert text.count("A note.") == 1


def test_what_is_expected_is_told_in_words_with_its_interval():
    text = page_of(row_of("fair", 0.7))
    assert '<span class="chip review">review</span>' in text
    assert 'data-sort="0.7000">0.70 (0.60-0.75)<small>next slice: axial 7</small>' in text
    assert "next slice" not in page_of(row_of("good", 0.9))
    assert "with an expected Dice of 0.8 or more" in text
    absent = StructureRow("liver", False, 0.0, "not there", 0.003)
    doubtful = StructureRow("liver", True, 1.0, "", 0.42, 0.9, 0.8, 0.95, doubtful=True)
    told = page_of(
        *(BatchRow("a", "a", "a", DONE, structures=(one,), triage="review") for one in (absent, doubtful))
    )
    assert "<small>there: &lt; 0.01</small>" in told
    assert "0.90 (0.80-0.95)<small>doubtful, there: 0.42</small>" in told


def test_without_confidence_there_is_nothing_about_it():
    text = page_of(BatchRow("a", "a", "a", DONE, structures=(StructureRow("liver", True, 9.0),)))
    assert "Dice" not in text
    assert "triage" not in text
    assert text.count("<th>") == text.count("<td")


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
    write_page(tmp_path / "r.html", result, NAMES, "abc", TriageBounds())
    check = """
    const shown = () => [...document.querySelectorAll("tbody tr")].filter(row => !row.hidden);
    const first = () => shown()[0].cells[1].firstChild.textContent;
    const before = first();
    const heads = document.querySelectorAll("th button");
    const head = text => [...heads].find(one => one.textContent === text);
    head("left <kidney> (ml)").click(); head("left <kidney> (ml)").click(); const largest = first();
    head("left <kidney> (Dice)").click(); const surest = shown().at(-1).cells[1].firstChild.textContent;
    head("triage").click(); const chip = shown()[0].querySelector(".chip").textContent;
    const box = document.querySelector("input"); box.value = "P31";
    box.dispatchEvent(new Event("input"));
    const broken = [...document.images].filter(one => !(one.complete && one.naturalWidth === 144)).length;
    const counts = [shown().length, document.images.length, broken];
    document.title = [before, largest, surest, chip, ...counts].join(" ");
    """
    title = title_after(chromium, tmp_path, (tmp_path / "r.html").read_text(encoding="utf-8"), check)
    assert title == ["p7.nii.gz", "p499.nii.gz", "p0.nii.gz", "paint", "11", "490", "0"]
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
