"""`medmetaseg segment`: check, read, segment, write; cheap checks first, files whole and all together."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..batch.paths import check_result_folder, map_names
from ..errors import InputError
from ..follow_up.table import change_writers
from ..imageio.files import check_there, suffix
from ..imageio.frames import listed_frames
from ..imageio.names import shown
from ..imageio.writing import Writer, replace_all, write_text
from ..measurements.table import table_writers
from ..progress import Progress
from .channels import check_channel_files, check_named, read_channels
from .measure import check_table_name
from .outputs import check_apart, check_outputs, check_task_output, output_folder
from .segment_request import DICOM, LABEL_MAPS, SEGMENTATION, SEGMENTATIONS, SegmentRequest
from .terminal import progress_bar, show_segmentation

if TYPE_CHECKING:
    from ..imageio.channel import Channel
    from ..imageio.volume import Volume
    from ..results.segmentation import Segmentation, SegmentedStructure
    from ..segmenter import Segmenter
    from ..support.search_region import SearchRegion
    from ..support.support import Support


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
        image = _read_volume(request, frames[0]) if _needs_image(request.support) else None
        support = _read_support(request, None if image is None else image[0])
        _check_maps(request, support, frames)
        read = _read_together(request, support, frames[0], image or _read_volume(request, frames[0]))
        channels = read_channels(
            request.channels,
            allow_nonfinite=request.allow_nonfinite,
            resample_uneven=request.resample_uneven,
        )
        progress(0.02, "Loading the network")
        from ..segmenter import Segmenter

        segmenter = Segmenter.load(device=request.device)
        for number, frame in enumerate(frames):
            if number:
                read = _read_together(request, support, frame, _read_volume(request, frame))
            result = _segmented(segmenter, request, read, channels, _part_of(progress, number, len(frames)))
            report = _report(request, read, result)
            reports.append(report)
            writers[request.out_of(frame)] = _writer(request, read, result, report)
            writers |= _map_writers(request, read, result, report)
            writers |= _table_writers(request, read, result, report)
        if request.save_task is not None:
            progress(1.0, "Learning the task")
            writers[request.save_task] = _task_writer(segmenter, read, channels)
        progress(1.0, "Writing")
        _write(request, writers, reports)
    show_segmentation(reports)


def check_paths(request: SegmentRequest) -> None:
    """Raise InputError for every path that cannot be read or written, without reading or writing anything."""
    for what, path in request.inputs.items():
        check_there(path, what.removeprefix("the "))
    check_channel_files(request.channels, request.image, request.support)
    if suffix(request.out) not in (*LABEL_MAPS, *SEGMENTATIONS):
        known = ", ".join((*LABEL_MAPS, *SEGMENTATIONS))
        raise InputError(f"{request.out} has no suffix for a result; use one of {known}.")
    if suffix(request.out) == DICOM:
        from ..support.dicom_seg_writing import check_dicom_image, check_package

        check_dicom_image(request.image)
        check_package()
    outputs = [request.out]
    if request.report is not None:
        if request.report.suffix.lower() != ".json":
            raise InputError(f"{request.report} is no name for a report; let it end in .json.")
        outputs.append(request.report)
    if request.table is not None:
        check_table_name(request.table)
    if request.save_task is not None:
        for one in request.channels:
            check_named(one)
        check_task_output(request.save_task, list(request.inputs.values()))
    if request.uncertainty is not None:
        check_result_folder(request.uncertainty)
    check_outputs(outputs, request.inputs)


def _frames(request: SegmentRequest) -> list[int | None]:
    """The frames to segment. Raises InputError when the image has no such frame or a result is an input."""
    from ..imageio.volume import frame_count

    frames = listed_frames(request.image, frame_count(request.image), request.frames)
    if len(frames) > 1 and request.save_task is not None:
        raise InputError(
            "A task is learned from one frame; name it with --volume N, or leave --save-task out."
        )
    check_outputs([path for frame in frames for path in request.outputs_of(frame)], request.inputs)
    return frames


def _check_maps(request: SegmentRequest, support: Support, frames: Sequence[int | None]) -> None:
    """Raise InputError when an uncertainty map would take the place of another file that is named."""
    if request.uncertainty is None:
        return
    names = map_names([one.structure.name for one in support.structures])
    paths = [request.map_of(name, frame) for name in names for frame in frames]
    for frame in frames:
        check_apart(paths, {**request.inputs, "the result": request.out_of(frame)})
    if request.uncertainty.is_dir():
        check_outputs(paths, request.inputs)


@dataclass(frozen=True, eq=False)
class _Read:
    """One frame of the image, the support and the region in their places, and how long reading took."""

    frame: int | None
    volume: Volume
    support: Support
    within: SearchRegion | None
    seconds: float


def _needs_image(support: Path) -> bool:
    """Whether a support is read on the image: one in DICOM, since contours have no grid, and frames of single
    slices do not say how far slices lie apart.

    Any other one is read first: mostly empty, it is quicker to read than the image and likelier to be wrong.
    """
    from ..support.dicom_objects import find_drawn_object

    return find_drawn_object(support) is not None


def _read_support(request: SegmentRequest, image: Volume | None) -> Support:
    from ..support.support import Support

    support = Support.read(
        request.support,
        annotation=request.annotation,
        plane=request.plane,
        reference=image,
    )
    if support.overlapping and suffix(request.out) not in SEGMENTATIONS:
        raise InputError(
            f"Structures in {request.support} overlap, which a label map cannot hold; write to a .seg.nrrd."
        )
    names = [painted.structure.name for painted in support.structures]
    for name in (*request.structures, *(request.measure.lesions if request.measure else ())):
        if name not in names:
            raise InputError(
                f"There is no structure '{name}' in {request.support}; it has {', '.join(names)}."
            )
    if request.measure and request.structures:
        for name in request.measure.lesions:
            if name not in request.structures:
                raise InputError(f"Lesions of {name} are asked for, which --structure leaves out.")
    return support


def _read_together(
    request: SegmentRequest, support: Support, frame: int | None, image: tuple[Volume, float]
) -> _Read:
    """What is read, checked against each other. image: of the frame, and the seconds that reading it took."""
    from ..imageio.volume import check_label_map
    from ..support.placement import placed_support
    from ..support.search_region import SearchRegion
    from ..support.support import check_overlap, check_something_left

    started = time.perf_counter()
    volume, seconds = image
    if suffix(request.out) == DICOM:
        _check_dicom(request, volume)
    elif suffix(request.out) != SEGMENTATION:
        check_label_map(request.out, volume.geometry, volume.forms)
    support = placed_support(support, volume)
    check_overlap(support, volume.geometry)
    check_something_left(support, volume.geometry)
    within = None
    if request.within is not None:
        within = SearchRegion.read(request.within, volume, shown(request.within))
    return _Read(frame, volume, support, within, seconds + time.perf_counter() - started)


def _check_dicom(request: SegmentRequest, volume: Volume) -> None:
    """Raise InputError when no DICOM segmentation can refer to the image, or it would replace an input."""
    from ..support.dicom_objects import find_drawn_object
    from ..support.dicom_seg_writing import check_source

    inputs = {f"the slice {Path(file).name} of the image": Path(file) for file in check_source(volume).files}
    painted = find_drawn_object(request.support) if request.support.is_dir() else None
    check_apart([request.out], inputs if painted is None else {**inputs, "the support": painted.path})


def _read_volume(request: SegmentRequest, frame: int | None) -> tuple[Volume, float]:
    """A frame of the image, and the seconds that reading it took."""
    from ..imageio.volume import read_volume

    started = time.perf_counter()
    volume = read_volume(
        request.image,
        allow_nonfinite=request.allow_nonfinite,
        frame=frame,
        resample_uneven=request.resample_uneven,
    )
    return volume, time.perf_counter() - started


def _segmented(
    segmenter: Segmenter,
    request: SegmentRequest,
    read: _Read,
    channels: Sequence[Channel],
    progress: Progress,
) -> Segmentation:
    return segmenter.segment(
        read.volume,
        read.support,
        progress=progress,
        remove_islands=not request.keep_islands,
        structures=request.structures or None,
        quality=request.quality,
        adapt=request.adapt,
        confidence=request.confidence,
        within=read.within,
        channels=channels,
    )


def _part_of(progress: Progress, number: int, parts: int) -> Progress:
    """The progress of one frame of several, as a share of all."""

    def share(done: float, what: str) -> None:
        progress((number + done) / parts, what if parts == 1 else f"frame {number}: {what}")

    return share


def _task_writer(segmenter: Segmenter, read: _Read, channels: Sequence[Channel]) -> Writer:
    """Writes the task that is learned from one frame."""
    together = [channels] if channels else []
    return segmenter.learn([(read.volume, read.support)], channels=together, within=read.within).write


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
    elif suffix(request.out) == DICOM:
        write = _dicom_writer(read, result, report)
    else:
        from ..imageio.volume import write_labels

        write = partial(write_labels, labels=result.labels, geometry=geometry, forms=forms)

    def timed(path: Path) -> None:
        started = time.perf_counter()
        write(path)
        report["seconds"]["write"] = round(time.perf_counter() - started, 3)

    return timed


def _dicom_writer(read: _Read, result: Segmentation, report: dict[str, Any]) -> Writer:
    """Writes a DICOM segmentation; adds what becomes of names that DICOM cannot hold to the report."""
    from ..network.shipped import shipped_sha256
    from ..support.dicom_seg_writing import SegmentAlgorithm, label_notes, write_dicom_seg

    assert read.volume.dicom is not None
    structures = [one.structure for one in result.structures]
    report["notes"] = [*report["notes"], *label_notes(structures)]
    return partial(
        write_dicom_seg,
        masks=result.structures,
        geometry=result.geometry,
        source=read.volume.dicom,
        algorithm=SegmentAlgorithm("SEMIAUTOMATIC", shipped_sha256()[:12]),
    )


def _map_writers(
    request: SegmentRequest, read: _Read, result: Segmentation, report: dict[str, Any]
) -> dict[Path, Writer]:
    """A writer for the uncertainty map of each structure, which is made then, one after the other.

    Adds the error to expect on each slice to the report.
    """
    if request.uncertainty is None:
        return {}
    from ..imageio.volume import write_labels
    from ..results.uncertainty import error_by_slice

    def write(path: Path, one: SegmentedStructure, entry: dict[str, Any]) -> None:
        uncertainty = result.uncertainty(one)
        # Scribbles have no plane of their own.
        errors = error_by_slice(uncertainty, result.geometry, entry["plane"] or "axial")
        entry["uncertainty"] = errors.as_dict()
        write_labels(path, uncertainty, result.geometry, read.volume.forms)

    names = map_names([one.structure.name for one in result.structures])
    return {
        request.map_of(name, read.frame): partial(write, one=one, entry=entry)
        for name, one, entry in zip(names, result.structures, report["structures"], strict=True)
    }


def _table_writers(
    request: SegmentRequest, read: _Read, result: Segmentation, report: dict[str, Any]
) -> dict[Path, Writer]:
    """A writer for each table of what was measured; adds the notes about it to the report."""
    if request.measure is None:
        return {}
    import numpy as np

    from ..measurements.measure import measure
    from ..support.structure import StructureMask

    found = {one.structure.label: one for one in result.structures}
    nothing = np.zeros((0, 0, 0), bool)
    # One that lies outside the image is not in the result, and has a row all the same.
    masks = [
        found.get(one.structure.label) or StructureMask(one.structure, (0, 0, 0), nothing)
        for one in read.support.structures
        if not request.structures or one.structure.name in request.structures
    ]
    measurements = measure(read.volume, masks, request.measure)
    report["notes"] = list(dict.fromkeys((*report["notes"], *measurements.notes)))
    table = request.table_of(read.frame)
    return table_writers(table, measurements) | change_writers(table, None)


def _write(request: SegmentRequest, writers: dict[Path, Writer], reports: list[dict[str, Any]]) -> None:
    """All files or none; the report last, since writers add to it."""
    if request.report is not None:
        content = reports[0] if request.frames != "all" else {"frames": reports}
        writers[request.report] = lambda path: _write_json(path, content)
    with nullcontext() if request.uncertainty is None else output_folder(request.uncertainty):
        replace_all(writers)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")
