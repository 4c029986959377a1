"""Protocols B and C: learn on one patient or several, apply to others, score the whole volume.

A row per structure and query, with the score of the warped atlas labels alone beside it: the baseline that
the network has to beat. Structures go by their names; one that the query's list does not name was not
outlined there, and has no row. One that was outlined over part of its length is scored on those slices.

    python -m MedMetaSegLib.evaluation.next_patient DATA hippocampus --supports 5 --queries 20
    python -m MedMetaSegLib.evaluation.next_patient DATA prostate_mrus --modality US
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..datasets.cases import Case, is_for_development, is_held_out, read_case, read_cases
from ..errors import InputError
from ..imageio.geometry import Geometry, Index3
from ..imageio.writing import write_csv
from ..next_patient.apply import applied_task
from ..next_patient.atlas_placement import AtlasPlacement, register_atlases
from ..segmenter import Segmenter
from ..support.structure import region
from ..support.support import Support
from ..task.task_file import Task
from ..working_grid.reduced_image import sampled_at
from .metrics import score
from .protocols import known_slices, same_volume_support


@dataclass(frozen=True)
class NextPatientRow:
    """One structure of one query. slices: annotated per structure on the support, 0 for complete ones.

    dice, nsd: of the applied task; atlas_dice: of the warped labels alone. nan where the structure is in
    neither. found: 1 or 0, what the report says.
    """

    dataset: str
    supports: str
    query: str
    slices: int
    structure: str
    dice: float
    nsd: float
    atlas_dice: float
    found: int
    millilitres: float
    learn_s: float
    apply_s: float


def support_of(labels: np.ndarray, geometry: Geometry, names: Mapping[int, str], slices: int) -> Support:
    """A complete support, or, with slices, K of them per structure as in protocol A."""
    if slices:
        return same_volume_support(labels, geometry, names, slices)
    largest = int(labels.max())
    dtype = np.uint8 if largest <= 255 else np.uint16
    return Support.from_labels(labels.astype(dtype), geometry, names, "complete")


def next_patient_rows(
    segmenter: Segmenter, supports: Sequence[Case], queries: Sequence[Case], slices: int = 0
) -> Iterator[NextPatientRow]:
    """Rows of one task, learned from all `supports` together (protocol B: one), query by query."""
    pairs = []
    for case in supports:
        volume, labels = read_case(case)
        pairs.append((volume, support_of(labels, volume.geometry, case.names, slices)))
    begun = time.perf_counter()
    task = segmenter.learn(pairs)
    learn_s = time.perf_counter() - begun
    for case in queries:
        volume, labels = read_case(case)
        begun = time.perf_counter()
        placement = register_atlases(task, volume, _never, segmenter.predictor.device)
        result = applied_task(task, volume, segmenter.predictor, _silent, _never, placement)
        apply_s = time.perf_counter() - begun
        atlas = atlas_labels(task, placement, volume.geometry.shape)
        for number, one in enumerate(result.structures, start=1):
            truth = outlined(case, labels, one.structure.name)
            if truth is None:
                continue
            known = known_slices(case, truth, one.structure.name)
            truth, found = truth[known], result.mask(one.structure.label)[known]
            whole = score(found, truth, volume.geometry.spacing_mm)
            yield NextPatientRow(
                case.dataset,
                "+".join(support.case for support in supports),
                case.case,
                slices,
                one.structure.name,
                whole.dice,
                whole.nsd,
                score(atlas[known] == number, truth, volume.geometry.spacing_mm).dice,
                int(one.voxels > 0),
                one.millilitres,
                round(learn_s, 2),
                round(apply_s, 2),
            )


def outlined(case: Case, labels: np.ndarray, name: str) -> np.ndarray | None:
    """Where a structure is, bool (k, j, i); None where the case does not name it: nobody looked for it."""
    values = [value for value, one in case.names.items() if one == name]
    return np.isin(labels, values) if values else None


def atlas_labels(task: Task, placement: AtlasPlacement, shape: Index3) -> np.ndarray:
    """What the warped atlases alone say, uint8 (k, j, i) on the query: a structure's number + 1."""
    whole = np.zeros(shape, np.uint8)
    inner = placement.axis_map.undo(_inner_atlas_labels(task, placement))
    whole[region(placement.offset, inner.shape)] = inner
    return whole


