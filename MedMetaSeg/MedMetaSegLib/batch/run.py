"""One task applied to many images.

The command, the panel and scripts all use this:

    request = BatchRequest(Path("organs.medmetaseg"), ("patients",), Path("results"), report=Path("r.csv"))
    result = run_batch(request, progress=print)
    [row.name for row in result.rows if row.status == FAILED]

Results appear whole or not at all. A journal in the folder of the results says what was made of what by which
task, so that a batch that was stopped, killed or out of disk space goes on with resume=True.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..confidence.calibration import shipped_calibration
from ..confidence.triage import triage
from ..errors import BatchStopped, InputError, WriteError
from ..progress import never
from ..support.seg_nrrd import check_packages
from .executor import Executor, Outcome
from .inputs import BatchItem, find_items
from .item import check_size, failed, item_volume, needed_bytes
from .journal import Journal, MadeBy, places
from .maps import with_maps
from .measured_tables import check_measured_paths, measured_paths, write_measured
from .measuring import is_measured, measured_row
from .options import ItemOptions
from .paths import check_request, check_results, check_structures, clear_staged, lock_folder
from .request import NIFTI, SEGMENTATION, BatchProgress, BatchRequest, BatchResult, Progress
from .states import FAILED, READING, SKIPPED, WAITING, BatchRow

if TYPE_CHECKING:
    from ..task.task_file import Task

REPORT_EVERY_S = 2.0
"""Seconds between two writings of the table while a batch runs."""
_DEFAULT_LIMIT = 4 * 2**30
"""Memory limit, in bytes, where a system does not tell how much memory it has."""


def run_batch(
    request: BatchRequest,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> BatchResult:
    """Apply a task to many images.

    progress and cancelled are called on the thread that calls this. KeyboardInterrupt and `cancelled` end it
    with what is done in place: the result then says so. One bad image among many is a row with the reason.

    Raises InputError with nothing written for what cannot be right, and where the only image fails; TaskError
    for a task that cannot be used.
    """
    from ..task.task_file import Task

    begun = time.monotonic()
    check_request(request)
    check_measured_paths(request)
    task = Task.read(request.task)
    ending = "." + (request.format or (SEGMENTATION if task.overlapping else NIFTI))
    if task.overlapping and ending == "." + NIFTI:
        raise InputError("The task's structures overlap, which a label map cannot hold; use seg.nrrd.")
    if ending == "." + SEGMENTATION:
        check_packages()
    names = [one.name for one in task.structures]
    check_structures(names, request.force)
    check_structures(names, () if request.measure is None else request.measure.lesions)
    items, skipped = find_items(request, ending, [one.name for one in task.channels])
    items = with_maps(items, request, names, ending)
    results = [path for item in items for path in places(item, request).values()]
    check_results(request, [*results, *measured_paths(request)])
    content = request.task.read_bytes()
    made_by = _made_by(request, hashlib.sha256(content).hexdigest()[:12], ending)
    run = _Run(request, task, made_by, items, skipped, progress or _silent, cancelled or never, begun)
    return run.finish(content)


def make_executor(request: BatchRequest, task: Task, task_bytes: bytes) -> AbstractContextManager[Executor]:
    """The executor that a request asks for, not yet at work. Raises TaskError for a task of other weights."""
    options = ItemOptions.of(request, memory_limit_bytes(request))
    if request.scheduler:
        from .dask import DaskExecutor

        return DaskExecutor(task, task_bytes, request, options)
    if request.workers > 1 and not _on_cuda(request.device):
        from .processes import ProcessExecutor

        return ProcessExecutor(task, request, options)
    from ..segmenter import Segmenter
    from .threads import ThreadExecutor

    segmenter = Segmenter.load(device=request.device)
    task.check_weights(str(segmenter.provenance["sha256"]))
    return ThreadExecutor(segmenter, task, options, request.workers)


def _made_by(request: BatchRequest, task: str, ending: str) -> MadeBy:
    """What results of a request depend on. Raises InputError when the calibration cannot be read."""
    calibration = ""
    if request.confidence:
        content = json.dumps(shipped_calibration().as_dict(), sort_keys=True)
        calibration = hashlib.sha256(content.encode()).hexdigest()[:12]
    return MadeBy(
        task,
        ending,
        request.allow_nonfinite,
        request.resample_uneven,
        calibration,
        request.keep_doubtful,
        request.force,
    )


def memory_limit_bytes(request: BatchRequest) -> int:
    """The limit that a request gives, or half of this machine's memory."""
    if request.memory_limit_mb is not None:
        return request.memory_limit_mb << 20
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return _DEFAULT_LIMIT


