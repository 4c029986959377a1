"""What a run writes about itself: CSV tables, a picture of them, and TensorBoard's events."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..imageio.writing import replace_whole, write_csv

TRAINING, VALIDATION, PICTURE, EVENTS = "training.csv", "validation.csv", "training.png", "tensorboard"
"""Files and folder that a run's log consists of."""
EVERY = 50
"""Steps between two lines of the log."""


def require_tensorboard() -> None:
    """Check that TensorBoard is installed; raises InputError when it is not."""
    if find_spec("tensorboard") is None:
        raise InputError(
            "TensorBoard was asked for, and the package tensorboard is not installed: "
            "pip install -e '.[training]', or leave out --tensorboard; the CSV log is written anyway."
        )


class Table:
    """Rows of figures in a CSV file that is whole at any moment; columns in the order they first came."""

    def __init__(self, path: Path, up_to_step: int) -> None:
        self.path = path
        self.rows = [row for row in _read(path) if row["step"] <= up_to_step]

    def add(self, row: Mapping[str, float]) -> None:
        """Add a row and write the file."""
        self.rows.append({name: round(value, 4) for name, value in row.items()})
        names = list(dict.fromkeys(name for one in self.rows for name in one))
        write_csv(self.path, names, self.rows)

    def column(self, name: str) -> tuple[list[float], list[float]]:
        """Steps and values of one column, where it has any."""
        rows = [row for row in self.rows if not math.isnan(row.get(name, math.nan))]
        return [row["step"] for row in rows], [row[name] for row in rows]


def _read(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    try:
        with path.open(newline="") as file:
            rows = [
                {name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)
            ]
        return [{**row, "step": int(row["step"])} for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"The log {path} cannot be read ({error!r}): move it away to go on.") from error


class Log:
    """The log of one run in its folder; what an interrupted run wrote beyond its checkpoint is taken back."""

    def __init__(self, folder: Path, step: int = 0, tensorboard: bool = False) -> None:
        self.folder = folder
        self.training, self.validation = Table(folder / TRAINING, step), Table(folder / VALIDATION, step)
        self._means: dict[str, float] = {}
        self._events: Any = None
        if tensorboard:
            require_tensorboard()
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(folder / EVENTS), purge_step=step)

    def note(
        self, step: int, seconds: float, figures: Mapping[str, float], speed: Callable[[], dict[str, float]]
    ) -> None:
        """Follow the running means, and write them every EVERY steps with the figures of `speed`."""
        for name, value in figures.items():
            if not math.isnan(value):
                self._means[name] = 0.99 * self._means.get(name, value) + 0.01 * value
        if step % EVERY == 0:
            row = {**self._means, **speed()}
            self.training.add({"step": step, "seconds": round(seconds), **row})
            self._show("training", step, row)

    def validated(self, step: int, seconds: float, figures: Mapping[str, float]) -> None:
        """Write a row of validation."""
        self.validation.add({"step": step, "seconds": round(seconds), **figures})
        self._show("validation", step, figures)

    def _show(self, group: str, step: int, figures: Mapping[str, float]) -> None:
        if self._events is not None:
            for name, value in figures.items():
                self._events.add_scalar(f"{group}/{name}", value, step)
            self._events.flush()

    def close(self) -> None:
        """Close TensorBoard's events; the tables are whole at any moment."""
        if self._events is not None:
            self._events.close()

    def draw(self) -> None:
        """Draw loss and Dice over the steps, once there is a row. Needs matplotlib."""
        if not (self.training.rows or self.validation.rows):
            return
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 4), layout="constrained")
        losses, overlaps = figure.subplots(1, 2)
        losses.plot(*self.training.column("loss"), color="#30638e", label="loss (training, running mean)")
        overlaps.plot(*self.training.column("dice"), color="#30638e", label="Dice (training, running mean)")
        for name, color, label in (
            ("dice", "#d1495b", "Dice (validation)"),
            ("interpolation", "#888888", "interpolated shape (validation)"),
            ("off_interpolation", "#edae49", "where interpolation is wrong (validation)"),
        ):
            overlaps.plot(*self.validation.column(name), "o-", color=color, markersize=4, label=label)
        losses.set_ylim(bottom=0)
        overlaps.set_ylim(0, 1)
        for axes in (losses, overlaps):
            axes.set_xlabel("step")
            axes.grid(alpha=0.3)
            axes.legend(fontsize=8)
        replace_whole(self.folder / PICTURE, lambda part: figure.savefig(part, format="png", dpi=110))
