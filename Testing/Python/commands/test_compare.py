"""The commands compare learn and compare apply on files, and what they refuse."""

from __future__ import annotations

import csv
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from command_files import assert_refused, files
from compared_cases import QUICK, write_phantom
from MedMetaSegLib import cli
from MedMetaSegLib.case_comparison.examples import learned_examples
from MedMetaSegLib.case_comparison.examples_file import read_examples
from MedMetaSegLib.case_comparison.tables import ONE_OF_EACH_PATIENT

RADIUS = {"small": 5.0, "large": 8.0}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer permutations than the command has."""
    monkeypatch.setattr(
        "MedMetaSegLib.commands.compare_learn.learned_examples", partial(learned_examples, options=QUICK)
    )


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten cases of two groups, small and large, in cases.csv, and a large case that is not in it."""
    folder = tmp_path_factory.mktemp("phantoms")
    rows = []
    for number in range(10):
        group = "large" if number % 2 else "small"
        write_phantom(folder, f"p{number}", RADIUS[group] + 0.1 * number, number)
        rows.append((f"p{number}.nii.gz", f"p{number}_seg.nii.gz", group))
    write_list(folder / "cases.csv", rows)
    write_phantom(folder, "next", RADIUS["large"] + 0.3, 50)
    write_phantom(folder, "ct", RADIUS["large"], 51, "CT")
    return folder


