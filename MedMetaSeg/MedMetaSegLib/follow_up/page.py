"""What changed, as a section of the page of a case, with the definitions used and their limits."""

from __future__ import annotations

from ..results.millilitres import millilitres_text
from ..results.web_page import definitions, number_cell, small, table, text
from .changes import Change, FollowUp, LesionChange, StructureChange, counted, not_compared
from .matching import LEAST_OVERLAP, REACH_MM, REACH_RADII

_STRUCTURE_HEADS = (
    "structure",
    "before cm3",
    "now cm3",
    "change cm3",
    "change %",
    "lesions before",
    "lesions now",
)
_LESION_HEADS = (
    "structure",
    "what became of it",
    "before",
    "now",
    "before cm3",
    "now cm3",
    "change cm3",
    "change %",
    "longest, change mm",
    "change %",
    "perpendicular, change mm",
    "change %",
)
_HOW = {
    "registered": "The earlier image was registered to the present one.",
    "given": "The earlier image was placed by the transform that was given.",
    "none": "The two images were taken to lie on one another.",
}
_BY_DISTANCE = "by distance: the two do not overlap"
_BORDER = "touches an image's border: cut off, perhaps"


def section(result: FollowUp, earlier: str) -> str:
    """The section as HTML; earlier: the name of the earlier image."""
    fit = result.fit
    body = [
        f"<h2>Compared with {text(earlier)}</h2>",
        f"<p>{_HOW[result.how]} Correlation {fit.correlation:.2f} (1: all the same), strain {fit.strain:.2f} "
        f"(0: not deformed); it shows {fit.shared:.0%} of what was looked at.</p>",
        *(f"<p>{text(note)}</p>" for note in (*not_compared(result), *result.notes)),
        _scroll(table(_STRUCTURE_HEADS, [_structure_row(one, result) for one in result.structures])),
    ]
    changes = [change for one in result.structures for change in one.lesions]
    rows = [_lesion_row(one.name, change) for one in result.structures for change in one.lesions]
    if rows:
        body += [
            f"<p>Lesions, or groups of them: {counted(changes)}.</p>",
            _scroll(table(_LESION_HEADS, rows)),
        ]
    body.append(definitions(_definitions(result)))
    return "\n".join(body)


def _scroll(html: str) -> str:
    return f'<div class="scroll">{html}</div>'


def _structure_row(one: StructureChange, result: FollowUp) -> str:
    cells = [
        f"<td>{text(one.name)}</td>",
        number_cell(millilitres_text(one.volume_before_cm3), one.volume_before_cm3),
        number_cell(millilitres_text(one.volume_now_cm3), one.volume_now_cm3),
        *_change_cells(one.volume, 2),
    ]
    if result.options.asks_for(one.name):
        cells += [number_cell(str(count), count) for count in (one.lesions_before, one.lesions_now)]
    else:
        cells += [number_cell("", None)] * 2
    return f"<tr>{''.join(cells)}</tr>"


def _lesion_row(structure: str, one: LesionChange) -> str:
    remarks = small(_BY_DISTANCE if one.found_by == "distance" else "", _BORDER if one.touches_border else "")
    cells = [f"<td>{text(structure)}</td>", f"<td>{one.status}{remarks}</td>"]
    for numbers in (one.before, one.now):
        first = numbers[0] if numbers else None
        cells.append(number_cell(", ".join(map(str, numbers)), first))
    for size in (one.size_before, one.size_now):
        volume = None if size is None else size.volume_cm3
        cells.append(number_cell("" if volume is None else millilitres_text(volume), volume))
    cells += [
        *_change_cells(one.volume, 2),
        *_change_cells(one.longest, 1),
        *_change_cells(one.perpendicular, 1),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _change_cells(change: Change | None, decimals: int) -> list[str]:
    """Of a change itself, and in percent."""
    if change is None:
        return [number_cell("", None)] * 2
    percent = "" if change.percent is None else f"{change.percent:+.0f}"
    return [
        number_cell(f"{change.absolute:+.{decimals}f}", change.absolute),
        number_cell(percent, change.percent),
    ]


def _definitions(result: FollowUp) -> list[tuple[str, str]]:
    smallest = f"{result.options.smallest_mm3:g} mm3"
    return [
        (
            "The same lesion",
            "Lesions that overlap, once the earlier one is placed on the present image, by "
            f"{LEAST_OVERLAP:.0%} of the smaller. Of the rest those whose centres lie apart by at most "
            f"{REACH_MM:g} mm and {REACH_RADII:g} times the radius of the smaller, paired so that the "
            "distances together are least. Lesions are only placed: each is measured in its own image.",
        ),
        (
            "Merged, split",
            "Several lesions before that overlap one now, or one before that overlaps several now. Their "
            "volumes are added; diameters are not.",
        ),
        (
            "New, gone; not seen",
            "Without a counterpart, where the other image shows the place; not seen where it does not.",
        ),
        (
            "Grown past, shrunk below the smallest",
            f"At the other time there is a part of less than {smallest}, too small to be counted.",
        ),
        (
            "Limits of a comparison",
            "No RECIST category is given, nor that of another standard. A change below the size of a voxel, "
            "or between images of another scanner, protocol or slice thickness, may be none of the lesion. "
            "Lesions that flow together are hard to follow. Images of another region are refused, those "
            "of another patient may fit. What was outlined decides: look at both images.",
        ),
    ]
