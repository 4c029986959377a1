"""Tables of what was measured: every figure under its name, no formula, nothing stale; and back from JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batch_stand_in import rows_of
from measured import make_lesion, make_measurements, make_structure
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.writing import replace_all
from MedMetaSegLib.measurements.measurements import Measurements
from MedMetaSegLib.measurements.table import LESION_COLUMNS, STRUCTURE_COLUMNS, table_writers


def written(folder: Path, measurements: Measurements) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Rows of the structures and of the lesions."""
    replace_all(table_writers(folder / "t.csv", measurements))
    lesions = folder / "t_lesions.csv"
    return rows_of(folder / "t.csv"), rows_of(lesions) if lesions.exists() else []


def test_every_structure_has_a_row_with_segment_statistics_names(tmp_path: Path):
    (tumour, spleen), lesions = written(tmp_path, make_measurements())
    assert tuple(tumour) == STRUCTURE_COLUMNS
    assert {name: tumour[name] for name in ("structure", "label", "voxel_count", "volume_cm3", "mean")} == {
        "structure": "tumour",
        "label": "2",
        "voxel_count": "400",
        "volume_cm3": "0.75",
        "mean": "-50.5",
    }
    assert tumour["surface_area_mm2"] == "123.4568"
    assert [tumour[f"centroid_ras_{axis}"] for axis in "ras"] == ["1.0", "-2.0", "3.0"]
    assert (tumour["percentile_05"], tumour["percentile_95"], tumour["touches_border"]) == (
        "-70.0",
        "10.0",
        "yes",
    )
    counted = ("part_count", "lesion_count", "lesions_cm3", "small_count", "small_cm3")
    assert [tumour[name] for name in counted] == ["3", "2", "0.75", "1", "0.002"]
    assert (tumour["connectivity"], tumour["smallest_mm3"], tumour["reason"]) == ("26", "10.0", "")
    assert (spleen["voxel_count"], spleen["volume_cm3"], spleen["reason"]) == ("0", "0.0", "it has no voxels")
    assert {spleen[name] for name in ("mean", "stdev", "centroid_ras_r")} == {""}
    assert len(lesions) == 2


def test_every_lesion_has_a_row(tmp_path: Path):
    _, (first, second) = written(tmp_path, make_measurements())
    assert tuple(first) == LESION_COLUMNS
    assert (first["structure"], first["lesion"], first["slice_index"]) == ("tumour", "1", "4")
    assert (first["longest_mm"], first["perpendicular_mm"]) == ("12.0", "8.0")
    assert (first["nearest_structure"], first["nearest_mm"]) == ("liver", "0.0")
    assert (second["nearest_structure"], second["nearest_mm"]) == ("", "")


def test_what_was_not_asked_for_is_empty_and_not_zero(tmp_path: Path):
    measurements = make_measurements(make_structure("liver", lesions=()), lesions=("tumour",))
    (liver,), lesions = written(tmp_path, measurements)
    assert {liver[name] for name in ("lesion_count", "lesions_cm3", "small_count", "smallest_mm3")} == {""}
    assert liver["part_count"] == "3"
    assert lesions == []
    assert not (tmp_path / "t_lesions.csv").exists()


def test_an_older_table_of_lesions_does_not_stay_beside_a_newer_one_of_structures(tmp_path: Path):
    written(tmp_path, make_measurements())
    _, lesions = written(tmp_path, make_measurements(make_structure(lesions=())))
    assert lesions == []
    assert (tmp_path / "t_lesions.csv").read_text(encoding="utf-8").splitlines() == [",".join(LESION_COLUMNS)]


def test_no_name_is_a_formula(tmp_path: Path):
    lesion = make_lesion(nearest_structure="@liver")
    (row,), (told,) = written(tmp_path, make_measurements(make_structure("=1+1", lesions=(lesion,))))
    assert (row["structure"], told["structure"], told["nearest_structure"]) == ("'=1+1", "'=1+1", "'@liver")


def test_measurements_come_out_of_json_as_they_went_in():
    measurements = make_measurements(lesions=("tumour",), connectivity=6)
    assert Measurements.from_dict(json.loads(json.dumps(measurements.as_dict()))) == measurements


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"structures": [{}]}, (KeyError, TypeError)),
        ({"options": {"lesions": [], "connectivity": 7}}, InputError),
        ({"notes": None}, TypeError),
    ],
)
def test_what_is_none_is_refused(change: dict, error: type[Exception]):
    with pytest.raises(error):
        Measurements.from_dict({**make_measurements().as_dict(), **change})
