"""What a batch has done: one line of JSON per result, written before the result is put in its place.

A line says which result (file name and SHA-256) was made of which input (SHA-256), by which task. Since the
line is on the disk before the result appears, a result that no line knows was made by someone else, or edited
since, and is not overwritten.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import Any

from ..errors import WriteError
from ..imageio.writing import fsync_folder
from ..imageio.writing import reason as why_refused
from .executor import Outcome
from .inputs import BatchItem
from .paths import stopped_by
from .request import BatchRequest
from .states import FAILED, KEPT, BatchRow

NAME = "journal.jsonl"
_ABOUT_ONE_PLACE = (errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM)
"""What the system says where one result cannot be put in place and others can."""
_MAP = "uncertainty: "
"""Before the place of a map, to tell it from that of a result."""
_VERSION = 1
"""Of the lines; those of another version are passed over."""


@dataclass(frozen=True)
class MadeBy:
    """All that a result depends on beside its image: when it is another, the result is made anew.

    task, calibration: digests, of the task file and of what decides which structures are left out; "" where
    no confidence is asked for.
    """

    task: str
    ending: str
    allow_nonfinite: bool
    resample_uneven: bool = False
    calibration: str = ""
    keep_doubtful: bool = True
    force: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """One text for the journal."""
        options = ("!" if self.allow_nonfinite else "") + ("~" if self.resample_uneven else "")
        options += ("" if self.keep_doubtful else "?") + (f" {self.calibration}" if self.calibration else "")
        forced = json.dumps(sorted(set(self.force))) if self.force else ""
        return f"{self.task}{self.ending}{options}{forced}"


@dataclass
class Journal:
    """The journal of a folder of results; for one batch at a time (see `paths.lock_folder`)."""

    path: Path
    _last: dict[str, dict[str, Any]] = field(default_factory=dict)
    _known: dict[str, set[str]] = field(default_factory=dict)
    _file: FileIO | None = None

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Journal]:
        """The journal in a folder, which need not be there; lines that are cut or strange are passed over."""
        journal = cls(folder / NAME)
        for entry in journal._read():
            journal._remember(entry)
        try:
            yield journal
        finally:
            if journal._file is not None:
                journal._file.close()

    def up_to_date(self, item: BatchItem, made_by: MadeBy, request: BatchRequest) -> BatchRow | None:
        """The row of a result that need not be made, None to make it.

        It stands when it is whole and was made of these voxels by this task. One that no batch made, or that
        was edited since, gives a failed row unless it may be overwritten.
        """
        paths = places(item, request)
        try:
            there = {place: checksum([path]) for place, path in paths.items() if os.path.exists(path)}
        except OSError as error:
            reason = f"its result is there and cannot be read ({error.strerror}); move it"
            return BatchRow(item.name, item.image, item.output, FAILED, reason, task=made_by.task)
        foreign = [place for place, sha256 in there.items() if sha256 not in self._known.get(place, ())]
        if foreign and not request.overwrite:
            reason = "its result is there and was made or edited by someone else; move it, or use --overwrite"
            return BatchRow(item.name, item.image, item.output, FAILED, reason, task=made_by.task)
        entry = self._last.get(item.output)
        if entry is None or entry.get("made_by") != made_by.digest:
            return None
        made = _checksums(entry)
        if any(place not in there or there[place] != made.get(place) for place in paths):
            return None
        try:
            if entry["input"] != checksum(item.inputs):
                return None
            row = BatchRow.from_dict(entry["row"])
        except (OSError, KeyError, TypeError, ValueError):
            return None
        return replace(row, name=item.name, image=item.image, status=KEPT)

    def publish(
        self, item: BatchItem, made_by: MadeBy, outcome: Outcome, row: BatchRow, request: BatchRequest
    ) -> None:
        """Write down a staged result, then put its maps and it in their places, the result last.

        Raises BatchStopped when the disk refuses, WriteError when nothing can be at this one place.
        """
        assert outcome.staged is not None
        entry = {
            "version": _VERSION,
            "output": item.output,
            "sha256": outcome.sha256,
            "made_by": made_by.digest,
            "input": outcome.input_sha256,
            "maps": {one.place: one.sha256 for one in outcome.maps},
            "row": replace(row, image="").as_dict(),
        }
        paths = places(item, request)
        staged = {_MAP + one.place: one.staged for one in outcome.maps} | {item.output: outcome.staged}
        output = paths[item.output]
        try:
            self._append(entry)
            for place, file in staged.items():
                output = paths[place]
                output.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, output)
        except OSError as error:
            if error.errno in _ABOUT_ONE_PLACE:
                raise WriteError(output, why_refused(error)) from error
            raise stopped_by(output, why_refused(error)) from error
        for folder in {path.parent for path in paths.values()}:
            fsync_folder(folder)
        self._remember(entry)

    def amend(self, item: BatchItem, row: BatchRow) -> None:
        """Write down another row for a result that stands. Raises BatchStopped when the disk refuses."""
        entry = {**self._last[item.output], "row": replace(row, image="").as_dict()}
        try:
            self._append(entry)
        except OSError as error:
            raise stopped_by(self.path, why_refused(error)) from error
        self._remember(entry)

    def _read(self) -> Iterator[dict[str, Any]]:
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                whole = isinstance(entry, dict) and isinstance(entry.get("maps", {}), dict)
                if whole and entry.get("version") == _VERSION:
                    yield entry

    def _append(self, entry: dict[str, Any]) -> None:
        if self._file is None:
            self._file = self.path.open("ab", buffering=0)
            if self._file.tell() and self.path.read_bytes()[-1:] != b"\n":
                self._file.write(b"\n")
        line = json.dumps(entry).encode() + b"\n"
        if self._file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._file.fileno())

    def _remember(self, entry: dict[str, Any]) -> None:
        output = str(entry.get("output"))
        self._last[output] = entry
        for place, sha256 in _checksums(entry).items():
            self._known.setdefault(place, set()).add(sha256)


def places(item: BatchItem, request: BatchRequest) -> dict[str, Path]:
    """The paths of an item's result and maps, by what the journal calls them."""
    maps = {} if request.uncertainty is None else {_MAP + one: request.uncertainty / one for one in item.maps}
    return {item.output: request.out / item.output, **maps}


def _checksums(entry: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of each file that a line of the journal is about; older lines know of no maps."""
    maps = {_MAP + place: str(sha256) for place, sha256 in entry.get("maps", {}).items()}
    return {str(entry.get("output")): str(entry.get("sha256")), **maps}


def checksum(files: Sequence[str | Path]) -> str:
    """SHA-256 over the contents of files, in their order. Raises OSError."""
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
