"""`medmetaseg measure`: an image and its segmentation in, tables and a page of what was measured out.

Only what typer needs is imported with the module; numpy comes with the work.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from .. import __version__
from ..errors import InputError
from ..follow_up.changes import FollowUp
from ..imageio.files import check_there
from ..imageio.names import shown
from ..imageio.writing import Writer, replace_all, write_text
from ..measurements.measurements import (
    SMALLEST_LESION_MM3,
    Connectivity,
    Measurements,
    MeasureOptions,
)
from ..progress import Progress
from . import options
from .earlier import Compare, EarlierRequest, Transform
from .outputs import check_outputs
from .terminal import progress_bar, show_changes, show_measurements

if TYPE_CHECKING:
    from ..imageio.volume import Volume
    from ..support.structure import StructureMask


@dataclass(frozen=True)
class MeasureRequest:
    """The arguments of `medmetaseg measure`, under the names of its options.

    out: the table, a .csv; as_json: whether all figures go beside it as .json. frame: of a 4D image, counted
    from 0. earlier: what it is compared with.
    """

    image: Path
    segmentation: Path
    out: Path
    as_json: bool = False
    page: Path | None = None
    options: MeasureOptions = field(default_factory=MeasureOptions)
    allow_nonfinite: bool = False
    resample_uneven: bool = False
    frame: int | None = None
    earlier: EarlierRequest | None = None

    @property
    def json_path(self) -> Path:
        """Where all figures go."""
        return self.out.with_suffix(".json")


@dataclass(frozen=True, eq=False)
class MeasuredCase:
    """An image, its structures on the image's grid, what was measured of them, and what changed since."""

    volume: Volume
    masks: tuple[StructureMask, ...]
    measurements: Measurements
    changes: FollowUp | None = None


