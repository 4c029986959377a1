"""The work of `medmetaseg export nnunet`: cases in, a folder that nnU-Net trains with out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..exports.apply_results import ResultsRequest, is_results_folder, result_cases
from ..exports.cases import ExportCase
from ..exports.listed_cases import Reading, listed_cases, paired_case
from ..exports.nnunet import DatasetRequest, WrittenDataset, check_out, write_dataset
from ..imageio.names import shown
from .learn import in_pairs
from .outputs import TASK_SUFFIX
from .terminal import progress_bar


@dataclass(frozen=True)
class ExportRequest:
    """The arguments of `medmetaseg export nnunet`, under the names of its options."""

    cases: tuple[Path, ...]
    out: Path
    images: tuple[Path, ...] = ()
    task: Path | None = None
    least: str = "review"
    structures: tuple[str, ...] = ()
    reading: Reading = field(default_factory=Reading)
    channel_name: str = ""
    overwrite: bool = False


def export_dataset(request: ExportRequest) -> None:
    """Write a training set and say what is in it. Raises InputError with nothing written."""
    check_out(request.out, request.overwrite)
    cases, notes = _cases(request)
    asked = DatasetRequest(cases, request.out, request.structures, request.channel_name, request.overwrite)
    with progress_bar() as progress:
        written = write_dataset(asked, progress)
    _show(written, notes)


def _cases(request: ExportRequest) -> tuple[tuple[ExportCase, ...], list[str]]:
    """All cases that were given, and sentences about what makes none. Raises InputError."""
    cases: list[ExportCase] = []
    notes: list[str] = []
    files: list[Path] = []
    for path in request.cases:
        if path.suffix.lower() == TASK_SUFFIX:
            raise _only_reduced(path)
        if path.suffix.lower() == ".csv":
            cases.extend(listed_cases(path, request.reading))
        elif is_results_folder(path):
            found = result_cases(_results(path, request))
            cases.extend(found.cases)
            notes.extend(found.notes)
        else:
            files.append(path)
    if not any(map(is_results_folder, request.cases)) and (request.images or request.task is not None):
        raise InputError("--images and --task go with a folder of results of `apply`; there is none.")
    pairs = in_pairs(files) if files else ()
    cases.extend(paired_case(image, support, request.reading) for image, support in pairs)
    return tuple(cases), notes


def _results(folder: Path, request: ExportRequest) -> ResultsRequest:
    reading = request.reading
    return ResultsRequest(
        folder, request.images, request.task, request.least, reading.allow_nonfinite, reading.resample_uneven
    )


def _only_reduced(path: Path) -> InputError:
    return InputError(
        f"{path} keeps its patients only as reduced images, too coarse to train with; give the images with "
        "what was painted on them, or a folder of the task's results with --images, and the task with --task."
    )


def _show(written: WrittenDataset, notes: list[str]) -> None:
    for one in written.cases:
        for note in one.notes:
            print(f"{one.name}: {note}")
    for note in (*notes, *written.notes):
        print(note)
    labels = ", ".join(f"{label} {name}" for name, label in written.labels.items())
    cases = "1 case" if len(written.cases) == 1 else f"{len(written.cases)} cases"
    print(shown(f"{cases}, {written.channel}; labels: {labels}"))
    print(shown(written.out))
