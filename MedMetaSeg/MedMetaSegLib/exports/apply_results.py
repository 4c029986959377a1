"""The results of a task applied to many images, as cases: which image each was made of is in the journal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..batch.inputs import BatchItem, images_of
from ..batch.item import item_volume
from ..batch.journal import JournalledResult, checksum, journalled_results
from ..batch.paths import WORKING_FOLDER
from ..batch.request import BatchRequest
from ..confidence.triage import WORST_FIRST, TriageBounds, triage
from ..errors import InputError
from ..imageio.files import stem, suffix
from ..imageio.names import shown
from ..task.task_file import Task
from .cases import ExportCase

_NAMED = (".seg.nrrd", ".dcm")
"""Suffixes of results that hold the names of their structures."""
_EDITED = "edited since"
"""Stands for the triage of a result that somebody changed."""


@dataclass(frozen=True)
class ResultsRequest:
    """A folder of results and what belongs to it.

    images: what the task was applied to, as `apply` takes it. task: the task file, which names the labels of
    label maps. least: the worst triage that is taken. allow_nonfinite, resample_uneven: see `read_volume`.
    """

    folder: Path
    images: tuple[Path, ...]
    task: Path | None = None
    least: str = "review"
    allow_nonfinite: bool = False
    resample_uneven: bool = False


@dataclass(frozen=True)
class ResultCases:
    """Cases made of results, and sentences about results and images that make none."""

    cases: tuple[ExportCase, ...]
    notes: tuple[str, ...]


def is_results_folder(path: Path) -> bool:
    """Whether a batch wrote results there."""
    return (path / WORKING_FOLDER).is_dir()


def result_cases(request: ResultsRequest) -> ResultCases:
    """The results of a folder that are good enough, each with its image, found by the image's checksum.

    A result that was edited since is taken whatever its triage was. Raises InputError for a result whose
    image was not given, for label maps without the task that made them, and where no result is left.
    """
    # The journal has them in the order in which they were finished, which chance has a say in.
    journalled = sorted(journalled_results(request.folder / WORKING_FOLDER), key=lambda one: one.output)
    made = [one for one in journalled if _is_there(request, one)]
    if not made:
        raise InputError(f"{request.folder} holds no result of `apply`; check the folder.")
    if not request.images:
        raise InputError(
            f"{request.folder} holds results without their images; name what the task was applied to with "
            "--images."
        )
    states = {one.output: _state(request, one) for one in made}
    taken = [one for one in made if _is_taken(states[one.output], request.least)]
    if not taken:
        raise InputError(f"No result in {request.folder} is good enough; see --least.")
    names = _names(request, taken)
    images = _Images.of(request)
    cases = tuple(_case(request, one, images.of_result(one), states[one.output], names) for one in taken)
    notes = (*_left_out(request, made, taken, states), *images.without_result(made))
    return ResultCases(cases, notes)


@dataclass(frozen=True)
class _Images:
    """The images that were given, by the checksum of their files; frames of one file have the same."""

    by_checksum: dict[str, list[BatchItem]]

    @classmethod
    def of(cls, request: ResultsRequest) -> _Images:
        """Raises InputError for images that are not there or cannot be read."""
        found: dict[str, list[BatchItem]] = {}
        for item in _items(request):
            try:
                found.setdefault(checksum(item.files), []).append(item)
            except OSError as error:
                raise InputError(f"{item.path} cannot be read ({error.strerror}).") from error
        return cls(found)

    def of_result(self, result: JournalledResult) -> BatchItem:
        """The image that a result was made of. Raises InputError where it was not given."""
        items = self.by_checksum.get(result.input_sha256)
        if items is None:
            raise InputError(
                f"The image that {shown(result.output)} was made of is not among --images, or has changed "
                "since, or it was made of more than an image; give the image, or list images with their "
                "segmentations in a CSV file."
            )
        name = _without_ending(result.output)
        return next(
            (one for one in items if one.frame is None or name.endswith(f"_frame{one.frame}")), items[0]
        )

    def without_result(self, made: Sequence[JournalledResult]) -> Iterator[str]:
        """A sentence about images without a result, if there are any."""
        known = {one.input_sha256 for one in made}
        missing = [item for key, items in self.by_checksum.items() if key not in known for item in items]
        if missing:
            yield f"Images without a result: {len(missing)}, {missing[0].image} first."


def _items(request: ResultsRequest) -> tuple[BatchItem, ...]:
    asked = BatchRequest(
        task=request.folder,
        inputs=request.images,
        out=request.folder,
        allow_nonfinite=request.allow_nonfinite,
        resample_uneven=request.resample_uneven,
        frames="all",
    )
    return images_of(asked, "")[0]


def _is_there(request: ResultsRequest, result: JournalledResult) -> bool:
    return (request.folder / result.output).is_file()


def _state(request: ResultsRequest, result: JournalledResult) -> str:
    """The triage of a result by the usual bounds, "" where none is known, or that it was edited."""
    path = request.folder / result.output
    try:
        if checksum([path]) != result.sha256:
            return _EDITED
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    return triage(result.row.structures, result.row.unlike, TriageBounds())


def _is_taken(state: str, least: str) -> bool:
    return state not in WORST_FIRST or WORST_FIRST.index(state) >= WORST_FIRST.index(least)


def _names(request: ResultsRequest, taken: Sequence[JournalledResult]) -> dict[int, str]:
    """Structure names by label value, of the task that made all results; none where files hold names.

    Raises InputError for label maps without their task, and for another task.
    """
    if request.task is None:
        unnamed = next((one for one in taken if suffix(Path(one.output)) not in _NAMED), None)
        if unnamed is not None:
            raise InputError(
                f"{shown(unnamed.output)} is a label map, whose labels have no names; give the task that "
                "made it with --task."
            )
        return {}
    task = Task.read(request.task)
    digest = hashlib.sha256(request.task.read_bytes()).hexdigest()
    other = next((one for one in taken if one.row.task != digest[:12]), None)
    if other is not None:
        raise InputError(
            f"{shown(other.output)} was made by another task than {request.task}; give that one."
        )
    return {one.label: one.name for one in task.structures}


def _case(
    request: ResultsRequest, result: JournalledResult, item: BatchItem, state: str, names: dict[int, str]
) -> ExportCase:
    missing = [one.name for one in result.row.structures if not one.found]
    notes = [f"Not found, so background everywhere: {', '.join(missing)}."] if missing else []
    return ExportCase(
        name=_without_ending(result.output),
        image=item.image,
        path=item.path,
        volume=partial(item_volume, item),
        segmentation=request.folder / result.output,
        annotation="complete",
        names=names or None,
        declared=tuple(one.name for one in result.row.structures),
        origin=f"result of apply, {state or 'triage not known'}",
        by_network=state != _EDITED,
        notes=() if state == _EDITED else tuple(notes),
    )


def _without_ending(output: str) -> str:
    """A result's place in the folder without its suffix."""
    path = Path(output)
    return (path.parent / stem(path)).as_posix()


def _left_out(
    request: ResultsRequest,
    made: Sequence[JournalledResult],
    taken: Sequence[JournalledResult],
    states: dict[str, str],
) -> Iterator[str]:
    kept = {one.output for one in taken}
    left = [f"{shown(one.output)} ({states[one.output]})" for one in made if one.output not in kept]
    if left:
        yield f"Left out, as worse than --least {request.least}: {', '.join(left)}."
    known = {request.folder / one.output for one in made}
    files = sorted(one for one in request.folder.rglob("*") if suffix(one) in (".nii.gz", *_NAMED))
    foreign = [shown(one.name) for one in files if one not in known and WORKING_FOLDER not in one.parts]
    if foreign:
        yield f"Left out, as no result of `apply`: {', '.join(foreign)}."
