"""Benchmark rows as a page of tables and a picture: benchmark.md and benchmark.png."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from ..datasets.cases import ACCEPTANCE_STRUCTURES, collection_title
from ..imageio.writing import replace_whole, write_text
from .interaction import Row
from .methods import METHOD_NAMES, OURS, TITLES
from .speed import RUNS, SpeedRow

PAGE, PICTURE = "benchmark.md", "benchmark.png"
"""Files that a report consists of."""
ONE_BY_ONE = (3, 5)
"""Numbers of annotated slices for which structures are shown one by one."""
NOT_MEASURED = "not measured"
"""What a table says of memory on a system that does not tell it."""
COLORS = {OURS: "#d1495b", "fill": "#30638e", "grow": "#4f9d69", "forest": "#edae49"}
MARKERS = {OURS: "o", "fill": "s", "grow": "^", "forest": "D"}

_PROTOCOL = """\
Protocol A, same volume: a structure takes part when it has at least 300 voxels on at least K + 4 axial
slices. K axial slices, equally spaced over its extent, 8 % in from both ends (K = 1: the middle), are given
whole; each structure has its own slices. Dice and NSD (normalised surface Dice at 2 mm) are over all other
slices of the volume; false positives anywhere count. (Spinal cord and oesophagus of Head and neck CT, and the
cords of Spinal cord MR, were contoured over part of their length and are scored there: nobody knows what is
beyond.) n is the number of structures over all cases, and means are over structures. A structure with fewer
than 10 annotated voxels is too small a support and is left out for all methods. Which structures take part
changes with K: rows with another n are not of the same ones. Along an axis with a spacing above 2 mm NSD
forgives no error at all: compare it within a data set, never across. Sarcoma CT and Sarcoma MR, and Prostate
US and Prostate MR, are of the same patients, not of independent ones.
"""

_METHODS = """\
All methods get the same support. It says: the annotated slices of a structure are complete, on all
other slices it is unknown, and a voxel given to one structure is not another's. No method sees the truth
on other slices.

- **MedMetaSeg**: all structures of the case in one call, as a user would.
- **Fill between slices**: ITK's morphological contour interpolation, which Slicer's effect runs. It has
  nothing to interpolate at K = 1 and nothing to say beyond the outermost slices.
- **Grow from seeds**: Slicer's GrowCut, one structure at a time. Foreground seeds are its annotated voxels,
  background seeds the rest of its annotated slices and the other structures' annotated voxels.
- **Random forest**: {forest}

The last two work in a box: the annotated voxels' extent and a quarter more on every side, at least 10 mm
(across a single slice, half its larger in-plane extent).
"""

_FOREST = """\
50 trees on intensity, Gaussian, gradient magnitude, Laplacian and Hessian eigenvalues at 1, 2
  and 4 times the finest spacing, and position; at most 10 000 known voxels of each class."""

_COST = """\
Seconds are the wall clock of one run with all structures of a case; libraries and weights are loaded and
warmed up before. Memory is the peak resident size, during the run, of a process that runs only this method:
Python, the libraries, the volume and what earlier runs left allocated are in it. Medians over cases.
"""


def write_report(rows: Sequence[Row], speed: Sequence[SpeedRow], out: Path) -> list[Path]:
    """Write the page and the picture; returns their paths. Rows of protocols other than A are left out."""
    rows = [row for row in rows if row.protocol == "A"]
    page = out / PAGE
    write_text(page, report_text(rows, speed))
    if not rows:
        return [page]
    picture = out / PICTURE
    draw(rows, picture)
    return [page, picture]


def report_text(rows: Sequence[Row], speed: Sequence[SpeedRow]) -> str:
    """The page as Markdown."""
    parts = [
        "# Benchmark",
        "Written by `medmetaseg benchmark` from benchmark.csv; do not edit.",
        _provenance(rows),
    ]
    parts += [
        f"![Dice against K]({PICTURE})",
        "## What is measured",
        _PROTOCOL,
        _METHODS.format(forest=_FOREST),
    ]
    for title, measure in (("Mean Dice", "dice"), ("Mean NSD at 2 mm", "nsd_2mm")):
        parts += [f"## {title}, protocol A", _mean_table(rows, measure)]
    for k in ONE_BY_ONE:
        parts += [
            f"## 18 structures of the TotalSegmentator CT, protocol A, K = {k}",
            _structure_table(rows, k),
        ]
    parts += ["## Seconds and memory, protocol A", _COST, _cost_table(rows)]
    if speed:
        parts += ["## First and second run", _speed_text(speed), _speed_table(speed)]
    parts += ["## Reproduce", _REPRODUCE]
    return "\n\n".join(part.strip() for part in parts) + "\n"


_REPRODUCE = """\
```
pip install -e ".[evaluation]"
medmetaseg benchmark --data FOLDER --out docs
medmetaseg benchmark --data ANOTHER --out docs --resume
```

