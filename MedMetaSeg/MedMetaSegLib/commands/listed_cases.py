"""Cases that `compare` is given: a list in a CSV file, or an image with its segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..imageio.csv_list import Line, read_list
from ..imageio.files import check_there, stem
from ..imageio.names import shown
from ..progress import Progress

if TYPE_CHECKING:
    from ..case_comparison.cohort import CohortCase
    from ..measurements.measurements import MeasureOptions
    from ..network.inference import Predictor

COLUMNS = ("image", "segmentation", "group", "name", "patient")


@dataclass(frozen=True)
class ListedCase:
    """An image and its segmentation; name: for people; group, patient: "" where none is given."""

    image: Path
    segmentation: Path
    name: str
    group: str = ""
    patient: str = ""


@dataclass(frozen=True)
class Reading:
    """How images are read: see `imageio.volume.read_volume`."""

    allow_nonfinite: bool = False
    resample_uneven: bool = False


def grouped_cases(path: Path) -> tuple[ListedCase, ...]:
    """The cases of a list with a group each. Raises InputError for a list that cannot be understood."""
    check_there(path, "list")
    numbered = _in_list(path, COLUMNS[:3])
    has_patients = any(one.patient for _, one in numbered)
    for number, one in numbered:
        if not one.group:
            raise InputError(f"Line {number} of the list {path} has no group.")
        if has_patients and not one.patient:
            raise InputError(
                f"Line {number} of the list {path} has no patient; give every case one, or none."
            )
    return tuple(one for _, one in numbered)


def cases_to_compare(given: Sequence[Path]) -> tuple[ListedCase, ...]:
    """The cases of CSV files, and of images with their segmentations, pair after pair.

    Raises InputError for a list that cannot be understood, an image without a segmentation, and a file that
    is not there.
    """
    cases: list[ListedCase] = []
    files: list[Path] = []
    for path in given:
        if path.suffix.lower() == ".csv":
            check_there(path, "list")
            cases.extend(one for _, one in _in_list(path, COLUMNS[:2]))
        else:
            files.append(path)
    if len(files) % 2:
        raise InputError(f"Give each image with its segmentation; {files[-1]} stands alone.")
    for image, segmentation in zip(files[::2], files[1::2], strict=True):
        check_there(image, "image")
        check_there(segmentation, "segmentation")
        cases.append(ListedCase(image, segmentation, shown(stem(image))))
    return tuple(cases)


def read_case(
    listed: ListedCase, reading: Reading, options: MeasureOptions, predictor: Predictor | None
) -> CohortCase:
    """A case, measured; one that cannot be read or measured says why."""
    from ..case_comparison.case_features import case_features
    from ..case_comparison.cohort import CohortCase
    from ..imageio.volume import read_volume
    from ..measurements.segmented import read_segmented

    try:
        volume = read_volume(
            listed.image, allow_nonfinite=reading.allow_nonfinite, resample_uneven=reading.resample_uneven
        )
        segmented = read_segmented(listed.segmentation, volume)
        notes = (*volume.notes, *segmented.notes)
        features = case_features(volume, segmented.masks, options, predictor, notes)
    except InputError as error:
        return CohortCase(listed.name, listed.group, None, shown(str(error)), listed.patient)
    return CohortCase(listed.name, listed.group, features, patient=listed.patient)


def read_cases(
    cases: Sequence[ListedCase],
    reading: Reading,
    options: MeasureOptions,
    predictor: Predictor | None,
    progress: Progress,
) -> tuple[CohortCase, ...]:
    """All cases, measured one after the other."""
    found = []
    for number, one in enumerate(cases):
        progress(number / len(cases), f"case {number + 1} of {len(cases)}")
        found.append(read_case(one, reading, options, predictor))
    return tuple(found)


def _in_list(path: Path, required: Sequence[str]) -> tuple[tuple[int, ListedCase], ...]:
    """The cases of a list, each with the number of its line."""
    lines = read_list(path, COLUMNS, required)
    return tuple((number, _listed(path, number, line)) for number, line in lines)


def _listed(path: Path, number: int, line: Line) -> ListedCase:
    """The case of a line, its files relative to the list's folder."""
    image, segmentation, group, name, patient = ((line.get(column) or "").strip() for column in COLUMNS)
    if not image or not segmentation:
        missing = "segmentation" if image else "image"
        raise InputError(f"Line {number} of the list {path} has no {missing}.")
    called = name or shown(stem(path.parent / image))
    return ListedCase(path.parent / image, path.parent / segmentation, called, group, patient)
