"""Images per minute of a batch, with one worker and several, against a command per image; memory as it goes.

    python -m MedMetaSegLib.evaluation.throughput TASK IMAGE... --out docs

or, with the folder of data sets in place of a task, over 40 hippocampus volumes and 8 sarcoma CT:

    python -m MedMetaSegLib.evaluation.throughput DATA --out docs

writes batch_throughput.csv, and with --repeat the memory of one process over that many images as
batch_memory.csv and pictures/batch_memory.png. CPU seconds are of all processes: on a machine that does other
things as well they say more than the clock.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from ..batch.request import BatchProgress, BatchRequest
from ..batch.run import run_batch
from ..batch.states import DONE
from ..errors import InputError
from ..imageio.writing import replace_whole, write_csv, write_text

STATUS = Path("/proc/self/statm")
"""Where Linux says what memory a process holds."""
_COMMAND = "from MedMetaSegLib.cli import main; main()"
"""What a process of its own runs: the command line."""
_WHOLE_SETS = (("hippocampus", 40), ("sts_ct", 8))
"""Data sets and how many images of each, besides the first one, which is the support."""


@dataclass(frozen=True)
class Series:
    """Images that a task is applied to, and what to call them."""

    name: str
    task: Path
    images: Sequence[Path]


@dataclass(frozen=True)
class ThroughputRow:
    """One way to segment some images: how long it took by the clock and on the CPUs, loading included.

    cpu_seconds: None where the system does not say them to Python (Windows).
    """

    name: str
    way: str
    images: int
    seconds: float
    cpu_seconds: float | None
    images_per_minute: float


def series_under(data: Path, folder: Path) -> list[Series]:
    """The data sets under data, each with a task learned from its first patient and written to the folder.

    Raises InputError when there are too few images.
    """
    from ..datasets.cases import read_case, read_cases
    from ..segmenter import Segmenter
    from .next_patient import support_of

    segmenter, series, cases = Segmenter.load(), [], read_cases(data)
    for name, count in _WHOLE_SETS:
        chosen = [case for case in cases if case.dataset == name][: count + 1]
        if len(chosen) <= count:
            raise InputError(f"{data} has {len(chosen)} images of {name}; {count + 1} are needed.")
        support, *others = chosen
        volume, labels = read_case(support)
        path = folder / f"{name}.medmetaseg"
        segmenter.learn([(volume, support_of(labels, volume.geometry, support.names, 0))]).write(path)
        series.append(Series(name, path, [case.image for case in others]))
    return series


def throughput_row(series: Series, way: str, arguments: Sequence[str]) -> ThroughputRow:
    """`medmetaseg apply` with these arguments on all images in one call."""
    with tempfile.TemporaryDirectory(prefix="medmetaseg-") as folder:
        call = [*map(str, (series.task, *series.images)), "-o", folder, *arguments]
        return _timed(series.name, way, len(series.images), [call])


def one_by_one_row(series: Series, number: int, arguments: Sequence[str]) -> ThroughputRow:
    """`medmetaseg apply` called anew for each of the first `number` images."""
    images = series.images[:number]
    with tempfile.TemporaryDirectory(prefix="medmetaseg-") as folder:
        calls = [[str(series.task), str(one), "-o", f"{folder}/{one.name}", *arguments] for one in images]
        return _timed(series.name, "a command per image", len(images), calls)


def _timed(name: str, way: str, images: int, calls: Sequence[Sequence[str]]) -> ThroughputRow:
    begun, before = time.perf_counter(), _cpu_seconds()
    for call in calls:
        command = [sys.executable, "-c", _COMMAND, "apply", *call]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    after = _cpu_seconds()
    cpu = None if before is None or after is None else round(after - before, 1)
    return ThroughputRow(name, way, images, round(seconds, 1), cpu, round(60 * images / seconds, 2))


def _cpu_seconds() -> float | None:
    """CPU seconds of all processes this one started and waited for, and those they waited for."""
    try:
        import resource
    except ImportError:  # Windows has no such module.
        return None
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory_mb(task: Path, images: Sequence[Path], device: str = "auto") -> list[int]:
    """Resident memory of this process, in MB, after each image of a batch with one worker. Linux only."""
    taken: list[int] = []
    page = os.sysconf("SC_PAGE_SIZE")

    def note(progress: BatchProgress) -> None:
        if progress.state == DONE:
            taken.append(int(STATUS.read_text().split()[1]) * page >> 20)

    with tempfile.TemporaryDirectory(prefix="medmetaseg-") as folder:
        # Copies: a batch takes the same image once, by whatever name.
        copies = [Path(folder) / f"{number:04d}_{image.name}" for number, image in enumerate(images)]
        for copy, image in zip(copies, images, strict=True):
            shutil.copyfile(image, copy)
        table = Path(folder) / "images.csv"
        lines = [f"{copy.name},{number:04d}" for number, copy in enumerate(copies)]
        table.write_text("\n".join(["image,name", *lines]), encoding="utf-8")
        run_batch(BatchRequest(task, (table,), Path(folder) / "out", device=device), note)
    return taken


def draw_memory(taken: Sequence[int], path: Path) -> None:
    """Draw memory over images, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3), layout="constrained")
    axes.plot(range(1, len(taken) + 1), taken)
    axes.set(xlabel="images done", ylabel="resident memory (MB)", ylim=(0, 1.2 * max(taken)))
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_whole(path, lambda part: figure.savefig(part, dpi=120))
    pyplot.close(figure)


