"""Cases that a user names: IMAGE SUPPORT pairs, or lists of them in CSV files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast, get_args

from ..batch.inputs import BatchItem, images_of
from ..batch.item import item_volume
from ..batch.request import BatchRequest
from ..errors import InputError
from ..imageio.csv_list import Line, read_list
from ..imageio.files import check_there
from ..support.support import Annotation
from .cases import ExportCase

COLUMNS = ("image", "segmentation", "annotation", "name", "patient")


@dataclass(frozen=True)
class Reading:
    """How images and annotations are read where a list does not say it.

    plane: see `Support.read`; frame: of 4D images, counted from 0; the others: see `read_volume`.
    """

    annotation: Annotation = "slices"
    plane: str | None = None
    allow_nonfinite: bool = False
    resample_uneven: bool = False
    frame: int | None = None


def paired_case(
    image: Path, segmentation: Path, reading: Reading, name: str = "", patient: str = ""
) -> ExportCase:
    """An image and what was annotated of it. Raises InputError where either is not there."""
    for path, what in ((image, "image"), (segmentation, "segmentation")):
        check_there(path, what)
    item = _item(image, reading)
    return ExportCase(
        name=name or item.name,
        image=item.image,
        path=item.path,
        volume=partial(item_volume, item),
        segmentation=segmentation,
        annotation=reading.annotation,
        plane=reading.plane,
        patient=patient,
    )


def listed_cases(path: Path, reading: Reading) -> tuple[ExportCase, ...]:
    """The cases of a list with the columns COLUMNS, of which image and segmentation must be there.

    Files are relative to the list's folder. Raises InputError for a list that cannot be understood.
    """
    check_there(path, "list")
    return tuple(
        _listed(path, number, line, reading) for number, line in read_list(path, COLUMNS, COLUMNS[:2])
    )


def _item(image: Path, reading: Reading) -> BatchItem:
    """The one image that a path leads to, with a name that does not say of whom it is, as `apply` has it."""
    request = BatchRequest(
        task=image,
        inputs=(image,),
        out=image.parent,
        allow_nonfinite=reading.allow_nonfinite,
        resample_uneven=reading.resample_uneven,
        frames=reading.frame,
    )
    items, _ = images_of(request, "")
    if len(items) > 1:
        raise InputError(f"{image} holds {len(items)} images; give one with each segmentation.")
    return items[0]


def _listed(path: Path, number: int, line: Line, reading: Reading) -> ExportCase:
    image, segmentation, annotation, name, patient = ((line.get(column) or "").strip() for column in COLUMNS)
    if not image or not segmentation:
        missing = "segmentation" if image else "image"
        raise InputError(f"Line {number} of the list {path} has no {missing}.")
    if annotation and annotation not in get_args(Annotation):
        raise InputError(
            f"Line {number} of the list {path} has the annotation {annotation!r}; use "
            f"{', '.join(get_args(Annotation))}."
        )
    own = replace(reading, annotation=cast(Annotation, annotation)) if annotation else reading
    return paired_case(path.parent / image, path.parent / segmentation, own, name, patient)
