"""How often the comparison with examples claims what is not there, and its interval holds what is true.

    python -m MedMetaSegLib.evaluation.comparison_check docs/comparison.md

Cohorts are drawn as numbers, cases with eight measurements, correlated and partly skewed, and an embedding.
Without an effect all groups have one distribution; with one, their means differ in two measurements and a
little in the embedding. The true balanced accuracy is that of the prototypes, learned from all cases of a
cohort, on cases drawn anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..case_comparison.decision import LEAST_PROBABILITY, learned_decision
from ..case_comparison.prototypes import Blocks, group_prototypes, one_hot
from ..case_comparison.validation import SIGNIFICANT, ValidationOptions, validated, wilson_interval
from ..imageio.writing import write_text

MEASUREMENTS, EMBEDDING = 8, 32
SIZES = ((5, 5), (8, 8), (6, 18), (15, 15), (10, 40), (8, 8, 8))
"""Cases of each group, of the cohorts that are drawn."""
EFFECTS = (0.8, 1.5)
"""Standard deviations by which the means of groups next to each other differ in two measurements."""
NO_EFFECT_OPTIONS = ValidationOptions(repeats=5, permutations=199)
EFFECT_OPTIONS = ValidationOptions(repeats=20, permutations=0)
"""No permutations: only the interval is looked at."""
_FRESH = 2000
"""Cases of each group drawn anew for the true balanced accuracy."""
_CORRELATION = 0.4
_SKEWED = 3
"""Measurements, the first ones, that are exponentials of normal ones."""


@dataclass(frozen=True)
class NoEffectRow:
    """Cohorts without an effect of one size: how many there were, and in how many one was claimed."""

    sizes: tuple[int, ...]
    cohorts: int
    claims: int
    mean_accuracy: float


@dataclass(frozen=True)
class EffectRow:
    """Cohorts with an effect of one size.

    true_accuracy, estimated_accuracy: balanced, means over cohorts. covered: cohorts whose interval holds the
    true one. decided: share of new cases for which a group is named, and how many of those are right.
    """

    sizes: tuple[int, ...]
    effect: float
    cohorts: int
    true_accuracy: float
    estimated_accuracy: float
    covered: int
    decided: float
    right_if_decided: float


class Population:
    """Groups from which cases are drawn, their means `effect` standard deviations apart."""

    blocks = Blocks.of(tuple(f"m{n}" for n in range(MEASUREMENTS)), ("organ:embedding",), EMBEDDING)

    def __init__(self, effect: float) -> None:
        self.effect = effect
        correlation = np.full((MEASUREMENTS, MEASUREMENTS), _CORRELATION)
        np.fill_diagonal(correlation, 1)
        self._root = np.linalg.cholesky(correlation)

    def drawn(self, groups: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Values (N, C) of cases of these groups (N,)."""
        measured = random.normal(size=(len(groups), MEASUREMENTS)) @ self._root.T
        # The last two, which are not skewed, so that the difference is that of the means.
        measured[:, -2:] += self.effect * groups[:, None]
        measured[:, :_SKEWED] = np.exp(measured[:, :_SKEWED])
        embedding = random.normal(size=(len(groups), EMBEDDING))
        embedding[:, 0] += self.effect * groups
        embedding += 1 / np.arange(1, EMBEDDING + 1) * random.normal(size=(len(groups), 1))
        return np.concatenate([measured, embedding], 1)


def no_effect_row(sizes: tuple[int, ...], cohorts: int, seed: int) -> NoEffectRow:
    """Draw cohorts without an effect and count how often one is claimed."""
    random = np.random.default_rng(seed)
    population = Population(0.0)
    found = []
    for number in range(cohorts):
        groups = random.permutation(_groups(sizes))
        options = ValidationOptions(5, NO_EFFECT_OPTIONS.repeats, NO_EFFECT_OPTIONS.permutations, number)
        found.append(validated(population.drawn(groups, random), groups, population.blocks, options))
    accuracy = float(np.mean([one.balanced_accuracy for one in found]))
    return NoEffectRow(sizes, cohorts, sum(one.told_apart for one in found), accuracy)


