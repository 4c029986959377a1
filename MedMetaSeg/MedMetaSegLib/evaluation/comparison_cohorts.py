"""Lists of real cases in two groups, to learn a comparison with examples from, whose answer is known before.

    python -m MedMetaSegLib.evaluation.comparison_cohorts out/cohorts ../shared/data ../shared/more_data
    medmetaseg compare learn out/cohorts/hippocampus_volume.csv -o examples.json

hippocampus_volume: the smallest and the largest third, a sanity check, since volume is what is measured.
hippocampus_part: anterior or posterior, of different patients, a large difference. parotid_side: left or
right, of different patients; there is none. sarcoma_ct, sarcoma_mr: patients of even and odd numbers; there
is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..datasets.cases import Case, read_cases
from ..imageio.volume import read_image, write_labels
from ..imageio.writing import write_csv

COLUMNS = ("image", "segmentation", "group", "name")
PATIENTS = 60
"""Of each list, at most."""
_STRUCTURE = 1
"""Label of the one structure of a map that is written."""

Row = dict[str, object]


def volume_rows(cases: Sequence[Case]) -> list[Row]:
    """The thirds of the smallest and of the largest by the volume of all labels, under COLUMNS."""
    by_volume = sorted(cases, key=_volume)
    third = len(by_volume) // 3
    groups = {"small": by_volume[:third], "large": by_volume[len(by_volume) - third :]}
    return [_row(one, one.labels, group) for group, members in groups.items() for one in members]


def part_rows(cases: Sequence[Case], names: tuple[str, str], folder: Path) -> list[Row]:
    """Of one patient the one structure, of the next the other, as label maps of their own in the folder.

    Patients without one of the two are left out.
    """
    rows: list[Row] = []
    for case in cases[:PATIENTS]:
        values = {name: value for value, name in case.names.items()}
        name = names[len(rows) % 2]
        if set(names) <= set(values):
            path = _written_part(case, values[name], folder)
            rows.append(_row(case, path, name))
    return rows


def number_rows(cases: Sequence[Case]) -> list[Row]:
    """Patients by whether their number is even or odd."""
    return [_row(one, one.labels, ("even", "odd")[int(one.case) % 2]) for one in cases]


def lists(folder: Path, data: Path, more_data: Path) -> Iterator[tuple[str, list[Row]]]:
    """The name and the rows of each list; label maps that they need are written to the folder."""
    cases, more = read_cases(data), read_cases(more_data)
    hippocampus = _of(cases, "hippocampus")
    parts = ("hippocampus anterior", "hippocampus posterior")
    yield "hippocampus_volume", volume_rows(hippocampus)
    yield "hippocampus_part", part_rows(hippocampus, parts, folder)
    yield "parotid_side", part_rows(_of(more, "openkbp"), ("left parotid", "right parotid"), folder)
    yield "sarcoma_ct", number_rows(_of(cases, "sts_ct"))
    yield "sarcoma_mr", number_rows(_of(cases, "sts_mr"))


def _of(cases: Sequence[Case], dataset: str) -> list[Case]:
    return [case for case in cases if case.dataset == dataset]


def _row(case: Case, labels: Path, group: str) -> Row:
    name = f"{case.dataset} {case.case}"
    return dict(zip(COLUMNS, (case.image.resolve(), labels.resolve(), group, name), strict=True))


def _volume(case: Case) -> float:
    labels = read_image(case.labels)
    return np.count_nonzero(labels.array) * labels.geometry.voxel_ml


def _written_part(case: Case, label: int, folder: Path) -> Path:
    labels = read_image(case.labels)
    path = folder / f"{case.dataset}_{case.case}.nrrd"
    write_labels(path, (labels.array == label) * np.uint8(_STRUCTURE), labels.geometry)
    return path


def main(
    out: Annotated[Path, typer.Argument(help="Folder of the lists, and of the label maps that they need.")],
    data: Annotated[Path, typer.Argument(help="Folder of cases with their manifest.")],
    more_data: Annotated[Path, typer.Argument(help="The folder of further cases.")],
) -> None:
    """Write the lists of real cases, a CSV file each."""
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in lists(out, data, more_data):
        write_csv(out / f"{name}.csv", COLUMNS, rows)
        print(f"{out / name}.csv: {len(rows)} cases")


if __name__ == "__main__":
    typer.run(main)
