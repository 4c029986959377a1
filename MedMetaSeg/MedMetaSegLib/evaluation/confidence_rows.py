"""Rows from which confidence is fitted and checked: what answers show of themselves, beside their true Dice.

    python -m MedMetaSegLib.evaluation.confidence_rows ROWS DATA [DATA ...]

writes ROWS/same_volume.csv (protocol A) and ROWS/next_patient.csv (protocol B, and structures that are not
there), case by case; what is there already is not done again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ..datasets.cases import SPLIT_DATASETS, Case, is_for_development, is_held_out, read_case, read_cases
from ..errors import InputError
from ..imageio.geometry import index3
from ..imageio.volume import Volume
from ..next_patient.apply import ApplyOptions, applied_task
from ..progress import never, silent
from ..segmenter import Segmenter
from .confidence_pairs import UNLIKE_NAMESAKES, Pair, half, is_elsewhere, pairs, plain_name
from .interaction import support_or_none
from .metrics import score
from .next_patient import support_of
from .protocols import known_slices, score_unannotated

KS = (1, 3, 5, 9)
"""Annotated slices per structure in the rows of the same volume."""
_PER_COLLECTION = 10
"""Cases of a collection in the rows of the same volume, at most."""
_LEAST_VOXELS = 50
"""Voxels of a structure that is said to be there."""

Row = dict[str, Any]


def unseen_cases(data: Sequence[Path]) -> list[Case]:
    """The cases of data folders on whose patients no shipped weights were trained."""
    cases = [case for folder in data for case in read_cases(folder)]
    return [
        case
        for case in cases
        if case.dataset not in SPLIT_DATASETS or is_held_out(case) or is_for_development(case)
    ]


def same_volume_rows(segmenter: Segmenter, case: Case) -> Iterator[Row]:
    """Protocol A on one case: a row per structure and K."""
    volume, labels = read_case(case)
    for count in KS:
        support = support_or_none(labels, volume, case, count)
        if support is None:
            continue
        result = segmenter.segment(volume, support)
        for annotated, entry in zip(support.structures, _entries(result.report), strict=True):
            structure = annotated.structure
            truth = labels == structure.label
            mask = result.mask(structure.label)
            spacing = volume.geometry.spacing_mm
            scores = score_unannotated(case, structure.name, mask, truth, spacing, annotated.slices)
            yield {
                **_of_case(case),
                "structure": structure.name,
                "k": count,
                "dice": round(scores.dice, 4),
                **entry["features"],
            }


def next_patient_rows(segmenter: Segmenter, support: Case, some: Sequence[Pair]) -> Iterator[Row]:
    """A task learned from a complete support, applied to the queries of some pairs."""
    volume, labels = read_case(support)
    task = segmenter.learn([(volume, support_of(labels, volume.geometry, support.names, 0))])
    force = tuple(one.name for one in task.structures)
    for pair in some:
        query, truth, shares = _query(pair)
        result = applied_task(
            task, query, segmenter.predictor, silent, never, options=ApplyOptions(force=force)
        )
        there = {plain_name(name): label for label, name in pair.query.names.items()}
        for one, entry in zip(result.structures, _entries(result.report), strict=True):
            name = plain_name(one.structure.name)
            present = _is_present(name, pair, there.get(name), truth, shares)
            if present is None:
                continue
            dice = 0.0
            if present:
                where = truth == there[name]
                known = known_slices(pair.query, where, pair.query.names[there[name]])
                mask = result.mask(one.structure.label)[known]
                dice = score(mask, where[known], query.geometry.spacing_mm).dice
            yield {
                "support": f"{support.dataset}/{support.case}",
                "support_modality": support.modality,
                "cut": pair.cut,
                **_of_case(pair.query),
                "structure": name,
                "structures": len(task.structures),
                "present": int(present),
                "dice": round(dice, 4),
                "in_view": entry["evidence"].get("local_ncc") is not None,
                **entry["features"],
                "found_ml": entry["millilitres"],
            }


def _query(pair: Pair) -> tuple[Volume, np.ndarray, dict[int, float]]:
    """The query and its labels, and of each label in a cut query the share that is left."""
    query, truth = read_case(pair.query)
    if not pair.cut:
        return query, truth, {}
    box = half(truth, pair.cut)
    left = truth[box]
    shares = {
        label: int((left == label).sum()) / max(1, int((truth == label).sum())) for label in pair.query.names
    }
    start = index3([one.start for one in box])
    geometry = query.geometry.cropped(start, index3(left.shape))
    array = np.ascontiguousarray(query.array[box])
    return Volume(array, geometry, modality=query.modality), left, shares


def _is_present(
    name: str, pair: Pair, label: int | None, truth: np.ndarray, shares: dict[int, float]
) -> bool | None:
    """Whether a structure is in a query, None where nobody knows or it is cut through."""
    collections = {pair.support.dataset, pair.query.dataset}
    if len(collections) == 2 and collections & UNLIKE_NAMESAKES:
        label = None
    if label is not None:
        voxels = int(np.count_nonzero(truth == label))
        if not voxels and (pair.cut or pair.support.dataset == "totalseg"):
            return False
        share = shares.get(label, 1.0)
        if 0 < share < 0.5:
            return None
        return True if voxels >= _LEAST_VOXELS else None
    return False if is_elsewhere(name, pair.support.dataset, pair.query.dataset) else None


def _of_case(case: Case) -> Row:
    return {"dataset": case.dataset, "case": case.case, "patient": case.patient, "modality": case.modality}


def _entries(report: dict[str, object]) -> Sequence[Any]:
    entries: Any = report["structures"]
    return entries


Job = tuple[str, Callable[[Segmenter], Iterator[Row]]]
"""A name, and what makes its rows."""
_SEGMENTERS: list[Segmenter] = []


def _work(name: str, rows: Callable[[Segmenter], Iterator[Row]]) -> tuple[str, list[Row]]:
    if not _SEGMENTERS:
        _SEGMENTERS.append(Segmenter.load(device="cpu"))
    return name, list(rows(_SEGMENTERS[0]))


def gather(path: Path, jobs: Sequence[Job], workers: int) -> None:
    """Add the rows of each job to a JSON-lines file, one line per job; those it names are not done again."""
    done = set()
    if path.exists():
        done = {json.loads(line)["job"] for line in path.read_text(encoding="utf-8").splitlines()}
    waiting = [job for job in jobs if job[0] not in done]
    # Torch reads this when it is imported, in each process: one thread for each.
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool, path.open("a", encoding="utf-8") as file:
        for number, future in enumerate([pool.submit(_work, *job) for job in waiting], start=1):
            name, rows = future.result()
            file.write(json.dumps({"job": name, "rows": rows}) + "\n")
            file.flush()
            print(f"{number} of {len(waiting)}: {name}, {len(rows)} rows", flush=True)


def read_rows(path: Path) -> list[Row]:
    """The rows that `gather` wrote. Raises InputError when they cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [row for line in lines for row in json.loads(line)["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read as rows ({error!r}).") from error


def same_volume_jobs(cases: Sequence[Case]) -> list[Job]:
    """One job for each case, of every collection a few."""
    found: list[Job] = []
    for collection in dict.fromkeys(case.dataset for case in cases):
        some = [case for case in cases if case.dataset == collection]
        step = max(1, len(some) // _PER_COLLECTION)
        for case in some[::step][:_PER_COLLECTION]:
            found.append((f"{case.dataset}/{case.case}", partial(same_volume_rows, case=case)))
    return found


def next_patient_jobs(cases: Sequence[Case]) -> list[Job]:
    """One job for each support."""
    by_support: dict[str, list[Pair]] = {}
    for pair in pairs(cases):
        by_support.setdefault(f"{pair.support.dataset}/{pair.support.case}", []).append(pair)
    return [
        (name, partial(next_patient_rows, support=some[0].support, some=some))
        for name, some in by_support.items()
    ]


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the rows.")],
    data: Annotated[list[Path], typer.Argument(help="Folders of cases with their manifests.")],
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 2,
    which: Annotated[str, typer.Option(help="same_volume or next_patient; both without.")] = "",
) -> None:
    """Gather rows: an hour or two on two cores."""
    out.mkdir(parents=True, exist_ok=True)
    cases = unseen_cases(data)
    for name, jobs in (("same_volume", same_volume_jobs), ("next_patient", next_patient_jobs)):
        if which in ("", name):
            gather(out / f"{name}.jsonl", jobs(cases), workers)


if __name__ == "__main__":
    typer.run(main)
