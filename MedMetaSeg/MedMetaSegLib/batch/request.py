"""What a batch is asked for, how it goes, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..confidence.triage import ACCEPT_ABOVE, PAINT_BELOW, TriageBounds
from ..imageio.frames import Frames
from ..measurements.measurements import MeasureOptions
from .states import FAILED, BatchRow

NIFTI, SEGMENTATION, DICOM = "nii.gz", "seg.nrrd", "dcm"
FORMATS = (NIFTI, SEGMENTATION, DICOM)
"""Formats of results, as the endings of their files."""
FOLDERS, NAMES = "folders", "names"
LAYOUTS = (FOLDERS, NAMES)
"""Where results go: into folders as those that images came from, or into one with these in their names."""


@dataclass(frozen=True)
class BatchRequest:
    """One task to be applied to many images.

    inputs: image files, patterns (`**` goes into subfolders), folders, DICOM folders, or CSV files that list
    images. series: DICOM series beside them, each given by all of its files, wherever they are; may stand
    alone. out: the folder of the results, made if it is not there. layout: FOLDERS, so that the result for
    p1/ct.nii.gz is p1/ct.nii.gz, or NAMES, so that it is p1_ct.nii.gz; as seen from the folder that was
    given, or that all that was given is in. report: a .csv; a page of the same name that ends in .html is
    written beside it. format: "nii.gz", "seg.nrrd" or, for DICOM images alone, "dcm"; None for "nii.gz", or
    "seg.nrrd" where the task's structures overlap. resume: leave out what is done. overwrite: replace results
    that are there, whoever made them. workers: images worked on at the same time. memory_limit_mb: for images
    that are read ahead, worked on or waiting to be written; None for half of the memory. with_identifiers:
    whole paths, and what DICOM headers say of a patient, may be in the report. scheduler: address of a Dask
    scheduler, "" for this machine. frames: of files of several, one counted from 0 or "all", each an image of
    its own. resample_uneven: put DICOM slices that are not evenly spaced onto even ones. keep_doubtful,
    force, confidence: see Segmenter.apply. accept_above, paint_below: expected Dice of the triage; see
    `triage.TriageBounds`. uncertainty: a folder for a map of each structure of each image, None for none; see
    Segmentation.uncertainty. measure: what to measure of each result, None for nothing; tables of it are
    written to the folder of the results. within: a file with the region outside which nothing is kept, for
    one image alone; see Segmenter.apply. channels: name and file of each further image of the one image that
    is given; of several images a CSV file lists them.
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
    frames: Frames = None
    layout: str = FOLDERS
    resample_uneven: bool = False
    keep_doubtful: bool = True
    force: tuple[str, ...] = ()
    confidence: bool = True
    accept_above: float = ACCEPT_ABOVE
    paint_below: float = PAINT_BELOW
    uncertainty: Path | None = None
    measure: MeasureOptions | None = None
    within: Path | None = None
    channels: tuple[tuple[str, Path], ...] = ()

    @property
    def bounds(self) -> TriageBounds:
        """The bounds of the triage, not yet checked."""
        return TriageBounds(self.accept_above, self.paint_below)

    def as_dict(self) -> dict[str, Any]:
        """The request for JSON; its paths are absolute, for a process that works in another folder."""
        paths = {name: _absolute(getattr(self, name)) for name in ("task", "out")}
        return {
            **asdict(self),
            **paths,
            "report": None if self.report is None else _absolute(self.report),
            "uncertainty": None if self.uncertainty is None else _absolute(self.uncertainty),
            "within": None if self.within is None else _absolute(self.within),
            "inputs": [_absolute(path) for path in self.inputs],
            "series": [[_absolute(file) for file in files] for files in self.series],
            "channels": [[name, _absolute(path)] for name, path in self.channels],
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> BatchRequest:
        """The request that `as_dict` gave."""
        report, uncertainty, measure = fields["report"], fields["uncertainty"], fields["measure"]
        within = fields["within"]
        return cls(
            **{
                **fields,
                "task": Path(fields["task"]),
                "out": Path(fields["out"]),
                "report": None if report is None else Path(report),
                "uncertainty": None if uncertainty is None else Path(uncertainty),
                "measure": None if measure is None else MeasureOptions.from_dict(measure),
                "within": None if within is None else Path(within),
                "inputs": tuple(fields["inputs"]),
                "series": tuple(map(tuple, fields["series"])),
                "channels": tuple((name, Path(path)) for name, path in fields["channels"]),
                "force": tuple(fields["force"]),
            }
        )


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

    @property
    def image(self) -> str:
        """What reports call the image, "" while there is no row."""
        return "" if self.row is None else self.row.image

    @property
    def output(self) -> str:
        """The file name of the result, "" while there is no row."""
        return "" if self.row is None else self.row.output

    @property
    def found(self) -> tuple[tuple[str, float], ...]:
        """Name and millilitres of each structure that was found."""
        rows = () if self.row is None else self.row.structures
        return tuple((one.name, one.millilitres) for one in rows if one.found)

    def as_dict(self) -> dict[str, Any]:
        """The progress for JSON."""
        row = None if self.row is None else self.row.as_dict()
        return {**asdict(replace(self, row=None)), "row": row}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> BatchProgress:
        """The progress that `as_dict` gave."""
        row = None if fields["row"] is None else BatchRow.from_dict(fields["row"])
        return cls(**{**fields, "row": row})


@dataclass(frozen=True)
class BatchResult:
    """What came of a batch.

    rows: one per item that was finished, in the order of the inputs. skipped: what was found and is no image
    to segment, with the reason. total: items there were. cancelled: the user stopped it. stopped: why it
    could not go on (the disk is full), "" if it could. reports: files that were written beside the results.
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

    def as_dict(self) -> dict[str, Any]:
        """The result for JSON."""
        return {
            **asdict(replace(self, rows=(), reports=())),
            "rows": [row.as_dict() for row in self.rows],
            "reports": [str(path) for path in self.reports],
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> BatchResult:
        """The result that `as_dict` gave."""
        return cls(
            **{
                **fields,
                "rows": tuple(BatchRow.from_dict(row) for row in fields["rows"]),
                "skipped": tuple((name, reason) for name, reason in fields["skipped"]),
                "reports": tuple(Path(path) for path in fields["reports"]),
            }
        )


Progress = Callable[[BatchProgress], None]
"""Called when the state of an item has changed."""


def _absolute(path: str | Path) -> str:
    """Patterns too: no part of a pattern is lost."""
    return os.path.abspath(path)
