"""The benchmark: every case, K and method under protocol A, and how fast a first and a second run are.

main(data, out) writes benchmark.csv (a row per structure, case, K and method), benchmark_speed.csv,
benchmark.md and benchmark.png. Each method runs in a process of its own; rows are written case by case, so an
interrupted run goes on with resume=True.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..datasets.cases import Case, benchmark_cases, read_cases
from ..errors import InputError
from ..imageio.writing import write_csv
from .interaction import Row, interaction_rows, own_process
from .methods import OURS, Method, compared_methods
from .report import write_report
from .speed import SpeedRow, speed_rows

KS = (1, 3, 5, 9)
"""Numbers of annotated slices that are measured."""
ROWS_FILE = "benchmark.csv"
"""A row per structure, case, K and method."""
SPEED_FILE = "benchmark_speed.csv"
"""A row per volume and number of structures, of a first and a second run."""

_Record = TypeVar("_Record", Row, SpeedRow)


def main(
    data: Path,
    out: Path,
    ks: Sequence[int] | None = None,
    datasets: Collection[str] | None = None,
    methods: Collection[str] | None = None,
    resume: bool = False,
    device: str = "auto",
) -> None:
    """Run the benchmark and write its tables and picture. None or nothing given: all K, data sets, methods.

    Without resume a benchmark that is in out is replaced. Raises InputError for a folder without cases, a
    data set or method that does not exist, or K below 1.
    """
    rows, speed = run(data, out, tuple(ks or KS), datasets or None, methods or None, resume, device)
    written = write_report(rows, speed, out)
    Console().print(f"{len(rows)} rows; wrote {', '.join(str(path) for path in written)}")


def run(
    data: Path,
    out: Path,
    ks: Sequence[int] = KS,
    datasets: Collection[str] | None = None,
    methods: Collection[str] | None = None,
    resume: bool = False,
    device: str = "auto",
) -> tuple[list[Row], list[SpeedRow]]:
    """Measure, and write both CSV files as rows come; see `main`."""
    if min(ks) < 1:
        raise InputError(f"K is the number of annotated slices, at least 1, not {min(ks)}")
    cases = benchmark_cases(read_cases(data), datasets)
    if not cases:
        raise InputError(f"{data} has none of the benchmark's cases")
    chosen = compared_methods(methods, device)
    out.mkdir(parents=True, exist_ok=True)
    rows = read_rows(out / ROWS_FILE, Row) if resume else []
    rows = [row for row in rows if still_stands(row, chosen)]
    speed = read_rows(out / SPEED_FILE, SpeedRow) if resume else []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress, ExitStack() as stack:
        processes = {method.name: stack.enter_context(own_process()) for method in chosen}
        task = progress.add_task("", total=len(cases) * len(chosen))
        for case in cases:
            for method in chosen:
                progress.update(task, description=f"{case.dataset} {case.case}: {method.title}")
                missing = [k for k in sorted(set(ks)) if not is_there(rows, case, method, k)]
                if missing:
                    rows += processes[method.name](
                        interaction_rows, case, method.name, missing, method.device
                    )
                    write_rows(out / ROWS_FILE, rows, Row)
                progress.advance(task)
    ours = next((method for method in chosen if method.name == OURS), None)
    if ours is not None:
        if any(row.weights_id != ours.weights_id or row.device != ours.device for row in speed):
            speed = []
        speed = speed or speed_rows(cases, ours)
        write_rows(out / SPEED_FILE, speed, SpeedRow)
    return rows, speed


def still_stands(row: Row, chosen: Sequence[Method]) -> bool:
    """Whether an old row may stay: its method is not run now, or has the same version, weights and device."""
    for method in chosen:
        if row.method == method.name:
            now = (method.version, method.weights_id, method.device)
            return (row.version, row.weights_id, row.device) == now
    return True


def is_there(rows: Sequence[Row], case: Case, method: Method, k: int) -> bool:
    """Whether a case, K and method has its rows; a run's rows are written together, so any one tells."""
    key = (case.dataset, case.case, k, method.name)
    return any((row.dataset, row.case, row.k, row.method) == key for row in rows)


def write_rows(path: Path, rows: Sequence[_Record], kind: type[_Record]) -> None:
    """Write records as CSV with a header, whole or not at all; what was not measured (None) is left empty."""
    names = [field.name for field in dataclasses.fields(kind)]
    write_csv(path, names, map(dataclasses.asdict, rows))


def read_rows(path: Path, kind: type[_Record]) -> list[_Record]:
    """Records of a CSV file that `write_rows` wrote; none when there is no file.

    Raises InputError for a file with other columns or values.
    """
    if not path.is_file():
        return []
    convert: dict[str, Callable[[str], Any]] = {
        "int": int,
        "float": float,
        "float | None": lambda text: float(text) if text else None,
        "str": str,
    }
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                kind(
                    **{
                        field.name: convert[str(field.type)](line[field.name])
                        for field in dataclasses.fields(kind)
                    }
                )
                for line in csv.DictReader(file)
            ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is not from this version of the benchmark; move it away or do not resume"
        ) from error