def _on_cuda(device: str) -> bool:
    if device == "cpu":
        return False
    from ..network.inference import chosen_device

    return chosen_device(device)[0].type == "cuda"


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
        """Do what is left to do, write the reports, and return what came of it."""
        was_cancelled, stopped = False, ""
        with ExitStack() as stack:
            try:
                made = make_executor(self.request, self.task, task_bytes)
                folder = stack.enter_context(lock_folder(self.request.out))
                if self.request.uncertainty is not None:
                    stack.enter_context(lock_folder(self.request.uncertainty))
                for written in filter(None, (self.request.out, self.request.uncertainty)):
                    clear_staged(written)
                    stack.callback(clear_staged, written)
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
        """Have done what is not done, and put it in place; returns whether it was cancelled."""
        left = []
        for item in self.items:
            if self.cancelled():
                return True
            row = self._known_row(item, journal)
            if row is None:
                left.append(item)
            else:
                self._settle(item, row)
        for item, message in executor.work(left, self.cancelled):
            if isinstance(message, str):
                self.progress(BatchProgress(item.name, message, len(self.rows), len(self.items)))
            else:
                self._settle(item, self._published(item, message, journal))
        return self.cancelled() and len(self.rows) < len(self.items)

    def _known_row(self, item: BatchItem, journal: Journal) -> BatchRow | None:
        """The row of an item that need not, or cannot, be worked on; None where it must be."""
        if item.problem:
            return failed(item, InputError(item.problem)).row
        if not self.request.resume:
            return None
        row = journal.up_to_date(item, self.made_by, self.request)
        if row is None or row.status == FAILED or is_measured(row, self.request.measure):
            return row
        return self._measured(item, row, journal)

    def _measured(self, item: BatchItem, row: BatchRow, journal: Journal) -> BatchRow | None:
        """The row of a result that stands, measured now; None where it cannot be, to make it anew."""
        assert self.request.measure is not None
        self.progress(BatchProgress(item.name, READING, len(self.rows), len(self.items)))
        path = self.request.out / item.output
        try:
            options = ItemOptions.of(self.request, memory_limit_bytes(self.request))
            check_size(item, needed_bytes(item, options), options.limit)
            row = measured_row(row, path, item_volume(item), self.task.structures, self.request.measure)
        except InputError:
            return None
        except Exception as error:  # As of an item that is made: one image does not end the batch.
            return failed(item, error).row
        journal.amend(item, row)
        return row

    def _published(self, item: BatchItem, outcome: Outcome, journal: Journal) -> BatchRow:
        """The row of an outcome, whose staged file is put in place with the journal knowing of it."""
        row = replace(outcome.row, task=self.made_by.task)
        if outcome.staged is None:
            return row
        try:
            journal.publish(item, self.made_by, outcome, row, self.request)
        except WriteError as error:
            return replace(failed(item, error, row.seconds).row, task=self.made_by.task)
        return row

    def _settle(self, item: BatchItem, row: BatchRow) -> None:
        # Of kept rows, too: an earlier run may have had other bounds, and may have measured.
        row = replace(row, triage=triage(row.structures, row.unlike, self.request.bounds))
        if self.request.measure is None:
            row = replace(row, measurements=None)
        self.rows[item.name] = row
        self.progress(BatchProgress(item.name, row.status, len(self.rows), len(self.items), row.reason, row))
        if self.request.report is not None and time.monotonic() - self.reported > REPORT_EVERY_S:
            if len(self.items) > 1:
                # Written again at the end, where a disk that still refuses is told.
                with suppress(WriteError):
                    self._write_table()
            self.reported = time.monotonic()

    def _write_table(self) -> Path:
        from .table import write_table

        assert self.request.report is not None
        rows = [self.rows[item.name] for item in self.items if item.name in self.rows]
        write_table(self.request.report, rows, [one.name for one in self.task.structures], self.skipped)
        return self.request.report

    def _with_reports(self, result: BatchResult) -> BatchResult:
        if not result.rows:
            return result
        try:
            reports = write_measured(self.request, result.rows)
            if self.request.report is not None:
                reports += (self._write_table(), self._write_page(self.request.report, result))
        except InputError as error:
            return replace(result, stopped=result.stopped or f"The report is missing: {error}")
        return replace(result, reports=reports)

    def _write_page(self, report: Path, result: BatchResult) -> Path:
        from .page import write_page

        page = report.with_suffix(".html")
        names = [one.name for one in self.task.structures]
        write_page(page, result, names, self.made_by.task, self.request.bounds)
        return page


def _silent(progress: BatchProgress) -> None:
    """Progress that nobody watches."""