def main(
    task: Annotated[Path, typer.Argument(help="A task file, or the folder of data sets.")],
    out: Annotated[Path, typer.Option(help="Folder of tables and picture.")],
    images: Annotated[list[Path] | None, typer.Argument(help="Images to apply a task to.")] = None,
    workers: Annotated[list[int], typer.Option(help="May be given several times.")] = [1, 2],  # noqa: B006
    one_by_one: Annotated[int, typer.Option(help="So many images with a command each.")] = 4,
    repeat: Annotated[int, typer.Option(help="Memory over so many small images, again and again.")] = 0,
    device: Annotated[str, typer.Option(help="Where the network runs.")] = "auto",
) -> None:
    """Measure, and write the tables as rows come."""
    if not task.is_dir() and not images:
        raise typer.BadParameter("give the images that the task is applied to")
    if repeat and not STATUS.is_file():
        raise typer.BadParameter("memory after every image is measured on Linux only: leave out --repeat")
    out.mkdir(parents=True, exist_ok=True)
    rows: list[ThroughputRow] = []
    with tempfile.TemporaryDirectory(prefix="medmetaseg-") as folder:
        if task.is_dir():
            series = series_under(task, Path(folder))
        else:
            series = [Series(task.stem, task, images or [])]
        for one in series:
            for row in _rows(one, workers, one_by_one, ["--device", device]):
                rows.append(row)
                _write(out / "batch_throughput.csv", rows)
        if repeat:
            small = series[0]
            given = [small.images[n % len(small.images)] for n in range(repeat)]
            taken = memory_mb(small.task, given, device)
            lines = "".join(f"{number},{mb}\n" for number, mb in enumerate(taken, start=1))
            write_text(out / "batch_memory.csv", "image,resident_mb\n" + lines)
            draw_memory(taken, out / "pictures" / "batch_memory.png")


def _rows(
    series: Series, workers: Sequence[int], one_by_one: int, arguments: Sequence[str]
) -> Iterator[ThroughputRow]:
    if one_by_one:
        yield one_by_one_row(series, one_by_one, arguments)
    for number in workers:
        way = f"{number} worker{'s' if number > 1 else ''}"
        yield throughput_row(series, way, [*arguments, "--workers", str(number)])


def _write(path: Path, rows: Sequence[ThroughputRow]) -> None:
    write_csv(path, [field.name for field in fields(ThroughputRow)], map(asdict, rows))


if __name__ == "__main__":
    typer.run(main)
