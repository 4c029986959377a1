"""Pages of a comparison with examples: how well groups were told apart, and how each case compares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..results.web_page import SEARCH, definitions, document, number_cell, small, table, text
from .cohort import CohortCase, left_out_sentence
from .comparison import Comparison, Evidence
from .decision import LEAST_PROBABILITY, UNLIKE_SHARE
from .examples import Examples
from .measured_values import SEPARATOR
from .tables import LIMITS, SPEAKING, ComparedCase, cohort_limits

_TITLE = "Comparison with examples"
_STYLE = """
.scroll { overflow-x: auto; }
tr.failed td { color: var(--bad); }
p.limits { font-weight: 600; color: inherit; max-width: 50rem; }
"""
_NEAREST = "nearest group"
_SPEAKS = "what speaks for it"


def learn_page(examples: Examples, cohort: Sequence[CohortCase]) -> str:
    """The page of examples that were learned, as HTML: how well the groups were told apart, and each case."""
    measurements = examples.question.measurements
    heads = ["case", "group", "status", *map(_words, measurements)]
    return _page(
        examples,
        cohort_limits(cohort),
        [
            "<h2>Groups</h2>",
            _scrolled(table(["group", "cases", "named right %"], _group_rows(examples))),
            "<h2>Cases</h2>",
            f"<p>{text(left_out_sentence(cohort))}</p>",
            SEARCH,
            _scrolled(table(heads, (_cohort_row(one, examples) for one in cohort))),
        ],
    )


def apply_page(examples: Examples, cases: Sequence[ComparedCase]) -> str:
    """The page of cases that were compared with examples, as HTML."""
    heads = ["case", _NEAREST, _SPEAKS, *(f"distance to {group}" for group in examples.groups)]
    return _page(
        examples,
        LIMITS,
        [
            "<h2>Cases</h2>",
            SEARCH,
            _scrolled(table(heads, (_compared_row(one, examples) for one in cases))),
        ],
    )


def _page(examples: Examples, limits: str, body: Sequence[str]) -> str:
    sentences = " ".join(examples.sentences())
    return document(
        _TITLE,
        [
            f"<h1>{_TITLE}</h1>",
            f'<p class="limits">{text(limits)}</p>',
            f"<p>{text(sentences)}</p>",
            *body,
            "<h2>What the figures mean</h2>",
            definitions(_meanings(examples)),
        ],
        _STYLE,
    )


def _meanings(examples: Examples) -> Iterator[tuple[str, str]]:
    question, found = examples.question, examples.validation
    embedding = " and the network's embedding of each structure, which counts as one measurement"
    compared_by = ", ".join(map(_words, question.measurements)) + (embedding if question.embeddings else "")
    yield "compared by", f"{compared_by}. Sizes and counts are compared by their logarithm."
    yield (
        "distance",
        "To the mean of a group's examples, in units of how much cases of one group differ: about 1 is usual "
        "for a case of that group.",
    )
    yield (
        _NEAREST,
        "The group at the smallest distance. No group is named where the groups cannot be told apart, where "
        f"the case is farther off than all but {100 * UNLIKE_SHARE:g} % of the examples (than all of them, "
        f"where they are few), and where the nearest group is less probable than {LEAST_PROBABILITY:.2f}. A "
        "case that is of none of the groups, but lies between them, may still be named.",
    )
    yield (
        _SPEAKS,
        f"The {SPEAKING} measurements that say most, and what each adds to the difference of the squared "
        "distances: + for the nearest group, - for the second.",
    )
    yield (
        "named right",
        f"Of cases left out, in {found.options.repeats} repeats of cross-validation in "
        f"{found.options.folds} parts. Balanced accuracy is the mean of the groups; its interval is Wilson's "
        f"for {found.effective_cases:.0f} cases: repeats are no new cases, and what is learned shares cases.",
    )
    yield (
        "p",
        "How often groups given to the cases at random are told apart as well, the whole procedure repeated "
        f"{found.options.permutations} times.",
    )
    lesions = question.options
    yield (
        "lesion",
        f"A connected part ({lesions.connectivity} neighbours) of at least {lesions.smallest_mm3:g} mm3.",
    )


def _group_rows(examples: Examples) -> Iterator[str]:
    found = examples.validation
    for group, count, recall in zip(examples.groups, found.counts, found.recalls, strict=True):
        share = number_cell(f"{100 * recall:.0f}", recall)
        yield f"<tr><td>{text(group)}</td>{number_cell(str(count), count)}{share}</tr>"


def _cohort_row(one: CohortCase, examples: Examples) -> str:
    cells = [f"<td>{text(one.name)}</td>", f"<td>{text(one.group)}</td>"]
    notes = one.features.notes if one.features else ()
    if one.features is None or not one.usable:
        cells.append(f"<td>left out{small(one.problem, *notes)}</td>")
        cells.append("<td></td>" * len(examples.question.measurements))
        return f"<tr class=failed>{''.join(cells)}</tr>"
    question = examples.question
    cells.append(f"<td>used{small(*notes)}</td>")
    values = one.features.measurements(question.measurements, question.structures)
    cells += [number_cell(f"{value:.4g}", value) for value in values]
    return f"<tr>{''.join(cells)}</tr>"


def _compared_row(one: ComparedCase, examples: Examples) -> str:
    notes = one.case.features.notes if one.case.features else ()
    listed = [f"listed as {one.case.group}"] if one.case.group else []
    name = f"<td>{text(one.case.name)}{small(*listed, *notes)}</td>"
    found = one.comparison
    if found is None:
        rest = "<td></td>" * (1 + len(examples.groups))
        return f"<tr class=failed>{name}<td>not compared{small(one.case.problem)}</td>{rest}</tr>"
    distances = "".join(
        number_cell(f"{each.distance:.2f}", each.distance, small(f"rank {each.rank}"))
        for each in found.distances
    )
    return f"<tr>{name}{_answer(found)}{_evidence(found.evidence)}{distances}</tr>"


def _answer(found: Comparison) -> str:
    if found.abstains:
        return f"<td>no group{small(f'nearest: {found.nearest}', *found.why_not)}</td>"
    return f"<td>{text(found.nearest)}</td>"


def _evidence(evidence: Sequence[Evidence]) -> str:
    lines = (f"{_words(one.measurement)} {one.difference:+.2f}" for one in evidence[:SPEAKING])
    return f"<td>{small(*lines)}</td>"


def _words(measurement: str) -> str:
    """STRUCTURE:KIND as it is read."""
    structure, separator, kind = measurement.rpartition(SEPARATOR)
    return f"{structure}{separator} {kind}"


def _scrolled(content: str) -> str:
    return f'<div class="scroll">{content}</div>'
