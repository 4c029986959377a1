"""A folder of task files: what is in it, and putting tasks in, renaming them and taking them out.

folder = TaskFolder(Path.home() / "Documents" / "MedMetaSeg tasks")
for entry in folder.entries():
    entry.name, entry.structures, entry.supports, entry.problem
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError, TaskError
from ..imageio.writing import write_bytes
from .task_file import Task

SUFFIX = ".medmetaseg"
"""The ending of task files."""
TRASH = "trash"
"""The folder, inside a task folder, that discarded tasks go to."""
_FORBIDDEN = set('<>:"/\\|?*')
"""Characters that no file's name may have on some system."""
_MAX_NAME = 100
"""Characters of a task's name at most."""
_THUMBNAIL_PIXELS = 96
"""Length of a thumbnail's longer side."""


@dataclass(frozen=True, eq=False)
class TaskEntry:
    """A task file, as a list shows it.

    structures: names. supports: number of patients it was learned from. date: of the file, year-month-day.
    version: of MedMetaSeg that learned it. thumbnail: uint8 (rows, columns, 3), a slice of its reduced image
    with the structures in their colours, None when the file cannot be read; problem: why not, a sentence,
    or "".
    """

    path: Path
    structures: tuple[str, ...] = ()
    supports: int = 0
    date: str = ""
    version: str = ""
    thumbnail: np.ndarray | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.name.removesuffix(SUFFIX)


class TaskFolder:
    """The tasks in a folder. The folder is made when the first task comes; files are read once.

    Every method raises InputError, in one sentence, for what cannot be done; nothing is then changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: dict[tuple[Path, int, int], TaskEntry] = {}

    def entries(self) -> list[TaskEntry]:
        """Every task in the folder, by name; one that cannot be read says why."""
        try:
            files = [one for one in self.path.glob(f"*{SUFFIX}") if one.name[0] != "." and one.is_file()]
            stamps = {(one, one.stat().st_mtime_ns, one.stat().st_size) for one in files}
        except OSError as error:
            raise InputError(f"{self.path} cannot be read ({error.strerror}); choose another.") from error
        self._read = {stamp: self._read.get(stamp) or _entry(stamp[0]) for stamp in stamps}
        return sorted(self._read.values(), key=lambda one: one.name.casefold())

    def path_for(self, name: str) -> Path:
        """Where a new task of this name goes; InputError for a name no file can have, or that is taken."""
        name = name.strip()
        if not name:
            raise InputError("Give the task a name.")
        if len(name) > _MAX_NAME or set(name) & _FORBIDDEN or not name.isprintable() or name[0] == ".":
            shown = " ".join(name[:_MAX_NAME].split())
            raise InputError(f"A file cannot be called '{shown}'; use letters, digits and spaces.")
        taken = self.path.glob(f"*{SUFFIX}") if self.path.is_dir() else ()
        if any(one.name.casefold() == f"{name}{SUFFIX}".casefold() for one in taken):
            raise InputError(f"There is a task called '{name}' already; give another name.")
        return self.path / f"{name}{SUFFIX}"

    def add(self, name: str, content: bytes) -> Path:
        """Write a task that was just learned."""
        path = self.path_for(name)
        self._make(self.path)
        write_bytes(path, content)
        return path

    def rename(self, path: Path, name: str) -> Path:
        """Give a task another name; returns its new place."""
        if name.strip() == path.name.removesuffix(SUFFIX):
            return path
        new = self.path_for(name)
        _attempt(lambda: path.rename(new), path, "renamed")
        return new

    def discard(self, path: Path) -> Path:
        """Move a task to the folder `trash` in this one; returns where it is, to be put back by hand."""
        trash = self.path / TRASH
        self._make(trash)
        stem = path.name.removesuffix(SUFFIX)
        place, number = trash / path.name, 2
        while place.exists():
            place, number = trash / f"{stem} {number}{SUFFIX}", number + 1
        _attempt(lambda: path.rename(place), path, "moved to the trash")
        return place

    def import_task(self, source: Path) -> Path:
        """Copy a task file into the folder after checking it."""
        Task.read(source)
        return self.add(source.name.removesuffix(SUFFIX), source.read_bytes())

    def export_task(self, path: Path, target: Path) -> Path:
        """Copy a task to another place; the ending is added where it is missing."""
        if not target.name.endswith(SUFFIX):
            target = target.with_name(target.name + SUFFIX)
        if target.exists() and target.samefile(path):
            raise InputError("That is the task itself; choose another place.")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}).") from error
        write_bytes(target, content)
        return target

    @staticmethod
    def _make(folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder} cannot be made ({error.strerror}); choose another.") from error


def _entry(path: Path) -> TaskEntry:
    date = time.strftime("%Y-%m-%d", time.localtime(path.stat().st_mtime))
    try:
        task = Task.read(path)
    except TaskError as error:
        return TaskEntry(path, date=date, problem=str(error))
    names = tuple(one.name for one in task.structures)
    version = str(task.provenance.get("medmetaseg", ""))
    return TaskEntry(path, names, len(task.atlases), date, version, thumbnail(task))


def thumbnail(task: Task) -> np.ndarray:
    """uint8 (rows, columns, 3): the axial slice of the first patient that shows most of the structures."""
    atlas = task.atlases[0]
    filled = {n: atlas.occupancy(n) for n, place in enumerate(atlas.places) if place is not None}
    k = int(np.argmax(sum(occupancy.sum((1, 2)) for occupancy in filled.values())))
    picture = np.repeat(atlas.close.intensity[k].astype(np.float32)[..., None], 3, axis=2)
    for n, occupancy in filled.items():
        weight = 0.6 * occupancy[k][..., None]
        picture += weight * (255 * np.array(task.structures[n].color, np.float32) - picture)
    # Rows go from posterior to anterior and columns from the patient's left to the right: turned round, as
    # radiologists look at it.
    picture = picture[::-1, ::-1]
    height, width = (n * float(mm) for n, mm in zip(picture.shape, atlas.close.spacing_mm[1:], strict=False))
    rows, columns = (max(1, round(_THUMBNAIL_PIXELS * n / max(height, width))) for n in (height, width))
    j = np.minimum(np.arange(rows) * picture.shape[0] // rows, picture.shape[0] - 1)
    i = np.minimum(np.arange(columns) * picture.shape[1] // columns, picture.shape[1] - 1)
    return np.clip(picture[j][:, i], 0, 255).astype(np.uint8)


def _attempt(work: Callable[[], object], path: Path, what: str) -> None:
    try:
        work()
    except OSError as error:
        raise InputError(f"{path.name} could not be {what} ({error.strerror}).") from error
