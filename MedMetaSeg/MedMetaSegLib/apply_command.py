"""`medmetaseg apply`: a task and many images in, a result for each out; what fails is told, the rest done."""

from __future__ import annotations

import csv
import hashlib
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CancelledPartway, InputError
from .image_file import stem
from .segment_command import check_output, progress_bar, publish, same_file

if TYPE_CHECKING:
    from .segmentation import Segmentation
    from .segmenter import Segmenter
    from .task import Task

DONE, KEPT, FAILED = "done", "there already", "failed"


@dataclass(frozen=True)
class ApplyRequest:
    """The arguments of `medmetaseg apply`."""

    task: Path
    images: tuple[Path, ...]
    out: Path
    report: Path | None = None
    resume: bool = False
    device: str = "auto"
    allow_nonfinite: bool = False


def apply_files(request: ApplyRequest) -> int:
    """Apply a task to every image; returns how many failed, their reasons shown and in the report.

    Raises InputError with nothing written for arguments that cannot be right, and where the only image
    fails; CancelledPartway, with what is done in place, when interrupted.
    """
    _check_paths(request)
    from .task import Task

    task = Task.read(request.task)
    outputs = output_paths(request.images, request.out, ".seg.nrrd" if task.overlapping else ".nii.gz")
    for image, output in outputs.items():
        for taken in (*request.images, request.task):
            if same_file(output, taken):
                raise InputError(f"The result for {image} would overwrite {taken}; choose another folder.")
    digest = hashlib.sha256(request.task.read_bytes()).hexdigest()[:12]
    rows = _former_rows(request, digest)
    with progress_bar() as progress:
        progress(0.0, "Loading the network")
        from .segmenter import Segmenter

        segmenter = Segmenter.load(device=request.device)
        task.check_weights(str(segmenter.provenance["sha256"]))
        finished: list[dict[str, Any]] = []
        try:
            for number, (image, output) in enumerate(outputs.items()):
                progress(number / len(outputs), image.name)
                row = _kept(request, image, output, rows)
                if row is None:
                    row = {"image": str(image), "output": output.name, "task": digest}
                    row |= _applied(segmenter, task, image, output, request)
                if row["status"] == FAILED and len(outputs) == 1:
                    raise InputError(row["reason"])
                finished.append(row)
                if request.report is not None:
                    _write_report(request.report, finished, task)
        except KeyboardInterrupt as error:
            raise CancelledPartway(
                f"cancelled; {len(finished)} of {len(outputs)} images are done, go on with --resume."
            ) from error
    _summarise(finished, request.out)
    return sum(row["status"] == FAILED for row in finished)


def output_paths(images: Sequence[Path], folder: Path, ending: str) -> dict[Path, Path]:
    """Where each image's result goes: its own name, with its folder's or a number before two are the same.

    Names that differ in upper and lower case only are the same, as some file systems have it.
    """
    names: dict[Path, str] = {image: stem(image.resolve()) for image in images}
    for doubled in _doubled(names):
        names[doubled] = f"{doubled.resolve().parent.name}_{names[doubled]}"
    taken: set[str] = set()
    for image, name in names.items():
        free, number = name, 2
        while free.casefold() in taken:
            free, number = f"{name}_{number}", number + 1
        taken.add(free.casefold())
        names[image] = free
    return {image: folder / (name + ending) for image, name in names.items()}


def _doubled(names: Mapping[Path, str]) -> list[Path]:
    folded = [name.casefold() for name in names.values()]
    return [image for image, name in names.items() if folded.count(name.casefold()) > 1]


def _check_paths(request: ApplyRequest) -> None:
    if not request.task.is_file():
        raise InputError(f"There is no task file {request.task}; check the path.")
    for image in request.images:
        if not image.exists():
            raise InputError(f"There is no image {image}; check the path.")
    if request.out.exists() and not request.out.is_dir():
        raise InputError(f"{request.out} is a file; give a folder for the results.")
    check_output(request.out / "result" if request.out.is_dir() else request.out)
    if request.report is not None:
        if request.report.suffix.lower() != ".csv":
            raise InputError(f"{request.report} is no name for a report; let it end in .csv.")
        if request.report.parent.resolve() != request.out.resolve():
            check_output(request.report)
        for taken in (*request.images, request.task):
            if same_file(request.report, taken):
                raise InputError(f"{request.report} is an input, which is never overwritten.")


