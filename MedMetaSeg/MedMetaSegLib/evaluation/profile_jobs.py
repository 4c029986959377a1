"""What the profile runs: each job as files, made from the evaluation cases before anything is timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.cases import ACCEPTANCE_STRUCTURES, Case, read_case, read_cases
from ..errors import InputError
from ..imageio.itk import write_by_itk
from ..imageio.volume import Volume
from ..support.seg_nrrd import write_segmentation
from ..support.support import Support
from .speed import CORRECTED, LARGE_SHAPE, annotated_twice, resampled

TASK_SHAPE = (150, 257, 257)
"""Voxels (k, j, i) of the CT that the task of many structures is applied to."""
TASK_STRUCTURES = 13
"""Structures of that task: the first ones of `ACCEPTANCE_STRUCTURES`."""


@dataclass(frozen=True)
class Job:
    """One thing that users wait for.

    image: the volume. given: a support of whole axial slices, or a task. corrected: the support after one
    structure was annotated on one slice more; None where no second run follows.
    """

    name: str
    title: str
    image: Path
    given: Path
    corrected: Path | None = None


@dataclass(frozen=True)
class JobKind:
    """How a job is made: make(cases, folder, name, title) writes its files, from cases of the data set."""

    name: str
    title: str
    dataset: str
    make: Callable[[Sequence[Case], Path, str, str], Job]


def make_job(kind: str, data: Path, folder: Path) -> Job:
    """Write the files of a job into a folder, in a folder of their own.

    Raises InputError when its cases are not in the data folder.
    """
    chosen = next(one for one in JOB_KINDS if one.name == kind)
    cases = [case for case in read_cases(data) if case.dataset == chosen.dataset]
    own = folder / kind
    own.mkdir()
    return chosen.make(cases, own, chosen.name, chosen.title)


def available_kinds(data: Path, names: Sequence[str] | None) -> list[str]:
    """The kinds of jobs named whose data sets are in the data folder; all that are there when None.

    Raises InputError for a name that is none, for one whose data set is not there, and when none is left.
    """
    known = [one.name for one in JOB_KINDS]
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise InputError(f"no job {', '.join(unknown)}; there are {', '.join(known)}")
    there = {case.dataset for case in read_cases(data)}
    missing = [one for one in JOB_KINDS if one.dataset not in there and (not names or one.name in names)]
    chosen = [one.name for one in JOB_KINDS if one.dataset in there and (not names or one.name in names)]
    if not chosen or (names and missing):
        lacking = ", ".join(sorted({one.dataset for one in missing}))
        raise InputError(f"{data} has no cases of {lacking}, which the profile runs on")
    return chosen


def _same_volume(structures: Sequence[str], shape: tuple[int, int, int] | None) -> Callable[..., Job]:
    """Makes the job of segmenting these structures of the CT, resampled to `shape` first if given."""

    def make(cases: Sequence[Case], folder: Path, name: str, title: str) -> Job:
        volume, support, corrected = annotated_twice(_ct(cases), structures, shape)
        paths = [
            _written(one, folder / file)
            for one, file in ((support, "support.seg.nrrd"), (corrected, "more.seg.nrrd"))
        ]
        return Job(name, title, _image(volume, folder), *paths)

    return make


def _task_on_ct(cases: Sequence[Case], folder: Path, name: str, title: str) -> Job:
    """A task of many structures, learned from the CT, on a finer version of the same CT."""
    case = _ct(cases)
    volume, labels = read_case(case)
    chosen = ACCEPTANCE_STRUCTURES[:TASK_STRUCTURES]
    names = {label: one for label, one in case.names.items() if one in chosen}
    image = _image(resampled(volume, labels, TASK_SHAPE)[0], folder)
    return Job(name, title, image, _learned(volume, labels, names, folder))


def _task_on_next(cases: Sequence[Case], folder: Path, name: str, title: str) -> Job:
    """A task learned from the first case, on the second one."""
    support, query = cases[:2]
    volume, labels = read_case(support)
    return Job(name, title, query.image, _learned(volume, labels, support.names, folder))


def _ct(cases: Sequence[Case]) -> Case:
    found = next((case for case in cases if case.case == "ct"), None)
    if found is None:
        raise InputError("the data folder has no CT of totalseg, which the profile runs on")
    return found


def _learned(volume: Volume, labels: np.ndarray, names: dict[int, str], folder: Path) -> Path:
    """The file of a task learned from one complete patient."""
    from ..segmenter import Segmenter

    kept = np.where(np.isin(labels, list(names)), labels, 0).astype(np.uint8)
    support = Support.from_labels(kept, volume.geometry, names, "complete")
    path = folder / "task.medmetaseg"
    Segmenter.load(device="cpu").learn([(volume, support)]).write(path)
    return path


def _written(support: Support, path: Path) -> Path:
    write_segmentation(path, support.structures, support.geometry)
    return path


def _image(volume: Volume, folder: Path) -> Path:
    path = folder / "image.nrrd"
    write_by_itk(path, volume.array, volume.geometry)
    return path


JOB_KINDS = (
    JobKind(
        "structures", "18 structures, same volume", "totalseg", _same_volume(ACCEPTANCE_STRUCTURES, None)
    ),
    JobKind("large", "one organ, 512 x 512 x 300", "totalseg", _same_volume((CORRECTED,), LARGE_SHAPE)),
    JobKind("hippocampus", "task of the hippocampus", "hippocampus", _task_on_next),
    JobKind("organs", "task of 13 structures, 257 x 257 x 150", "totalseg", _task_on_ct),
)
"""Everything that is profiled, in the order of the tables."""
