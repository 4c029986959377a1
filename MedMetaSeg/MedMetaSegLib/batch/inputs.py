"""What a batch is given, as single images: files, patterns, folders, DICOM series, lists in CSV files."""

from __future__ import annotations

import csv
import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..imageio.files import SUFFIXES, same_file, stem, suffix
from .paths import WORKING_FOLDER, result_names
from .request import BatchRequest

CSV_COLUMNS = ("image", "name", "allow_nonfinite")
_DATA_FILE = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)\s*(\S.*?)\s*$", re.MULTILINE | re.IGNORECASE)
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0", "")


@dataclass(frozen=True)
class BatchItem:
    """One image to segment.

    name: of the result, without suffix, and of the item in reports; output: the result's file name. path: the
    file, or the folder of a DICOM series; files: all that hold its voxels. image: what reports call the
    image. series: whether it is a DICOM series. private: texts that may not be in a report.
    """

    name: str
    output: str
    path: Path
    files: tuple[Path, ...]
    image: str
    series: bool = False
    allow_nonfinite: bool = False
    private: tuple[str, ...] = ()
    resample_uneven: bool = False

    def public(self, text: str) -> str:
        """A message about the item without its path and what else is private."""
        places = sorted({str(p) for f in (self.path, *self.files) for p in (f, f.resolve())}, key=len)
        for place in reversed(places):
            text = text.replace(place, self.image)
        for private in sorted(self.private, key=len, reverse=True):
            text = re.sub(re.escape(private), "...", text, flags=re.IGNORECASE)
        return " ".join(text.split())


@dataclass(frozen=True)
class _Found:
    """An image before results have names; folder: may tell images of the same name apart."""

    path: Path
    name: str
    folder: str
    series: tuple[Path, ...] = ()
    number: str = ""
    allow_nonfinite: bool | None = None
    private: tuple[str, ...] = ()


def find_items(
    request: BatchRequest, ending: str
) -> tuple[tuple[BatchItem, ...], tuple[tuple[str, str], ...]]:
    """The images of a request, each once, and what was found beside them: names with the reason.

    Raises InputError for an input that is not there, a pattern that matches nothing, a CSV file that cannot
    be understood, when there is no image at all, and when a result would overwrite an input.
    """
    found: list[_Found] = []
    skipped: list[tuple[str, str]] = []
    for given in request.inputs:
        for path in _matching(given):
            found += _images(path, request.out, skipped)
    for files in request.series:
        found += _known_series(sorted(map(Path, files)), skipped)
    found = _once(found)
    if not found:
        what = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
        raise InputError(f"There is no image in what was given{what}.")
    names = result_names([(one.name, one.folder) for one in found])
    items = tuple(_item(one, name, ending, request) for one, name in zip(found, names, strict=True))
    for item in items:
        for taken in (*(file for one in items for file in one.files), request.task):
            # Most names differ, and asking the file system about every pair would take time.
            if taken.name.casefold() == item.output.casefold() and same_file(
                request.out / item.output, taken
            ):
                raise InputError(
                    f"The result for {item.path} would overwrite {taken}; choose another folder."
                )
    return items, tuple(skipped)


def _matching(given: str | Path) -> list[Path]:
    path = Path(given)
    if path.exists():
        return [path]
    if any(sign in str(given) for sign in "*?["):
        matches = sorted(glob.glob(str(given), recursive=True))
        if not matches:
            raise InputError(f"Nothing matches {given}; check the pattern.")
        return [Path(match) for match in matches]
    raise InputError(f"There is no image {path}; check the path.")


def _images(path: Path, out: Path, skipped: list[tuple[str, str]]) -> Iterator[_Found]:
    if path.is_dir():
        yield from _in_folder(path, out, skipped)
    elif path.suffix.lower() == ".csv":
        yield from _in_table(path)
    else:
        yield _file(path)


def _file(path: Path) -> _Found:
    whole = path.resolve()
    return _Found(path, stem(whole), whole.parent.name)


def _in_folder(top: Path, out: Path, skipped: list[tuple[str, str]]) -> Iterator[_Found]:
    """Image files and DICOM series in a folder and all below it, but for the folder of the results."""
    from ..imageio.dicom_folder import may_be_dicom, series_in

    own = out.resolve()
    for place, folders, files in os.walk(top):
        folder = Path(place)
        if folder.resolve() == own and folder != top:
            folders.clear()
            continue
        folders[:] = sorted(one for one in folders if one != WORKING_FOLDER and not one.startswith("."))
        others = []
        for name in sorted(files):
            path = folder / name
            if name.startswith("."):
                continue
            if suffix(path) == ".seg.nrrd":
                skipped.append((name, "a segmentation, no image"))
            elif suffix(path) in SUFFIXES:
                yield _file(path)
            elif may_be_dicom(path):
                others.append(path)
        for series in series_in(others):
            if series.why_not:
                skipped.append((f"DICOM {series.modality or 'object'}", series.why_not))
                continue
            whole = folder.resolve()
            name, parent = series.neutral(whole.name), series.neutral(whole.parent.name)
            yield _Found(folder, name, parent, series.files, series.number, private=series.identifiers)