def effect_row(sizes: tuple[int, ...], effect: float, cohorts: int, seed: int) -> EffectRow:
    """Draw cohorts with an effect and compare what is estimated with what is true."""
    random = np.random.default_rng(seed)
    population = Population(effect)
    fresh_groups = np.repeat(np.arange(len(sizes)), _FRESH)
    fresh = population.drawn(fresh_groups, random)
    truths, estimates, covered, decided, right = [], [], 0, [], []
    for number in range(cohorts):
        groups = random.permutation(_groups(sizes))
        values = population.drawn(groups, random)
        options = ValidationOptions(5, EFFECT_OPTIONS.repeats, EFFECT_OPTIONS.permutations, number)
        found = validated(values, groups, population.blocks, options)
        fitted = group_prototypes(values, one_hot(groups, len(sizes))[None], population.blocks)
        squared = fitted.squared_distances(fresh)[0]
        named = squared.argmin(1)
        # Groups of one size: their balanced accuracy is the share of cases named right.
        truths.append(float((named == fresh_groups).mean()))
        estimates.append(found.balanced_accuracy)
        covered += found.interval[0] <= truths[-1] <= found.interval[1]
        decision = learned_decision(values, groups, population.blocks)
        sure = decision.probabilities(squared).max(1) >= LEAST_PROBABILITY
        decided.append(float(sure.mean()))
        right.append(float((named == fresh_groups)[sure].mean()) if sure.any() else np.nan)
    return EffectRow(
        sizes,
        effect,
        cohorts,
        float(np.mean(truths)),
        float(np.mean(estimates)),
        covered,
        float(np.mean(decided)),
        float(np.nanmean(right)),
    )


def report(no_effect: Sequence[NoEffectRow], effect: Sequence[EffectRow]) -> str:
    """The page, as Markdown."""
    claims, cohorts = sum(one.claims for one in no_effect), sum(one.cohorts for one in no_effect)
    covered, tried = sum(one.covered for one in effect), sum(one.cohorts for one in effect)
    return "\n".join(
        [
            "# Comparison with examples, on cohorts that were drawn",
            "",
            *_no_effect_lines(no_effect),
            "",
            f"All: {_share(claims, cohorts)}.",
            "",
            *_effect_lines(effect),
            "",
            f"All: the interval holds the true balanced accuracy in {_share(covered, tried)}.",
            "",
        ]
    )


def _no_effect_lines(rows: Sequence[NoEffectRow]) -> Iterator[str]:
    yield (
        f"No effect: an effect claimed (p at most {SIGNIFICANT:g}, {NO_EFFECT_OPTIONS.permutations} "
        f"permutations, {NO_EFFECT_OPTIONS.repeats} repeats of {NO_EFFECT_OPTIONS.folds} folds)."
    )
    yield ""
    yield "| cases of each group | cohorts | claimed | balanced accuracy, mean |"
    yield "| --- | ---: | ---: | ---: |"
    for row in rows:
        yield f"| {_sizes(row.sizes)} | {row.cohorts} | {_share(row.claims, row.cohorts)} " + (
            f"| {row.mean_accuracy:.3f} |"
        )


def _effect_lines(rows: Sequence[EffectRow]) -> Iterator[str]:
    yield (
        "Known effect: balanced accuracy on new cases (true), on cases left out (estimated), and how often "
        "the 95 % interval holds the true one; the share of new cases for which a group is named, and of "
        "those that are named right."
    )
    yield ""
    yield "| cases of each group | effect (sd) | cohorts | true | estimated | held | named | named right |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in rows:
        yield (
            f"| {_sizes(row.sizes)} | {row.effect:g} | {row.cohorts} | {row.true_accuracy:.3f} "
            f"| {row.estimated_accuracy:.3f} | {_share(row.covered, row.cohorts)} "
            f"| {100 * row.decided:.0f} % | {100 * row.right_if_decided:.0f} % |"
        )


def _groups(sizes: tuple[int, ...]) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes)


def _sizes(sizes: tuple[int, ...]) -> str:
    return " + ".join(map(str, sizes))


def _share(part: int, whole: int) -> str:
    low, high = wilson_interval(part / whole, whole)
    return f"{part} of {whole}, {100 * part / whole:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def main(
    out: Annotated[Path, typer.Argument(help="The page, in Markdown.")],
    cohorts: Annotated[int, typer.Option(help="Drawn for each size of groups and each effect.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed draws the same cohorts.")] = 0,
) -> None:
    """Draw cohorts with and without an effect, and write how often claims and intervals were right."""
    no_effect = [no_effect_row(sizes, cohorts, seed) for sizes in SIZES]
    effect = [effect_row(sizes, one, cohorts, seed) for one in EFFECTS for sizes in SIZES]
    write_text(out, report(no_effect, effect))
    print(out)


if __name__ == "__main__":
    typer.run(main)
