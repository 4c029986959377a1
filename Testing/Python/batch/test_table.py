"""The table of a batch: what a spreadsheet would run is text, and notes and what is left out are in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from batch_stand_in import rows_of
from MedMetaSegLib.batch.states import DONE, BatchRow, StructureRow
from MedMetaSegLib.batch.table import COLUMNS, CONFIDENCE_COLUMNS, write_table
from MedMetaSegLib.confidence.triage import PAINT


def test_no_cell_is_a_formula_and_nothing_is_lost(tmp_path: Path):
    structures = (StructureRow("=x", True, 0.03), StructureRow("=x", False, 0.0, "not there"))
    row = BatchRow("=cmd", "=cmd.nii", "=cmd.nii.gz", DONE, structures=structures, notes=("One.", "Two."))
    write_table(tmp_path / "r.csv", [row], ["=x", "=x"], [("sub/-a.mnc", "of another format")])
    done, left_out = rows_of(tmp_path / "r.csv")
    assert (done["image"], done["output"], done["notes"]) == ("./=cmd.nii", "./=cmd.nii.gz", "One. Two.")
    assert (done["'=x ml"], done["'=x found"], done["'=x_2 found"]) == ("0.03", "yes", "no: not there")
    assert (left_out["image"], left_out["status"]) == ("sub/-a.mnc", "left out")


def test_what_is_expected_stands_behind_the_columns_that_were_there(tmp_path: Path):
    liver = StructureRow("liver", True, 12.5, "", 0.98, 0.9, 0.82, 0.95, True, "axial 41")
    spleen = StructureRow("spleen", False, 0.0, "not there (probability 0.03)", 0.03)
    row = BatchRow(
        "a", "a.nii", "a.nii.gz", DONE, structures=(liver, spleen), unlike=("=Cut off.",), triage=PAINT
    )
    plain = replace(row, structures=(StructureRow("liver", True, 1.0),), unlike=(), triage="")
    write_table(tmp_path / "r.csv", [row, plain], ["liver", "spleen"])
    told, untold = rows_of(tmp_path / "r.csv")
    columns = list(told)
    assert columns[: len(COLUMNS)] == list(COLUMNS)
    assert columns[len(COLUMNS) :][:6] == [
        "liver ml",
        "liver found",
        "spleen ml",
        "spleen found",
        "triage",
        "unlike",
    ]
    assert [told[f"liver {what}"] for what in CONFIDENCE_COLUMNS] == [
        "0.98",
        "0.9",
        "0.82",
        "0.95",
        "yes",
        "axial 41",
    ]
    assert [told[f"spleen {what}"] for what in CONFIDENCE_COLUMNS] == ["0.03", "", "", "", "no", ""]
    assert (told["triage"], told["unlike"]) == ("paint", "'=Cut off.")
    assert {untold[f"liver {what}"] for what in CONFIDENCE_COLUMNS} == {""}
    assert untold["liver ml"] == "1.0"


def test_rows_of_older_journals_are_read_and_new_ones_come_out_as_they_went_in():
    one = StructureRow("liver", True, 12.5, "", 0.98, 0.9, 0.82, 0.95, True, "axial 41")
    row = BatchRow("a", "a.nii", "a.nii.gz", DONE, structures=(one,), unlike=("Cut off.",), triage=PAINT)
    assert BatchRow.from_dict(json.loads(json.dumps(row.as_dict()))) == row
    old = {name: value for name, value in row.as_dict().items() if name not in ("unlike", "triage", "notes")}
    old["structures"] = [{"name": "liver", "found": True, "millilitres": 12.5, "reason": ""}]
    read = BatchRow.from_dict(json.loads(json.dumps(old)))
    assert (read.unlike, read.triage, read.structures) == ((), "", (StructureRow("liver", True, 12.5),))
