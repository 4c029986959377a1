"""`medmetaseg segment`: check, read, segment, write; cheap checks first, files whole and all together."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import InputError
from ..imageio.files import check_there, stem, suffix
from ..imageio.frames import Frames, listed_frames
from ..imageio.names import shown
from ..imageio.writing import Writer, replace_all, write_text
from ..progress import Progress
from ..results.millilitres import millilitres_text
from .outputs import check_outputs, check_task_output
from .terminal import progress_bar

if TYPE_CHECKING:
    from ..imageio.volume import Volume
    from ..results.segmentation import Segmentation
    from ..support.support import Annotation, Support

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
    frames: Frames = None

    def out_of(self, frame: int | None) -> Path:
        """The result of a frame: of all frames each has a name of its own."""
        if self.frames != "all" or frame is None:
            return self.out
        name = stem(self.out)
        return self.out.with_name(f"{name}_frame{frame}{self.out.name[len(name) :]}")


def segment_files(request: SegmentRequest) -> None:
    """Segment one image, or all frames of one.

    Raises InputError with nothing written; so does Ctrl-C, as KeyboardInterrupt.
    """
    check_paths(request)
    frames = _frames(request)
    writers: dict[Path, Writer] = {}
    reports: list[dict[str, Any]] = []
    with progress_bar() as progress:
        progress(0.0, "Reading")
        support = _read_support(request)
        read = _read_image(request, support, frames[0])
        progress(0.02, "Loading the network")
        from ..segmenter import Segmenter

        segmenter = Segmenter.load(device=request.device)
        for number, frame in enumerate(frames):
            if number:
                read = _read_image(request, support, frame)
            result = segmenter.segment(
                read.volume,
                read.support,
                progress=_part_of(progress, number, len(frames)),
                remove_islands=not request.keep_islands,
                structures=request.structures or None,
                quality=request.quality,
                adapt=request.adapt,
            )
            report = _report(request, read, result)
            reports.append(report)
            writers[request.out_of(frame)] = _writer(request, read, result, report)
        if request.save_task is not None:
            progress(1.0, "Learning the task")
            writers[request.save_task] = segmenter.learn([(read.volume, read.support)]).write
        progress(1.0, "Writing")
        _write(request, writers, reports)
    _summarise(reports)


def check_paths(request: SegmentRequest) -> None:
    """Raise InputError for every path that cannot be read or written, without reading or writing anything."""
    for path, what in ((request.image, "image"), (request.support, "support")):
        check_there(path, what)
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


def _frames(request: SegmentRequest) -> list[int | None]:
    """The frames to segment. Raises InputError when the image has no such frame or a result is an input."""
    from ..imageio.volume import frame_count

    frames = listed_frames(request.image, frame_count(request.image), request.frames)
    if len(frames) > 1 and request.save_task is not None:
        raise InputError(
            "A task is learned from one frame; name it with --volume N, or leave --save-task out."
        )
    inputs = {"the image": request.image, "the support": request.support}
    check_outputs([request.out_of(frame) for frame in frames], inputs)
    return frames


@dataclass(frozen=True, eq=False)
class _Read:
    """One frame of the image, the support in its place, and how long reading took."""

    frame: int | None
    volume: Volume
    support: Support
    seconds: float


def _read_support(request: SegmentRequest) -> Support:
    """The support: mostly empty, it is the quicker of the two to read and the likelier to be wrong."""
    from ..support.support import Support

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
    return support


def _read_image(request: SegmentRequest, support: Support, frame: int | None) -> _Read:
    from ..imageio.volume import check_label_map, read_volume
    from ..support.placement import placed_support
    from ..support.support import check_overlap, check_something_left

    started = time.perf_counter()
    volume = read_volume(
        request.image,
        allow_nonfinite=request.allow_nonfinite,
        frame=frame,
        resample_uneven=request.resample_uneven,
    )
    if suffix(request.out) != SEGMENTATION:
        check_label_map(request.out, volume.geometry, volume.forms)
    support = placed_support(support, volume)
    check_overlap(support, volume.geometry)
    check_something_left(support, volume.geometry)
    return _Read(frame, volume, support, time.perf_counter() - started)


def _part_of(progress: Progress, number: int, parts: int) -> Progress:
    """The progress of one frame of several, as a share of all."""

    def share(done: float, what: str) -> None:
        progress((number + done) / parts, what if parts == 1 else f"frame {number}: {what}")

    return share


def _report(request: SegmentRequest, read: _Read, result: Segmentation) -> dict[str, Any]:
    stages = cast("dict[str, float]", result.report["seconds"])
    about: dict[str, Any] = {"image": shown(request.image), "support": shown(request.support)}
    if read.frame is not None:
        about["frame"] = read.frame
    about["out"] = shown(request.out_of(read.frame))
    return {**about, **result.report, "seconds": {"read": round(read.seconds, 3), **stages}}


def _writer(request: SegmentRequest, read: _Read, result: Segmentation, report: dict[str, Any]) -> Writer:
    """Writes a result, of which it keeps no more than it needs; adds the seconds to the report."""
    geometry, forms = result.geometry, read.volume.forms
    write: Writer
    if suffix(request.out) == SEGMENTATION:
        from ..support.support import write_segmentation

        write = partial(write_segmentation, masks=result.structures, geometry=geometry)
    else:
        from ..imageio.volume import write_labels

        write = partial(write_labels, labels=result.labels, geometry=geometry, forms=forms)

    def timed(path: Path) -> None:
        started = time.perf_counter()
        write(path)
        report["seconds"]["write"] = round(time.perf_counter() - started, 3)

    return timed


def _write(request: SegmentRequest, writers: dict[Path, Writer], reports: list[dict[str, Any]]) -> None:
    """All files or none."""
    if request.report is not None:
        content = reports[0] if request.frames != "all" else {"frames": reports}
        writers[request.report] = lambda path: _write_json(path, content)
    replace_all(writers)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")


def _summarise(reports: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    framed = len(reports) > 1
    table = Table(*(["frame"] if framed else []), "structure", "label", "voxels", "ml")
    for column in table.columns[-3:]:
        column.justify = "right"
    for report in reports:
        for one in report["structures"]:
            volume = millilitres_text(one["millilitres"])
            row = (Text(one["name"]), str(one["label"]), str(one["voxels"]), volume)
            table.add_row(*([str(report["frame"])] if framed else []), *row)
    console.print(table)
    for text in dict.fromkeys(text for report in reports for text in _remarks(report)):
        console.print(text, markup=False, highlight=False)
    for report in reports:
        console.print(report["out"], markup=False, highlight=False, soft_wrap=True)


def _remarks(report: Mapping[str, Any]) -> list[str]:
    left_out = [f"Left out: {skipped['name']}, {skipped['reason']}." for skipped in report["skipped"]]
    return [*left_out, *report["notes"]]
