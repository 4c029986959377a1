"""Nearest group mean: against independent implementations, and what a unit or a column may not change."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid

from MedMetaSegLib.case_comparison.prototypes import PRIOR_CASES, Blocks, group_prototypes, one_hot
from MedMetaSegLib.training.learn2learn_light import load_learn2learn

PLAIN = Blocks.of(("a", "b", "c"))
MIXED = Blocks.of(("a", "b", "c"), ("liver:embedding", "spleen:embedding"), 4)


def drawn(seed: int, columns: int = 3, cases: int = 24, groups: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Cases (N, C) whose first column differs between the groups, and their groups (N,), of equal size."""
    random = np.random.default_rng(seed)
    numbers = np.arange(cases) % groups
    values = random.normal(size=(cases, columns)) * np.arange(1, columns + 1)
    values[:, 0] += 3 * numbers
    return values, numbers


def everybody(groups: np.ndarray) -> np.ndarray:
    """One training set of all cases."""
    return one_hot(groups, int(groups.max()) + 1)[None]


def torch_distances(values: np.ndarray, groups: np.ndarray, blocks: Blocks) -> np.ndarray:
    """Prototypical distances (N, G), block by block and case by case, written from the formula."""
    x = torch.as_tensor(values)
    members = [x[torch.as_tensor(groups == g)] for g in range(int(groups.max()) + 1)]
    result = torch.zeros(len(x), len(members), dtype=torch.float64)
    for number in range(len(blocks.names)):
        columns = torch.as_tensor(np.flatnonzero(blocks.block_of == number))
        within = sum(((one - one.mean(0))[:, columns] ** 2).sum() for one in members)
        total = x[:, columns].var(0).sum()
        degrees = len(x) - len(members)
        variance = (within + PRIOR_CASES * total) / (degrees + PRIOR_CASES)
        for g, one in enumerate(members):
            squares = ((x - one.mean(0))[:, columns] ** 2).sum(1)
            result[:, g] += blocks.weights[number] * squares / variance / (1 + 1 / len(one))
    return (result / blocks.weights.sum()).numpy()


@pytest.mark.parametrize("blocks", [PLAIN, MIXED], ids=["measurements", "with embeddings"])
def test_distances_are_those_of_the_formula(blocks: Blocks) -> None:
    values, groups = drawn(1, len(blocks.block_of))
    found = group_prototypes(values, everybody(groups), blocks).squared_distances(values)[0]
    np.testing.assert_allclose(found, torch_distances(values, groups, blocks), rtol=1e-9)


def test_groups_of_one_size_are_named_as_by_the_nearest_centroid() -> None:
    values, groups = drawn(2)
    fitted = group_prototypes(values, everybody(groups), PLAIN)
    standard = values * np.sqrt(fitted.scales[0])
    expected = NearestCentroid().fit(standard, groups).predict(standard)
    np.testing.assert_array_equal(fitted.squared_distances(values)[0].argmin(1), expected)
    assert len(set(expected.tolist())) == 3


def test_groups_of_one_size_are_named_as_by_the_prototypes_of_learn2learn() -> None:
    if importlib.util.find_spec("learn2learn") is None:
        pytest.skip("learn2learn is not installed; build it with `make learn2learn`")
    values, groups = drawn(3, 11)
    fitted = group_prototypes(values, everybody(groups), MIXED)
    standard = torch.as_tensor(values * np.sqrt(fitted.scales[0]))
    classifier = load_learn2learn().nn.PrototypicalClassifier(standard, torch.as_tensor(groups))
    logits = classifier(standard).numpy()
    squared = fitted.squared_distances(values)[0] * (1 + 1 / fitted.counts[0])
    np.testing.assert_allclose(squared, -logits, rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1000),
    factor=st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3),
    shift=st.floats(-1e4, 1e4),
)
def test_the_unit_of_a_measurement_has_no_say(seed: int, factor: float, shift: float) -> None:
    values, groups = drawn(seed)
    other = values.copy()
    other[:, 1] = factor * values[:, 1] + shift
    one, two = (
        group_prototypes(x, everybody(groups), PLAIN).squared_distances(x)[0] for x in (values, other)
    )
    np.testing.assert_allclose(one, two, rtol=1e-4)


def test_many_training_sets_at_once_are_as_one_after_the_other() -> None:
    values, groups = drawn(4, 11)
    random = np.random.default_rng(0)
    members = everybody(groups) & (random.random((6, len(groups), 1)) < 0.8)
    together = group_prototypes(values, members, MIXED).squared_distances(values)
    for number, training in enumerate(members):
        alone = group_prototypes(values, training[None], MIXED).squared_distances(values)[0]
        np.testing.assert_allclose(together[number], alone, rtol=1e-9)


def test_what_a_training_set_leaves_out_has_no_say_in_it() -> None:
    values, groups = drawn(5)
    members = everybody(groups).copy()
    members[0, :3] = False
    changed = values.copy()
    changed[:3] = 1e3
    one, two = (group_prototypes(x, members, PLAIN) for x in (values, changed))
    np.testing.assert_allclose(one.means, two.means, rtol=1e-9)
    np.testing.assert_allclose(one.scales, two.scales, rtol=1e-6)


def test_a_measurement_of_one_value_has_no_say() -> None:
    values, groups = drawn(6)
    values[:, 2] = 5.1
    found = group_prototypes(values, everybody(groups), PLAIN)
    assert found.scales[0, 2] == 0
    assert (found.scales[0, :2] > 0).all()


def test_an_embedding_counts_as_one_measurement() -> None:
    random = np.random.default_rng(7)
    groups = np.arange(400) % 2
    values = random.normal(size=(400, 11))
    fitted = group_prototypes(values, everybody(groups), MIXED)
    parts = np.mean([fitted.block_distances(case, MIXED) for case in values], (0, 1))
    np.testing.assert_allclose(parts, [1 / 4, 1 / 4, 1 / 4, 1 / 8, 1 / 8], rtol=0.1)


def test_what_blocks_add_is_the_distance() -> None:
    values, groups = drawn(8, 11)
    fitted = group_prototypes(values, everybody(groups), MIXED)
    parts = fitted.block_distances(values[5], MIXED)
    np.testing.assert_allclose(parts.sum(1), fitted.squared_distances(values)[0, 5], rtol=1e-9)


def test_a_small_group_is_as_near_to_its_own_as_a_large_one() -> None:
    random = np.random.default_rng(9)
    found = np.zeros(2)
    for _ in range(400):
        groups = np.repeat([0, 1], [5, 50])
        values = random.normal(size=(55, 3))
        others = random.normal(size=(40, 3))
        found += group_prototypes(values, everybody(groups), PLAIN).squared_distances(others)[0].mean(0)
    np.testing.assert_allclose(found[0] / found[1], 1, atol=0.03)


@pytest.mark.parametrize("kept", [[0, 2], [0, 1, 2]], ids=["no case of a group", "no more cases than groups"])
def test_too_few_cases_are_refused(kept: list[int]) -> None:
    values, groups = drawn(10)
    members = np.zeros_like(everybody(groups))
    members[:, kept] = everybody(groups)[:, kept]
    with pytest.raises(ValueError, match="cases of every group"):
        group_prototypes(values, members, PLAIN)
