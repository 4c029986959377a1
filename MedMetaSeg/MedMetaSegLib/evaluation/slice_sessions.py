"""Simulated painting, slice by slice: what it gains to be told which slice to paint next.

    python -m MedMetaSegLib.evaluation.slice_sessions OUT DATA [DATA ...]

writes OUT/slice_sessions.jsonl, structure by structure (what is there already is not done again), and from it
OUT/slice_sessions.md and OUT/slice_sessions.png. A session begins with the middle slice of a structure; then
a policy chooses a slice, it is painted as the truth has it, and the structure is segmented again, until nine
slices were looked at. One that turns out not to hold the structure counts as well, and the policy is told.
"Suggested, coronal second" has a coronal slice for the second, then what is suggested of the axial ones.
"Equal spacing" is no policy: for each number of slices it has protocol A's anew, which knows the true extent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..datasets.cases import Case, read_case
from ..imageio.volume import Volume
from ..progress import never
from ..results.merge import LabelMerger
from ..same_volume.structure_logits import StructureRun
from ..same_volume.volume_memory import StructureLogits, VolumeMemory
from ..segmenter import Segmenter
from ..support.structure import Structure, StructureMask, default_color, filled_slices
from ..support.support import Support
from ..working_grid.grid import positive_back
from ..working_grid.intensity import intensity_normalization
from ..working_grid.reduced_image import without_world_position
from .confidence_rows import Job, Row, gather, read_rows, unseen_cases
from .metrics import dice
from .protocols import annotated_slices, qualifies
from .slice_policies import EQUAL_SPACING, POLICIES, SUGGESTED, Policy, View
from .slice_summary import summary_table, write_curves, write_page

MOST_SLICES = 9
"""Slices that are looked at in a session."""
LEAST_SLICES = 14
"""Slices that hold a structure at least, for it to take part."""
LEAST_PAINTED = 10
"""Voxels on its middle slice at least: a support of fewer is refused."""
PATIENTS, STRUCTURES = 16, 3
"""Patients of a collection, and structures of a patient, at most."""
CORONAL_SECOND = "suggested, coronal second"
"""A policy whose second slice is a coronal one, and whose others are the suggested axial ones."""
CHOOSING, REPORTING = "choosing", "reporting"
"""Halves of the patients: on which variants are chosen, and on which figures are reported."""


@dataclass(frozen=True, eq=False)
class SessionAnswer:
    """What is answered to some painted slices.

    logits: on a working grid. where: the block of a volume of `shape` that holds the answer; part: bool
    (k, j, i) in it.
    """

    logits: StructureLogits
    where: tuple[slice, ...]
    part: np.ndarray
    shape: tuple[int, ...]

    @property
    def mask(self) -> np.ndarray:
        """Bool (k, j, i) on the volume."""
        whole = np.zeros(self.shape, bool)
        whole[self.where] = self.part
        return whole


class PaintedStructure:
    """One structure of a volume while it is painted; what was answered once is kept."""

    def __init__(
        self, segmenter: Segmenter, volume: Volume, truth: np.ndarray, structure: Structure, quality: str
    ) -> None:
        """volume: canonical. truth: bool (k, j, i) on it. quality: as for `Segmenter.segment`."""
        self.predictor, self.quality = segmenter.predictor, quality
        self.volume, self.truth, self.structure = without_world_position(volume), truth, structure
        self.filled = tuple(filled_slices(truth, 0).tolist())
        self._intensity = intensity_normalization(self.volume)
        self._memory = VolumeMemory()
        self._memory.recognise(self.volume)
        self._answers: dict[tuple[tuple[int, ...], int | None], SessionAnswer] = {}

    def answer(self, painted: Sequence[int], coronal: int | None = None) -> SessionAnswer:
        """The answer to these axial slices and a coronal one, the same that `Segmenter.segment` gives."""
        key = (tuple(sorted(painted)), coronal)
        if key not in self._answers:
            self._answers[key] = self._answer(self.looked_at(painted, coronal), coronal is None)
        return self._answers[key]

    def looked_at(self, painted: Sequence[int], coronal: int | None) -> np.ndarray:
        """Bool (k, j, i): the voxels of these slices."""
        seen = np.zeros_like(self.truth)
        seen[list(painted)] = True
        if coronal is not None:
            seen[:, coronal] = True
        return seen

    def _answer(self, seen: np.ndarray, axial: bool) -> SessionAnswer:
        """The answer where these voxels (k, j, i) are painted as the truth has them; axial: in that plane."""
        masks = [StructureMask(self.structure, (0, 0, 0), self.truth & seen)]
        support = Support.from_masks(masks, self.volume.geometry, "slices", "axial" if axial else None)
        run = StructureRun(
            self.predictor,
            self._memory,
            self.volume,
            support,
            self._intensity,
            self.quality,
            adapt=False,
            cancelled=never,
            confidence=False,
        )
        logits = run.logits_of(support.structures[0], lambda *_: None)
        found = positive_back(logits.logits, logits.grid, self.volume.geometry)
        merger = LabelMerger(support)
        merger.add(0, found.logits, found.where, found.seen)
        where, part = merger.finished(remove_islands=True)[0]
        return SessionAnswer(logits, where, part, self.truth.shape)


@dataclass(frozen=True)
class SessionCase:
    """A structure of a case, and the half of the patients to which it belongs."""

    case: Case
    label: int
    half: str

    @property
    def name(self) -> str:
        """Names it in a table."""
        return f"{self.case.dataset}/{self.case.case}/{self.case.names[self.label]}"


def session_steps(
    structure: PaintedStructure, policy: Policy, name: str, most: int, coronal_second: bool = False
) -> Iterator[Row]:
    """A session of so many slices at most: after each its number k, index, Dice, and how many were empty.

    coronal_second: the second slice is a coronal one through the middle of what was found.
    """
    painted, empty = list(annotated_slices(structure.filled, 1)), list[int]()
    latest: int | None = painted[0]
    coronal = None
    for k in range(1, most + 1):
        yield {"k": k, "slice": latest, "empty": len(empty), **_scores(structure, painted, coronal)}
        answer = structure.answer(painted, coronal)
        if coronal_second and k == 1:
            latest = coronal = int(np.median(np.nonzero(answer.mask)[1]))
            continue
        logits = answer.logits
        view = View(logits.grid, logits.logits, answer.mask, tuple(painted), tuple(empty), name)
        latest = policy(view)
        if latest is None:
            return
        (painted if latest in structure.filled else empty).append(latest)


def equal_steps(structure: PaintedStructure, most: int) -> Iterator[Row]:
    """Protocol A's slices anew for each number of slices."""
    for k in range(1, most + 1):
        painted = annotated_slices(structure.filled, k)
        yield {"k": k, "empty": 0, **_scores(structure, painted, None)}


