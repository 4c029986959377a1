"""The page of one case: what it says, that it loads nothing, and that outlines and diameters are in place."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from browser import browse, find_chromium, title_after
from measured import make_measurements, make_structure
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.measurements.lesion_picture import LesionPictures, outline
from MedMetaSegLib.measurements.measure import measure
from MedMetaSegLib.measurements.page import PICTURED, case_page
from MedMetaSegLib.support.structure import Structure, StructureMask

WINDOW = (0.0, 100.0)


def case(count: int = 3) -> tuple[Volume, list[StructureMask]]:
    """An image whose grid is left-handed, and a structure of bars, each 2 x 6 voxels larger than the next."""
    array = np.random.default_rng(2).normal(50, 20, (3, 40, 200)).astype(np.float32)
    affine = np.array([[-1.0, 0, 0, 90], [0, 2.0, 0, -30], [0, 0, 5.0, 10], [0, 0, 0, 1]])
    mask = np.zeros(array.shape, bool)
    for number in range(count):
        mask[1, 6 : 26 - number % 10, 4 * number + 2 : 4 * number + 4] = True
    return Volume.from_array(array, affine, "case <1>"), [
        StructureMask(Structure("<b>tumour", 1, (1, 0, 0)), (0, 0, 0), mask)
    ]


def page_of(count: int = 3) -> str:
    volume, masks = case(count)
    return case_page(measure(volume, masks), volume, masks, WINDOW)


def test_the_page_is_one_file_that_loads_nothing_and_runs_no_foreign_text():
    text = page_of()
    HTMLParser().feed(text)
    assert not re.search(r"https?://|(src|href)=\"(?!data:|#)|<link|@import|url\(", text)
    assert "<b>tumour" not in text
    assert "&lt;b&gt;tumour" in text
    assert "case &lt;1&gt;" in text


def test_the_page_says_what_was_counted_and_what_it_is_not():
    volume, masks = case()
    text = case_page(make_measurements(connectivity=6, smallest_mm3=25), volume, masks * 2, WINDOW)
    assert "voxels with 6 neighbours, that has 25 mm3 or more" in text
    assert "For research; look at every result." in text
    assert "No clinical category" in text
    assert "A note." in text
    assert "it has no voxels" in text


def test_more_sections_stand_before_the_definitions():
    volume, masks = case()
    text = case_page(measure(volume, masks), volume, masks, WINDOW, ["<h2>Compared</h2>"])
    assert text.index("<h2>Compared</h2>") < text.index("<h2>How it was measured</h2>")


def test_the_largest_lesions_have_a_picture_and_all_have_a_row():
    text = page_of(PICTURED + 5)
    assert text.count("<figure ") == PICTURED
    assert text.count('<a href="#lesion-') == PICTURED
    assert f"<h2>{PICTURED + 5} lesions</h2>" in text
    assert f"the {PICTURED} largest" in text
    assert "largest" not in page_of(2).split("<h2>How it was measured")[0]


def test_without_lesions_there_is_no_word_of_them_but_their_number():
    volume, masks = case()
    text = case_page(make_measurements(make_structure(lesions=())), volume, masks, WINDOW)
    assert "<figure" not in text
    assert "lesions</h2>" not in text


@pytest.mark.parametrize(
    ("rows", "path"),
    [
        (["...", ".x.", "..."], "M1 1h1M1 2h1M1 1v1M2 1v1"),
        (["..", "xx"], "M0 1h2"),
        (["xx", "xx"], ""),
    ],
)
def test_the_outline_runs_between_pixels_in_and_out(rows: list[str], path: str):
    assert outline(np.array([[letter == "x" for letter in row] for row in rows])) == path


def extent(svg: str) -> np.ndarray:
    """Left, top, right and bottom of the outline of the one lesion, in millimetres."""
    scale = np.array(re.findall(r"scale\(([\d.]+) ([\d.]+)\)", svg)[0], float)
    points = []
    for x, y, way, length in re.findall(r"M(\d+) (\d+)([hv])(\d+)", svg):
        points.append((float(x), float(y)))
        points.append((float(x) + float(length) * (way == "h"), float(y) + float(length) * (way == "v")))
    return np.concatenate([np.min(points, axis=0) * scale, np.max(points, axis=0) * scale])


def line(svg: str, what: str) -> np.ndarray:
    """Both ends, (2, 2), x and y in millimetres."""
    found = re.search(rf'class="{what}" x1="([-\d.]+)" y1="([-\d.]+)" x2="([-\d.]+)" y2="([-\d.]+)"', svg)
    assert found is not None
    return np.array(found.groups(), float).reshape(2, 2)


def test_diameters_lie_in_the_outline_and_reach_its_ends():
    volume, masks = case(1)
    (lesion,) = measure(volume, masks).structures[0].lesions
    svg = LesionPictures(volume, masks, WINDOW).svg(0, lesion, "one")
    left, top, right, bottom = extent(svg)
    assert (right - left, bottom - top) == pytest.approx((2, 40))
    for what, diameter in (("longest", lesion.longest), ("perpendicular", lesion.perpendicular)):
        ends = line(svg, what)
        assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(diameter.length_mm, abs=0.02)
        assert np.all(ends >= (left - 0.01, top - 0.01))
        assert np.all(ends <= (right + 0.01, bottom + 0.01))
    assert sorted(line(svg, "longest")[:, 1]) == pytest.approx([top, bottom], abs=0.01)


def test_the_patients_right_is_on_the_left_and_the_front_at_the_top():
    """The first voxels along i lie right, along j behind: 2 mm to the right of the bar, 12 mm behind it."""
    volume, masks = case(1)
    (lesion,) = measure(volume, masks).structures[0].lesions
    svg = LesionPictures(volume, masks, WINDOW).svg(0, lesion, "one")
    left, _, _, bottom = extent(svg)
    height = float(re.findall(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)[0])
    assert (left, height - bottom) == pytest.approx((2, 12))


def test_a_browser_shows_the_pictures_and_sorts_both_tables(tmp_path: Path):
    chromium = find_chromium()
    check = """
    const tables = [...document.querySelectorAll("table")];
    const column = (table, text) =>
      [...table.tHead.rows[0].cells].findIndex(head => head.textContent === text);
    const press = (table, text) => table.tHead.rows[0].cells[column(table, text)].firstChild.click();
    const values = (table, text) =>
      [...table.tBodies[0].rows].map(row => row.cells[column(table, text)].textContent).join(",");
    press(tables[1], "longest mm"); const up = values(tables[1], "longest mm");
    press(tables[1], "longest mm"); const down = values(tables[1], "longest mm");
    press(tables[0], "mean"); const means = values(tables[0], "mean");
    const pictures = [...document.querySelectorAll("svg.lesion")];
    const shown = pictures.map(one => one.getBoundingClientRect().width > 50);
    document.title = [up, down, means, shown.join()].join(" ");
    """
    volume, masks = case(3)
    other = StructureMask(Structure("other", 2, (0, 1, 0)), (0, 0, 100), np.ones((1, 2, 2), bool))
    dark = Volume.from_array(volume.array - 90, volume.geometry, "dark")
    html = case_page(measure(dark, [*masks, other]), dark, [*masks, other], WINDOW)
    up, down, means, shown = title_after(chromium, tmp_path, html, check)
    lengths = [float(one) for one in up.split(",")]
    assert lengths == sorted(lengths)
    assert down.split(",") == up.split(",")[::-1]
    numbers = [float(one) for one in means.split(",")]
    assert numbers == sorted(numbers)
    assert numbers[0] < 0
    assert shown == ",".join(["true"] * 4)
    page = tmp_path / "page.html"
    page.write_text(html, encoding="utf-8")
    browse(chromium, tmp_path, f"--screenshot={tmp_path / 'p.png'}", "--window-size=900,900", page.as_uri())
    assert (tmp_path / "p.png").stat().st_size > 10_000
