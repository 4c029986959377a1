"""What commands show on the terminal: a bar while they work, what was segmented, and what a task holds."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..confidence.words import dice_text
from ..follow_up.changes import FollowUp, counted, not_compared
from ..imageio.names import shown
from ..progress import Progress
from ..results.millilitres import millilitres_text

if TYPE_CHECKING:
    from ..measurements.measurements import Measurements, StructureMeasurements
    from ..task.task_file import Task


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on stderr when somebody is looking at it; else nothing."""
    if not sys.stderr.isatty():
        yield lambda fraction, text: None
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description:<24}"),
        rich_progress.BarColumn(),
        rich_progress.TimeElapsedColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda fraction, text: bar.update(task, completed=fraction, description=text)


def show_task(task: Task, path: Path) -> None:
    """A table of the task's structures, and where they come from."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    about = task.describe()
    table = Table("structure", "label", "supports", "prototypes")
    for column in table.columns[1:]:
        column.justify = "right"
    for one in about["structures"]:
        foreground, background = one["prototypes"]
        counts = (str(one["label"]), str(one["supports"]), f"{foreground} + {background}")
        table.add_row(Text(one["name"]), *counts)
    console = Console()
    console.print(table)
    atlases = "; ".join(
        f"{_by(atlas['voxels'])} voxels of {_by(atlas['spacing_mm'])} mm" for atlas in about["atlases"]
    )
    lines = [
        f"learned on: {about['intensity']}, {len(about['atlases'])} patient(s)",
        *([f"channels: {', '.join(one['name'] for one in about['channels'])}"] if about["channels"] else []),
        f"annotation: {', '.join(about['provenance'].get('annotations', []))}",
        f"reduced images (k x j x i): {atlases}",
        f"weights: {about['weights_sha256'][:12]}, medmetaseg {about['provenance'].get('medmetaseg', '')}",
        f"format: {about['format']}",
        shown(path),
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def show_segmentation(reports: Sequence[Mapping[str, Any]]) -> None:
    """A table of what was segmented and of the Dice to expect, remarks, and the slice to paint next.

    reports: of each frame.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    framed = len(reports) > 1
    expected = any("predicted_dice" in one for report in reports for one in report["structures"])
    heads = ["structure", "label", "voxels", "ml", *(["expected Dice"] if expected else [])]
    table = Table(*(["frame"] if framed else []), *heads)
    for column in table.columns[1 + framed : 4 + framed]:
        column.justify = "right"
    for report in reports:
        for one in report["structures"]:
            volume = millilitres_text(one["millilitres"])
            row: list[Text | str] = [Text(one["name"]), str(one["label"]), str(one["voxels"]), volume]
            row += [_expected(one)] if expected else []
            table.add_row(*([str(report["frame"])] if framed else []), *row)
    console.print(table)
    for text in dict.fromkeys(text for report in reports for text in _remarks(report)):
        console.print(text, markup=False, highlight=False)
    for report in reports:
        console.print(report["out"], markup=False, highlight=False, soft_wrap=True)


def show_measurements(measurements: Measurements, paths: Sequence[Path]) -> None:
    """A table of what was measured, remarks, and the files that were written."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("structure", "voxels", "cm3", "Feret mm", "mean", "lesions", "burden cm3")
    for column in table.columns[1:]:
        column.justify = "right"
    for one in measurements.structures:
        lesions = _lesions(one) if measurements.options.asks_for(one.name) else ()
        table.add_row(Text(one.name), *_figures(one), *lesions)
    console = Console()
    console.print(table)
    asked = measurements.options
    parts = f"parts of {asked.smallest_mm3:g} mm3 or more, of voxels with {asked.connectivity} neighbours"
    for line in (f"Lesions: {parts}.", *measurements.notes):
        console.print(line, markup=False, highlight=False)
    for path in paths:
        console.print(shown(path), markup=False, highlight=False, soft_wrap=True)


def show_changes(result: FollowUp) -> None:
    """A table of what changed since an earlier image, how many lesions became what, and remarks."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("structure", "before cm3", "now cm3", "change %", "what became of the lesions")
    for column in table.columns[1:4]:
        column.justify = "right"
    for one in result.structures:
        volumes = (millilitres_text(volume) for volume in (one.volume_before_cm3, one.volume_now_cm3))
        percent = "" if one.volume.percent is None else f"{one.volume.percent:+.0f}"
        table.add_row(Text(one.name), *volumes, percent, counted(one.lesions))
    console = Console()
    console.print(table)
    for line in (*not_compared(result), *result.notes):
        console.print(line, markup=False, highlight=False)


def _figures(one: StructureMeasurements) -> tuple[str, str, str, str]:
    mean = "" if one.intensity is None else f"{one.intensity.mean:.4g}"
    return (str(one.voxel_count), millilitres_text(one.volume_cm3), f"{one.feret_diameter_mm:.1f}", mean)


def _lesions(one: StructureMeasurements) -> tuple[str, str]:
    return str(len(one.lesions)), millilitres_text(one.lesions_cm3)


def _remarks(report: Mapping[str, Any]) -> list[str]:
    left_out = [f"Left out: {skipped['name']}, {skipped['reason']}." for skipped in report["skipped"]]
    return [*left_out, *_votes(report), *report["notes"], *_next_slice(report)]


def _votes(report: Mapping[str, Any]) -> list[str]:
    """How the image and its channels voted on each structure, as sentences; none without channels."""
    return [
        f"{one['name']}: {', '.join(_vote(vote) for vote in one['channels'])}."
        for one in report["structures"]
        if "channels" in one
    ]


def _vote(vote: Mapping[str, Any]) -> str:
    if vote["millilitres"] is None:
        return f"{vote['name']} has no say"
    volume = millilitres_text(vote["millilitres"])
    return f"{vote['name']} alone {volume} ml (Dice with the result {vote['dice_with_result']:.2f})"


def _expected(entry: Mapping[str, Any]) -> str:
    """The Dice to expect of a structure, as a cell of the table."""
    low, high = entry["predicted_dice_low"], entry["predicted_dice_high"]
    dice = dice_text(entry["predicted_dice"], low, high)
    return ", ".join(filter(None, (dice, "doubtful" if entry["doubtful"] else "")))


def _next_slice(report: Mapping[str, Any]) -> list[str]:
    """Where the worst structure is best painted on, as a sentence; none where nothing is to be gained."""
    to_paint = [one for one in report["structures"] if one.get("next_slice")]
    if not to_paint:
        return []
    # One of which nothing was found has no Dice to expect.
    worst = min(to_paint, key=lambda one: one["predicted_dice"] or 0.0)
    place = worst["next_slice"]
    where = f"{place['plane']} slice {place['index']} (counted from 0) of {worst['name']}"
    frame = f" in frame {report['frame']}" if "frame" in report else ""
    return [f"To paint next: {where}{frame}; {place['reason']}."]


def _by(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