def _scores(structure: PaintedStructure, painted: Sequence[int], coronal: int | None) -> Row:
    """Dice over the whole volume, and over what was not painted."""
    mask, truth = structure.answer(painted, coronal).mask, structure.truth
    others = ~structure.looked_at(painted, coronal)
    return {
        "dice": round(dice(mask, truth), 4),
        "dice_others": round(dice(mask[others], truth[others]), 4),
    }


def session_rows(
    segmenter: Segmenter, one: SessionCase, names: Sequence[str], quality: str, most: int = MOST_SLICES
) -> Iterator[Row]:
    """The sessions of some policies on one structure, a row for each step."""
    volume, labels = read_case(one.case)
    structure = Structure(one.case.names[one.label], one.label, default_color(one.label))
    painted = PaintedStructure(segmenter, volume, labels == one.label, structure, quality)
    about = {
        "dataset": one.case.dataset,
        "case": one.case.case,
        "patient": one.case.patient,
        "structure": structure.name,
        "half": one.half,
        "quality": quality,
    }
    for name in names:
        for step in _steps(painted, name, one.name, most):
            yield {**about, "policy": name, **step}


def _steps(structure: PaintedStructure, policy: str, session: str, most: int) -> Iterator[Row]:
    if policy == EQUAL_SPACING:
        return equal_steps(structure, most)
    if policy == CORONAL_SECOND:
        return session_steps(structure, POLICIES[SUGGESTED], session, most, coronal_second=True)
    return session_steps(structure, POLICIES[policy], session, most)


