"""The patients of Slicer's DICOM database and the files of their series."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..errors import InputError


@dataclass(frozen=True)
class Patient:
    """key: what the database calls the patient by. name: for the screen alone. series: their UIDs."""

    key: str
    name: str
    series: tuple[str, ...]


def patients() -> list[Patient]:
    """The patients there are, with all of their series. Raises InputError when there are none."""
    database = _open()
    found = []
    for key in database.patients():
        series = [one for study in database.studiesForPatient(key) for one in database.seriesForStudy(study)]
        found.append(Patient(key, database.nameForPatient(key) or _("without a name"), tuple(series)))
    if not found:
        raise InputError(_("The DICOM database is empty; import images in the DICOM module first."))
    return found


def seriesFiles(chosen: Iterable[Patient]) -> tuple[tuple[str, ...], ...]:
    """The files of each series of these patients; none of a series that is not on this computer."""
    database = _open()
    return tuple(
        tuple(file for file in database.filesForSeries(series) if file)
        for patient in chosen
        for series in patient.series
    )


def _open() -> Any:
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        raise InputError(_("The DICOM database is not open; open the DICOM module once, then come back."))
    return database
