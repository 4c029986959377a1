"""Where the time goes, stage by stage: a first run in a fresh process, a warm one, a corrected structure.

main(data, out) prints a table for each job of `profile_jobs` and writes all of them as profile.csv.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.table import Table

from ..imageio.volume import Volume, write_labels
from ..imageio.writing import write_csv
from ..stages import StageTimes, recorded_stages, stage
from ..support.support import Support
from ..task.task_file import Task
from .interaction import forget_peak, own_process, peak_memory_mb
from .profile_jobs import Job, available_kinds, make_job

if TYPE_CHECKING:
    from ..segmenter import Segmenter

PROFILE_FILE = "profile.csv"
"""A row per job, run and stage."""
FIRST, WARM, CORRECTED = "first", "warm", "corrected"
"""Runs: in a fresh process, with the libraries and weights loaded; the same again; after a correction."""
WARM_RUNS = 2
"""Warm runs, of which the fastest is reported."""
OTHER, TOTAL = "other", "total"
"""Rows beside the stages: what lies in none of them, and everything."""


@dataclass(frozen=True)
class ProfileRow:
    """Seconds of one stage in one run, by the clock, without the stages inside it.

    While several threads are at work, each has an equal share of the time.

    share: of the whole run. calls: how often the stage began; 0 for the rows that are no stages. cpu_seconds:
    of the whole run and all its threads, which tell more than the clock where other programs run. Memory is
    the process's peak in the run, resident and on the GPU; None where it was not measured. device_name: what
    the GPU is called, or why it is the CPU.
    """

    job: str
    run: str
    stage: str
    calls: int
    seconds: float
    share: float
    cpu_seconds: float
    peak_memory_mb: float | None
    gpu_memory_mb: float | None
    device: str
    device_name: str
    threads: int
    weights_id: str


class _Measured(NamedTuple):
    """One run: the times of its stages, its seconds, and its peak memory in MB, resident and on the GPU."""

    times: StageTimes
    seconds: float
    cpu_seconds: float
    peak_mb: float | None
    gpu_mb: float | None


def main(data: Path, out: Path, device: str = "auto", jobs: Sequence[str] | None = None) -> None:
    """Profile the jobs named, all whose data are there when None; print tables and write profile.csv.

    Raises InputError for a folder without the cases, a job that does not exist and a device that does not
    work.
    """
    kinds = available_kinds(data, jobs)
    out.mkdir(parents=True, exist_ok=True)
    console, rows = Console(), list[ProfileRow]()
    with tempfile.TemporaryDirectory(prefix="medmetaseg-") as folder:
        for kind in kinds:
            with own_process() as do:
                job = do(make_job, kind, data, Path(folder))
            with own_process() as do:
                found = do(profile_rows, job, device)
            rows += found
            write_profile(out / PROFILE_FILE, rows)
            console.print(profile_table(found))
    console.print(f"{_machine(rows[0])}; wrote {out / PROFILE_FILE}")


def profile_rows(job: Job, device: str, weights: Path | None = None) -> list[ProfileRow]:
    """The rows of all runs of a job; the first is one of a fresh process only when called in one."""
    loaded: list[Segmenter] = []

    def first() -> None:
        with stage("load"):
            from ..segmenter import Segmenter

            loaded.append(Segmenter.load(device=device, weights=weights))
        _run(job, loaded[0])

    runs = {FIRST: _measured(first, loaded)}
    segmenter = loaded[0]
    warm = []
    for _ in range(WARM_RUNS):
        segmenter.forget()
        warm.append(_measured(lambda: _run(job, segmenter), loaded))
    runs[WARM] = min(warm, key=lambda one: one.seconds)
    if job.corrected is not None:
        segmenter.forget()
        runs[CORRECTED] = _corrected(job, segmenter)
    return [row for run, measured in runs.items() for row in _rows(job, run, measured, segmenter)]


def _run(job: Job, segmenter: Segmenter) -> None:
    """From the files of a job to a file of its result."""
    with stage("read"):
        volume = Volume.read(job.image)
        given = Task.read(job.given) if job.given.suffix == ".medmetaseg" else _support(job.given)
    if isinstance(given, Task):
        result = segmenter.apply(given, volume)
    else:
        result = segmenter.segment(volume, given)
    with stage("write"), tempfile.TemporaryDirectory(prefix="medmetaseg-") as folder:
        write_labels(Path(folder) / "result.nii.gz", result.labels, result.geometry, volume.forms)


def _corrected(job: Job, segmenter: Segmenter) -> _Measured:
    """The second run of two in memory, after one structure was corrected: no file is read or written."""
    assert job.corrected is not None
    volume, corrected = Volume.read(job.image), _support(job.corrected)
    segmenter.segment(volume, _support(job.given))
    return _measured(lambda: segmenter.segment(volume, corrected), [segmenter])


def _support(path: Path) -> Support:
    return Support.read(path, annotation="slices", plane="axial")


def _measured(run: Callable[[], object], loaded: Sequence[Segmenter]) -> _Measured:
    """What a run takes. loaded: the segmenter in use, none as long as `run` has not loaded it."""

    def wait() -> None:
        for segmenter in loaded:
            _device().synchronize(segmenter.predictor.device)

    forget_peak()
    for segmenter in loaded:
        _device().forget_peak_memory(segmenter.predictor.device)
    begun, cpu_begun = time.perf_counter(), time.process_time()
    with recorded_stages(wait) as times:
        run()
        wait()
    seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu_begun
    gpu_bytes = _device().peak_memory(loaded[0].predictor.device)
    gpu_mb = None if gpu_bytes is None else gpu_bytes / 2**20
    return _Measured(times, seconds, cpu_seconds, peak_memory_mb(), gpu_mb)


def _device() -> ModuleType:
    """The module that knows the device; it imports torch, which the first run of a process has to do."""
    from ..network import device

    return device


def _rows(job: Job, run: str, measured: _Measured, segmenter: Segmenter) -> list[ProfileRow]:
    times, seconds = measured.times, measured.seconds
    named = [(name, times.calls[name], taken) for name, taken in times.seconds.items()]
    rest = seconds - sum(times.seconds.values())
    return [
        ProfileRow(
            job=job.title,
            run=run,
            stage=name,
            calls=calls,
            seconds=round(taken, 4),
            share=round(taken / seconds, 4),
            cpu_seconds=round(measured.cpu_seconds, 2),
            peak_memory_mb=None if measured.peak_mb is None else round(measured.peak_mb),
            gpu_memory_mb=None if measured.gpu_mb is None else round(measured.gpu_mb),
            device=segmenter.predictor.device.type,
            device_name=segmenter.why_device,
            threads=_device().thread_count(),
            weights_id=str(segmenter.provenance["sha256"])[:12],
        )
        for name, calls, taken in (*named, (OTHER, 0, rest), (TOTAL, 0, seconds))
    ]


def write_profile(path: Path, rows: Iterable[ProfileRow]) -> None:
    """Write the rows as CSV, whole or not at all; what was not measured is left empty."""
    names = [field.name for field in dataclasses.fields(ProfileRow)]
    write_csv(path, names, map(dataclasses.asdict, rows))


def profile_table(rows: Sequence[ProfileRow]) -> Table:
    """The runs of one job side by side, for people: seconds of every stage, and its share of the warm run."""
    head = rows[0]
    runs = list(dict.fromkeys(row.run for row in rows))
    table = Table(title=head.job, caption="; ".join(_whole_run(rows, run) for run in runs))
    table.add_column("stage")
    for heading in ("calls", *(f"{run}, s" for run in runs), "share"):
        table.add_column(heading, justify="right")
    for name in _names(rows):
        by_run = {row.run: row for row in rows if row.stage == name}
        seconds = [f"{by_run[run].seconds:.2f}" if run in by_run else "" for run in runs]
        warm = by_run.get(WARM)
        calls = str(warm.calls) if warm is not None and warm.calls else ""
        table.add_row(name, calls, *seconds, "" if warm is None else f"{100 * warm.share:.1f} %")
    return table


def _machine(row: ProfileRow) -> str:
    return f"on {row.device} ({row.device_name}), {row.threads} threads, weights {row.weights_id}"


def _names(rows: Sequence[ProfileRow]) -> list[str]:
    """All stages in the order in which they first ran, then the rows that are none."""
    last = (OTHER, TOTAL)
    return [*dict.fromkeys(row.stage for row in rows if row.stage not in last), *last]


def _whole_run(rows: Sequence[ProfileRow], run: str) -> str:
    """What is told of a whole run: CPU seconds and memory."""
    one = next(row for row in rows if row.run == run)
    parts = [f"{run}: {one.cpu_seconds:.1f} CPU s"]
    parts.append("memory not measured" if one.peak_memory_mb is None else f"{one.peak_memory_mb:.0f} MB")
    if one.gpu_memory_mb is not None:
        parts.append(f"{one.gpu_memory_mb:.0f} MB of the GPU")
    return ", ".join(parts)
