"""Images in a folder and all below it, and what lies beside them and is left out, with the reason."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..imageio.files import SUFFIXES, other_of_pair, stem, suffix
from .item_channels import ItemChannel
from .paths import WORKING_FOLDER

_NAMED_DICOM = (".dcm", ".dicom", ".ima", ".acr")
_OTHER_FORMATS = (
    *(".gipl", ".gipl.gz", ".hdr.gz", ".img.gz", ".mgh", ".mgz", ".mif", ".mif.gz", ".minc", ".mnc"),
    *(".nii.bz2", ".nii.xz", ".nii.zip", ".nii.zst", ".nrrd.gz", ".mha.gz", ".par", ".tif", ".tiff"),
    *(".vti", ".vtk", ".v", ".czi", ".lif", ".nd2", ".ics"),
)
"""Endings of files that are images most of the time, and are not read here."""


@dataclass(frozen=True)
class FoundImage:
    """An image before its result has a name.

    folder: absolute, where the result's folder or name is taken from; None for a result with `name` alone.
    series: files of a DICOM series, sorted. number: of the series. private: texts that may not be in a
    report; neutral: what folders are called whose names hold one. frame: of a file of several, from 0.
    within: the file, or DICOM folder, of the region outside which nothing is kept.
    channels: further images that a list names with it.
    """

    path: Path
    name: str
    folder: Path | None
    series: tuple[Path, ...] = ()
    number: str = ""
    allow_nonfinite: bool | None = None
    private: tuple[str, ...] = ()
    neutral: str = ""
    frame: int | None = None
    within: Path | None = None
    channels: tuple[ItemChannel, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """What is no image to segment, and why. what: what to call it where its path may say of whom it is."""

    path: Path | None
    why: str
    what: str = ""


def file_image(path: Path) -> FoundImage:
    """An image file, there or not; the voxels of a pair stand for its header."""
    whole = Path(os.path.abspath(path))
    if suffix(whole) == ".img" and not _missing_of_pair(whole):
        path = whole = other_of_pair(whole, "hdr")
    return FoundImage(path, stem(whole), whole.parent)


def images_in(top: Path, own: Sequence[Path]) -> Iterator[FoundImage | LeftOut]:
    """Image files and DICOM series in a folder and all below it, but for folders of what a batch writes."""
    problems: list[OSError] = []
    written = {folder.resolve() for folder in own}
    for place, folders, files in os.walk(top, onerror=problems.append):
        folder = Path(place)
        if folder.resolve() in written and folder != top:
            folders.clear()
            continue
        folders[:] = sorted(one for one in folders if one != WORKING_FOLDER and not one.startswith("."))
        for name in folders:
            if (folder / name).is_symlink():
                yield LeftOut(folder / name, "a link to a folder; give that folder by itself")
        yield from _in_one_folder(folder, sorted(name for name in files if not name.startswith(".")))
    for error in problems:
        yield LeftOut(Path(error.filename), f"a folder that cannot be read ({error.strerror})")


def series_images(folder: Path, files: list[Path]) -> Iterator[FoundImage | LeftOut]:
    """The DICOM series that files of one folder belong to, named after the folder."""
    from ..imageio.dicom_folder import series_in
    from ..imageio.dicom_header import has_signature

    whole = Path(os.path.abspath(folder))
    for series in series_in(files):
        alone = series.files[0]
        if len(series.files) == 1 and not series.identifiers and not has_signature(alone):
            yield LeftOut(alone, _why_left_out(alone) or "no DICOM file; damaged?")
        elif series.why_not:
            yield LeftOut(None, series.why_not, f"DICOM {series.modality or 'object'}")
        else:
            yield FoundImage(
                folder,
                series.neutral(whole.name),
                whole.parent,
                series.files,
                series.number,
                private=series.identifiers,
                neutral=series.checksum_name,
            )


def unreadable_on(pattern: str) -> Iterator[LeftOut]:
    """Folders that a pattern leads to and that cannot be looked into, which `glob` passes over."""
    parts = Path(pattern).parts
    seen: set[str] = set()
    for end in range(1, len(parts)):
        for match in sorted(glob.glob(os.path.join(*parts[:end]), recursive=True)):
            place = os.path.normpath(match)
            if place not in seen and os.path.isdir(place) and not os.access(place, os.R_OK | os.X_OK):
                seen.add(place)
                yield LeftOut(Path(place), "a folder that cannot be read (Permission denied)")


def _in_one_folder(folder: Path, names: list[str]) -> Iterator[FoundImage | LeftOut]:
    from ..imageio.dicom_folder import may_be_dicom

    dicom = []
    for name in names:
        path = folder / name
        if suffix(path) == ".seg.nrrd":
            yield LeftOut(path, "a segmentation, no image")
        elif suffix(path) in SUFFIXES:
            yield file_image(path)
        elif suffix(path) in (".hdr", ".img"):
            yield from _of_pair(path)
        elif path.is_file() and may_be_dicom(path):
            dicom.append(path)
        elif why := _why_left_out(path):
            yield LeftOut(path, why)
    yield from series_images(folder, dicom)


def _of_pair(path: Path) -> Iterator[FoundImage | LeftOut]:
    missing = _missing_of_pair(path)
    if missing:
        yield LeftOut(path, missing)
    elif suffix(path) == ".hdr":
        yield file_image(path)


def _missing_of_pair(path: Path) -> str:
    """What is missing beside a .hdr or .img file, "" if nothing is."""
    kind = "img" if suffix(path) == ".hdr" else "hdr"
    try:
        other_of_pair(path, kind)
    except InputError:
        return f"the .{kind} file that belongs to it is missing"
    return ""


def _why_left_out(path: Path) -> str:
    """Why a file that could be an image is none here; "" for one that nobody takes for an image."""
    name = path.name.lower()
    if path.is_file() and not os.access(path, os.R_OK):
        return "a file that cannot be read (Permission denied)"
    if name.endswith(_NAMED_DICOM):
        return "called DICOM, and does not begin as such a file does; damaged?"
    if name.endswith(_OTHER_FORMATS):
        return "of a format that is not read here; give NIfTI, NRRD, MetaImage or DICOM"
    return ""
