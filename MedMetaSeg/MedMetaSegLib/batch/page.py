"""The page of a batch: a table to look through, in one file that opens from disk."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from ..imageio.names import shown
from ..imageio.writing import write_text
from ..results.millilitres import millilitres_text
from .request import BatchResult
from .states import FAILED, BatchRow

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --bad: #c62828; --quiet: #777; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; }
p { margin: .2rem 0; color: var(--quiet); }
input { font: inherit; margin: 1rem 0; padding: .3rem .6rem; width: 20rem; max-width: 100%; }
table { border-collapse: collapse; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { position: sticky; top: 0; background: Canvas; vertical-align: bottom; }
th button { font: inherit; font-weight: 600; border: 0; padding: 0; background: none; color: inherit;
  cursor: pointer; text-align: inherit; }
th[aria-sort=ascending] button::after { content: " ↑"; }
th[aria-sort=descending] button::after { content: " ↓"; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
tr.failed td { color: var(--bad); }
td small { color: var(--quiet); display: block; max-width: 18rem; }
img { display: block; max-height: 144px; background: #000; }
details { margin-top: 1.5rem; }
"""

_SCRIPT = """
const body = document.querySelector("tbody");
const heads = [...document.querySelectorAll("th")];
heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
  const down = head.getAttribute("aria-sort") === "ascending";
  heads.forEach(one => one.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => row.cells[column].dataset.sort ?? row.cells[column].textContent;
  const rows = [...body.rows].sort((a, b) =>
    key(a).localeCompare(key(b), undefined, {numeric: true, sensitivity: "base"}));
  body.append(...(down ? rows.reverse() : rows));
}));
document.querySelector("input").addEventListener("input", event => {
  const wanted = event.target.value.toLowerCase();
  for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
});
"""


def write_page(path: Path, result: BatchResult, structures: Sequence[str], task: str) -> None:
    """Write the page, whole or not at all; failures come first. Raises InputError when it cannot."""
    write_text(path, page(result, structures, task))


def page(result: BatchResult, structures: Sequence[str], task: str) -> str:
    """The page as HTML; nothing in it is loaded from anywhere."""
    rows = sorted(result.rows, key=lambda row: row.status != FAILED)
    heads = ["", "image", "status", *(f"{name} (ml)" for name in structures), "seconds"]
    summary = f"{len(result.finished)} of {result.total} images are segmented, {len(result.failed)} failed."
    if result.cancelled or result.stopped:
        summary += f" The batch is not finished{': ' + result.stopped if result.stopped else '.'}"
    skipped = "".join(f"<li>{_text(name)}: {_text(reason)}</li>" for name, reason in result.skipped)
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>MedMetaSeg batch</title>',
            '<meta name="viewport" content="width=device-width">',
            f"<style>{_STYLE}</style></head><body>",
            "<h1>MedMetaSeg batch</h1>",
            f"<p>{_text(summary)}</p><p>Task {_text(task)}. For research; look at every result.</p>",
            '<input type="search" placeholder="Find ..." aria-label="Find">',
            "<table><thead><tr>",
            *(f"<th><button>{_text(head)}</button></th>" if head else "<th></th>" for head in heads),
            "</tr></thead><tbody>",
            *(_row(row, structures) for row in rows),
            "</tbody></table>",
            f"<details><summary>{len(result.skipped)} left out</summary><ul>{skipped}</ul></details>"
            if skipped
            else "",
            f"<script>{_SCRIPT}</script></body></html>",
        ]
    )


def _row(row: BatchRow, structures: Sequence[str]) -> str:
    picture = ""
    if row.thumbnail:
        encoded = base64.b64encode(row.thumbnail).decode()
        picture = f'<img src="data:image/png;base64,{encoded}" alt="{_text(row.name)}">'
    cells = [f"<td>{picture}</td>", f"<td>{_text(row.image)}<small>{_text(row.output)}</small></td>"]
    remarks = "".join(f"<small>{_text(remark)}</small>" for remark in (row.reason, *row.notes) if remark)
    cells.append(f"<td>{_text(row.status)}{remarks}</td>")
    for one in row.structures or (None,) * len(structures):
        if one is None:
            cells.append('<td data-sort="-2"></td>')
        elif one.found:
            volume = millilitres_text(one.millilitres)
            cells.append(f'<td class="number" data-sort="{one.millilitres:.9f}">{volume}</td>')
        else:
            cells.append(f'<td data-sort="-1">not found<small>{_text(one.reason)}</small></td>')
    cells.append(f'<td class="number" data-sort="{row.seconds}">{row.seconds:.1f}</td>')
    return f"<tr{' class=failed' if row.status == FAILED else ''}>{''.join(cells)}</tr>"


def _text(value: str) -> str:
    return html.escape(shown(value), quote=True)
