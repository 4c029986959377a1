"""The work of `medmetaseg compare apply`: examples and segmented cases in, a table of comparisons out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..case_comparison.cohort import CohortCase
from ..case_comparison.comparison import compared
from ..case_comparison.examples import Examples
from ..case_comparison.examples_file import read_examples
from ..case_comparison.page import apply_page
from ..case_comparison.tables import LIMITS, ComparedCase, comparison_columns, comparison_rows
from ..errors import InputError
from ..imageio.names import shown
from ..imageio.writing import Writer, replace_all, write_csv, write_text
from .listed_cases import ListedCase, Reading, cases_to_compare, read_cases
from .outputs import check_outputs, check_suffix
from .terminal import progress_bar

if TYPE_CHECKING:
    from ..network.inference import Predictor


@dataclass(frozen=True)
class CompareApplyRequest:
    """The arguments of `medmetaseg compare apply`, under the names of its options."""

    examples: Path
    cases: tuple[Path, ...]
    out: Path
    page: Path | None = None
    device: str = "auto"
    reading: Reading = field(default_factory=Reading)


def compare_cases(request: CompareApplyRequest) -> bool:
    """Compare cases with examples and write the table, with the page if it is asked for: both or none.

    False where a case could not be compared. Raises InputError with nothing written.
    """
    listed = _checked_request(request)
    examples = read_examples(request.examples)
    with progress_bar() as progress:
        progress(0.0, "Loading the network")
        predictor = _network(examples, request.device)
        cohort = read_cases(listed, request.reading, examples.question.options, predictor, progress)
        cases = [_compared(one, examples) for one in cohort]
        columns, rows = comparison_columns(examples), comparison_rows(cases, examples)
        writers: dict[Path, Writer] = {request.out: partial(write_csv, columns=columns, rows=rows)}
        if request.page is not None:
            writers[request.page] = partial(write_text, text=apply_page(examples, cases))
        replace_all(writers)
    _show(cases, examples, list(writers))
    return all(one.comparison is not None for one in cases)


def _checked_request(request: CompareApplyRequest) -> tuple[ListedCase, ...]:
    """The cases. Raises InputError for what can be seen to be wrong before images are read."""
    for path, suffix in ((request.out, ".csv"), (request.page, ".html")):
        if path is not None:
            check_suffix(path, suffix)
    listed = cases_to_compare(request.cases)
    if not listed:
        raise InputError("There is no case in what was given.")
    inputs = {"the file of examples": request.examples}
    inputs |= {f"{path}, which is an input,": path for path in request.cases}
    check_outputs([one for one in (request.out, request.page) if one is not None], inputs)
    return listed


def _network(examples: Examples, device: str) -> Predictor | None:
    """What makes embeddings where they count. Raises InputError for examples of other weights."""
    if not examples.question.weights_sha256:
        return None
    from ..case_comparison.embedding import shipped_predictor

    predictor, sha256 = shipped_predictor(device)
    examples.check_weights(sha256)
    return predictor


def _compared(one: CohortCase, examples: Examples) -> ComparedCase:
    if one.features is None:
        return ComparedCase(one, None)
    try:
        return ComparedCase(one, compared(one.features, examples))
    except InputError as error:
        return ComparedCase(replace(one, problem=str(error)), None)


def _show(cases: Sequence[ComparedCase], examples: Examples, written: Sequence[Path]) -> None:
    for one in cases:
        if one.comparison is None:
            print(f"medmetaseg: '{one.case.name}' is not compared: {one.case.problem}", file=sys.stderr)
        elif one.comparison.abstains:
            print(f"{one.case.name}: no group ({' '.join(one.comparison.why_not)})")
        else:
            print(f"{one.case.name}: most like '{one.comparison.nearest}'")
    for sentence in (*examples.sentences(), LIMITS):
        print(sentence)
    for path in written:
        print(shown(path))
