"""Who is drawn for an episode: a data set, a patient of it, and one of the patient's anatomies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .anatomy import Anatomy
from .canvas import Rng

TEMPER = 0.5
"""Power of the number of its patients with which a data set comes: 1 draws patients alike, 0 data sets.

Tempered shares are from multilingual training (Conneau et al., XLM-R, ACL 2020): 49 head-and-neck scans come
seven times as often as a single one, not 49 times, and the single patient is not shown over and over.
"""
_ALIKE_SPACING = 1.3
"""Ratio of the in-plane spacings of two patients at most, one of whom is learned from for the other."""


class Population:
    """Anatomies by data set and patient. One of nobody counts as a patient of a set without a name.

    Patients that several data sets share (CT and MR) are in each of them.
    """

    def __init__(self, anatomies: Sequence[Anatomy]) -> None:
        sets: dict[str, dict[str, list[Anatomy]]] = {}
        for number, one in enumerate(anatomies):
            dataset, patient = ("", str(number)) if one.subject is None else _place(one)
            sets.setdefault(dataset, {}).setdefault(patient, []).append(one)
        self._sets = {
            dataset: [tuple(of_patient) for of_patient in patients.values()]
            for dataset, patients in sets.items()
        }
        self._names = list(self._sets)
        weights = np.array([len(patients) for patients in self._sets.values()], float) ** TEMPER
        self._shares = weights / weights.sum()

    @property
    def shares(self) -> dict[str, float]:
        """How often each data set is drawn; they sum to 1."""
        return dict(zip(self._names, self._shares.tolist(), strict=True))

    def drawn(self, rng: Rng) -> Anatomy:
        """An anatomy; of one patient the larger ones come more often."""
        patients = self._sets[self._names[int(rng.choice(len(self._names), p=self._shares))]]
        of_patient = patients[int(rng.integers(len(patients)))]
        size = np.sqrt([one.image.size for one in of_patient])
        return of_patient[int(rng.choice(len(of_patient), p=size / size.sum()))]

    def another(self, rng: Rng, anatomy: Anatomy) -> Anatomy | None:
        """Another patient of the set, of the same modality and about the same spacing; None: there is none.

        What both have outlined is called by the same names; at least one name is in both.
        """
        if anatomy.subject is None:
            return None
        dataset, patient = _place(anatomy)
        patients = self._sets.get(dataset, [])
        for number in rng.permutation(len(patients)):
            alike = [one for one in patients[number] if _alike(anatomy, one)]
            if alike and _place(alike[0])[1] != patient:
                return alike[int(rng.integers(len(alike)))]
        return None


def _place(anatomy: Anatomy) -> tuple[str, str]:
    assert anatomy.subject is not None
    return anatomy.subject.dataset, anatomy.subject.patient


def _alike(one: Anatomy, other: Anatomy) -> bool:
    """Whether what one shows can be learned from the other."""
    assert one.subject is not None
    assert other.subject is not None
    ratio = one.subject.spacing_mm / other.subject.spacing_mm
    return (
        one.subject.modality == other.subject.modality
        and 1 / _ALIKE_SPACING < ratio < _ALIKE_SPACING
        and not set(one.subject.names).isdisjoint(other.subject.names)
    )
