"""One image of a batch, from its file to a finished file that waits to be put in place."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from ..errors import BatchStopped, Cancelled, InputError, WriteError, is_out_of_memory
from ..imageio.channel import Channel, check_channel_paths
from ..imageio.files import check_there, suffix
from ..imageio.names import itk_path
from ..imageio.nifti import frame_voxels, is_nifti, nifti_holds
from ..imageio.volume import Volume, check_volume, read_image, read_series, write_labels
from ..imageio.writing import reason
from ..measurements.measure import measure
from ..measurements.measurements import Measurements
from ..network.shipped import shipped_sha256
from ..support.dicom_seg_writing import (
    SegmentAlgorithm,
    check_dicom_image,
    check_source,
    label_notes,
    write_dicom_seg,
)
from ..support.search_region import SearchRegion
from ..support.seg_nrrd import write_segmentation
from .executor import Outcome
from .inputs import BatchItem
from .journal import checksum
from .maps import staged_maps
from .options import ItemOptions
from .paths import staged_path, stopped_by
from .request import DICOM, SEGMENTATION
from .states import DONE, FAILED, BatchRow, StructureRow
from .thumbnail import thumbnail_png

if TYPE_CHECKING:
    from ..results.segmentation import Segmentation
    from ..segmenter import Segmenter
    from ..task.task_file import Task

WORKING_BYTES = 6
"""Per voxel beside the image itself: the label map, its mask and copy, and what is written."""
MAP_BYTES = 8
"""Per voxel where uncertainty maps are wanted: logits, probability and map of one structure, and its copy."""
MEASURE_BYTES = 24
"""Per voxel where results are measured: masks, parts and values of one structure of the size of the image."""
REGION_BYTES = 4
"""Per voxel where there is a region: its label map and masks."""

DICOM_BYTES = 12
"""Per voxel where results are DICOM segmentations: structures that overlap, and highdicom's sum of them."""


@dataclass(frozen=True, eq=False)
class ReadItem:
    """An item whose voxels are in memory."""

    item: BatchItem
    volume: Volume
    input_sha256: str
    seconds: float
    within: SearchRegion | None = None
    channels: tuple[Channel, ...] = ()


@dataclass(frozen=True, eq=False)
class SegmentedItem:
    """An item with its result."""

    read: ReadItem
    result: Segmentation
    seconds: float


def needed_bytes(item: BatchItem, options: ItemOptions) -> int:
    """Memory that an item takes, by its header; 0 when the header cannot be read, which reading will say."""
    working_bytes = WORKING_BYTES + (MAP_BYTES if item.maps else 0)
    working_bytes += 0 if options.measure is None else MEASURE_BYTES
    working_bytes += DICOM_BYTES if item.output.endswith(f".{DICOM}") else 0
    working_bytes += 0 if item.within is None else REGION_BYTES
    voxels, voxel_bytes = _stored(item.path, item.files, item.series)
    channels = (_stored(one.path, one.files, one.path.is_dir()) for one in item.channels)
    return voxels * (voxel_bytes + working_bytes) + sum(count * size for count, size in channels)


def _stored(path: Path, files: Sequence[Path], series: bool) -> tuple[int, int]:
    """How many voxels an image has, and bytes of each, by its header; zeros when that cannot be read.

    series: whether every file is a slice.
    """
    if not files:
        return 0, 0
    try:
        if not series and is_nifti(path):
            return frame_voxels(path)
    except (InputError, OSError):
        return 0, 0
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    try:
        with itk_path(files[0]) as name:
            reader.SetFileName(name)
            reader.ReadImageInformation()
        voxel_bytes = sitk.GetArrayViewFromImage(sitk.Image([1, 1], reader.GetPixelID())).itemsize
    except (InputError, RuntimeError, KeyError):
        return 0, 0
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    voxels = int(np.prod([float(n) for n in reader.GetSize()])) * reader.GetNumberOfComponents()
    return voxels * (len(files) if series else 1), voxel_bytes


def check_size(item: BatchItem, needed: int, limit: int) -> None:
    """Raise InputError when an item can never be worked on within the limit, in bytes."""
    if needed > limit:
        raise InputError(
            f"{item.image} needs about {needed >> 20} MB, more than the memory limit of {limit >> 20} MB; "
            "give a higher limit or crop it."
        )


def read_item(item: BatchItem, ending: str) -> ReadItem:
    """Read an item's voxels. Raises InputError."""
    begun = time.perf_counter()
    if ending.endswith(f".{DICOM}") and not item.series:
        check_dicom_image(item.path, item.image)
    if item.within is not None:
        check_there(item.within, "region")
    for one in item.channels:
        check_there(one.path, f"channel {one.name}")
    check_channel_paths([(one.name, one.path) for one in item.channels], {"the image": item.path})
    try:
        input_sha256 = checksum(item.inputs)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {item.image}; was it moved?") from error
    except OSError as error:
        raise InputError(f"{item.image} cannot be read ({error.strerror}).") from error
    volume = item_volume(item)
    if suffix(Path(ending)) == ".nii.gz" and not nifti_holds(volume.geometry, volume.forms):
        raise InputError(
            f"{item.image} has axes that are not perpendicular, which Slicer does not read in NIfTI; use "
            "--format seg.nrrd."
        )
    if ending.endswith(f".{DICOM}"):
        check_source(volume)
    within = None if item.within is None else SearchRegion.read(item.within, volume)
    channels = tuple(one.read(item.allow_nonfinite, item.resample_uneven) for one in item.channels)
    return ReadItem(item, volume, input_sha256, time.perf_counter() - begun, within, channels)


