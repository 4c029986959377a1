"""The table of a batch: what a spreadsheet would run is text, and notes and what is left out are in it."""

from __future__ import annotations

from pathlib import Path

from batch_stand_in import rows_of
from MedMetaSegLib.batch.states import DONE, BatchRow, StructureRow
from MedMetaSegLib.batch.table import write_table


def test_no_cell_is_a_formula_and_nothing_is_lost(tmp_path: Path):
    structures = (StructureRow("=x", True, 0.03), StructureRow("=x", False, 0.0, "not there"))
    row = BatchRow("=cmd", "=cmd.nii", "=cmd.nii.gz", DONE, structures=structures, notes=("One.", "Two."))
    write_table(tmp_path / "r.csv", [row], ["=x", "=x"], [("sub/-a.mnc", "of another format")])
    done, left_out = rows_of(tmp_path / "r.csv")
    assert (done["image"], done["output"], done["notes"]) == ("./=cmd.nii", "./=cmd.nii.gz", "One. Two.")
    assert (done["'=x ml"], done["'=x found"], done["'=x_2 found"]) == ("0.03", "yes", "no: not there")
    assert (left_out["image"], left_out["status"]) == ("sub/-a.mnc", "left out")
