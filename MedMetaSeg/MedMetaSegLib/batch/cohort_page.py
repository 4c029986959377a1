"""What the page of a batch says of measurements: cells with histograms, and the cases that stand out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..results.web_page import number_cell, number_text, text
from .cohort import BEYOND, LEAST_CASES, Distribution, distributions
from .states import BatchRow

STYLE = """
.histogram { display: block; width: 4.5rem; height: 1.2rem; margin: .15rem 0 0 auto; overflow: visible; }
.shapes { position: absolute; }
.bars { fill: #888c; }
td small.outlier { color: var(--bad); }
.histogram line { stroke: #d1495b; stroke-width: 2; vector-effect: non-scaling-stroke; }
"""
"""CSS of these parts."""

VOLUME = 0
"""Number of the volume among the distributions of a structure; the page has a column of it anyway."""
_WIDTH, _HEIGHT = 60, 16
_RULE = (
    f"A case is named where its modified z-score, 0.6745 (x - median) / MAD, is beyond {BEYOND} (Iglewicz "
    "and Hoaglin 1993; MAD is the median of the distances from the median), of the images in which the "
    f"structure was found and if these are {LEAST_CASES} or more. Where more than half have one value none "
    "is named. It may be a patient unlike the others, or a segmentation that went wrong: look."
)


class CohortCells:
    """The cells of what was measured, for the rows of a batch; no columns where nothing was."""

    def __init__(self, rows: Sequence[BatchRow]) -> None:
        self._rows = rows
        self._of_structures = distributions(rows)
        self._outliers = {(structure, number): one.outliers() for structure, number, one in self._numbered()}

    @property
    def measured(self) -> bool:
        """Whether anything was."""
        return bool(self._of_structures)

    def heads(self, structure: int) -> list[str]:
        """Heads of the columns of the structure with this number, but for its volume."""
        if not self.measured:
            return []
        several = self._of_structures[structure]
        return [f"{one.structure} ({one.figure})" for n, one in enumerate(several) if n != VOLUME]

    def cells(self, structure: int, row: BatchRow) -> list[str]:
        """The cells of one image, below `heads`: the value, and where it lies among the others."""
        if not self.measured:
            return []
        return [
            self._cell(structure, number, one.values.get(row.name), row)
            for number, one in enumerate(self._of_structures[structure])
            if number != VOLUME
        ]

    def mark(self, structure: int, figure: int, row: BatchRow) -> str:
        """Where an image lies among the others, as HTML; "" where nothing was measured in it.

        figure: its number among the distributions of the structure.
        """
        one = self._of_structures[structure][figure] if self.measured else None
        if one is None or row.name not in one.values:
            return ""
        low, high = one.bounds
        place = _WIDTH * (0.5 if low == high else (one.values[row.name] - low) / (high - low))
        score = self._outliers[structure, figure].get(row.name)
        return (
            f'<svg class="histogram" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none">'
            f'<use href="#{_anchor(structure, figure)}"/>'
            f'<line x1="{place:.1f}" x2="{place:.1f}" y1="0" y2="{_HEIGHT}"/></svg>'
            + ("" if score is None else f'<small class="outlier">stands out, z {score:+.1f}</small>')
        )

    def shapes(self) -> str:
        """The bars of the histograms, which the cells use; nothing of it is seen by itself."""
        if not self.measured:
            return ""
        groups = (
            f'<g class="bars" id="{_anchor(structure, number)}">{_bars(one)}</g>'
            for structure, number, one in self._numbered()
            if one.values
        )
        bars = f"<defs>{''.join(groups)}</defs>"
        return f'<svg class="shapes" width="0" height="0" aria-hidden="true">{bars}</svg>'

    def outliers(self) -> str:
        """The cases that stand out, in words, and the rule."""
        if not self.measured:
            return ""
        images = {row.name: row.image for row in self._rows}
        items = [
            f"<li>{text(images[name])}: {text(_in_words(one, name, score))}</li>"
            for structure, number, one in self._numbered()
            for name, score in self._outliers[structure, number].items()
        ]
        told = f"<ul>{''.join(items)}</ul>" if items else ""
        heading = f"Values that stand out: {len(items)}" if items else "No value stands out"
        shown = " open" if items else ""
        return f"<details{shown}><summary>{heading}</summary>{told}<p>{text(_RULE)}</p></details>"

    def _numbered(self) -> Iterator[tuple[int, int, Distribution]]:
        for structure, several in enumerate(self._of_structures):
            for number, one in enumerate(several):
                yield structure, number, one

    def _cell(self, structure: int, figure: int, value: float | None, row: BatchRow) -> str:
        told = "" if value is None else number_text(value)
        return number_cell(told, value, self.mark(structure, figure, row))


def _in_words(one: Distribution, name: str, score: float) -> str:
    figure, among = number_text(one.values[name]), f"median of {len(one.values)} images"
    return f"{one.structure} ({one.figure}) {figure}, {among} {number_text(one.median)}, z {score:+.1f}"


def _bars(one: Distribution) -> str:
    counts = one.counts()
    width, tallest = _WIDTH / len(counts), max(counts)
    return "".join(
        f'<rect x="{number * width:g}" y="{_HEIGHT * (1 - count / tallest):.1f}" width="{width:g}" '
        f'height="{_HEIGHT * count / tallest:.1f}"/>'
        for number, count in enumerate(counts)
        if count
    )


def _anchor(structure: int, number: int) -> str:
    return f"bars-{structure}-{number}"
