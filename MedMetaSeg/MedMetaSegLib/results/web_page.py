"""What pages of reports share: one file that loads nothing, light and dark, with tables to sort and search.

All text that comes from outside goes through `text`, so that no name becomes part of the page.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable

from ..imageio.names import shown

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --bad: #c62828; --quiet: #666; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --quiet: #aaa; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 1.8rem 0 .5rem; }
p { margin: .2rem 0; color: var(--quiet); }
input { font: inherit; margin: 1rem 0; padding: .3rem .6rem; width: 20rem; max-width: 100%;
  box-sizing: border-box; }
table { border-collapse: collapse; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { position: sticky; top: 0; background: Canvas; vertical-align: bottom; }
th button { font: inherit; font-weight: 600; border: 0; padding: 0; background: none; color: inherit;
  cursor: pointer; text-align: inherit; }
th[aria-sort=ascending] button::after { content: " ↑"; }
th[aria-sort=descending] button::after { content: " ↓"; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td small { color: var(--quiet); display: block; max-width: 18rem; }
td:not(.number) small { min-width: 9rem; }
td.number small { max-width: 11rem; margin-left: auto; white-space: normal; }
dl { margin: .5rem 0; max-width: 50rem; }
dt { margin-top: .4rem; font-weight: 600; }
dd { margin: .1rem 0 0 1rem; }
details { margin-top: 1.5rem; }
"""

_SCRIPT = """
const compare = (a, b) => {
  const difference = a === "" || b === "" ? NaN : Number(a) - Number(b);
  return Number.isNaN(difference)
    ? a.localeCompare(b, undefined, {numeric: true, sensitivity: "base"}) : difference;
};
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(one => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => row.cells[column].dataset.sort ?? row.cells[column].textContent;
    const rows = [...body.rows].sort((a, b) => compare(key(a), key(b)));
    body.append(...(down ? rows.reverse() : rows));
  }));
}
document.querySelector("input[type=search]")?.addEventListener("input", event => {
  const wanted = event.target.value.toLowerCase();
  for (const row of document.querySelectorAll("tbody tr"))
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
});
"""

SEARCH = '<input type="search" placeholder="Find ..." aria-label="Find">'
"""A field that leaves only the rows of the tables that hold what is typed."""


def document(title: str, body: Iterable[str], style: str = "") -> str:
    """A whole page as HTML; nothing in it is loaded from anywhere.

    body: HTML, one piece after the other. style: CSS beside what all pages have.
    """
    return "\n".join(
        [
            f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>',
            '<meta name="viewport" content="width=device-width">',
            f"<style>{_STYLE}{style}</style></head><body>",
            *body,
            f"<script>{_SCRIPT}</script></body></html>",
        ]
    )


def table(heads: Iterable[str], rows: Iterable[str]) -> str:
    """A table of HTML rows that a press on a head sorts; a column without a head is not sorted by."""
    cells = "".join(f"<th><button>{text(head)}</button></th>" if head else "<th></th>" for head in heads)
    return "\n".join([f"<table><thead><tr>{cells}</tr></thead><tbody>", *rows, "</tbody></table>"])


def number_cell(told: str, value: float | None, remarks: str = "") -> str:
    """A cell that says `told` and is sorted by `value`, before all others where that is None.

    remarks: HTML, as from `small`.
    """
    key = "-Infinity" if value is None else f"{value:.9g}"
    return f'<td class="number" data-sort="{key}">{text(told)}{remarks}</td>'


def number_text(value: float) -> str:
    """A number with four digits that count, or all before the point of a larger one."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value + 0.0:.4g}"  # -0.0 is 0


def definitions(words: Iterable[tuple[str, str]]) -> str:
    """A list of words, as HTML, each with what it means, as text."""
    return f"<dl>{''.join(f'<dt>{word}</dt><dd>{text(meaning)}</dd>' for word, meaning in words)}</dl>"


def small(*remarks: str) -> str:
    """Remarks below what a cell says, as HTML; empty ones are left out."""
    return "".join(f"<small>{text(remark)}</small>" for remark in remarks if remark)


def png_source(png: bytes) -> str:
    """The address of a picture that is in the page itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def text(value: str) -> str:
    """Text from outside, as HTML that shows it and does nothing else."""
    return html.escape(shown(value), quote=True)
