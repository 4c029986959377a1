"""How many lesions are followed rightly between two made images of one patient.

    python -m MedMetaSegLib.evaluation.follow_up_accuracy DATA --seeds 5

Real images of DATA get lesions of which is known what became of them (`follow_up_cases`); they are followed
by the true transform and by registration.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy import ndimage

from ..datasets.cases import read_case, read_cases
from ..follow_up.alignment import Alignment, given_alignment, registered_alignment
from ..follow_up.follow import TimePoint, followed
from ..imageio.volume import Volume
from ..imageio.writing import write_text
from ..measurements.lesions import connected_parts
from ..measurements.measure import measure, upright_mask
from ..measurements.measurements import MeasureOptions
from ..working_grid.intensity import intensity_normalization
from .follow_up_cases import FollowUpCase, Time, make_follow_up

_TISSUE_HU = -150.0
_INSIDE_MM = 10.0
"""Millimetres from what is no tissue that centres of lesions keep."""
_PROBES = 2000
"""Places at which the error of a registration is measured."""


@dataclass(frozen=True)
class Score:
    """How many lesions, or groups of them, were followed rightly.

    wrong: what became of the others, and what was said. seconds: for alignment and matching. error_mm: the
    median and the 95th percentile distance of places from where they lie in truth; 0 for the true transform.
    """

    right: int
    all: int
    wrong: tuple[str, ...]
    seconds: float
    error_mm: tuple[float, float]
    correlation: float
    strain: float


def tissue(volume: Volume) -> np.ndarray:
    """Bool (k, j, i): where lesions may be put, well inside the patient."""
    array, spacing = volume.array, volume.geometry.spacing_mm
    if intensity_normalization(volume).modality == "CT":
        mask = array > _TISSUE_HU
    else:
        mask = array > np.mean(array)
    mask = ndimage.binary_closing(mask, iterations=2)
    return np.asarray(
        ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1, 1:-1] > _INSIDE_MM
    )


def score(case: FollowUpCase, true_transform: bool) -> Score:
    """Follow the lesions of a case and compare with what became of them."""
    started = time.perf_counter()
    alignment = _alignment(case, true_transform)
    options = MeasureOptions()
    points = [_time_point(one, options) for one in (case.now, case.before)]
    result = followed(points[0], points[1], alignment)
    seconds = time.perf_counter() - started
    ids = [_balls_of_lesions(one, options) for one in (case.before, case.now)]
    found = {
        (_union(ids[0], one.before), _union(ids[1], one.now)): one.status
        for one in result.structures[0].lesions
    }
    wrong = []
    expected = list(_expected(case))
    for status, before, now in expected:
        said = found.get((before, now))
        if said != status:
            others = [f"{s} {sorted(b)}>{sorted(n)}" for (b, n), s in found.items() if b & before or n & now]
            wrong.append(f"{status} {sorted(before)}>{sorted(now)}: {'; '.join(others)}")
    fit = alignment.fit
    return Score(
        len(expected) - len(wrong),
        len(expected),
        tuple(wrong),
        seconds,
        _error(case, alignment),
        fit.correlation,
        fit.strain,
    )


def _alignment(case: FollowUpCase, true_transform: bool) -> Alignment:
    volumes, masks = (case.now.volume, case.before.volume), ([case.now.mask], [case.before.mask])
    if true_transform:
        return given_alignment(*volumes, masks[0], case.transform)
    return registered_alignment(*volumes, masks)


def _time_point(one: Time, options: MeasureOptions) -> TimePoint:
    return TimePoint(one.volume, [one.mask], measure(one.volume, [one.mask], options))


def _balls_of_lesions(one: Time, options: MeasureOptions) -> list[frozenset[int]]:
    """The numbers of the ellipsoids that each lesion is made of, the largest lesion first."""
    grid, axis_map = one.volume.geometry.canonical()
    mask, owner = upright_mask(one.mask, axis_map), axis_map.apply(one.owner)
    parts = connected_parts(mask, grid, options.connectivity, options.smallest_mm3)
    return [frozenset(np.unique(owner[part.region][part.mask]).tolist()) for part in parts.counted]


def _union(ids: Sequence[frozenset[int]], numbers: Sequence[int]) -> frozenset[int]:
    return frozenset().union(*(ids[number - 1] for number in numbers))


def _expected(case: FollowUpCase) -> Iterator[tuple[str, frozenset[int], frozenset[int]]]:
    """What became of each lesion or group, with the numbers of its ellipsoids before and now."""
    numbers = [0, 0]
    for event in case.events:
        ids = []
        for side, balls in enumerate((event.before, event.now)):
            ids.append(frozenset(range(numbers[side] + 1, numbers[side] + 1 + len(balls))))
            numbers[side] += len(balls)
        yield event.status, ids[0], ids[1]


def _error(case: FollowUpCase, alignment: Alignment) -> tuple[float, float]:
    """Median and 95th percentile distance, mm, of voxels of lesions from where they lie in truth."""
    grid = case.now.volume.geometry
    index = np.argwhere(case.now.owner > 0)
    places = grid.index_to_world(index[:: max(1, len(index) // _PROBES)])
    truth = Alignment(case.transform, "given", alignment.fit, grid)
    distances = np.linalg.norm(alignment.to_before(places) - truth.to_before(places), axis=1)
    return float(np.median(distances)), float(np.percentile(distances, 95))


def main(
    data: Annotated[Path, typer.Argument(help="Folder of cases with their manifest.")],
    datasets: Annotated[list[str], typer.Argument(help="Data sets, the first case of each.")],
    out: Annotated[Path, typer.Option(help="Table in Markdown.")] = Path("follow_up_accuracy.md"),
    seeds: Annotated[int, typer.Option(help="Made cases of each image.", min=1)] = 3,
    first: Annotated[int, typer.Option(help="The first seed.", min=0)] = 1,
) -> None:
    """Follow made lesions by the true transform and by registration, and write how many came out right."""
    cases = read_cases(data)
    rows = []
    for dataset in datasets:
        volume, _ = read_case(next(case for case in cases if case.dataset == dataset))
        for seed in range(first, first + seeds):
            case = make_follow_up(volume, tissue(volume), seed)
            for true_transform in (True, False):
                rows.append(
                    (dataset, seed, "true" if true_transform else "registered", score(case, true_transform))
                )
                print(_row(*rows[-1]), *rows[-1][3].wrong, sep="\n    ", flush=True)
    write_text(out, table(rows))
    print(f"{out} is written.")


def table(rows: Sequence[tuple[str, int, str, Score]]) -> str:
    """Rows as Markdown, with the sum of each transform at the end.

    The millimetres are distances of places from where they lie in truth, see `Score`.
    """
    lines = [
        "| image | seed | transform | right | of | median, mm | 95 %, mm | correlation | strain | s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_row(*row) for row in rows),
    ]
    for transform in dict.fromkeys(row[2] for row in rows):
        some = [row[3] for row in rows if row[2] == transform]
        right, every = sum(one.right for one in some), sum(one.all for one in some)
        lines.append(f"| all | | {transform} | {right} | {every} | | | | | |")
    return "\n".join(lines) + "\n"


def _row(dataset: str, seed: int, transform: str, one: Score) -> str:
    figures = f"{one.error_mm[0]:.1f} | {one.error_mm[1]:.1f} | {one.correlation:.2f} | {one.strain:.2f}"
    return f"| {dataset} | {seed} | {transform} | {one.right} | {one.all} | {figures} | {one.seconds:.0f} |"


if __name__ == "__main__":
    typer.run(main)