def measure(
    image: Annotated[Path, typer.Argument(help="NIfTI, NRRD, MetaImage, a DICOM folder or file.")],
    segmentation: Annotated[
        Path, typer.Argument(help="A label map, .seg.nrrd or DICOM SEG on the image's grid, or an RTSTRUCT.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Table of the structures, TABLE.csv; of lesions TABLE_lesions.csv."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Write all figures to TABLE.json, too.")] = False,
    page: Annotated[Path | None, typer.Option(help="Write a page (.html) to look through.")] = None,
    lesions: options.Lesions = None,
    connectivity: options.Connectivity = 26,
    smallest_mm3: options.SmallestMm3 = SMALLEST_LESION_MM3,
    compare: Compare = None,
    transform: Transform = None,
    volume: options.OneFrame = None,
    allow_nonfinite: options.AllowNonfinite = False,
    resample_uneven: options.ResampleUneven = False,
) -> None:
    """Measure the structures of SEGMENTATION in IMAGE: size, intensity, lesions and their diameters."""
    measure_files(
        MeasureRequest(
            image=image,
            segmentation=segmentation,
            out=out,
            as_json=as_json,
            page=page,
            options=measure_options(lesions, connectivity, smallest_mm3),
            allow_nonfinite=allow_nonfinite,
            resample_uneven=resample_uneven,
            frame=volume,
            earlier=EarlierRequest.of(compare, transform),
        )
    )


def measure_options(lesions: Sequence[str] | None, connectivity: int, smallest_mm3: float) -> MeasureOptions:
    """What the options of a command ask for. Raises InputError as MeasureOptions."""
    return MeasureOptions(tuple(lesions or ()), cast(Connectivity, connectivity), smallest_mm3)


def options_beside(
    measuring: bool, lesions: Sequence[str] | None, connectivity: int, smallest_mm3: float
) -> MeasureOptions | None:
    """What a command that may also measure is asked for: None where it does not.

    Raises InputError for options of measuring without it, and as MeasureOptions.
    """
    wanted = measure_options(lesions, connectivity, smallest_mm3)
    if measuring:
        return wanted
    if wanted != MeasureOptions():
        raise InputError("--lesions, --connectivity and --smallest-mm3 go with --measure only.")
    return None


def measure_files(request: MeasureRequest) -> None:
    """Measure one image and write the tables: all files or none. Raises InputError with nothing written."""
    check_paths(request)
    with progress_bar() as progress:
        progress(0.0, "Reading")
        if request.earlier is None:
            case = _measured(_read(request), request.options, progress)
        else:
            case = _compared(request, request.earlier, progress)
        progress(1.0, "Writing")
        writers = _writers(request, case)
        replace_all(writers)
    if case.changes is not None:
        show_changes(case.changes)
    show_measurements(case.measurements, list(writers))


def check_paths(request: MeasureRequest) -> None:
    """Raise InputError for every path that cannot be read or written, without reading or writing anything."""
    from ..follow_up.table import changes_path
    from ..measurements.table import lesions_path

    for path, what in ((request.image, "image"), (request.segmentation, "segmentation")):
        check_there(path, what)
    inputs = {"the image": request.image, "the segmentation": request.segmentation}
    check_table_name(request.out)
    outputs = [request.out, lesions_path(request.out)]
    outputs += [request.json_path] if request.as_json else []
    if request.page is not None:
        if request.page.suffix.lower() != ".html":
            raise InputError(f"{request.page} is no name for a page; let it end in .html.")
        outputs.append(request.page)
    if request.earlier is not None:
        request.earlier.check_there()
        inputs |= request.earlier.inputs
        outputs.append(changes_path(request.out))
    check_outputs(outputs, inputs)


def check_table_name(path: Path) -> None:
    """Raise InputError for a name that is none of a table."""
    if path.suffix.lower() != ".csv":
        raise InputError(f"{path} is no name for a table; let it end in .csv.")


@dataclass(frozen=True, eq=False)
class _Read:
    """An image, its structures on the image's grid, and what a reader must know of how they were read."""

    volume: Volume
    masks: tuple[StructureMask, ...]
    notes: tuple[str, ...]
    is_label_map: bool


def _read(request: MeasureRequest, may_be_empty: bool = False) -> _Read:
    """Read the image and its segmentation. Raises InputError.

    may_be_empty: a label map without labels has no structure; else it is refused.
    """
    from ..imageio.volume import read_volume
    from ..measurements.segmented import read_segmented

    volume = read_volume(
        request.image,
        allow_nonfinite=request.allow_nonfinite,
        frame=request.frame,
        resample_uneven=request.resample_uneven,
    )
    segmented = read_segmented(request.segmentation, volume, may_be_empty=may_be_empty)
    _check_names(segmented.masks, request.segmentation)
    return _Read(volume, segmented.masks, (*volume.notes, *segmented.notes), segmented.is_label_map)


def _measured(read: _Read, asked: MeasureOptions, progress: Progress) -> MeasuredCase:
    from ..measurements.measure import measure as measured

    measurements = measured(read.volume, read.masks, asked, progress)
    notes = (*read.notes, *measurements.notes)
    return MeasuredCase(read.volume, read.masks, replace(measurements, notes=notes))


def _compared(request: MeasureRequest, earlier: EarlierRequest, progress: Progress) -> MeasuredCase:
    """Read and measure both images by the same options, and compare. Raises InputError.

    A label map holds only what has voxels: what another one has besides is gone, or not there yet.
    """
    from ..follow_up.follow import TimePoint, follow_up

    now = _read(request, may_be_empty=True)
    asked = replace(request, image=earlier.image, segmentation=earlier.segmentation, frame=None)
    with _told_of_compare():
        before = _read(asked, may_be_empty=True)
    if not now.masks and not before.masks:
        raise InputError("Neither of the two segmentations holds a segment or a label.")
    now, before = _with_labels_of(now, before), _with_labels_of(before, now)
    case = _measured(now, request.options, progress)
    with _told_of_compare():
        case_before = _measured(before, request.options, progress)
    present, past = (TimePoint(one.volume, one.masks, one.measurements) for one in (case, case_before))
    return replace(case, changes=follow_up(present, past, earlier.transform, progress))


@contextmanager
def _told_of_compare() -> Iterator[None]:
    """Whatever is wrong in here is wrong with the earlier image."""
    try:
        yield
    except InputError as error:
        raise InputError(f"Of --compare: {error}") from error


def _with_labels_of(read: _Read, other: _Read) -> _Read:
    """A label map with the structures that the other one has besides, of which it has no voxel.

    Nothing is added where the two have no structure in common, unless this one holds nothing at all: values
    may then mean other things.
    """
    import numpy as np

    from ..support.structure import StructureMask

    names = {one.structure.name for one in read.masks}
    missing = [one.structure for one in other.masks if one.structure.name not in names]
    alike = read.is_label_map and other.is_label_map and len(missing) < len(other.masks)
    if not missing or (read.masks and not alike):
        return read
    empty = np.zeros((0, 0, 0), bool)
    masks = (*read.masks, *(StructureMask(one, (0, 0, 0), empty) for one in missing))
    listed = ", ".join(one.name for one in missing)
    note = f"{listed}: not in the label map, and taken for not there."
    return replace(read, masks=masks, notes=(*read.notes, note))


def _check_names(masks: Sequence[StructureMask], path: Path) -> None:
    """Raise InputError where two structures have one name, by which rows could not be told apart."""
    names = [one.structure.name for one in masks]
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise InputError(f"Two structures in {path} are called {twice[0]}; rename one of them.")


def _writers(request: MeasureRequest, case: MeasuredCase) -> dict[Path, Writer]:
    from ..follow_up.table import change_writers
    from ..measurements.table import table_writers

    writers = table_writers(request.out, case.measurements) | change_writers(request.out, case.changes)
    sections = []
    if case.changes is not None and request.earlier is not None:
        from ..follow_up.page import section

        sections.append(section(case.changes, request.earlier.image.name))
    if request.as_json:
        text = _json_text(request, case)
        writers[request.json_path] = lambda path: write_text(path, text)
    if request.page is not None:
        from ..measurements.page import case_page
        from ..working_grid.intensity import display_window

        window = display_window(case.volume)
        html = case_page(case.measurements, case.volume, case.masks, window, sections)
        writers[request.page] = lambda path: write_text(path, html)
    return writers


def _json_text(request: MeasureRequest, case: MeasuredCase) -> str:
    about = {
        "image": shown(request.image),
        "segmentation": shown(request.segmentation),
        "medmetaseg": __version__,
    }
    content = {**about, **case.measurements.as_dict()}
    if case.changes is not None and request.earlier is not None:
        content["follow_up"] = request.earlier.about(case.changes)
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
