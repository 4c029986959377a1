"""Images per minute of a batch, with one worker and several, against a command per image; memory as it goes.

    python -m MedMetaSegLib.evaluation.throughput TASK IMAGE... --out docs --workers 1 --workers 2

writes batch_throughput.csv, and with --repeat the memory of one process over that many images as
batch_memory.csv and pictures/batch_memory.png. CPU seconds are of all processes: on a machine that does other
things as well they say more than the clock.
"""

from __future__ import annotations

import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from ..batch import DONE, BatchProgress, BatchRequest, run_batch

_COMMAND = "from MedMetaSegLib.cli import main; main()"


@dataclass(frozen=True)
class ThroughputRow:
    """One way to segment some images: how long it took by the clock and on the CPUs, loading included."""

    way: str
    images: int
    seconds: float
    cpu_seconds: float
    images_per_minute: float


def throughput_row(way: str, task: Path, images: Sequence[Path], arguments: Sequence[str]) -> ThroughputRow:
    """`medmetaseg apply` with these arguments on all images in one call."""
    with tempfile.TemporaryDirectory(prefix="medmetaseg-") as folder:
        return _timed(way, len(images), [[*map(str, (task, *images)), "-o", folder, *arguments]])


def one_by_one_row(task: Path, images: Sequence[Path], arguments: Sequence[str]) -> ThroughputRow:
    """`medmetaseg apply` called anew for every image."""
    with tempfile.TemporaryDirectory(prefix="medmetaseg-") as folder:
        calls = [[str(task), str(image), "-o", f"{folder}/{image.name}", *arguments] for image in images]
        return _timed("a command per image", len(images), calls)


def _timed(way: str, images: int, calls: Sequence[Sequence[str]]) -> ThroughputRow:
    begun, before = time.perf_counter(), _cpu_seconds()
    for call in calls:
        command = [sys.executable, "-c", _COMMAND, "apply", *call]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    cpu = _cpu_seconds() - before
    return ThroughputRow(way, images, round(seconds, 1), round(cpu, 1), round(60 * images / seconds, 2))


def _cpu_seconds() -> float:
    """Of all processes this one started and waited for, and those they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory_mb(task: Path, images: Sequence[Path], device: str = "auto") -> list[int]:
    """Resident memory of this process, in MB, after each image of a batch with one worker. Linux only."""
    taken: list[int] = []
    page = os.sysconf("SC_PAGE_SIZE")

    def note(progress: BatchProgress) -> None:
        if progress.state == DONE:
            taken.append(int(Path("/proc/self/statm").read_text().split()[1]) * page >> 20)

    with tempfile.TemporaryDirectory(prefix="medmetaseg-") as folder:
        # Links under names of their own: the same image may be given again and again.
        links = [Path(folder) / f"{number:04d}_{image.name}" for number, image in enumerate(images)]
        for link, image in zip(links, images, strict=True):
            link.symlink_to(image.resolve())
        table = Path(folder) / "images.csv"
        lines = [f"{link.name},{number:04d}" for number, link in enumerate(links)]
        table.write_text("\n".join(["image,name", *lines]), encoding="utf-8")
        run_batch(BatchRequest(task, (table,), Path(folder) / "out", device=device), note)
    return taken


def draw_memory(taken: Sequence[int], path: Path) -> None:
    """A picture of memory over images."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3), layout="constrained")
    axes.plot(range(1, len(taken) + 1), taken)
    axes.set(xlabel="images done", ylabel="resident memory (MB)", ylim=(0, 1.2 * max(taken)))
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(
    task: Annotated[Path, typer.Argument(help="A task file.")],
    images: Annotated[list[Path], typer.Argument(help="Images to apply it to.")],
    out: Annotated[Path, typer.Option(help="Folder of tables and picture.")],
    workers: Annotated[list[int] | None, typer.Option(help="May be given several times.")] = None,
    one_by_one: Annotated[int, typer.Option(help="So many images with a command each.")] = 0,
    repeat: Annotated[int, typer.Option(help="Memory over so many images, given again and again.")] = 0,
    device: Annotated[str, typer.Option(help="Where the network runs.")] = "auto",
) -> None:
    """Measure, and write the tables as rows come."""
    rows = []
    out.mkdir(parents=True, exist_ok=True)
    ways = [(f"{number} worker{'s' if number > 1 else ''}", number) for number in workers or ()]
    given = ["--device", device]
    if one_by_one:
        rows.append(one_by_one_row(task, images[:one_by_one], given))
        _write(out / "batch_throughput.csv", rows)
    for way, number in ways:
        rows.append(throughput_row(way, task, images, [*given, "--workers", str(number)]))
        _write(out / "batch_throughput.csv", rows)
    if repeat:
        taken = memory_mb(task, [images[n % len(images)] for n in range(repeat)], device)
        lines = "".join(f"{number},{mb}\n" for number, mb in enumerate(taken, start=1))
        (out / "batch_memory.csv").write_text("image,resident_mb\n" + lines, encoding="utf-8")
        draw_memory(taken, out / "pictures" / "batch_memory.png")


def _write(path: Path, rows: Sequence[ThroughputRow]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(ThroughputRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


if __name__ == "__main__":
    typer.run(main)
