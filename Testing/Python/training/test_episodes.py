"""Synthetic anatomies, real patients, and the episodes cut from them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from MedMetaSegLib.datasets.cases import Case, is_for_development, is_held_out, read_cases
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.network.prompt_channels import BACKGROUND, DISTANCE, FOREGROUND, SHAPE
from MedMetaSegLib.training import prepared, real
from MedMetaSegLib.training.anatomy import Anatomy
from MedMetaSegLib.training.augmented_support import unlike_structure
from MedMetaSegLib.training.episodes import MAX_VOXELS, Episode, choose_slices, episodes
from MedMetaSegLib.training.stream import EpisodeStream
from MedMetaSegLib.training.synthesis import random_anatomy

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 40


def made(seed: int, number: int = 4) -> list[Episode]:
    rng = np.random.default_rng(seed)
    return list(episodes(rng, random_anatomy(rng, SIDE), number))


@pytest.fixture(scope="module")
def drawn() -> list[Episode]:
    """Episodes of several anatomies."""
    return [one for seed in range(8) for one in made(seed)]


# ---- anatomies and episodes


@pytest.mark.parametrize("seed", range(6))
def test_an_anatomy_is_an_image_with_every_structure_known(seed: int) -> None:
    anatomy = random_anatomy(np.random.default_rng(seed), SIDE)
    assert anatomy.image.shape == anatomy.structures.shape
    assert min(anatomy.image.shape) >= 8
    assert anatomy.image.dtype == np.float32
    assert np.isfinite(anatomy.image).all()
    assert np.ptp(anatomy.image) > 0
    assert anatomy.structures.max() >= 2
    assert anatomy.structures.min() >= 0
    assert 1 <= anatomy.aspect <= 8


def test_a_seed_makes_the_same_anatomy_and_episodes_every_time() -> None:
    first, second = (random_anatomy(np.random.default_rng((3, 1)), SIDE) for _ in range(2))
    assert first.aspect == second.aspect
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.structures, second.structures)
    for one, again in zip(made(3), made(3), strict=True):
        assert one.annotated_slices == again.annotated_slices
        assert (one.support is None) == (again.support is None)
        for name in ("image", "prompt", "target") + ("support",) * (one.support is not None):
            np.testing.assert_array_equal(getattr(one, name), getattr(again, name))


def test_scattered_lesions_are_many_and_are_asked_for_as_a_whole() -> None:
    anatomies = (random_anatomy(np.random.default_rng(seed), 56) for seed in range(20))
    anatomy = next(one for one in anatomies if one.scattered)
    lesions = anatomy.structures == anatomy.scattered
    assert ndimage.label(lesions)[1] > 3
    found = list(episodes(np.random.default_rng(0), anatomy, 12))
    assert sum(ndimage.label(one.target[0])[1] > 3 for one in found) >= len(found) / 4


def test_another_seed_makes_another_anatomy() -> None:
    images = [random_anatomy(np.random.default_rng(seed), SIDE).image for seed in (3, 4)]
    assert images[0].shape != images[1].shape or not np.array_equal(*images)


def test_every_episode_has_few_shapes_and_something_to_find(drawn: list[Episode]) -> None:
    assert len(drawn) > 15
    for one in drawn:
        shape = one.target.shape[1:]
        assert one.image.shape[1:] == one.prompt.shape[1:] == shape
        assert all(n % 16 == 0 for n in shape)
        assert np.prod(shape) < 3 * MAX_VOXELS
        assert {one.image.dtype, one.prompt.dtype, one.target.dtype} == {np.dtype(np.float32)}
        assert set(np.unique(one.target)) == {0.0, 1.0} or one.support is not None
        assert np.isfinite(one.image).all()
        assert np.isfinite(one.prompt).all()
    assert {one.annotated_slices == 0 for one in drawn} == {True, False}


def test_an_expected_place_is_near_the_structure_and_says_how_far_off_it_may_be(drawn: list[Episode]) -> None:
    overlaps = []
    for one in drawn:
        if one.annotated_slices or not one.target.any():
            continue
        tolerance = one.prompt[DISTANCE]
        assert np.ptp(tolerance) == 0
        assert 0.1 <= tolerance.flat[0] <= 1
        place, target = one.prompt[SHAPE] > 0, one.target[0] > 0
        assert not ((one.prompt[FOREGROUND] > 0) & ~place).any()
        overlaps.append(2 * np.count_nonzero(place & target) / (place.sum() + target.sum()))
    assert min(overlaps) < 0.8 < max(overlaps)


def test_what_is_known_agrees_with_the_target(drawn: list[Episode]) -> None:
    for one in drawn:
        if not one.annotated_slices:
            continue
        target, inside, outside = (
            one.target[0] > 0,
            one.prompt[FOREGROUND] > 0,
            one.prompt[BACKGROUND] > 0,
        )
        assert inside.any()
        assert not (inside & outside).any()
        # An unsteady hand errs near the boundary only.
        wrong = np.count_nonzero(inside & ~target) + np.count_nonzero(outside & target)
        assert wrong <= 0.25 * np.count_nonzero(inside) + 4


def test_whole_slices_are_known_and_the_shape_goes_through_them(drawn: list[Episode]) -> None:
    sliced = 0
    drawn = [one for one in drawn if one.annotated_slices]
    for one in drawn:
        known = (one.prompt[FOREGROUND] > 0) | (one.prompt[BACKGROUND] > 0)
        complete = np.flatnonzero(known.all((1, 2)))
        sliced += len(complete) > 0
        for k in complete:
            np.testing.assert_array_equal(one.prompt[SHAPE, k] > 0, one.prompt[FOREGROUND, k] > 0)
    assert sliced > 0.7 * len(drawn)


def test_most_of_the_structure_is_left_to_find(drawn: list[Episode]) -> None:
    sliced = [one for one in drawn if one.annotated_slices]
    left = [(one.target[0][one.prompt[FOREGROUND] == 0]).sum() / one.target.sum() for one in sliced]
    assert min(left) > 0
    assert np.median(left) > 0.5


@pytest.mark.parametrize("number", [1, 2, 5, 30])
def test_annotated_slices_are_distinct_and_hold_the_structure(number: int) -> None:
    present = np.array([3, 4, 5, 8, 9, 10, 11, 14])
    for seed in range(20):
        chosen = choose_slices(np.random.default_rng(seed), present, number)
        assert chosen == sorted(set(chosen))
        assert set(chosen) <= set(present.tolist())
        assert 1 <= len(chosen) <= number


def test_a_structure_too_small_to_find_is_passed_over() -> None:
    structures = np.zeros((16, 20, 20), np.int16)
    structures[3:5, 3:5, 3:5] = 1
    image = np.random.default_rng(0).normal(size=structures.shape).astype(np.float32)
    assert list(episodes(np.random.default_rng(0), Anatomy(image, structures, 1.0), 5)) == []


def test_a_stream_yields_batches_of_one_shape_and_repeats_itself() -> None:
    source = [random_anatomy(np.random.default_rng(5), SIDE)]
    repeatable = EpisodeStream(seed=2, real=source, real_share=1.0, shuffle=2)
    first, second = (list(islice(repeatable, 3)) for _ in range(2))
    for one, again in zip(first, second, strict=True):
        parts = [part for part in one if part is not None]
        assert [len(part) for part in parts] == [2] * len(parts)
        assert len({part.shape[2:] for part in parts}) == 1
        assert (one[3] is None) == (again[3] is None)
        assert all(torch.equal(*pair) for pair in zip(one, again, strict=True) if pair[0] is not None)
    assert {one[3] is None for one in islice(repeatable, 12)} == {True, False}


# ---- another patient


def test_an_expected_structure_may_come_with_another_patient_who_has_it(drawn: list[Episode]) -> None:
    learned = [one for one in drawn if one.support is not None]
    assert len(learned) >= 5
    for one in learned:
        assert one.annotated_slices == 0
        support = one.support
        assert support is not None
        assert support.shape == (4, *one.target.shape[1:])
        assert support.dtype == np.float32
        assert np.isfinite(support).all()
        np.testing.assert_array_equal(support[2] + support[3], 1)
        assert 40 <= support[2].sum() < support[2].size
    there = [one for one in learned if one.target.any()]
    sizes = [float(one.support[2].sum() / one.target.sum()) for one in there if one.support is not None]
    assert 0.5 < np.median(sizes) < 2  # the same structure, bent


def two_blocks() -> Anatomy:
    """Two structures far apart, one bright and one dark, on a ground between them."""
    structures = np.zeros((24, 64, 64), np.int16)
    structures[8:16, 6:18, 6:18], structures[8:16, 46:58, 46:58] = 1, 2
    levels = np.array([0.0, 1.0, -1.0], np.float32)
    noise = np.random.default_rng(0).normal(0, 0.1, structures.shape).astype(np.float32)
    return Anatomy(levels[structures] + noise, structures, 1.0)


def test_a_structure_that_is_elsewhere_and_looks_different_can_be_absent() -> None:
    anatomy, rng = two_blocks(), np.random.default_rng(0)
    near = (slice(4, 20), slice(0, 30), slice(0, 30))
    assert unlike_structure(rng, anatomy, anatomy.structures == 1, near) == 2
    everywhere = (slice(None),) * 3
    assert unlike_structure(rng, anatomy, anatomy.structures == 1, everywhere) == 0
    alike = Anatomy(np.abs(anatomy.image), anatomy.structures, 1.0)
    assert unlike_structure(rng, alike, alike.structures == 1, near) == 0


def test_where_another_structure_was_learned_nothing_is_to_be_found() -> None:
    found = [one for seed in range(12) for one in episodes(np.random.default_rng(seed), two_blocks(), 12)]
    absent = [one for one in found if not one.target.any()]
    assert 0 < len(absent) < 0.2 * len(found)
    for one in absent:
        assert one.support is not None
        inside = one.support[2] > 0
        learned = one.support[0][inside].mean() - one.support[0][~inside].mean()
        place = one.prompt[SHAPE] > 0
        here = one.image[0][place].mean() - one.image[0][~place].mean()
        assert learned * here < 0  # bright was learned where dark is, or the other way round


# ---- real patients


def test_held_out_patients_are_never_read(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def stand_in(case):
        asked.append(case)
        image = np.random.default_rng(0).normal(size=(10, 24, 24)).astype(np.float32)
        return Volume.from_array(image, np.eye(4)), (image > 1.5).astype(np.int32)

    monkeypatch.setattr(real, "read_case", stand_in)
    anatomies = prepared.real_anatomies(shared_data, keep=False)
    assert len(anatomies) >= len(asked) > 20
    assert not [case for case in asked if is_held_out(case) or is_for_development(case)]
    kept = {case.patient for case in read_cases(shared_data) if is_held_out(case)}
    assert len(kept) > 10
    assert not kept & {case.patient for case in asked}


def test_a_patient_comes_at_several_spacings_with_own_labels_and_supervoxels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    k, j, i = np.indices((16, 60, 60))
    labels = ((j - 30) ** 2 + (i - 30) ** 2 < 80).astype(np.int32)
    image = labels * 100.0 + 40 * np.sin(j / 9) + 40 * np.cos(i / 8) + k
    volume = Volume.from_array(image.astype(np.float32), np.diag([1.0, 1.0, 3.0, 1.0]))
    monkeypatch.setattr(real, "read_case", lambda case: (volume, labels))
    found = real.case_anatomies(Case("own", "one", "one", "MR", Path("i"), Path("l"), {1: "rod"}))
    assert {one.image.shape for one in found} == {(16, 60, 60), (16, 30, 30)}
    assert {round(one.aspect, 3) for one in found} == {3.0, 1.5}
    for one in found:
        assert (one.structures == 1).sum() > 0.8 * labels.mean() * one.structures.size
        assert one.structures.max() > 3
        assert one.label("rod") == 1
    np.testing.assert_array_equal(found[0].structures == 1, labels == 1)


def test_a_folder_without_patients_for_training_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(InputError, match="no patient that training may use"):
        prepared.real_anatomies(tmp_path)
