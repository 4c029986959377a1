"""`medmetaseg segment`: check, read, segment, write; cheap checks first, files whole and all together."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import InputError
from ..imageio.files import suffix
from .outputs import check_outputs, check_task_output, publish
from .terminal import progress_bar

if TYPE_CHECKING:
    from ..imageio.volume import Volume
    from ..results.segmentation import Segmentation
    from ..support.support import Annotation, Support
    from ..task.task_file import Task

LABEL_MAPS = (".nii.gz", ".nii", ".nrrd", ".mha")
SEGMENTATION = ".seg.nrrd"


@dataclass(frozen=True)
class SegmentRequest:
    """The arguments of `medmetaseg segment`, under the names of its options."""

    image: Path
    support: Path
    out: Path
    annotation: Annotation = "slices"
    plane: str | None = None
    structures: tuple[str, ...] = ()
    report: Path | None = None
    device: str = "auto"
    allow_nonfinite: bool = False
    resample_uneven: bool = False
    keep_islands: bool = False
    save_task: Path | None = None
    quality: str = "balanced"
    adapt: bool = False


def segment_files(request: SegmentRequest) -> None:
    """Segment one image. Raises InputError with nothing written; so does Ctrl-C, as KeyboardInterrupt."""
    check_paths(request)
    with progress_bar() as progress:
        progress(0.0, "Reading")
        started = time.perf_counter()
        volume, support = _read(request)
        read_s = time.perf_counter() - started
        progress(0.02, "Loading the network")
        from ..segmenter import Segmenter

        segmenter = Segmenter.load(device=request.device)
        result = segmenter.segment(
            volume,
            support,
            progress=progress,
            remove_islands=not request.keep_islands,
            structures=request.structures or None,
            quality=request.quality,
            adapt=request.adapt,
        )
        task = None
        if request.save_task is not None:
            progress(1.0, "Learning the task")
            task = segmenter.learn([(volume, support)])
        progress(1.0, "Writing")
        report = _report(request, result, read_s)
        _write(request, result, report, task)
    _summarise(request, report)


def check_paths(request: SegmentRequest) -> None:
    """Raise InputError for every path that cannot be read or written, without reading or writing anything."""
    for path, what in ((request.image, "image"), (request.support, "support")):
        if not path.exists():
            raise InputError(f"There is no {what} {path}; check the path.")
    if suffix(request.out) not in (*LABEL_MAPS, SEGMENTATION):
        known = ", ".join((*LABEL_MAPS, SEGMENTATION))
        raise InputError(f"{request.out} has no suffix for a result; use one of {known}.")
    outputs = [request.out]
    if request.report is not None:
        if request.report.suffix.lower() != ".json":
            raise InputError(f"{request.report} is no name for a report; let it end in .json.")
        outputs.append(request.report)
    if request.save_task is not None:
        check_task_output(request.save_task, [request.image, request.support])
    check_outputs(outputs, {"the image": request.image, "the support": request.support})


def _read(request: SegmentRequest) -> tuple[Volume, Support]:
    from ..imageio.volume import read_volume
    from ..support.support import Support, check_overlap, check_something_left

    # The support first: mostly empty, it is the quicker of the two to read and the likelier to be wrong.
    support = Support.read(request.support, annotation=request.annotation, plane=request.plane)
    if support.overlapping and suffix(request.out) != SEGMENTATION:
        raise InputError(
            f"Structures in {request.support} overlap, which a label map cannot hold; write to a .seg.nrrd."
        )
    names = [painted.structure.name for painted in support.structures]
    for name in request.structures:
        if name not in names:
            raise InputError(
                f"There is no structure '{name}' in {request.support}; it has {', '.join(names)}."
            )
    volume = read_volume(
        request.image,
        allow_nonfinite=request.allow_nonfinite,
        resample_uneven=request.resample_uneven,
    )
    if volume.geometry.is_sheared and suffix(request.out) in (".nii", ".nii.gz"):
        raise InputError(
            f"{request.image} has axes that are not perpendicular, which NIfTI loses; write a .nrrd."
        )
    check_overlap(support, volume.geometry)
    check_something_left(support, volume.geometry)
    return volume, support


def _report(request: SegmentRequest, result: Segmentation, read_s: float) -> dict[str, Any]:
    stages = cast("dict[str, float]", result.report["seconds"])
    files = {"image": str(request.image), "support": str(request.support)}
    return {**files, **result.report, "seconds": {"read": round(read_s, 3), **stages}}


def _write(
    request: SegmentRequest, result: Segmentation, report: dict[str, Any], task: Task | None = None
) -> None:
    """All files or none; adds the seconds that writing took to the report."""
    started = time.perf_counter()

    def write_result(path: Path) -> None:
        if suffix(path) == SEGMENTATION:
            from ..support.support import write_segmentation

            write_segmentation(path, result.structures, result.geometry)
        else:
            from ..imageio.volume import write_labels

            write_labels(path, result.labels, result.geometry)
        report["seconds"]["write"] = round(time.perf_counter() - started, 3)

    writers: dict[Path, Callable[[Path], None]] = {request.out: write_result}
    if request.report is not None:
        writers[request.report] = lambda path: _write_json(path, report)
    if task is not None and request.save_task is not None:
        writers[request.save_task] = task.write
    publish(writers)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _summarise(request: SegmentRequest, report: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("structure", "label", "voxels", "ml")
    for column in table.columns[1:]:
        column.justify = "right"
    for one in report["structures"]:
        row: Sequence[str] = (one["name"], str(one["label"]), str(one["voxels"]), f"{one['millilitres']:.1f}")
        table.add_row(*row)
    console.print(table)
    for skipped in report["skipped"]:
        console.print(f"Left out: {skipped['name']}, {skipped['reason']}.", markup=False, highlight=False)
    for note in report["notes"]:
        console.print(note, markup=False, highlight=False)
    console.print(f"{request.out}", markup=False, highlight=False, soft_wrap=True)
