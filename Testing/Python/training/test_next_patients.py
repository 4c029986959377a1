"""Episodes of real patients: who is learned from, and what nobody outlined, which is never background."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MedMetaSegLib.training import episodes as episodes_module
from MedMetaSegLib.training import target as target_module
from MedMetaSegLib.training.anatomy import Anatomy, Subject
from MedMetaSegLib.training.another_patient import another_patient_view
from MedMetaSegLib.training.augmented_support import unlike_structure
from MedMetaSegLib.training.episodes import drafts
from MedMetaSegLib.training.target import drawn_target, drawn_turn

pytestmark = pytest.mark.usefixtures("one_thread")


def patient(
    name: str, level: float, open_ended: bool = False, names: tuple[str, ...] = ("cord", "gland")
) -> Anatomy:
    """A rod along the slices, outlined on the middle ones only, and a ball, on a textured ground."""
    k, j, i = np.indices((40, 48, 48))
    rod = (j - 16) ** 2 + (i - 16) ** 2 < 36
    ball = (k - 20) ** 2 + (j - 30) ** 2 + (i - 32) ** 2 < 81
    structures = np.where(rod & (k >= 12) & (k < 28), 1, np.where(ball, 2, 0)).astype(np.int16)
    noise = np.random.default_rng(0).normal(0, 0.05, k.shape)
    image = (level * (rod + 2 * ball) + noise).astype(np.float32)
    ends = frozenset({1}) if open_ended else frozenset()
    return Anatomy(image, structures, 1.0, subject=Subject("set", name, "CT", 1.0, names, (1, 2), ends))


@pytest.fixture
def only_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every episode is of the next patient, and people's outlines are what is asked for."""
    for name in ("_PLACED", "_LEARNED", "_ANOTHER"):
        monkeypatch.setattr(episodes_module, name, 1.0)
    monkeypatch.setattr(episodes_module, "_ABSENT", 0.0)
    monkeypatch.setattr(target_module, "_OUTLINED", 1.0)


def test_a_structure_is_learned_from_the_other_patients_own_image(only_placed: None) -> None:
    found = list(drafts(np.random.default_rng(0), patient("one", 1.0), 12, another=patient("two", 100.0)))
    assert len(found) > 6
    for one in found:
        assert one.support is not None
        assert one.support.image[one.support.mask].mean() > 50
        assert one.support.image.shape == one.image.shape


def test_a_structure_that_the_other_patient_lacks_is_learned_from_another_view(only_placed: None) -> None:
    other = patient("two", 100.0, names=("heart", "lung"))
    found = list(drafts(np.random.default_rng(0), patient("one", 1.0), 12, another=other))
    assert len(found) > 6
    assert all(one.support is None or one.support.image.max() < 10 for one in found)


def test_the_same_structure_is_found_under_another_number() -> None:
    other = patient("two", 100.0, names=("gland", "cord"))
    assert (other.label("cord"), other.label("gland"), other.label("heart")) == (2, 1, 0)


def test_beyond_the_outlined_slices_of_an_open_ended_structure_nothing_is_shown(only_placed: None) -> None:
    anatomy = patient("one", 1.0, open_ended=True)
    rng = np.random.default_rng(0)
    cords = 0
    for seed in range(30):
        for one in drafts(np.random.default_rng(seed), anatomy, 2):
            cord = one.target.any((1, 2)).all() and one.target[0].sum() < 150
            cords += bool(cord)
            unknown = (one.image > 0.5) & (one.image < 1.5) & ~one.target
            assert not cord or np.count_nonzero(unknown) < 0.3 * np.count_nonzero(one.target)
    assert cords > 3
    view = another_patient_view(rng, anatomy, 1, (32, 32, 32))
    assert view is not None
    assert view.mask.any((1, 2)).all()


def test_an_open_ended_structure_is_never_said_to_be_absent() -> None:
    closed, open_ended = patient("one", 1.0), patient("one", 1.0, open_ended=True)
    far = (slice(30, 40), slice(0, 48), slice(0, 48))
    rng = np.random.default_rng(0)
    gland = closed.structures == 2
    assert unlike_structure(rng, closed, gland, far) == 1
    assert unlike_structure(rng, open_ended, gland, far) == 0


def test_slices_stay_slices_where_the_ends_along_them_are_unknown() -> None:
    rng = np.random.default_rng(0)
    assert {int(drawn_turn(rng, patient("one", 1.0, open_ended=True))[0][0]) for _ in range(20)} == {0}
    assert {int(drawn_turn(rng, patient("one", 1.0))[0][0]) for _ in range(30)} == {0, 1, 2}


def test_what_people_outlined_is_asked_for_more_often_than_supervoxels() -> None:
    anatomy = patient("one", 1.0)
    structures = anatomy.structures.copy()
    for number in range(20):
        structures[:, 2 * number : 2 * number + 2, 44:48] = 3 + number
    anatomy = replace(anatomy, structures=structures)
    rng = np.random.default_rng(0)
    asked = [drawn_target(rng, anatomy) for _ in range(200)]
    named = [one for one in asked if one is not None and one.label <= 2]
    assert 90 < len(named) < 160
    assert {one.name for one in named} == {"cord", "gland"}
    assert all(one.name is None for one in asked if one is not None and one.label > 2)