def write_list(path: Path, rows: list[tuple[str, str, str]]) -> None:
    lines = ["image,segmentation,group", *(",".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def lines_of(phantoms: Path) -> list[tuple[str, str, str]]:
    """The list of the ten cases, files with their whole paths."""
    found = rows(phantoms / "cases.csv")
    return [(*(str(phantoms / one[c]) for c in ("image", "segmentation")), one["group"]) for one in found]


def run_learn(cases: Path, out: Path, *more: str) -> int:
    return cli.run(["compare", "learn", str(cases), "-o", str(out), "--no-embedding", *more])


@pytest.fixture
def learned(phantoms: Path, tmp_path: Path) -> Path:
    """Examples of the ten cases."""
    path = tmp_path / "examples.json"
    assert run_learn(phantoms / "cases.csv", path) == 0
    return path


def test_examples_are_learned_and_another_case_is_compared(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, table, page = (tmp_path / name for name in ("examples.json", "table.csv", "page.html"))
    assert run_learn(phantoms / "cases.csv", out, "--table", str(table), "--page", str(page)) == 0
    told = capsys.readouterr().out
    assert "The groups can be told apart better than by chance" in told
    assert "not a diagnosis" in told
    assert ONE_OF_EACH_PATIENT in told
    measured = rows(table)
    assert [one["name"] for one in measured] == [f"p{n}" for n in range(10)]
    assert {one["status"] for one in measured} == {"done"}
    assert float(measured[1]["Label 1:volume_cm3"]) > float(measured[0]["Label 1:volume_cm3"])
    assert "not a diagnosis" in page.read_text(encoding="utf-8")
    text = out.read_text(encoding="utf-8")
    assert not any(name in text for name in ("p0", str(phantoms), "nii"))

    compared, page = tmp_path / "compared.csv", tmp_path / "compared.html"
    pair = [str(phantoms / name) for name in ("next.nii.gz", "next_seg.nii.gz")]
    assert cli.run(["compare", "apply", str(out), *pair, "-o", str(compared), "--page", str(page)]) == 0
    (row,) = rows(compared)
    assert (row["name"], row["nearest"], row["abstains"]) == ("next", "large", "no")
    assert (row["rank of large"], row["rank of small"]) == ("1", "2")
    assert float(row["distance to large"]) < float(row["distance to small"])
    assert row["what speaks for it"].startswith("Label 1:volume_cm3 (+")
    assert "next: most like 'large'" in capsys.readouterr().out
    assert "not a diagnosis" in page.read_text(encoding="utf-8")


def test_the_embedding_counts_unless_it_is_left_out(phantoms: Path, tmp_path: Path) -> None:
    out, compared = tmp_path / "examples.json", tmp_path / "compared.csv"
    arguments = ["--structure", "Label 1", "--by", "Label 1:sphericity", "--device", "cpu"]
    assert cli.run(["compare", "learn", str(phantoms / "cases.csv"), "-o", str(out), *arguments]) == 0
    learned = read_examples(out)
    assert learned.blocks.names == ("Label 1:sphericity", "Label 1:embedding")
    for case in learned.cases:
        assert np.linalg.norm(case.embeddings[0]) == pytest.approx(1, abs=1e-5)
    pair = [str(phantoms / name) for name in ("next.nii.gz", "next_seg.nii.gz")]
    assert cli.run(["compare", "apply", str(out), *pair, "-o", str(compared), "--device", "cpu"]) == 0
    assert "Label 1:embedding" in rows(compared)[0]["what speaks for it"]


def test_cases_that_cannot_be_used_have_a_row_with_the_reason(phantoms: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path, "other", 6.0, 60)
    empty, single = tmp_path / "empty_seg.nii.gz", tmp_path / "single_seg.nii.gz"
    labels = sitk.ReadImage(str(tmp_path / "other_seg.nii.gz"))
    sitk.WriteImage(labels * 0, str(empty))
    sitk.WriteImage(labels == 1, str(single))
    shifted = sitk.Image(labels)
    shifted.SetOrigin((0.7, 0, 0))
    sitk.WriteImage(shifted, str(tmp_path / "shifted_seg.nii.gz"))
    other = str(tmp_path / "other.nii.gz")
    listed = lines_of(phantoms)
    bad = {
        "empty_seg.nii.gz": "no segment",
        "single_seg.nii.gz": "There is no structure 'Label 2'; there are Label 1.",
        "shifted_seg.nii.gz": "part of a voxel",
        "none_seg.nii.gz": "There is no",
    }
    extra = [(other, str(tmp_path / name), "small") for name in bad]
    write_list(tmp_path / "cases.csv", [*listed, *extra, listed[0], (*listed[1][:2], "small")])
    table = tmp_path / "table.csv"
    status = run_learn(tmp_path / "cases.csv", tmp_path / "examples.json", "--table", str(table))
    found = rows(table)
    for row, said in zip(found[10:14], bad.values(), strict=True):
        assert row["status"] == "failed"
        assert said in row["reason"]
    assert found[14]["reason"] == "'p0' is the same image."
    # Of one image in two groups neither is an example, and four of the large ones are too few.
    assert "the same image, of the group 'small'" in found[1]["reason"]
    assert "the same image, of the group 'large'" in found[15]["reason"]
    assert status == 3
    assert not (tmp_path / "examples.json").exists()


def test_too_few_cases_give_the_table_only(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_list(tmp_path / "cases.csv", lines_of(phantoms)[:9])
    table, out = tmp_path / "table.csv", tmp_path / "examples.json"
    assert_refused(
        tmp_path, capsys, lambda: run_learn(tmp_path / "cases.csv", out), "--table writes what was measured"
    )
    assert run_learn(tmp_path / "cases.csv", out, "--table", str(table)) == 3
    assert "'large' has 4 usable cases; 5 are needed. Only the table" in capsys.readouterr().err
    assert len(rows(table)) == 9
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("image,segmentation\na,b\n", "has no column group"),
        ("image,segmentation,group,age\na,b,c,4\n", "has the column 'age'"),
        ("image,segmentation,group\na,b,\n", "Line 2 of the list"),
        ("image,segmentation,group\na,,x\n", "has no segmentation"),
        ("image,segmentation,group\n" + "a,b,x\n" * 9, "all 9 are of the group 'x'"),
        ("image,segmentation,group\na,b,x,y,z\n", "more cells than its header"),
        ("image,segmentation,group\n", "lists no case"),
        ("\nimage,segmentation,group\n\na,b,\n", "Line 4 of the list"),
        ("image,segmentation,group,patient\na,b,x,1\na,b,y,\n", "Line 3 of the list"),
    ],
)
def test_lists_that_cannot_be_used_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    (tmp_path / "cases.csv").write_text(content, encoding="utf-8")
    assert_refused(
        tmp_path, capsys, lambda: run_learn(tmp_path / "cases.csv", tmp_path / "examples.json"), said
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "Label 1:colour"], "no measurement 'Label 1:colour'"),
        (["--by", "liver:volume_cm3"], "no structure 'liver'"),
        (["--structure", "liver"], "'p0' is left out: There is no structure 'liver'"),
        (["--structure", "Label 1", "--structure", "Label 1"], "A structure is named twice"),
        (["--table", "table.txt"], "let it end in .csv"),
        (["--page", "page.csv"], "let it end in .html"),
        (["--connectivity", "7"], "no connectivity 7"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert_refused(
        tmp_path,
        capsys,
        lambda: run_learn(phantoms / "cases.csv", tmp_path / "examples.json", *arguments),
        said,
    )


def test_a_case_of_another_kind_is_left_out(phantoms: Path, tmp_path: Path) -> None:
    ct = tuple(str(phantoms / name) for name in ("ct.nii.gz", "ct_seg.nii.gz"))
    write_list(tmp_path / "cases.csv", [(*ct, "small"), *lines_of(phantoms)])
    table, out = tmp_path / "table.csv", tmp_path / "examples.json"
    assert run_learn(tmp_path / "cases.csv", out, "--table", str(table)) == 3
    first, *others = rows(table)
    assert first["status"] == "failed"
    assert "is CT, and most are other than CT" in first["reason"]
    assert {one["status"] for one in others} == {"done"}
    assert len(read_examples(out).cases) == 10


def test_where_no_case_can_be_used_the_table_says_why(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = [(str(tmp_path / f"{n}.nii"), str(tmp_path / f"{n}.nii"), "ab"[n % 2]) for n in range(10)]
    write_list(tmp_path / "cases.csv", missing)
    table, out = tmp_path / "table.csv", tmp_path / "examples.json"
    assert_refused(
        tmp_path, capsys, lambda: run_learn(tmp_path / "cases.csv", out), "'0' is left out: There is no file"
    )
    assert run_learn(tmp_path / "cases.csv", out, "--table", str(table)) == 3
    assert all("There is no file" in one["reason"] for one in rows(table))
    assert not out.exists()


def test_each_patient_counts_once_and_is_written_nowhere(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = lines_of(phantoms)
    for number in range(2):
        write_phantom(tmp_path, f"again{number}", RADIUS["large"], 70 + number)
        files_ = (str(tmp_path / f"again{number}{end}.nii.gz") for end in ("", "_seg"))
        listed.append((*files_, ("small", "large")[number]))
    lines = [",".join((*row, f"Doe{n % 10}")) for n, row in enumerate(listed)]
    cases, out, table, page = (tmp_path / name for name in ("cases.csv", "e.json", "t.csv", "p.html"))
    cases.write_text("\n".join(["image,segmentation,group,patient", *lines]), encoding="utf-8")
    assert run_learn(cases, out, "--table", str(table), "--page", str(page)) == 3
    told = capsys.readouterr()
    assert [one["reason"] for one in rows(table)[10:]] == [
        f"A further image of the patient of 'p{n}': each patient counts once." for n in range(2)
    ]
    assert len(read_examples(out).cases) == 10
    written = [one.read_text(encoding="utf-8") for one in (out, table, page)]
    assert not any("Doe" in text for text in (*written, told.out, told.err))
    assert ONE_OF_EACH_PATIENT not in told.out


def test_a_size_of_nothing_leaves_a_case_out(phantoms: Path, learned: Path, tmp_path: Path) -> None:
    labels = sitk.ReadImage(str(phantoms / "next_seg.nii.gz"))
    speck = sitk.Image(labels) * 0
    speck[12, 12, 12] = 1
    speck[3, 2, 2] = 2
    sitk.WriteImage(speck, str(tmp_path / "speck_seg.nii.gz"))
    case = (str(phantoms / "next.nii.gz"), str(tmp_path / "speck_seg.nii.gz"), "small")
    write_list(tmp_path / "cases.csv", [*lines_of(phantoms), case])
    by = ("--by", "Label 1:feret_diameter_mm")
    table, out, compared = tmp_path / "table.csv", tmp_path / "feret.json", tmp_path / "compared.csv"
    assert run_learn(tmp_path / "cases.csv", out, "--table", str(table), *by) == 3
    assert "feret_diameter_mm is 0" in rows(table)[10]["reason"]
    assert cli.run(["compare", "apply", str(out), *case[:2], "-o", str(compared)]) == 3
    assert "feret_diameter_mm is 0" in rows(compared)[0]["reason"]


@pytest.mark.skipif(sys.platform != "linux", reason="Elsewhere names of files are always Unicode.")
def test_names_that_cannot_be_printed_are_shown(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, table = tmp_path / "e\udce4.json", tmp_path / "t\udce4.csv"
    assert run_learn(phantoms / "cases.csv", out) == 0
    assert "e\\xe4.json" in capsys.readouterr().out
    pair = [str(phantoms / name) for name in ("next.nii.gz", "next_seg.nii.gz")]
    assert cli.run(["compare", "apply", str(out), *pair, "-o", str(table)]) == 0
    assert "t\\xe4.csv" in capsys.readouterr().out


def test_cases_that_cannot_be_compared_have_a_row_with_the_reason(
    phantoms: Path, learned: Path, tmp_path: Path
) -> None:
    cases = [
        ("next.nii.gz", "next_seg.nii.gz"),
        ("p3.nii.gz", "p3_seg.nii.gz"),
        ("ct.nii.gz", "ct_seg.nii.gz"),
        ("none.nii.gz", "next_seg.nii.gz"),
    ]
    write_list(
        tmp_path / "others.csv", [(str(phantoms / image), str(phantoms / seg), "") for image, seg in cases]
    )
    out = tmp_path / "compared.csv"
    assert cli.run(["compare", "apply", str(learned), str(tmp_path / "others.csv"), "-o", str(out)]) == 3
    found = rows(out)
    assert [one["status"] for one in found] == ["done", "failed", "failed", "failed"]
    said = ("", "one of the examples", "this is CT", "There is no file")
    for row, reason in zip(found, said, strict=True):
        assert reason in row["reason"]
        assert bool(row["nearest"]) == (not reason)


def test_apply_refuses_what_is_no_pair_and_no_examples(
    phantoms: Path, learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, out = str(phantoms / "next.nii.gz"), str(tmp_path / "out.csv")
    capsys.readouterr()

    def run(examples: Path, *cases: str, to: str = out) -> int:
        return cli.run(["compare", "apply", str(examples), *cases, "-o", to])

    assert_refused(tmp_path, capsys, lambda: run(learned, image), "next.nii.gz stands alone")
    assert_refused(tmp_path, capsys, lambda: run(phantoms / "cases.csv", image, image), "no examples")
    assert_refused(tmp_path, capsys, lambda: run(learned, image, str(tmp_path / "x")), "There is no")
    assert_refused(tmp_path, capsys, lambda: run(learned, image, image, to=str(learned)), "end in .csv")


def test_a_table_never_takes_the_place_of_its_list(phantoms: Path, learned: Path) -> None:
    before = files(phantoms)
    cases = str(phantoms / "cases.csv")
    assert run_learn(phantoms / "cases.csv", learned, "--table", cases) == 2
    assert cli.run(["compare", "apply", str(learned), cases, "-o", cases]) == 2
    assert files(phantoms) == before