def session_cases(cases: Sequence[Case]) -> list[SessionCase]:
    """The structures that take part: of every collection a few patients, of each a few structures.

    Patients of a collection belong to one half and the other in turn, and one of two collections to the same
    half in both. Collections take turns.
    """
    halves: dict[str, str] = {}
    found = [
        _of_collection([case for case in cases if case.dataset == collection], number, halves)
        for number, collection in enumerate(dict.fromkeys(case.dataset for case in cases))
    ]
    longest = max(map(len, found), default=0)
    return [some[turn] for turn in range(longest) for some in found if turn < len(some)]


def _of_collection(cases: Sequence[Case], number: int, halves: dict[str, str]) -> list[SessionCase]:
    """One structure of each patient, then a second and a third.

    number: of the collection. halves: of patients so far; those of this collection are added.
    """
    by_patient: dict[str, list[Case]] = {}
    for case in cases:
        by_patient.setdefault(case.patient, []).append(case)
    found: list[list[SessionCase]] = []
    for patient, own in by_patient.items():
        if len(found) == PATIENTS:
            break
        turn = len(found)
        case = own[turn // 2 % len(own)]
        labels = _qualified(case)
        if labels:
            half = halves.setdefault(patient, (CHOOSING, REPORTING)[(turn + number) % 2])
            found.append([SessionCase(case, label, half) for label in _some(labels, turn)])
    return [some[n] for n in range(STRUCTURES) for some in found if n < len(some)]


def _some(labels: Sequence[int], turn: int) -> list[int]:
    """A few labels, others for the next turn."""
    step = max(1, len(labels) // STRUCTURES)
    return list(dict.fromkeys(labels[(turn + n * step) % len(labels)] for n in range(STRUCTURES)))


def _qualified(case: Case) -> list[int]:
    """Labels of a case that may take part.

    A structure that goes on, unlabelled, beyond its outlines does not: there no slice is known to be empty.
    """
    _, labels = read_case(case)
    found = []
    for label, name in case.names.items():
        if name in case.open_ended:
            continue
        mask = labels == label
        filled = filled_slices(mask, 0).tolist()
        if len(filled) < LEAST_SLICES or not qualifies(mask, MOST_SLICES):
            continue
        if np.count_nonzero(mask[annotated_slices(filled, 1)[0]]) >= LEAST_PAINTED:
            found.append(label)
    return found


def write_outcome(rows: Sequence[Row], out: Path) -> None:
    """Write the tables and, of the patients that nothing was chosen on, the picture."""
    halves = dict.fromkeys(row["half"] for row in rows)
    tables = {
        f"Patients for {half}": summary_table([row for row in rows if row["half"] == half], MOST_SLICES)
        for half in halves
    }
    write_page(tables, out / "slice_sessions.md")
    reported = [row for row in rows if row["half"] == REPORTING]
    if reported:
        write_curves(reported, MOST_SLICES, out / "slice_sessions.png")


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the rows, the table and the picture.")],
    data: Annotated[list[Path], typer.Argument(help="Folders of cases with their manifests.")],
    policies: Annotated[
        str, typer.Option(help="Names of policies, with semicolons between them.")
    ] = ";".join([*POLICIES, CORONAL_SECOND, EQUAL_SPACING]),
    half: Annotated[str, typer.Option(help=f"{CHOOSING} or {REPORTING}; both without.")] = "",
    leave_out: Annotated[str, typer.Option(help="Names of collections, with semicolons between them.")] = "",
    most: Annotated[int, typer.Option(help="Structures, at most.", min=1)] = 1000,
    quality: Annotated[str, typer.Option(help="As of segment: fast, balanced or best.")] = "fast",
) -> None:
    """Run the sessions that are missing, and write what came out: a minute per structure on one core."""
    out.mkdir(parents=True, exist_ok=True)
    names = policies.split(";")
    cases = session_cases(unseen_cases(data))
    left_out = leave_out.split(";")
    chosen = [one for one in cases if half in ("", one.half) and one.case.dataset not in left_out][:most]
    jobs: list[Job] = [
        (f"{one.name}: {policies}", partial(session_rows, one=one, names=names, quality=quality))
        for one in chosen
    ]
    rows = out / "slice_sessions.jsonl"
    gather(rows, jobs, workers=1)
    write_outcome(read_rows(rows), out)


if __name__ == "__main__":
    typer.run(main)
