"""The history of the shipped weights: what each reached on the phantom patient and in the benchmark.

    python -m MedMetaSegLib.demo.history docs

segments the phantom with the weights at hand and writes their row into docs/benchmark_history.csv; run the
benchmark before, whose figure comes from docs/benchmark.csv. The phantom's Dice are no measure of quality:
they tell at once, on any machine, when weights or code answer otherwise than they did.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from ..errors import InputError
from ..evaluation.benchmark import ROWS_FILE, read_rows
from ..evaluation.interaction import Row
from ..evaluation.methods import OURS
from ..evaluation.metrics import score_other_slices
from ..imageio.writing import write_text
from ..network.shipped import shipped_sha256
from ..segmenter import Segmenter
from .run import PAINTED, SLICES, phantom_case

FILE = "benchmark_history.csv"
"""A row per weights, oldest first."""
PHANTOM_SHAPE = (24, 70, 90)
"""Voxels (k, j, i) of the phantom: small, so that it is segmented in seconds."""
PHANTOM_SPACING_MM = (8.0, 4.0, 4.0)
"""Spacing (k, j, i) of the phantom in mm."""
BENCHMARK_COLUMN = "totalseg_ct_k3_dice"
"""Column of the benchmark's figure."""
_COLUMNS = ("date", "version", "weights", *(f"phantom_{name.replace(' ', '_')}" for name in PAINTED))


@dataclass(frozen=True)
class HistoryRow:
    """What one file of weights reached.

    date: when that was measured (ISO); weights: the first 12 digits of their checksum; phantom: Dice off the
    annotated slices of each structure in PAINTED, in its order, empty where not measured; totalseg_ct: mean
    Dice of protocol A, K = 3, over the structures of the TotalSegmentator CT, None where not measured.
    """

    date: str
    version: str
    weights: str
    phantom: tuple[float, ...] = ()
    totalseg_ct: float | None = None


def weights_id() -> str:
    """The first 12 digits of the shipped weights' checksum. Raises WeightsError when they cannot be read."""
    return shipped_sha256()[:12]


def phantom_dice() -> tuple[float, ...]:
    """Dice off the annotated slices of the structures in PAINTED, by the shipped weights on the CPU."""
    case = phantom_case(0, shape=PHANTOM_SHAPE, spacing_mm=PHANTOM_SPACING_MM)
    result = Segmenter.load(device="cpu").segment(case.volume, case.support)
    scores = {}
    for one in case.support.structures:
        name, truth = one.structure.name, case.truth[one.structure.name]
        mask = result.mask(one.structure.label)
        score = score_other_slices(mask, truth, case.volume.geometry.spacing_mm, one.slices, one.axis or 0)
        scores[name] = round(score.dice, 4)
    return tuple(scores[name] for name in PAINTED)


def benchmark_dice(rows: Iterable[Row], weights: str) -> float | None:
    """Mean Dice of these weights, protocol A, K = 3, on the TotalSegmentator CT; None when not measured."""
    wanted = ("totalseg", "ct", SLICES, "A", OURS, weights)
    scores = [
        row.dice
        for row in rows
        if (row.dataset, row.case, row.k, row.protocol, row.method, row.weights_id) == wanted
        and not math.isnan(row.dice)
    ]
    return round(sum(scores) / len(scores), 4) if scores else None


def read_history(path: Path) -> list[HistoryRow]:
    """The rows of a history, none when there is no file. Raises InputError for a file that is not one."""
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_row(line) for line in csv.DictReader(file)]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a history of weights ({error!r}); move it away.") from error


def write_history(path: Path, rows: Sequence[HistoryRow]) -> None:
    """Write a history as CSV with a header, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, BENCHMARK_COLUMN])
    for row in rows:
        phantom = row.phantom or ("",) * len(PAINTED)
        writer.writerow([row.date, row.version, row.weights, *phantom, row.totalseg_ct])
    write_text(path, text.getvalue())


def row_of(rows: Iterable[HistoryRow], weights: str) -> HistoryRow:
    """The row of these weights. Raises InputError, with what to do, where the phantom was not measured."""
    for row in rows:
        if row.weights == weights and row.phantom:
            return row
    raise InputError(
        f"{FILE} has no phantom's Dice of the weights {weights}: run `make history` and commit it."
    )


def with_row(rows: Sequence[HistoryRow], new: HistoryRow) -> list[HistoryRow]:
    """The rows with the new one in the place of the same weights' old one, or at the end.

    A benchmark's figure that the old row has is kept where the new one has none.
    """
    old = next((row for row in rows if row.weights == new.weights), None)
    if old is None:
        return [*rows, new]
    figure = old.totalseg_ct if new.totalseg_ct is None else new.totalseg_ct
    merged = HistoryRow(new.date, new.version, new.weights, new.phantom, figure)
    return [merged if row is old else row for row in rows]


def main(
    folder: Annotated[Path, typer.Argument(help=f"Folder of {FILE} and, if there is one, {ROWS_FILE}.")],
) -> None:
    """Measure the shipped weights on the phantom and write their row."""
    path, weights = folder / FILE, weights_id()
    figure = benchmark_dice(read_rows(folder / ROWS_FILE, Row), weights)
    rows = read_history(path)
    row = HistoryRow(date.today().isoformat(), __version__, weights, phantom_dice(), figure)
    write_history(path, with_row(rows, row))
    reached = ", ".join(f"{name} {dice:.3f}" for name, dice in zip(PAINTED, row.phantom, strict=True))
    benchmark = "not measured" if figure is None else f"{figure:.3f}"
    print(f"{weights}: phantom {reached}; TotalSegmentator CT {benchmark}. Wrote {path}.")


def _row(line: dict[str, str]) -> HistoryRow:
    cells = [line[name] for name in _COLUMNS]
    phantom = tuple(float(cell) for cell in cells[3:]) if any(cells[3:]) else ()
    figure = line[BENCHMARK_COLUMN]
    return HistoryRow(cells[0], cells[1], cells[2], phantom, float(figure) if figure else None)


if __name__ == "__main__":
    typer.run(main)