Each folder holds manifest.json and the cases it lists. `--resume` keeps the rows that are there and measures
the rest; rows of another version, other weights or another device are measured again. The cases are held-out
ones (`MedMetaSegLib/datasets/cases.py`, `is_held_out`): no shipped weights trained on their patients.
What former weights reached is in benchmark_history.csv, into which `make history` writes the present ones.
"""


def draw(rows: Sequence[Row], path: Path) -> None:
    """Mean Dice against K: a panel per data set, a line per method."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    collections = _collections(rows)
    columns = min(4, len(collections))
    lines = -(-len(collections) // columns)
    figure = Figure(figsize=(3.1 * columns + 0.4, 2.9 * lines + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    methods, all_ks = _methods(rows), sorted({row.k for row in rows})
    for panel, title in zip(axes, collections, strict=False):
        own = [row for row in rows if _title(row) == title]
        for method in reversed(methods):
            points = [
                (k, _mean(row.dice for row in own if (row.k, row.method) == (k, method))) for k in all_ks
            ]
            panel.plot(
                [k for k, _ in points],
                [mean for _, mean in points],
                color=COLORS[method],
                marker=MARKERS[method],
                markersize=5,
                linewidth=2.4 if method == OURS else 1.5,
                label=TITLES[method],
                zorder=3 if method == OURS else 2,
            )
        panel.set_title(title, fontsize=10, loc="left")
        panel.set_xticks(all_ks)
        panel.set_ylim(0, 1)
        panel.grid(axis="y", color="#dddddd", linewidth=0.8)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(length=0, labelsize=8)
        panel.set_xlabel("annotated slices K", fontsize=8)
    for panel in axes[len(collections) :]:
        panel.set_visible(False)
    for start in range(0, len(axes), columns):
        axes[start].set_ylabel("mean Dice, other slices", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=len(methods), frameon=False)
    replace_whole(path, lambda part: figure.savefig(part, dpi=150, facecolor="white"))


def _provenance(rows: Sequence[Row]) -> str:
    made = sorted({(METHOD_NAMES.index(r.method), r.version, r.weights_id, r.device) for r in rows})
    table = [
        [TITLES[METHOD_NAMES[index]], version, weights or "none", device]
        for index, version, weights, device in made
    ]
    return _table(["method", "version", "weights", "device"], table)


def _mean_table(rows: Sequence[Row], measure: str) -> str:
    methods = _methods(rows)
    lines = []
    for title in _collections(rows):
        own = [row for row in rows if _title(row) == title]
        for k in sorted({row.k for row in own}):
            here = [row for row in own if row.k == k]
            scored = len({(row.case, row.structure) for row in here})
            cases = len({row.case for row in here})
            values = [[getattr(row, measure) for row in here if row.method == method] for method in methods]
            lines.append([title, str(k), str(cases), str(scored), *_best([_mean(v) for v in values])])
    return _table(["data set", "K", "cases", "n", *(TITLES[m] for m in methods)], lines)


def _structure_table(rows: Sequence[Row], k: int) -> str:
    own = [row for row in rows if (row.dataset, row.case, row.k) == ("totalseg", "ct", k)]
    methods = _methods(rows)
    lines: list[list[str]] = []
    columns: list[list[float]] = [[] for _ in methods]
    for structure in ACCEPTANCE_STRUCTURES:
        here = [row for row in own if row.structure == structure]
        if here:
            means = [_mean(row.dice for row in here if row.method == method) for method in methods]
            for column, mean in zip(columns, means, strict=True):
                column.append(mean)
            lines.append([structure, *_best(means)])
    if not lines:
        return "Not measured."
    lines.append([f"mean Dice, n = {len(lines)}", *_best([_mean(column) for column in columns])])
    return _table([f"Dice, protocol A, K = {k}", *(TITLES[m] for m in methods)], lines)


def _cost_table(rows: Sequence[Row]) -> str:
    methods = _methods(rows)
    lines = []
    for title in _collections(rows):
        own = [row for row in rows if _title(row) == title]
        for k in sorted({row.k for row in own}):
            here = [row for row in own if row.k == k]
            cases = len({row.case for row in here})
            cells = []
            for method in methods:
                # Every row of a run holds the run's figures: one row a case is enough.
                runs = {row.case: row for row in here if row.method == method}.values()
                if runs:
                    memory = [row.peak_memory_mb for row in runs if row.peak_memory_mb is not None]
                    cells.append(f"{median(row.seconds for row in runs):.1f} s, {_memory(memory)}")
                else:
                    cells.append("")
            structures = len({(row.case, row.structure) for row in here}) / cases
            lines.append([title, str(k), str(cases), f"{structures:.0f}", *cells])
    return _table(["data set", "K", "cases", "structures a case", *(TITLES[m] for m in methods)], lines)


def _memory(peaks_mb: Sequence[float]) -> str:
    return f"{median(peaks_mb):.0f} MB" if peaks_mb else f"memory {NOT_MEASURED}"


def _speed_text(speed: Sequence[SpeedRow]) -> str:
    return (
        f"MedMetaSeg on {speed[0].device}, K = {speed[0].k}, one case each. The second run follows on the "
        "same Segmenter after the liver was annotated on one slice more. "
        "Memory is the process's peak over all runs. Grow from seeds and Fill between slices ran on the same "
        "support afterwards, warm, in the same process: the ratio to Grow from seeds tells more than seconds "
        f"of another machine. Seconds are medians of {RUNS} runs. Fresh process is the whole command, "
        "once, from its start to the file of the result."
    )


def _speed_table(speed: Sequence[SpeedRow]) -> str:
    lines = [
        [
            row.scenario,
            row.size,
            str(row.structures),
            f"{row.first_seconds:.1f}",
            f"{row.second_seconds:.1f}",
            f"{row.ratio:.2f}",
            NOT_MEASURED if row.peak_memory_mb is None else f"{row.peak_memory_mb:.0f}",
            _one_decimal(row.grow_seconds),
            _one_decimal(row.over_grow),
            _one_decimal(row.fill_seconds),
            _one_decimal(row.fresh_seconds),
        ]
        for row in speed
    ]
    header = ["volume", "voxels", "structures", "first, s", "second, s", "second / first", "peak MB"]
    header += ["Grow from seeds, s", "first / Grow from seeds", "Fill between slices, s", "fresh process, s"]
    return _table(header, lines)


def _one_decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _best(means: Sequence[float]) -> list[str]:
    """Three decimals each, the highest bold; empty where nothing was measured."""
    texts = ["" if np.isnan(mean) else f"{mean:.3f}" for mean in means]
    best = max((text for text in texts if text), default="")
    return [f"**{text}**" if text and text == best else text for text in texts]


def _mean(values: Iterable[float]) -> float:
    """Mean of what is defined; nan when nothing is."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _methods(rows: Sequence[Row]) -> list[str]:
    return [name for name in METHOD_NAMES if any(row.method == name for row in rows)]


def _collections(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(_title(row) for row in rows))


def _title(row: Row) -> str:
    return collection_title(row.dataset, row.modality)
