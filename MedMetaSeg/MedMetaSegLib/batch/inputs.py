"""What a batch is given, as single images: files, patterns, folders, DICOM series, lists in CSV files."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..imageio.csv_list import Line, read_list
from ..imageio.files import SUFFIXES, check_there, same_file, with_data_file
from ..imageio.frames import Frames
from ..imageio.names import shown
from .item_channels import ItemChannel, channel_column, given_channels, listed_channels
from .paths import place_problem, result_names
from .request import BatchRequest
from .search import FoundImage, LeftOut, file_image, images_in, series_images, unreadable_on

CSV_COLUMNS = ("image", "name", "allow_nonfinite", "within")
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0", "")


@dataclass(frozen=True)
class BatchItem:
    """One image to segment.

    name: of the result, without suffix, with folders as "a/b/c"; output: the same with its suffix. path: the
    file, or the folder of a DICOM series; files: all that hold its voxels. image: what reports call the
    image. series: whether it is a DICOM series. private: texts that may not be in a report. frame: of a file
    of several, counted from 0. problem: why it cannot be done, known before it is read; "" if nothing is.
    maps: places of its uncertainty maps, one per structure, relative to their folder; () if none are wanted.
    within: the file, or DICOM folder, of the region outside which nothing is kept, None for none;
    within_files: all that hold it. channels: further images of the patient.
    """

    name: str
    output: str
    path: Path
    files: tuple[Path, ...]
    image: str
    series: bool = False
    allow_nonfinite: bool = False
    private: tuple[str, ...] = ()
    frame: int | None = None
    problem: str = ""
    resample_uneven: bool = False
    maps: tuple[str, ...] = ()
    within: Path | None = None
    within_files: tuple[Path, ...] = ()
    channels: tuple[ItemChannel, ...] = ()

    @property
    def inputs(self) -> tuple[Path, ...]:
        """All files that the result is made from, but the task."""
        channels = (file for one in self.channels for file in one.files)
        return (*self.files, *self.within_files, *channels)

    def public(self, text: str) -> str:
        """A message about the item without its path and what else is private.

        Files of a DICOM series, whose names may say of whom it is, are told by where they stand in the order
        of names.
        """
        if self.image == shown(self.path):
            return " ".join(shown(text).split())
        called = {self.path: self.image}
        for number, file in enumerate(sorted(self.files), start=1):
            told = f"{self.image} (file {number} of {len(self.files)} by name)" if self.series else self.image
            called[file] = told
        for path in (*self.within_files, *([self.within] if self.within else [])):
            called[path] = shown(path.name)
        for channel in self.channels:
            told = f"the channel {channel.name} of {self.image}"
            called |= dict.fromkeys((channel.path, *channel.files), told)
        places = {str(p): told for path, told in called.items() for p in (path, path.resolve())}
        for place in sorted(places, key=len, reverse=True):
            text = text.replace(place, places[place])
        for private in sorted(self.private, key=len, reverse=True):
            text = re.sub(re.escape(private), "...", text, flags=re.IGNORECASE)
        return " ".join(shown(text).split())


def find_items(
    request: BatchRequest, ending: str, channels: Sequence[str] = ()
) -> tuple[tuple[BatchItem, ...], tuple[tuple[str, str], ...]]:
    """The images of a request, each once, and what was found beside them: names with the reason.

    channels: names of those that the task was learned with. Raises InputError as `images_of`, and when a
    result would overwrite an input.
    """
    items, skipped = images_of(request, ending, channels)
    _check_inputs_kept(items, request)
    return items, skipped


def images_of(
    request: BatchRequest, ending: str, channels: Sequence[str] = ()
) -> tuple[tuple[BatchItem, ...], tuple[tuple[str, str], ...]]:
    """As `find_items`, for who only reads the images: no result is to be written.

    Raises InputError for an input that is not there, a pattern that matches nothing, a CSV file that cannot
    be understood, when there is no image at all, and for channels that `given_channels` refuses.
    """
    roots: list[Path] = []
    given = list(_given(request, roots, channels))
    images = _once([one for one in given if isinstance(one, FoundImage)])
    if request.within is not None and len(images) > 1:
        raise InputError(
            f"A region is for one image, and there are {len(images)}; list them in a CSV file with a column "
            "within."
        )
    if request.within is not None and any(one.within for one in images):
        raise InputError("Regions are given twice, for the image and in the list; leave one of them out.")
    if images:
        listed = any(one.channels for one in images)
        beside = given_channels(request.channels, channels, len(images), listed)
        images = [replace(one, channels=beside or one.channels) for one in images]
    found = [frame for one in images for frame in _frames(one, request.frames)]
    left_out = dict.fromkeys(one for one in given if isinstance(one, LeftOut))
    base = _common(roots)
    skipped = tuple((_called(one, base), one.why) for one in left_out)
    if not found:
        what = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
        raise InputError(f"There is no image in what was given{what}.")
    folders = [_folders(one, base) for one in found]
    names = result_names(
        [(one.name, place) for one, place in zip(found, folders, strict=True)], request.layout
    )
    items = tuple(
        _item(one, place, name, ending, request)
        for one, place, name in zip(found, folders, names, strict=True)
    )
    return items, skipped


def _given(
    request: BatchRequest, roots: list[Path], channels: Sequence[str]
) -> Iterator[FoundImage | LeftOut]:
    """All that a request gives; the folders that it names, from which results take theirs, go to `roots`."""
    for given in request.inputs:
        if os.path.exists(given) or not glob.has_magic(str(given)):
            check_there(Path(given), "image")
            yield from _images(Path(given), _own(request), roots, channels)
            continue
        matches = sorted(glob.glob(str(given), recursive=True))
        unreadable = list(unreadable_on(str(given)))
        if not matches and not unreadable:
            raise InputError(f"Nothing matches {given}; check the pattern.")
        roots.append(_fixed_part(str(given)))
        yield from unreadable
        for match in matches:
            yield from _images(Path(match), _own(request), [], channels)
    for files in request.series:
        yield from _known_series(sorted(map(Path, files)))


def _own(request: BatchRequest) -> tuple[Path, ...]:
    """The folders of what a batch writes, which are not searched."""
    return (request.out,) if request.uncertainty is None else (request.out, request.uncertainty)


def _images(
    path: Path, own: Sequence[Path], roots: list[Path], channels: Sequence[str]
) -> Iterator[FoundImage | LeftOut]:
    whole = Path(os.path.abspath(path))
    if path.is_dir():
        roots.append(whole)
        yield from images_in(path, own)
    elif path.suffix.lower() == ".csv":
        for one in _in_table(path, channels):
            is_below = one.folder is not None and one.folder.is_relative_to(whole.parent)
            roots.append(whole.parent if is_below or one.folder is None else one.folder)
            yield one
    else:
        roots.append(whole.parent)
        yield file_image(path)


def _fixed_part(pattern: str) -> Path:
    """The folder that a pattern starts from."""
    parts = Path(os.path.abspath(pattern)).parts
    fixed = next(n for n, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:fixed])


def _common(roots: Sequence[Path]) -> Path | None:
    """The folder that all lie in; None where there is none, as on two drives."""
    try:
        return Path(os.path.commonpath(roots))
    except ValueError:
        return None


def _folders(found: FoundImage, base: Path | None) -> tuple[str, ...]:
    """Names of the folders below `base` that lead to an image; those that tell of whom it is, replaced."""
    if found.folder is None or base is None or not found.folder.is_relative_to(base):
        return ()
    from ..imageio.dicom_folder import tells_of

    parts = found.folder.relative_to(base).parts
    # Several that tell of the patient become one.
    return tuple(dict.fromkeys(found.neutral if tells_of(part, found.private) else part for part in parts))


def _called(left_out: LeftOut, base: Path | None) -> str:
    if left_out.path is None:
        return left_out.what
    whole = Path(os.path.abspath(left_out.path))
    if base is None or whole == base or not whole.is_relative_to(base):
        return shown(whole.name)
    return shown(whole.relative_to(base).as_posix())


def _check_inputs_kept(items: Sequence[BatchItem], request: BatchRequest) -> None:
    for item in items:
        for taken in (*(file for one in items for file in one.inputs), request.task):
            # Most names differ, and asking the file system about every pair would take time.
            if taken.name.casefold() == Path(item.output).name.casefold() and same_file(
                request.out / item.output, taken
            ):
                raise InputError(
                    f"The result for {item.path} would overwrite {taken}; choose another folder."
                )


def _known_series(files: list[Path]) -> Iterator[FoundImage | LeftOut]:
    """A DICOM series given by its files; neither these nor their folder have a say in its name."""
    from ..imageio.dicom_folder import series_of

    if not files:
        yield LeftOut(None, "its files are not on this computer", "DICOM object")
        return
    series = series_of(files)
    if series.why_not:
        yield LeftOut(None, series.why_not, f"DICOM {series.modality or 'object'}")
        return
    yield FoundImage(files[0].parent, series.checksum_name, None, series.files, private=series.identifiers)


def _in_table(path: Path, channels: Sequence[str]) -> Iterator[FoundImage]:
    """The images that a CSV file lists, relative to its folder.

    The columns are CSV_COLUMNS, and one for each channel of the task, of these names.
    """
    for number, line in read_list(path, (*CSV_COLUMNS, *map(channel_column, channels)), ["image"]):
        try:
            image, name, allow_nonfinite, within = _table_cells(line)
        except ValueError as error:
            raise InputError(
                f"Line {number} of the list {path} cannot be understood; see `apply --help`."
            ) from error
        # A file that is not there is a row that fails, like any other that cannot be read.
        for one in _listed(path.parent / image):
            folder = None if name else one.folder
            region = path.parent / within if within else None
            yield replace(
                one,
                name=name or one.name,
                folder=folder,
                allow_nonfinite=allow_nonfinite,
                within=region,
                channels=listed_channels(line, channels, path.parent),
            )


def _table_cells(line: Line) -> tuple[str, str, bool | None, str]:
    """The cells of a line: image, name ("" if none), allow_nonfinite, within (as name). Raises ValueError."""
    image, name, nonfinite, within = ((line.get(column) or "").strip() for column in CSV_COLUMNS)
    # A name may be given as the result's file name, too.
    name = name.removesuffix(next((one for one in SUFFIXES if name.lower().endswith(one)), ""))
    if not image or (name and name != Path(name).name):
        raise ValueError(f"{image!r} is no image or {name!r} no file name")
    answer = nonfinite.lower()
    if answer not in (*_YES, *_NO):
        raise ValueError(f"{nonfinite!r} is neither yes nor no")
    return image, name, answer in _YES if answer else None, within


def _listed(path: Path) -> Iterator[FoundImage]:
    if not os.path.isdir(path):
        yield file_image(path)
        return
    from ..imageio.dicom_folder import may_be_dicom

    files = sorted(one for one in path.iterdir() if one.is_file() and may_be_dicom(one))
    series = [one for one in series_images(path, files) if isinstance(one, FoundImage)]
    if len(series) != 1:
        raise InputError(f"The folder {path} holds {len(series)} DICOM series; list folders with one.")
    yield replace(series[0], number="")


def _once(found: list[FoundImage]) -> list[FoundImage]:
    """Every image once, and a number to tell the series of one folder apart."""
    unique: dict[tuple[Path, ...], FoundImage] = {}
    for one in found:
        # An image that a list gives two names has two results.
        name = one.name if one.folder is None else ""
        beside = (channel.path for channel in one.channels)
        first = unique.setdefault((one.path.resolve(), *one.series[:1], Path(name), *beside), one)
        if first.within != one.within:
            raise InputError(f"{one.path} is given twice, with different regions; give each a name.")
    counts: dict[Path, int] = {}
    for one in unique.values():
        if one.series:
            counts[one.path] = counts.get(one.path, 0) + 1
    return [
        replace(one, name=f"{one.name}_series{one.number}") if one.number and counts[one.path] > 1 else one
        for one in unique.values()
    ]


def _frames(found: FoundImage, wanted: Frames) -> list[FoundImage]:
    """The frames of a file that are wanted, each an image of its own; a 3D image as it is."""
    if wanted is None or found.series:
        return [found]
    from ..imageio.volume import frame_count

    try:
        count = frame_count(found.path)
    except InputError:
        # Reading it will say the same, in its row.
        return [found]
    if count == 1:
        return [replace(found, frame=None if wanted == "all" else wanted)]
    numbers = range(count) if wanted == "all" else (wanted,)
    return [replace(found, name=f"{found.name}_frame{number}", frame=number) for number in numbers]


def _item(
    found: FoundImage, folders: tuple[str, ...], name: str, ending: str, request: BatchRequest
) -> BatchItem:
    allowed = request.allow_nonfinite if found.allow_nonfinite is None else found.allow_nonfinite
    last = name.rpartition("/")[2] if found.series else found.path.name
    image = str(found.path) if request.with_identifiers else "/".join((*folders, last))
    within = found.within or request.within
    return BatchItem(
        name,
        name + ending,
        found.path,
        found.series or with_data_file(found.path),
        shown(image),
        bool(found.series),
        allowed,
        () if request.with_identifiers else found.private,
        found.frame,
        place_problem(request.out / (name + ending)),
        request.resample_uneven,
        within=within,
        within_files=() if within is None else _region_files(within),
        channels=found.channels,
    )


def _region_files(path: Path) -> tuple[Path, ...]:
    """The files of a region: of a DICOM folder all that lie in it."""
    if path.is_dir():
        return tuple(sorted(one for one in path.iterdir() if one.is_file()))
    return with_data_file(path)
