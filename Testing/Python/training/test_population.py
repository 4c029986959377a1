"""Who is drawn: data sets in tempered shares, patients of a set alike, and a partner to learn from."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from MedMetaSegLib.training.anatomy import Anatomy, Subject
from MedMetaSegLib.training.population import Population


def of(
    dataset: str, patient: str, modality: str = "MR", spacing_mm: float = 1.0, names: tuple[str, ...] = ("a",)
) -> Anatomy:
    empty = np.zeros((4, 4, 4), np.int16)
    subject = Subject(dataset, patient, modality, spacing_mm, names, ())
    return Anatomy(empty.astype(np.float32), empty, 1.0, subject=subject)


def test_a_large_set_does_not_drown_a_small_one_and_its_patients_come_alike() -> None:
    large = [of("large", str(number)) for number in range(9) for _ in range(1 + number % 2)]
    population = Population([*large, of("small", "one")])
    assert population.shares == pytest.approx({"large": 0.75, "small": 0.25})
    rng = np.random.default_rng(0)
    drawn = [population.drawn(rng).subject for _ in range(4000)]
    counts = Counter((one.dataset, one.patient) for one in drawn if one is not None)
    assert counts["small", "one"] == pytest.approx(1000, rel=0.15)
    assert all(counts["large", str(n)] == pytest.approx(333, rel=0.25) for n in range(9))


def test_anatomies_of_nobody_are_drawn_too() -> None:
    empty = np.zeros((4, 4, 4), np.int16)
    anatomy = Anatomy(empty.astype(np.float32), empty, 1.0)
    population = Population([anatomy])
    rng = np.random.default_rng(0)
    assert population.drawn(rng) is anatomy
    assert population.another(rng, anatomy) is None


def test_another_patient_is_of_the_same_set_modality_and_spacing_and_shares_a_structure() -> None:
    first = of("set", "one", names=("a", "b"))
    partner = of("set", "two", spacing_mm=1.2, names=("b", "c"))
    others = [
        of("set", "one"),
        of("set", "three", modality="US"),
        of("set", "four", spacing_mm=2.0),
        of("set", "five", names=("c",)),
        of("other", "six"),
    ]
    rng = np.random.default_rng(0)
    assert {id(Population([first, partner, *others]).another(rng, first)) for _ in range(20)} == {id(partner)}
    assert Population([first, *others]).another(rng, first) is None
