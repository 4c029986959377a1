"""The page of a batch: a table to look through, worst first, in one file that opens from disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..confidence.triage import ACCEPT, PAINT, REVIEW, WORST_FIRST, TriageBounds, lowest_dice
from ..confidence.words import dice_text, share_text
from ..imageio.writing import write_text
from ..results.millilitres import millilitres_text
from ..results.web_page import SEARCH, definitions, document, png_source, small, table, text
from .cohort_page import STYLE as COHORT_STYLE
from .cohort_page import VOLUME, CohortCells
from .request import BatchResult
from .states import FAILED, BatchRow, StructureRow

_STYLE = """
tr.failed td { color: var(--bad); }
.chip { border-radius: 1em; padding: .1rem .6rem; font-weight: 600; }
.accept { background: #1b6e38; color: #fff; }
.review { background: #f0c04a; color: #222; }
.paint { background: #b3261e; color: #fff; }
img { display: block; max-height: 144px; background: #000; }
"""

_DICE = (
    "The overlap to expect with what an expert would draw, 0 to 1, and the interval that holds it nine times "
    "out of ten. It is an estimate and no measurement: it is made of how sure the network is of the outline, "
    "and how far the task's atlases agree with it and with one another, and was fitted on other patients. On "
    "images unlike those it may be wrong."
)


def write_page(
    path: Path, result: BatchResult, structures: Sequence[str], task: str, bounds: TriageBounds
) -> None:
    """Write the page, whole or not at all. Raises InputError when it cannot; see `page`."""
    write_text(path, page(result, structures, task, bounds))


def page(result: BatchResult, structures: Sequence[str], task: str, bounds: TriageBounds) -> str:
    """The page as HTML; nothing in it is loaded from anywhere.

    Failures come first, then what is to be painted, reviewed and accepted, the lowest expected Dice first.
    What is expected, and what was measured, has columns where a row has it. bounds: by which the rows were
    sorted out.
    """
    rows = sorted(result.rows, key=_worst_first)
    expected = any(row.triage for row in rows)
    # In the order of the batch, whatever comes first on the page.
    cohort = CohortCells(result.rows)
    heads = ["", "image", "status", *(["triage"] if expected else [])]
    for number, name in enumerate(structures):
        heads += [f"{name} (ml)", *([f"{name} (Dice)"] if expected else []), *cohort.heads(number)]
    heads.append("seconds")
    return document(
        "MedMetaSeg batch",
        [
            "<h1>MedMetaSeg batch</h1>",
            f"<p>{text(_summary(result))}</p><p>Task {text(task)}. For research; look at every result.</p>",
            _legend(bounds) if expected else "",
            cohort.outliers(),
            cohort.shapes(),
            SEARCH,
            table(heads, (_row(row, structures, expected, cohort) for row in rows)),
            _left_out(result.skipped),
        ],
        _STYLE + COHORT_STYLE,
    )


def _left_out(skipped: Sequence[tuple[str, str]]) -> str:
    """What was found beside the images, to unfold."""
    if not skipped:
        return ""
    items = "".join(f"<li>{text(name)}: {text(reason)}</li>" for name, reason in skipped)
    return f"<details><summary>{len(skipped)} left out</summary><ul>{items}</ul></details>"


def _worst_first(row: BatchRow) -> tuple[bool, int, float]:
    dice = lowest_dice(row.structures)
    return row.status != FAILED, _rank(row), 1.0 if dice is None else dice


def _rank(row: BatchRow) -> int:
    return WORST_FIRST.index(row.triage) if row.triage else len(WORST_FIRST)


def _summary(result: BatchResult) -> str:
    summary = f"{len(result.finished)} of {result.total} images are segmented, {len(result.failed)} failed."
    counts = {one: sum(row.triage == one for row in result.rows) for one in WORST_FIRST}
    if any(counts.values()):
        summary += f" {', '.join(f'{count} to {one}' for one, count in counts.items())}."
    if result.cancelled or result.stopped:
        summary += f" The batch is not finished{': ' + result.stopped if result.stopped else '.'}"
    return summary


def _legend(bounds: TriageBounds) -> str:
    """What the figures are made of and what the words of the triage mean."""
    meanings = {
        "Dice": _DICE,
        "there": "The probability that the structure is in the image at all.",
        _chip(ACCEPT): "Every structure is surely absent, or surely there and found with an expected Dice of "
        f"{bounds.accept:g} or more, in an image like those that the task was learned from.",
        _chip(REVIEW): "Anything else: look at every slice. A doubtful structure may be there or not.",
        _chip(PAINT): f"A structure has an expected Dice below {bounds.paint:g}: paint a few slices on the "
        "image and segment it by itself.",
    }
    words = definitions(meanings.items())
    return f"<details><summary>What Dice and triage mean</summary>{words}</details>"


def _row(row: BatchRow, structures: Sequence[str], expected: bool, cohort: CohortCells) -> str:
    picture = ""
    if row.thumbnail:
        picture = f'<img src="{png_source(row.thumbnail)}" alt="{text(row.name)}">'
    cells = [f"<td>{picture}</td>", f"<td>{text(row.image)}<small>{text(row.output)}</small></td>"]
    notes = [note for note in row.notes if not (expected and note in row.unlike)]
    cells.append(f"<td>{text(row.status)}{small(row.reason, *notes)}</td>")
    if expected:
        chip = _chip(row.triage) if row.triage else ""
        cells.append(f'<td data-sort="{_rank(row)}">{chip}{small(*row.unlike)}</td>')
    for number, one in enumerate(row.structures or (None,) * len(structures)):
        cells.append(_volume_cell(one, cohort.mark(number, VOLUME, row)))
        if expected:
            cells.append(_dice_cell(one, row.triage))
        cells += cohort.cells(number, row)
    cells.append(f'<td class="number" data-sort="{row.seconds}">{row.seconds:.1f}</td>')
    return f"<tr{' class=failed' if row.status == FAILED else ''}>{''.join(cells)}</tr>"


def _volume_cell(one: StructureRow | None, mark: str) -> str:
    """The volume; mark: where it lies among those of the other images, as HTML."""
    if one is None:
        return '<td data-sort="-2"></td>'
    if not one.found:
        return f'<td data-sort="-1">not found{small(one.reason)}</td>'
    volume = millilitres_text(one.millilitres)
    return f'<td class="number" data-sort="{one.millilitres:.9f}">{volume}{mark}</td>'


def _dice_cell(one: StructureRow | None, triage: str) -> str:
    """What is expected of a structure; of one that was not found, how likely it is there."""
    if one is None or one.present is None:
        return '<td data-sort="-2"></td>'
    there = f"{'doubtful, ' if one.doubtful else ''}there: {share_text(one.present)}"
    if not one.found or one.predicted_dice is None:
        return f'<td class="number" data-sort="-1">{small(there)}</td>'
    dice = dice_text(one.predicted_dice, one.predicted_dice_low, one.predicted_dice_high)
    following = f"next slice: {one.next_slice}" if one.next_slice and triage != ACCEPT else ""
    remarks = small(there if one.doubtful else "", following)
    return f'<td class="number" data-sort="{one.predicted_dice:.4f}">{dice}{remarks}</td>'


def _chip(word: str) -> str:
    return f'<span class="chip {word}">{word}</span>'
