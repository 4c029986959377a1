"""The work of `medmetaseg compare learn`: segmented cases with a group each in, examples out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..case_comparison.cohort import (
    CohortCase,
    checked,
    left_out_sentence,
    of_one_modality,
    once_a_patient,
    usual_structures,
    without_doubles,
)
from ..case_comparison.examples import Examples, Question, learned_examples, too_few
from ..case_comparison.examples_file import write_examples
from ..case_comparison.measured_values import check_kinds, check_measurements, default_measurements
from ..case_comparison.page import learn_page
from ..case_comparison.tables import cohort_columns, cohort_limits, cohort_rows
from ..errors import InputError
from ..imageio.names import shown
from ..imageio.writing import Writer, replace_all, write_csv, write_text
from ..measurements.measurements import MeasureOptions
from ..progress import Progress
from .listed_cases import ListedCase, Reading, grouped_cases, read_cases
from .outputs import check_outputs, check_suffix
from .terminal import progress_bar

if TYPE_CHECKING:
    from ..network.inference import Predictor


@dataclass(frozen=True)
class CompareLearnRequest:
    """The arguments of `medmetaseg compare learn`, under the names of its options.

    by: measurements called STRUCTURE:KIND; structures: those that count; what is usual where they are empty.
    embedding: whether the network's embedding counts.
    """

    cases: Path
    out: Path
    table: Path | None = None
    page: Path | None = None
    by: tuple[str, ...] = ()
    structures: tuple[str, ...] = ()
    embedding: bool = True
    options: MeasureOptions = field(default_factory=MeasureOptions)
    device: str = "auto"
    reading: Reading = field(default_factory=Reading)


def learn_examples(request: CompareLearnRequest) -> bool:
    """Learn examples and write them, with the table and the page that are asked for: all files or none.

    False where cases could not be used, or were too few, so that only the table was written. Raises
    InputError with nothing written.
    """
    listed = _checked_request(request)
    with progress_bar() as progress:
        predictor, sha256 = _network(request, progress)
        cohort = read_cases(
            listed,
            request.reading,
            request.options,
            predictor,
            lambda share, what: progress(0.8 * share, what),
        )
        question, cohort = _asked(request, cohort, sha256)
        few = too_few([one.group for one in cohort if one.usable])
        examples = None if few or question is None else _learned(cohort, question, progress)
        writers = _writers(request, cohort, examples)
        if not writers:
            raise _refusal(few, cohort)
        replace_all(writers)
    _show(cohort, examples, few, list(writers))
    return examples is not None and all(one.usable for one in cohort)


def _checked_request(request: CompareLearnRequest) -> tuple[ListedCase, ...]:
    """The cases of the list. Raises InputError for what can be seen to be wrong before images are read."""
    check_kinds(request.by)
    if len(set(request.structures)) < len(request.structures):
        raise InputError("A structure is named twice; name each once.")
    for path, suffix in ((request.out, ".json"), (request.table, ".csv"), (request.page, ".html")):
        if path is not None:
            check_suffix(path, suffix)
    outputs = [one for one in (request.out, request.table, request.page) if one is not None]
    check_outputs(outputs, {"the list of cases": request.cases})
    listed = grouped_cases(request.cases)
    few = too_few([one.group for one in listed])
    if few and request.table is None:
        raise _refusal(few)
    return listed


def _refusal(few: str, cohort: Sequence[CohortCase] = ()) -> InputError:
    """Why nothing is learned, and the first case that was left out, which may be the cause."""
    left_out = next((f" '{one.name}' is left out: {one.problem}" for one in cohort if not one.usable), "")
    return InputError(f"{few} Nothing can be learned; --table writes what was measured.{left_out}")


def _network(request: CompareLearnRequest, progress: Progress) -> tuple[Predictor | None, str]:
    """What makes embeddings, and the checksum of its weights; None and "" where they do not count."""
    if not request.embedding:
        return None, ""
    progress(0.0, "Loading the network")
    from ..case_comparison.embedding import shipped_predictor

    return shipped_predictor(request.device)


def _asked(
    request: CompareLearnRequest, cohort: Sequence[CohortCase], sha256: str
) -> tuple[Question | None, tuple[CohortCase, ...]]:
    """The question, None where no case can be used, and the cases, of which some cannot answer it."""
    cohort = of_one_modality(without_doubles(cohort))
    modality = next((one.features.modality for one in cohort if one.features and one.usable), None)
    if modality is None:
        return None, cohort
    question = _question(request, cohort, modality, sha256)
    # Last, so that a patient whose first image cannot be used still counts with another.
    return question, once_a_patient(checked(cohort, question))


def _question(
    request: CompareLearnRequest, cohort: Sequence[CohortCase], modality: str, sha256: str
) -> Question:
    structures = request.structures or usual_structures(cohort)
    if request.by:
        measurements = check_measurements(request.by, structures, modality)
    else:
        measurements = default_measurements(structures, modality)
    return Question(modality, structures, measurements, request.options, sha256)


def _learned(cohort: Sequence[CohortCase], question: Question, progress: Progress) -> Examples:
    cases = [(one.features, one.group) for one in cohort if one.features is not None and one.usable]
    return learned_examples(cases, question, progress=lambda share, what: progress(0.8 + 0.2 * share, what))


def _writers(
    request: CompareLearnRequest, cohort: Sequence[CohortCase], examples: Examples | None
) -> dict[Path, Writer]:
    writers: dict[Path, Writer] = {}
    if examples is not None:
        writers[request.out] = partial(write_examples, examples=examples, medmetaseg=__version__)
        if request.page is not None:
            writers[request.page] = partial(write_text, text=learn_page(examples, cohort))
    if request.table is not None:
        columns, rows = cohort_columns(cohort), cohort_rows(cohort)
        writers[request.table] = partial(write_csv, columns=columns, rows=rows)
    return writers


def _show(cohort: Sequence[CohortCase], examples: Examples | None, few: str, written: Sequence[Path]) -> None:
    for one in cohort:
        if not one.usable:
            print(f"medmetaseg: '{one.name}' is left out: {one.problem}", file=sys.stderr)
    if examples is None:
        print(f"medmetaseg: {few} Only the table of measurements was written.", file=sys.stderr)
    else:
        for sentence in filter(
            None, (*examples.sentences(), left_out_sentence(cohort), cohort_limits(cohort))
        ):
            print(sentence)
    for path in written:
        print(shown(path))
