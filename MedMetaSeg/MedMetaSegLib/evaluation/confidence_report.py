"""Fits confidence on gathered rows, checks it on collections left out of the fit, and tells how good it is.

    python -m MedMetaSegLib.evaluation.confidence_report ROWS --out FOLDER --ship

reads the rows of `confidence_rows` and writes FOLDER/confidence.md (tables) and
FOLDER/pictures/confidence.png (calibration plots); with --ship the calibration that is fitted on all
collections takes the place of the shipped one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy.stats import spearmanr

from ..confidence.calibration import CALIBRATION, Calibration, PresenceModel
from ..imageio.writing import write_text
from ..network.shipped import shipped_sha256
from .confidence_fit import (
    NEVER_FITTED,
    NEXT_PATIENT,
    PENALTIES,
    PRESENCE,
    SAME_VOLUME,
    Row,
    Table,
    auc,
    calibration_error,
    dice_model,
    presence_model,
)
from .confidence_rows import read_rows

LESIONS = frozenset({"sts_ct", "sts_mr"})
"""Collections of lesions. On the next patient they lie elsewhere: no task knows their place, and only tasks
that are applied to whom they do not belong are counted.
"""


_PAGE = """# How sure it is

*Made by `make confidence`; do not edit.* What the figures are made of is in
[architecture.md](architecture.md#the-way-of-a-figure), how they are used in
[user-guide.md](user-guide.md#how-sure-it-is).

Nobody of these patients was used to train the network. Every row below is of a collection that had no part in
the fit that predicts it, nor in the width of the interval or the bounds: each collection is left out in turn.
(Of tasks, that is the collection of the support; a collection left out is no query in the fit either, though
images of the collections that stay are queries on both sides.) Hearts (`acdc`) are never fitted on, for their
licence. Intervals are to hold nine in ten. Structures that are there by name but cannot be known are not
asked: tumours on another patient, fetal brains more than three weeks apart, what a collection does not label.

{tables}
![Predicted and true Dice, and the probability of presence](pictures/confidence.png)
"""


@dataclass(frozen=True, eq=False)
class DiceCheck:
    """Rows with what was predicted of them by a model of other collections: (N,) each."""

    table: Table
    dice: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, table: Table, penalty: float) -> DiceCheck:
        """Of all rows, collection by collection."""
        told = np.full((len(table.target), 3), np.nan)
        for group in np.unique(table.groups):
            model = dice_model(table.without(group), penalty)
            for number in np.flatnonzero(table.groups == group).tolist():
                one = model.of(table.features(number))
                told[number] = one.dice, one.low, one.high
        return cls(table, *told.T)

    @classmethod
    def joined(cls, one: DiceCheck, other: DiceCheck) -> DiceCheck:
        """The rows of two, one after the other."""
        told = ((one.dice, other.dice), (one.low, other.low), (one.high, other.high))
        return cls(Table.joined(one.table, other.table), *map(np.concatenate, told))

    def line(self, name: str, chosen: np.ndarray) -> str:
        """A row of the table."""
        truth, dice = self.table.target[chosen], self.dice[chosen]
        if len(truth) < 3:
            return ""
        inside = (truth >= self.low[chosen]) & (truth <= self.high[chosen])
        width = float((self.high - self.low)[chosen].mean())
        rho = spearmanr(dice, truth).statistic
        return (
            f"| {name} | {len(truth)} | {truth.mean():.3f} | {dice.mean():.3f} | {rho:.2f} "
            f"| {np.abs(dice - truth).mean():.3f} | {100 * inside.mean():.0f} % | {width:.2f} |"
        )

    def lines(self, parts: Mapping[str, np.ndarray]) -> Iterator[str]:
        """The table with a row for each part of the rows that is not too small."""
        yield "| | n | Dice | predicted | Spearman | mean error | in the interval | its width |"
        yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
        yield from filter(None, (self.line(*part) for part in parts.items()))


@dataclass(frozen=True, eq=False)
class PresenceCheck:
    """Rows with the probability that a model of other collections gives them, and its bounds; (N,) each.

    answered: whether there is an answer that could be kept.
    """

    there: np.ndarray
    answered: np.ndarray
    groups: np.ndarray
    probability: np.ndarray
    absent: np.ndarray
    sure: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Row]) -> PresenceCheck:
        """Of all rows, collection by collection."""
        table = Table.of(rows, PRESENCE, "present")
        told = np.full((len(rows), 3), np.nan)
        for group in np.unique(table.groups):
            kept = (table.groups != group) & (table.queries != group)
            model = fitted_presence([row for row, keep in zip(rows, kept, strict=True) if keep])
            for number in np.flatnonzero(table.groups == group).tolist():
                told[number] = probability(model, rows[number]), model.absent, model.sure
        answered = np.array(["entropy" in row for row in rows])
        return cls(table.target > 0, answered, table.groups, *told.T)

    def line(self, name: str, chosen: np.ndarray) -> str:
        """A row of the table."""
        there, told = self.there[chosen], self.probability[chosen]
        left_out = (told < self.absent[chosen]) | ~self.answered[chosen]
        doubtful = left_out | (told < self.sure[chosen])
        cells = [name, f"{there.sum()} / {(~there).sum()}"]
        both = there.any() and not there.all()
        cells.append(f"{auc(told, there):.3f}" if both else "")
        cells.append(f"{calibration_error(told, there):.3f}" if both else "")
        cells.append(f"{left_out[there].sum()} of {there.sum()}" if there.any() else "")
        cells.append(f"{(doubtful & ~left_out)[there].sum()}" if there.any() else "")
        cells.append(f"{left_out[~there].sum()} of {(~there).sum()}" if not there.all() else "")
        cells.append(f"{(~doubtful)[~there].sum()}" if not there.all() else "")
        return f"| {' | '.join(cells)} |"

    def lines(self, parts: Mapping[str, np.ndarray]) -> Iterator[str]:
        """The table with a row for each part of the rows."""
        yield (
            "| tasks of | there / not | area under the curve | calibration error | there, left out "
            "| there, doubtful | not there, left out | not there, surely found |"
        )
        yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
        yield from (self.line(*part) for part in parts.items())


def fitted_presence(rows: Sequence[Row]) -> PresenceModel:
    """The model of some rows; what shows no features is counted, with one case more on either side."""
    some = [row for row in rows if row["dataset"] not in NEVER_FITTED and _support(row) not in NEVER_FITTED]
    outside, empty = (
        round((1 + sum(row["present"] for row in part)) / (2 + len(part)), 4)
        for part in ([row for row in some if not in_view(row)], [row for row in some if is_empty(row)])
    )
    answered = Table.of([row for row in some if "entropy" in row], PRESENCE, "present")
    there = sum(row["present"] for row in some)
    lost = sum(row["present"] for row in some if "entropy" not in row)
    return presence_model(answered, outside, empty, lost / max(there, 1))


def probability(model: PresenceModel, row: Row) -> float:
    """That the structure of a row is there."""
    if not in_view(row):
        return model.outside
    if is_empty(row):
        return model.empty
    return model.mean.of({name: row[name] for name in PRESENCE if name in row})


def in_view(row: Row) -> bool:
    """Whether the structure's place lies in the image."""
    return bool(row["in_view"])


def is_empty(row: Row) -> bool:
    """Whether the network finds nothing at the structure's place."""
    return in_view(row) and "entropy" not in row


def _support(row: Row) -> str:
    return str(row["support"]).split("/")[0]


def image_lines(rows: Sequence[Row], check: PresenceCheck) -> Iterator[str]:
    """How many images are told to be unlike what their task was learned from: right ones and wrong ones."""
    pairs: dict[tuple[str, ...], list[int]] = {}
    for number, row in enumerate(rows):
        pairs.setdefault((row["support"], row["dataset"], row["case"], row["cut"]), []).append(number)
    told: dict[str, list[bool]] = {"same": [], "modality": [], "region": []}
    for numbers in pairs.values():
        first = rows[numbers[0]]
        unlike = bool((check.probability[numbers] < check.sure[numbers]).all())
        other_modality = first["modality"] != first["support_modality"]
        if not any(rows[number]["present"] for number in numbers):
            told["region"].append(unlike or other_modality)
        else:
            told["modality" if other_modality else "same"].append(unlike or other_modality)
    yield "| image | flagged |"
    yield "| --- | --- |"
    words = {
        "region": "nothing of the task is there",
        "modality": "other modality",
        "same": "same modality and region",
    }
    for name, text in words.items():
        yield f"| {text} | {sum(told[name])} of {len(told[name])} |"


def calibration_of(same_volume: Sequence[Row], next_patient: Sequence[Row]) -> Calibration:
    """The calibration fitted on all rows that may be fitted on."""
    answered = found_rows(next_patient)
    counts = {"same_volume": len(same_volume), "next_patient": len(answered), "presence": len(next_patient)}
    patients = {row["patient"] for row in (*same_volume, *next_patient) if row["dataset"] not in NEVER_FITTED}
    collections = {row["dataset"] for row in (*same_volume, *next_patient)} - NEVER_FITTED
    made = {
        "weights_sha256": shipped_sha256(),
        "collections": sorted(collections),
        "patients": len(patients),
        "rows": counts,
        "command": "python -m MedMetaSegLib.evaluation.confidence_report",
    }
    some, single = (
        dice_model(Table.of(part, SAME_VOLUME, "dice"), PENALTIES["same_volume"])
        for part in by_slices(same_volume)
    )
    return Calibration(
        some,
        single,
        dice_model(Table.of(answered, NEXT_PATIENT, "dice"), PENALTIES["next_patient"]),
        fitted_presence(next_patient),
        made,
    )


def scored(rows: Sequence[Row]) -> list[Row]:
    """The rows with an answer and a true Dice."""
    return [row for row in rows if "entropy" in row and row["dice"] == row["dice"]]


def by_slices(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows of several annotated slices, and those of a single one."""
    return [row for row in rows if row["k"] > 1], [row for row in rows if row["k"] == 1]


def found_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows of structures that are there, with an answer."""
    return [row for row in rows if row["present"] and "entropy" in row]


def report(same_volume: Sequence[Row], next_patient: Sequence[Row]) -> tuple[str, dict[str, Any]]:
    """The tables as Markdown, and what the plots show."""
    some, single = by_slices(same_volume)
    k = np.array([row["k"] for row in (*some, *single)])
    first = DiceCheck.joined(
        *(
            DiceCheck.of(Table.of(part, SAME_VOLUME, "dice"), PENALTIES["same_volume"])
            for part in (some, single)
        )
    )
    answered = [
        row for row in next_patient if row["present"] and "entropy" in row and row["dataset"] not in LESIONS
    ]
    second = DiceCheck.of(Table.of(answered, NEXT_PATIENT, "dice"), PENALTIES["next_patient"])
    third = PresenceCheck.of(next_patient)
    by_k = {f"K = {one}": k == one for one in np.unique(k)}
    of_three = {str(one): (first.table.groups == one) & (k == 3) for one in np.unique(first.table.groups)}
    groups = {str(one): second.table.groups == one for one in np.unique(second.table.groups)}
    tasks = {str(one): third.groups == one for one in np.unique(third.groups)}
    everything = np.ones(len(answered), bool)
    lines = [
        "Same volume (protocol A), every collection predicted by a model of all others:",
        "",
        *first.lines({**by_k, **{f"K = 3, {name}": one for name, one in of_three.items()}}),
        "",
        "Next patient (protocol B, one complete support), likewise:",
        "",
        *second.lines({"all": everything, **groups}),
        "",
        "Present or not, likewise:",
        "",
        *third.lines({"all": np.ones(len(next_patient), bool), **tasks}),
        "",
        "Images told to be unlike those of the task:",
        "",
        *image_lines(next_patient, third),
        "",
    ]
    return "\n".join(lines), {"same_volume": first, "k": k, "next_patient": second, "presence": third}


def draw(path: Path, shown: Mapping[str, Any]) -> None:
    """Write the calibration plots as PNG."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    first: DiceCheck = shown["same_volume"]
    for one, check, chosen, title in (
        (axes[0], first, shown["k"] == 3, "Same volume, K = 3"),
        (axes[1], shown["next_patient"], np.ones(len(shown["next_patient"].dice), bool), "Next patient"),
    ):
        one.set_prop_cycle(color=colormaps["tab20"].resampled(20)(range(20)))
        for group in np.unique(check.table.groups[chosen]):
            some = chosen & (check.table.groups == group)
            one.plot(check.dice[some], check.table.target[some], ".", ms=5, alpha=0.7, label=group)
        one.plot([0, 1], [0, 1], "k-", lw=0.7)
        one.set(xlabel="predicted Dice", ylabel="true Dice", title=title, xlim=(0, 1), ylim=(0, 1))
        one.legend(fontsize=6, loc="upper left")
    presence: PresenceCheck = shown["presence"]
    edges = np.linspace(0, 1, 11)
    number = np.minimum((presence.probability * 10).astype(int), 9)
    filled = [one for one in range(10) if (number == one).any()]
    axes[2].plot([0, 1], [0, 1], "k-", lw=0.7)
    axes[2].plot(
        [presence.probability[number == one].mean() for one in filled],
        [presence.there[number == one].mean() for one in filled],
        "o-",
    )
    twin = axes[2].twinx()
    twin.hist(
        [presence.probability[presence.there], presence.probability[~presence.there]],
        bins=edges.tolist(),
        alpha=0.4,
        label=["there", "not there"],
    )
    twin.set_ylabel("structures")
    twin.legend(fontsize=7, loc="upper center")
    axes[2].set(xlabel="probability that it is there", ylabel="share that is there", title="Present or not")
    figure.savefig(path, dpi=110)


def main(
    rows: Annotated[Path, typer.Argument(help="Folder of rows from confidence_rows.")],
    out: Annotated[Path, typer.Option(help="Folder for tables and plots.")],
    ship: Annotated[bool, typer.Option("--ship", help="Replace the shipped calibration.")] = False,
) -> None:
    """Fit, check and tell."""
    same_volume = scored(read_rows(rows / "same_volume.jsonl"))
    next_patient = [
        row
        for row in read_rows(rows / "next_patient.jsonl")
        if row["dice"] == row["dice"] and not (row["present"] and row["dataset"] in LESIONS)
    ]
    out.mkdir(parents=True, exist_ok=True)
    tables, shown = report(same_volume, next_patient)
    write_text(out / "confidence.md", _PAGE.format(tables=tables))
    (out / "pictures").mkdir(exist_ok=True)
    draw(out / "pictures" / "confidence.png", shown)
    print(tables)
    if ship:
        content = calibration_of(same_volume, next_patient).as_dict()
        write_text(CALIBRATION, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