def _known_series(files: list[Path], skipped: list[tuple[str, str]]) -> Iterator[_Found]:
    """A DICOM series given by its files; neither these nor their folder have a say in its name."""
    from ..imageio.dicom_folder import series_of

    if not files:
        skipped.append(("DICOM object", "its files are not on this computer"))
        return
    series = series_of(files)
    if series.why_not:
        skipped.append((f"DICOM {series.modality or 'object'}", series.why_not))
        return
    yield _Found(files[0].parent, series.checksum_name, "", series.files, "", private=series.identifiers)


def _in_table(path: Path) -> Iterator[_Found]:
    """The images that a CSV file lists, relative to its folder; the columns are CSV_COLUMNS."""
    for number, line in enumerate(_table_lines(path), start=2):
        try:
            image, name, allow_nonfinite = _table_cells(line)
        except ValueError as error:
            raise InputError(
                f"Line {number} of the list {path} cannot be understood; see `apply --help`."
            ) from error
        # A file that is not there is a row that fails, like any other that cannot be read.
        for one in _listed(path.parent / image):
            folder = "" if name else one.folder
            yield replace(one, name=name or one.name, folder=folder, allow_nonfinite=allow_nonfinite)


def _table_lines(path: Path) -> list[dict[str, str | None]]:
    """The lines of a CSV file below its header. Raises InputError when its columns are not CSV_COLUMNS."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
            columns = [name for name in (lines[0] if lines else {}) if name is not None]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"The list {path} cannot be read as CSV in UTF-8.") from error
    strange = [name for name in columns if name not in CSV_COLUMNS]
    if "image" not in columns or strange or any(None in line for line in lines):
        what = f"has the column {strange[0]!r}" if strange else "has no column image"
        raise InputError(f"The list {path} {what}; its columns are {', '.join(CSV_COLUMNS)}.")
    return lines


def _table_cells(line: dict[str, str | None]) -> tuple[str, str, bool | None]:
    """The cells of a line: image, name ("" if none), allow_nonfinite. Raises ValueError."""
    image, name, nonfinite = ((line.get(column) or "").strip() for column in CSV_COLUMNS)
    if not image or (name and name != Path(name).name):
        raise ValueError(f"{image!r} is no image or {name!r} no file name")
    answer = nonfinite.lower()
    if answer not in (*_YES, *_NO):
        raise ValueError(f"{nonfinite!r} is neither yes nor no")
    return image, name, answer in _YES if answer else None


def _listed(path: Path) -> Iterator[_Found]:
    if not path.is_dir():
        yield _file(path)
        return
    from ..imageio.dicom_folder import may_be_dicom, series_in

    series = [one for one in series_in(sorted(filter(may_be_dicom, path.iterdir()))) if not one.why_not]
    if len(series) != 1:
        raise InputError(f"The folder {path} holds {len(series)} DICOM series; list folders with one.")
    whole = path.resolve()
    name, parent = series[0].neutral(whole.name), series[0].neutral(whole.parent.name)
    yield _Found(path, name, parent, series[0].files, "", private=series[0].identifiers)


def _once(found: list[_Found]) -> list[_Found]:
    """Every image once, and a number to tell the series of one folder apart."""
    unique: dict[tuple[Path, ...], _Found] = {}
    for one in found:
        unique.setdefault((one.path.resolve(), *one.series[:1]), one)
    counts: dict[Path, int] = {}
    for one in unique.values():
        if one.series:
            counts[one.path] = counts.get(one.path, 0) + 1
    return [
        replace(one, name=f"{one.name}_series{one.number}") if one.number and counts[one.path] > 1 else one
        for one in unique.values()
    ]


def _item(found: _Found, name: str, ending: str, request: BatchRequest) -> BatchItem:
    allowed = request.allow_nonfinite if found.allow_nonfinite is None else found.allow_nonfinite
    if request.with_identifiers:
        image: str = str(found.path)
    else:
        image = name if found.series else found.path.name
    private = () if request.with_identifiers else found.private
    files = found.series or _with_data(found.path)
    return BatchItem(
        name,
        name + ending,
        found.path,
        files,
        image,
        bool(found.series),
        allowed,
        private,
        request.resample_uneven,
    )


def _with_data(path: Path) -> tuple[Path, ...]:
    """An image file and, where its voxels are in another file, that one."""
    if suffix(path) not in (".mhd", ".nhdr"):
        return (path,)
    try:
        with path.open("rb") as file:
            named = _DATA_FILE.search(file.read(1 << 16))
    except OSError:
        return (path,)
    data = path.parent / os.fsdecode(named[1]) if named else path
    return (path, data) if data != path and data.is_file() else (path,)