def _kept(
    request: ApplyRequest, image: Path, output: Path, rows: Mapping[str, dict[str, Any]]
) -> dict[str, Any] | None:
    """The row of an image whose result is there from an earlier run of the same task; None to make it."""
    if not request.resume or not output.is_file():
        return None
    if request.report is not None and request.report.is_file():
        row = rows.get(str(image))
        return None if row is None else {**row, "status": KEPT}
    return {"image": str(image), "output": output.name, "status": KEPT}


def _former_rows(request: ApplyRequest, digest: str) -> dict[str, dict[str, Any]]:
    """Rows of an earlier report of this very task, by image."""
    if not request.resume or request.report is None or not request.report.is_file():
        return {}
    try:
        with request.report.open(newline="", encoding="utf-8") as file:
            found = [dict(row) for row in csv.DictReader(file)]
        return {row["image"]: row for row in found if row["task"] == digest and row["status"] in (DONE, KEPT)}
    except (KeyError, ValueError, csv.Error) as error:
        raise InputError(f"{request.report} is no report of this command; give another name.") from error


def _applied(
    segmenter: Segmenter, task: Task, image: Path, output: Path, request: ApplyRequest
) -> dict[str, Any]:
    """One image: the rest of its row."""
    from .volume import read_volume

    begun = time.perf_counter()
    try:
        volume = read_volume(image, allow_nonfinite=request.allow_nonfinite)
        if volume.geometry.is_sheared and not task.overlapping:
            raise InputError(f"{image} has axes that are not perpendicular, which NIfTI loses.")
        result = segmenter.apply(task, volume)
        _write(output, result)
    except InputError as error:
        reason = " ".join(str(error).split())
        return {"status": FAILED, "reason": reason, "seconds": round(time.perf_counter() - begun, 1)}
    row: dict[str, Any] = {"status": DONE, "reason": "", "seconds": round(time.perf_counter() - begun, 1)}
    entries: Any = result.report["structures"]
    for one in entries:
        row[f"{one['name']} ml"] = one["millilitres"]
        row[f"{one['name']} found"] = "yes" if one["found"] else f"no: {one['reason']}"
    return row


def _write(output: Path, result: Segmentation) -> None:
    from .support import write_segmentation
    from .volume import write_labels

    try:
        output.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{output.parent} cannot be made ({error.strerror}).") from error

    def write(path: Path) -> None:
        if output.name.endswith(".seg.nrrd"):
            masks = [(one.mask, one.offset) for one in result.structures]
            write_segmentation(path, masks, [one.structure for one in result.structures], result.geometry)
        else:
            write_labels(path, result.labels, result.geometry)

    publish({output: write})


def _write_report(path: Path, rows: Sequence[Mapping[str, Any]], task: Task) -> None:
    """A row per image, and two columns per structure: millilitres, and whether it was found."""
    columns = ["image", "output", "status", "reason", "seconds", "task"]
    for one in task.structures:
        columns += [f"{one.name} ml", f"{one.name} found"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(exist_ok=True)
    publish({path: lambda temporary: _put(temporary, text.getvalue())})


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _summarise(rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("image", "status", "found", "seconds")
    for row in rows:
        told = [str(row[name]) for name in row if name.endswith(" found")]
        found = f"{sum(one == 'yes' for one in told)} of {len(told)}" if told else ""
        shown = row.get("reason") or found
        table.add_row(Text(str(row["image"])), row["status"], Text(str(shown)), str(row.get("seconds", "")))
    console = Console()
    console.print(table)
    console.print(f"{out}", markup=False, highlight=False, soft_wrap=True)
