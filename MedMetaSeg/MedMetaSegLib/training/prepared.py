"""Anatomies of real patients, prepared once: by several processes, and kept beside the data or elsewhere."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..datasets.cases import Case
from ..datasets.patients import training_cases
from ..errors import InputError, WriteError
from ..imageio.writing import replace_whole
from .anatomy import Anatomy, subject_of
from .parallel import available_cores
from .real import MIN_SIDE, MIN_SLICES, SETTINGS, case_anatomies

FOLDER = ".medmetaseg-anatomies"
"""Name of the folder beside the data."""
_FORMAT = "2"
"""Goes up whenever the same image comes to give other anatomies, or their files change."""
_READ_AT_ONCE = 1 << 22

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class _Place:
    """Where what is prepared of a case is kept, and the digest of all that it depends on."""

    case: Case
    file: Path
    digest: str


def real_anatomies(data: Path, keep: bool = True, prepared: Path | None = None) -> Sequence[Anatomy]:
    """Anatomies of every patient that training may use in a data folder, at several scales and details.

    What is missing in FOLDER of the data folder, or was made from other images or settings, is made by as
    many processes as there are cores, and kept there; a folder that cannot be written is told on stderr. All
    anatomies are held in memory. Patients too small for any scale are left out, which is told as well. What
    a data folder holds: see `datasets.patients.training_cases`; one of label maps alone has no anatomies.
    keep: False neither reads nor writes FOLDER; prepared: a folder to keep them in instead, for data that
    cannot be written. Raises InputError when it is not that, as `case_anatomies` does, and when no patient is
    left.
    """
    cases = training_cases(data)
    if not cases:
        return []
    folder = kept_in(data, prepared)
    of_cases = _prepared(cases, data, folder) if keep else list(map(case_anatomies, cases))
    anatomies = [anatomy for of_case in of_cases for anatomy in of_case]
    if not anatomies:
        raise InputError(
            f"Every image of {data} is too small to train on: at least {MIN_SLICES} slices of "
            f"{MIN_SIDE} x {MIN_SIDE} voxels are needed."
        )
    too_small = [case.case for case, of_case in zip(cases, of_cases, strict=True) if not of_case]
    if too_small:
        print(f"Too small to train on, and left out: {', '.join(too_small)}.", file=sys.stderr)
    return anatomies


def kept_in(data: Path, prepared: Path | None) -> Path:
    """The folder that keeps what is made of a data folder: in it, or one of its own in `prepared`."""
    if prepared is None:
        return data / FOLDER
    place = str(data.resolve()).encode("utf-8", "surrogateescape")
    return prepared / f"{data.resolve().name}-{hashlib.blake2b(place, digest_size=4).hexdigest()}"


def _prepared(cases: Sequence[Case], data: Path, folder: Path) -> list[list[Anatomy]]:
    """The anatomies of every case of a data folder, kept or made."""
    places = [_place(case, data, folder) for case in cases]
    found = [None if place is None else _read(place) for place in places]
    missing = [number for number, anatomies in enumerate(found) if anatomies is None]
    keep = bool(missing) and can_keep(folder)
    for number, made in zip(missing, made_of_all(case_anatomies, [cases[n] for n in missing]), strict=True):
        found[number], place = made, places[number]
        keep = keep and (place is None or _kept(place, made))
    return [anatomies for anatomies in found if anatomies is not None]


def _place(case: Case, data: Path, folder: Path) -> _Place | None:
    digest = case_digest(case, (_FORMAT, SETTINGS))
    return None if digest is None else _Place(case, file_of([case.image], data, folder), digest)


def file_of(files: Sequence[Path], data: Path, folder: Path) -> Path:
    """The file in `folder` that keeps what is made of some files of a data folder."""
    relative = "\n".join(os.path.relpath(file, data) for file in files)
    name = hashlib.blake2b(relative.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return folder / f"{name}.safetensors"


def case_digest(case: Case, settings: tuple[object, ...]) -> str | None:
    """Changes with the files of a case, with what is known of it, and with `settings`, by their repr.

    None where it cannot be told whether the image changes: a file that cannot be read, which `read_case`
    refuses in words, and one whose voxels lie in another that its header names (.mhd).
    """
    about = (*settings, case.inside_a_mask, sorted(case.names.items()), sorted(case.open_ended))
    digest = hashlib.blake2b(repr(about).encode(), digest_size=16)
    for file in (case.image, case.labels):
        if file.suffix.lower() == ".mhd":
            return None
        try:
            for part in sorted(file.rglob("*")) if file.is_dir() else [file]:
                if not part.is_dir():
                    _add(digest, part)
        except OSError:
            return None
    return digest.hexdigest()


def _add(digest: hashlib.blake2b, file: Path) -> None:
    with file.open("rb") as opened:
        while content := opened.read(_READ_AT_ONCE):
            digest.update(content)


def made_of_all(make: Callable[[Item], Made], items: Sequence[Item]) -> Iterator[Made]:
    """What `make` makes of every item, in their order, by as many processes as there are cores."""
    processes = min(len(items), available_cores())
    if processes < 2:
        yield from map(make, items)
        return
    # A process of its own start: a fork would copy torch's threads, and a GPU in use, half.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, torch.set_num_threads, (1,)) as pool:
        yield from pool.map(make, items)


def _read(place: _Place) -> list[Anatomy] | None:
    """What is kept of a case; None where nothing is, or what is kept does not hold any more."""
    if not place.file.is_file():
        return None
    try:
        with safe_open(place.file, "np") as opened:
            about = opened.metadata() or {}
            if about.get("digest") != place.digest:
                return None
            rows = json.loads(about["anatomies"])
            images = {name: opened.get_tensor(name) for name, *_ in rows}
            return [
                Anatomy(
                    images[image],
                    opened.get_tensor(structures),
                    aspect,
                    subject=subject_of(place.case, values, spacing_mm),
                )
                for image, structures, aspect, spacing_mm, values in rows
            ]
    except (SafetensorError, KeyError, ValueError, OSError):
        return None  # damaged: it is made anew


def _kept(place: _Place, anatomies: Sequence[Anatomy]) -> bool:
    """Write what was made of a case; False where it cannot be written, which is told."""
    tensors: dict[str, np.ndarray] = {}
    rows: list[tuple[str, str, float, float, tuple[int, ...]]] = []
    for number, one in enumerate(anatomies):
        assert one.subject is not None
        # Anatomies that follow one another often share an image.
        before = rows[-1][0] if rows and np.array_equal(tensors[rows[-1][0]], one.image) else None
        image, structures = before or f"image {number}", f"structures {number}"
        tensors[image] = np.ascontiguousarray(one.image)
        tensors[structures] = np.ascontiguousarray(one.structures)
        rows.append((image, structures, one.aspect, one.subject.spacing_mm, one.subject.values))
    about = {"digest": place.digest, "anatomies": json.dumps(rows)}
    return keep_tensors(place.file, tensors, about)


def keep_tensors(file: Path, tensors: dict[str, np.ndarray], about: dict[str, str]) -> bool:
    """Write a safetensors file, whole or not at all; False where it cannot be written, which is told."""
    try:
        replace_whole(file, lambda part: save_file(tensors, part, about))
    except WriteError as error:
        print(f"What was prepared of the patients is not kept for the next run: {error}", file=sys.stderr)
        return False
    return True


def can_keep(folder: Path) -> bool:
    """Make the folder that keeps what is made; False where that cannot be, which is told."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(
            f"What is prepared of the patients is not kept for the next run: {folder} cannot be made "
            f"({error.strerror}).",
            file=sys.stderr,
        )
        return False
    return True
