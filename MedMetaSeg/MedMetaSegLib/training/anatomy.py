"""An anatomy: an image with its structures, and whom it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..datasets.cases import Case, LabelMap


@dataclass(frozen=True)
class Subject:
    """Whom an anatomy shows.

    modality: "CT", "MR", "US" or "PET"; spacing_mm: in-plane; names: of structures 1, 2, ..., which people
    outlined (what has another number is a supervoxel, or was painted beside them); values: which value each
    has in the label map. open_ended: numbers of structures that go on, unlabelled, beyond the slices on which
    they were outlined.
    """

    dataset: str
    patient: str
    modality: str
    spacing_mm: float
    names: tuple[str, ...]
    values: tuple[int, ...]
    open_ended: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Anatomy:
    """An image with its structures: what episodes are cut from.

    image: (k, j, i) float32; structures: (k, j, i) int16, 0 is none; aspect: slice spacing in in-plane
    voxels; scattered: label of a structure of many small parts that is meant to be asked for, 0: none.
    subject: of a patient or of a patient's label map; None where all is drawn by chance.
    """

    image: np.ndarray
    structures: np.ndarray
    aspect: float
    scattered: int = 0
    subject: Subject | None = None

    @property
    def open_ended(self) -> frozenset[int]:
        """See `Subject`."""
        return frozenset() if self.subject is None else self.subject.open_ended

    @property
    def modality(self) -> str:
        """See `Subject`; "" where all is drawn by chance."""
        return "" if self.subject is None else self.subject.modality

    def label(self, name: str) -> int:
        """The number of a structure that people outlined; 0: nobody did."""
        names = () if self.subject is None else self.subject.names
        return names.index(name) + 1 if name in names else 0


def subject_of(case: Case | LabelMap, values: Sequence[int], spacing_mm: float) -> Subject:
    """Whom an anatomy of a case shows; values: of the label map, whose structures are numbered in this order.

    A value without a name is called by its number.
    """
    names = tuple(case.names.get(value, str(value)) for value in values)
    open_ended = case.open_ended if isinstance(case, Case) else frozenset()
    ends = frozenset(number for number, name in enumerate(names, 1) if name in open_ended)
    return Subject(case.dataset, case.patient, case.modality, spacing_mm, names, tuple(values), ends)
