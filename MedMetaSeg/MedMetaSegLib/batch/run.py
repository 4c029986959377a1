"""One task, many images: what is asked for, how it goes, what came of it; `run_batch` does it.

The command, the panel and scripts all use this:

    request = BatchRequest(Path("organs.medmetaseg"), ("patients",), Path("results"), report=Path("r.csv"))
    result = run_batch(request, progress=print)
    [row.name for row in result.rows if row.status == FAILED]

Results appear whole or not at all. A journal in the folder of the results says what was made of what by which
task, so that a batch that was stopped, killed or out of disk space goes on with resume=True.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BatchStopped, InputError
from .inputs import BatchItem, find_items
from .paths import check_request, check_results, clear_staged, lock_folder
from .states import DONE, FAILED, KEPT, BatchRow

if TYPE_CHECKING:
    from ..task.task_file import Task
    from .journal import Journal
    from .threads import Executor, Outcome

__all__ = ["DONE", "FAILED", "KEPT", "BatchProgress", "BatchRequest", "BatchResult", "BatchRow", "run_batch"]

WAITING, READING, SEGMENTING, SKIPPED = "waiting", "reading", "segmenting", "skipped"
"""States of an item beside those of a finished row."""

NIFTI, SEGMENTATION = "nii.gz", "seg.nrrd"
REPORT_EVERY_S = 2.0


@dataclass(frozen=True)
class BatchRequest:
    """What is to be done.

    inputs: image files, patterns (`**` goes into subfolders), folders, DICOM folders, or CSV files that list
    images. series: DICOM series beside them, each given by all of its files, wherever they are; may stand
    alone. out: the folder of the results, made if it is not there. report: a .csv; a page of the same name
    that ends in .html is written beside it. format: "nii.gz" or "seg.nrrd"; None for "nii.gz", or "seg.nrrd"
    where the task's structures overlap. resume: leave out what is done. overwrite: replace results that are
    there, whoever made them. workers: images worked on at the same time. memory_limit_mb: for images that are
    read ahead, worked on or waiting to be written; None for half of the memory. with_identifiers: paths and
    names of folders may be in the report. scheduler: address of a Dask scheduler, "" for this machine.
    """

    task: Path
    inputs: tuple[str | Path, ...]
    out: Path
    report: Path | None = None
    format: str | None = None
    resume: bool = False
    overwrite: bool = False
    workers: int = 1
    device: str = "auto"
    memory_limit_mb: int | None = None
    allow_nonfinite: bool = False
    with_identifiers: bool = False
    scheduler: str = ""
    series: tuple[tuple[str | Path, ...], ...] = ()


@dataclass(frozen=True)
class BatchProgress:
    """The state of one item has changed.

    item: its name, as in the report. state: WAITING, READING or SEGMENTING; DONE, KEPT or FAILED, with its
    row; SKIPPED, with the reason, for what is no image to segment. finished: items that have a row by now.
    """

    item: str
    state: str
    finished: int
    total: int
    reason: str = ""
    row: BatchRow | None = None


@dataclass(frozen=True)
class BatchResult:
    """What came of a batch: a row per item that was finished, in the order of the inputs.

    skipped: what was found and is no image to segment, with the reason. total: items there were. cancelled:
    the user stopped it. stopped: why it could not go on (the disk is full), "" if it could. reports: files
    that were written beside the results.
    """

    rows: tuple[BatchRow, ...]
    skipped: tuple[tuple[str, str], ...]
    total: int
    cancelled: bool = False
    stopped: str = ""
    reports: tuple[Path, ...] = ()
    seconds: float = 0.0

    @property
    def failed(self) -> tuple[BatchRow, ...]:
        """Rows of the items that could not be segmented."""
        return tuple(row for row in self.rows if row.status == FAILED)

    @property
    def finished(self) -> tuple[BatchRow, ...]:
        """Rows of the items whose result is in place, made now or before."""
        return tuple(row for row in self.rows if row.status != FAILED)


Progress = Callable[[BatchProgress], None]


def run_batch(
    request: BatchRequest,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> BatchResult:
    """Apply a task to many images. progress and cancelled are called on the thread that calls this.

    Raises InputError with nothing written for what cannot be right, and where the only image fails; TaskError
    for a task that cannot be used. KeyboardInterrupt and `cancelled` end it with what is done in place:
    the result then says so. One bad image among many is a row with the reason.
    """
    from ..task.task_file import Task

    begun = time.monotonic()
    check_request(request)
    task = Task.read(request.task)
    ending = "." + (request.format or (SEGMENTATION if task.overlapping else NIFTI))
    if task.overlapping and ending == "." + NIFTI:
        raise InputError("The task's structures overlap, which a label map cannot hold; use seg.nrrd.")
    items, skipped = find_items(request, ending)
    check_results(request, [item.output for item in items])
    content = request.task.read_bytes()
    made_by = MadeBy(hashlib.sha256(content).hexdigest()[:12], ending, request.allow_nonfinite)
    run = _Run(request, task, made_by, items, skipped, progress or _silent, cancelled or _never, begun)
    return run.finish(content)


@dataclass(frozen=True)
class MadeBy:
    """All that a result depends on beside its image: when it is another, the result is made anew."""

    task: str
    ending: str
    allow_nonfinite: bool

    @property
    def digest(self) -> str:
        """One text for the journal."""
        return f"{self.task}{self.ending}{'!' if self.allow_nonfinite else ''}"


@dataclass
class _Run:
    """One batch on its way."""

    request: BatchRequest
    task: Task
    made_by: MadeBy
    items: tuple[BatchItem, ...]
    skipped: tuple[tuple[str, str], ...]
    progress: Progress
    cancelled: Callable[[], bool]
    begun: float
    rows: dict[str, BatchRow] = field(default_factory=dict)
    reported: float = 0.0

    def finish(self, task_bytes: bytes) -> BatchResult:
        """Do it all."""
        from .journal import Journal
        from .threads import make_executor

        was_cancelled, stopped = False, ""
        with ExitStack() as stack:
            try:
                made = make_executor(self.request, self.task, task_bytes)
                folder = stack.enter_context(lock_folder(self.request.out))
                clear_staged(self.request.out)
                stack.callback(clear_staged, self.request.out)
                journal = stack.enter_context(Journal.open(folder))
                executor = stack.enter_context(made)
                self._announce()
                was_cancelled = self._work(executor, journal)
            except KeyboardInterrupt:
                was_cancelled = True
            except BatchStopped as error:
                stopped = str(error)
        rows = tuple(self.rows[item.name] for item in self.items if item.name in self.rows)
        if len(self.items) == 1 and rows and rows[0].status == FAILED:
            raise InputError(rows[0].reason)
        result = BatchResult(rows, self.skipped, len(self.items), was_cancelled, stopped)
        return self._with_reports(replace(result, seconds=round(time.monotonic() - self.begun, 1)))

    def _announce(self) -> None:
        for name, reason in self.skipped:
            self.progress(BatchProgress(name, SKIPPED, 0, len(self.items), reason))
        for item in self.items:
            self.progress(BatchProgress(item.name, WAITING, 0, len(self.items)))

    def _work(self, executor: Executor, journal: Journal) -> bool:
        """Give the crew what is not done and put what it makes in place; returns whether it was cancelled."""
        left = []
        for item in self.items:
            if self.cancelled():
                return True
            row = journal.up_to_date(item, self.made_by, self.request) if self.request.resume else None
            if row is None:
                left.append(item)
            else:
                self._settle(item, row)
        for item, said in executor.work(left, self.cancelled):
            if isinstance(said, str):
                self.progress(BatchProgress(item.name, said, len(self.rows), len(self.items)))
            else:
                self._settle(item, self._published(item, said, journal))
        return self.cancelled() and len(self.rows) < len(self.items)

    def _published(self, item: BatchItem, outcome: Outcome, journal: Journal) -> BatchRow:
        """The row of an outcome, whose staged file is put in place with the journal knowing of it."""
        row = replace(outcome.row, task=self.made_by.task)
        if outcome.staged is not None:
            journal.publish(item, self.made_by, outcome, row, self.request.out / item.output)
        return row

    def _settle(self, item: BatchItem, row: BatchRow) -> None:
        self.rows[item.name] = row
        self.progress(BatchProgress(item.name, row.status, len(self.rows), len(self.items), row.reason, row))
        if self.request.report is not None and time.monotonic() - self.reported > REPORT_EVERY_S:
            if len(self.items) > 1:
                self._write_table()
            self.reported = time.monotonic()

    def _write_table(self) -> Path:
        from .table import write_table

        assert self.request.report is not None
        rows = [self.rows[item.name] for item in self.items if item.name in self.rows]
        write_table(self.request.report, rows, [one.name for one in self.task.structures])
        return self.request.report

    def _with_reports(self, result: BatchResult) -> BatchResult:
        if self.request.report is None or not result.rows:
            return result
        from .page import write_page

        try:
            page = self.request.report.with_suffix(".html")
            reports = (self._write_table(), page)
            write_page(page, result, [one.name for one in self.task.structures], self.made_by.task)
        except InputError as error:
            return replace(result, stopped=result.stopped or f"The report is missing: {error}")
        return replace(result, reports=reports)


def _silent(progress: BatchProgress) -> None:
    """Progress that nobody watches."""


def _never() -> bool:
    return False