def item_volume(item: BatchItem) -> Volume:
    """The image of an item, checked. Raises InputError."""
    if item.series:
        files = [str(file) for file in item.files]
        volume = read_series(item.path, files, resample_uneven=item.resample_uneven)
    else:
        volume = read_image(item.path, item.frame, resample_uneven=item.resample_uneven)
    return check_volume(volume, item.allow_nonfinite)


def segment_item(
    segmenter: Segmenter, task: Task, read: ReadItem, options: ItemOptions, cancelled: Callable[[], bool]
) -> SegmentedItem:
    """Apply the task to an item. Raises InputError and Cancelled."""
    begun = time.perf_counter()
    result = segmenter.apply(
        task, read.volume, cancelled=cancelled, within=read.within, channels=read.channels, **options.apply
    )
    return SegmentedItem(read, result, time.perf_counter() - begun)


def stage_item(done: SegmentedItem, options: ItemOptions) -> Outcome:
    """Measure the result where wanted; write it, and its maps, beside their places, whole.

    Raises BatchStopped when writing fails.
    """
    begun = time.perf_counter()
    item, result, out = done.read.item, done.result, options.out
    measured = _measured(done, options)
    try:
        staged = staged_path(out, item.output[len(item.name) :])
        _write(staged, result, done.read.volume)
        sha256 = checksum([staged])
        maps = staged_maps(item, result, done.read.volume.forms, options)
        picture = thumbnail_png(done.read.volume, result.structures, staged.parent)
    except OSError as error:
        raise stopped_by(out / item.output, reason(error)) from error
    except WriteError as error:
        raise stopped_by(out / item.output, error.why) from error
    structures = tuple(_structure_row(one) for one in _entries(result))
    seconds = done.read.seconds + done.seconds + time.perf_counter() - begun
    row = BatchRow(
        item.name,
        item.image,
        item.output,
        DONE,
        seconds=round(seconds, 1),
        structures=structures,
        thumbnail=picture,
        notes=(
            *_sentences(result, "notes"),
            *_label_notes(staged, result),
            *(() if measured is None else measured.notes),
        ),
        unlike=_sentences(result, "unlike"),
        measurements=measured,
    )
    return Outcome(row, staged, sha256, done.read.input_sha256, maps)


def _label_notes(path: Path, result: Segmentation) -> tuple[str, ...]:
    """What becomes of names that the format of a result cannot hold."""
    structures = [one.structure for one in result.structures]
    return label_notes(structures) if path.name.endswith(f".{DICOM}") else ()


def _measured(done: SegmentedItem, options: ItemOptions) -> Measurements | None:
    if options.measure is None:
        return None
    return measure(done.read.volume, done.result.structures, options.measure)


def failed(item: BatchItem, error: Exception, seconds: float = 0.0) -> Outcome:
    """The outcome of an item that cannot be segmented; an error that is no sentence for users is named."""
    why = str(error)
    if is_out_of_memory(error):
        why = "memory ran out; use fewer workers or crop the image"
    elif not isinstance(error, InputError):
        why = f"an error that should not happen, please report it ({type(error).__name__}: {why[:300]})"
    return Outcome(BatchRow(item.name, item.image, item.output, FAILED, item.public(why), round(seconds, 1)))


def process_item(
    segmenter: Segmenter,
    task: Task,
    item: BatchItem,
    options: ItemOptions,
    cancelled: Callable[[], bool],
) -> Outcome:
    """Read, segment and stage one item.

    Raises Cancelled, and BatchStopped when the result cannot be written.
    """
    begun = time.perf_counter()
    try:
        check_size(item, needed_bytes(item, options), options.limit)
        read = read_item(item, item.output)
        return stage_item(segment_item(segmenter, task, read, options, cancelled), options)
    except (BatchStopped, Cancelled):
        raise
    except Exception as error:
        return failed(item, error, time.perf_counter() - begun)


def _write(path: Path, result: Segmentation, volume: Volume) -> None:
    if path.name.endswith(f".{SEGMENTATION}"):
        write_segmentation(path, result.structures, result.geometry)
    elif path.name.endswith(f".{DICOM}"):
        assert volume.dicom is not None
        made_by = SegmentAlgorithm("AUTOMATIC", shipped_sha256()[:12])
        write_dicom_seg(path, result.structures, result.geometry, volume.dicom, made_by)
    else:
        write_labels(path, result.labels, result.geometry, volume.forms)


def _entries(result: Segmentation) -> Sequence[Any]:
    entries: Any = result.report["structures"]
    return entries


def _sentences(result: Segmentation, what: str) -> tuple[str, ...]:
    sentences: Any = result.report[what]
    return tuple(sentences)


def _structure_row(entry: Any) -> StructureRow:
    row = StructureRow(entry["name"], entry["found"], entry["millilitres"], entry["reason"])
    # Not there where no confidence was asked for.
    if "present" not in entry:
        return row
    place = entry["next_slice"]
    return replace(
        row,
        present=entry["present"],
        predicted_dice=entry["predicted_dice"],
        predicted_dice_low=entry["predicted_dice_low"],
        predicted_dice_high=entry["predicted_dice_high"],
        doubtful=entry["doubtful"],
        next_slice="" if place is None else f"{place['plane']} {place['index']}",
    )