def _inner_atlas_labels(task: Task, placement: AtlasPlacement) -> np.ndarray:
    """As `atlas_labels`, on the canonical query without its margins."""
    grid = placement.volume.geometry
    labels = np.zeros(grid.shape, np.uint8)
    if placement.close is None or placement.fused is None:
        return labels
    axes = [np.arange(n) * step for n, step in zip(grid.shape, grid.spacing_mm, strict=True)]
    index = placement.close.index(np.stack(np.meshgrid(*axes, indexing="ij")))
    best = np.full(grid.shape, 0.5, np.float32)
    occupancies = placement.fused.by_all.cpu().numpy()
    for number in range(len(task.structures)):
        occupancy = sampled_at(occupancies[number], index, 0.0)
        taken = occupancy > best
        labels[taken], best[taken] = number + 1, occupancy[taken]
    return labels


def _never() -> bool:
    return False


def _silent(share: float, what: str) -> None:
    """Progress that nobody watches."""


def held_out_split(cases: Sequence[Case], supports: int, queries: int) -> tuple[list[Case], list[Case]]:
    """The first `supports` cases, and `queries` of other patients after them.

    Raises InputError when there are too few.
    """
    first = list(cases[:supports])
    seen = {case.patient for case in first}
    rest = [case for case in cases[supports:] if case.patient not in seen]
    if len(first) < supports or not rest:
        patients = len({case.patient for case in cases})
        raise InputError(
            f"{len(cases)} cases of {patients} patients are too few for {supports} supports and a query"
        )
    return first, rest[:queries]


def of_modality(cases: Sequence[Case], modality: str | None) -> list[Case]:
    """The cases of a modality, all where there is but one. Raises InputError where it has to be said."""
    there = sorted({case.modality for case in cases})
    if modality is None and len(there) > 1:
        raise InputError(f"the cases are {' and '.join(there)}: say which by --modality")
    return [case for case in cases if modality in (None, case.modality)]


def main(
    data: Annotated[Path, typer.Argument(help="Folder of cases with their manifest.")],
    dataset: Annotated[str, typer.Argument(help="Which data set.")],
    supports: Annotated[int, typer.Option(help="Support patients.", min=1)] = 3,
    queries: Annotated[int, typer.Option(help="Query patients.", min=1)] = 7,
    shots: Annotated[int, typer.Option(help="Supports per task: 1 is protocol B, more is C.", min=1)] = 1,
    slices: Annotated[int, typer.Option(help="Annotated slices per structure; 0: complete.", min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="CSV of all rows.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights other than the shipped ones.")] = None,
    development: Annotated[
        bool, typer.Option("--development", help="Patients to choose settings on.")
    ] = False,
    modality: Annotated[str | None, typer.Option(help="CT, MR or US, of a set that has several.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Measure protocol B or C on held-out patients and print the means."""
    chosen = is_for_development if development else is_held_out
    cases = [case for case in read_cases(data) if case.dataset == dataset and chosen(case)]
    first, rest = held_out_split(of_modality(cases, modality), supports, queries)
    segmenter = Segmenter.load(device=device, weights=weights)
    rows: list[NextPatientRow] = []
    for start in range(0, supports - shots + 1, shots):
        for row in next_patient_rows(segmenter, first[start : start + shots], rest, slices):
            rows.append(row)
            print(
                f"{row.supports} -> {row.query} {row.structure}: {row.dice:.3f} (atlas {row.atlas_dice:.3f})"
            )
            if out is not None:
                write_rows(out, rows)
    print(summary(rows))


def write_rows(path: Path, rows: Sequence[NextPatientRow]) -> None:
    """Write rows as CSV with a header."""
    names = [one.name for one in dataclasses.fields(NextPatientRow)]
    write_csv(path, names, map(dataclasses.asdict, rows))


def summary(rows: Sequence[NextPatientRow]) -> str:
    """Means over structures and queries, in a few lines; rows with nothing to score are left out."""
    scored = [row for row in rows if not math.isnan(row.dice)]
    lines = [
        f"{len(scored)} rows, mean Dice {_mean(scored, 'dice'):.3f}, NSD at 2 mm {_mean(scored, 'nsd'):.3f}, "
        f"atlas alone {_mean(scored, 'atlas_dice'):.3f}; learn {_mean(scored, 'learn_s'):.1f} s, "
        f"apply {_mean(scored, 'apply_s'):.1f} s"
    ]
    for name in dict.fromkeys(row.structure for row in scored):
        some = [row for row in scored if row.structure == name]
        lines.append(
            f"{name}: Dice {_mean(some, 'dice'):.3f}, atlas alone {_mean(some, 'atlas_dice'):.3f}, "
            f"n = {len(some)}, not found {sum(not row.found for row in some)}"
        )
    return "\n".join(lines)


def _mean(rows: Sequence[NextPatientRow], name: str) -> float:
    values = [float(getattr(row, name)) for row in rows]
    return float(np.mean(values)) if values else math.nan


if __name__ == "__main__":
    typer.run(main)
