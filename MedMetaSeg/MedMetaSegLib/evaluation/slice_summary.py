"""What simulated painting came to: tables of areas under Dice against slices, and a picture of the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..imageio.writing import replace_whole, write_text
from .slice_policies import EQUAL_SPACING, WIDEST_GAP

REFERENCES = (EQUAL_SPACING, WIDEST_GAP)
"""What the others are compared with, structure by structure."""
_SHOWN = (2, 3, 5, 9)
"""Slices after which the mean Dice is told."""
_DRAWS, _SEED = 2000, 0
_COLORS = ("#d1495b", "#30638e", "#edae49", "#4f9d69", "#8d6a9f", "#777777", "#00798c")

Row = Mapping[str, Any]
Key = tuple[str, str]
"""Patient and structure."""


def curves(rows: Sequence[Row], most: int) -> dict[str, dict[Key, np.ndarray]]:
    """For each policy the Dice of each structure after 1, 2, ... slices, (most,).

    Where a session ended early, since nothing seemed worth painting, its last Dice stays.
    """
    found: dict[str, dict[Key, np.ndarray]] = {}
    for row in sorted(rows, key=lambda row: row["k"]):
        key = (row["patient"], f"{row['dataset']}/{row['case']}/{row['structure']}")
        own = found.setdefault(row["policy"], {}).setdefault(key, np.full(most, np.nan))
        own[row["k"] - 1 :] = row["dice"]
    return found


def area(curve: np.ndarray) -> float:
    """Area under a curve (n,) by the trapezoidal rule, over its length: a mean Dice."""
    return float(((curve[1:] + curve[:-1]) / 2).mean())


def paired_difference(own: Mapping[Key, float], other: Mapping[Key, float]) -> tuple[float, float, float]:
    """The mean of own less other over the structures of both, and its 95 % interval, by resampled patients.

    Raises ValueError where they have no structure in common.
    """
    by_patient: dict[str, list[float]] = {}
    for key in sorted(own.keys() & other.keys()):
        by_patient.setdefault(key[0], []).append(own[key] - other[key])
    if not by_patient:
        raise ValueError("nothing to compare: no structure has both")
    sums = np.array([sum(some) for some in by_patient.values()])
    counts = np.array([len(some) for some in by_patient.values()])
    draws = np.random.default_rng(_SEED).integers(len(sums), size=(_DRAWS, len(sums)))
    low, high = np.quantile(sums[draws].sum(1) / counts[draws].sum(1), [0.025, 0.975])
    return float(sums.sum() / counts.sum()), float(low), float(high)


def summary_table(rows: Sequence[Row], most: int) -> str:
    """Markdown, a row for each policy: the area under its curve over `most` slices, and how much larger it is
    than those of `REFERENCES`.
    """
    found = curves(rows, most)
    areas = {name: {key: area(curve) for key, curve in own.items()} for name, own in found.items()}
    shown = [k for k in _SHOWN if k <= most]
    heads = ["policy", "structures (patients)", "area", *(f"Dice after {k}" for k in shown)]
    heads += [f"less {name}" for name in REFERENCES if name in areas]
    lines = []
    for name, own in sorted(areas.items(), key=lambda one: -_mean(one[1])):
        mean = np.mean(list(found[name].values()), axis=0)
        cells = [name, f"{len(own)} ({len({key[0] for key in own})})", f"{_mean(own):.3f}"]
        cells += [f"{mean[k - 1]:.3f}" for k in shown]
        cells += ["" if one == name else _compared(own, areas[one]) for one in REFERENCES if one in areas]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ["---"] * len(heads), *lines])


def write_curves(rows: Sequence[Row], most: int, path: Path) -> None:
    """Write a picture of the mean Dice after 1, 2, ... slices, a line for each policy."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    found = curves(rows, most)
    slices = np.arange(1, most + 1)
    for number, (name, own) in enumerate(found.items()):
        panel.plot(
            slices,
            np.mean(list(own.values()), axis=0),
            label=name,
            color=_COLORS[number % len(_COLORS)],
            linestyle="--" if name == EQUAL_SPACING else "-",
            marker="o",
            markersize=4,
        )
    panel.set_xticks(slices)
    panel.set_xlabel("painted slices")
    panel.set_ylabel("mean Dice, whole volume")
    panel.grid(axis="y", color="#dddddd", linewidth=0.8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, fontsize=8)
    replace_whole(path, lambda part: figure.savefig(part, dpi=150, facecolor="white"))


def write_page(tables: Mapping[str, str], path: Path) -> None:
    """Write a page of tables under their titles. Raises WriteError."""
    write_text(path, "\n\n".join(f"## {title}\n\n{table}" for title, table in tables.items()) + "\n")


def _mean(values: Mapping[Key, float]) -> float:
    return float(np.mean(list(values.values())))


def _compared(own: Mapping[Key, float], other: Mapping[Key, float]) -> str:
    mean, low, high = paired_difference(own, other)
    return f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"
