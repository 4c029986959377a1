"""Which patients of a data folder training reads: a manifest.json, or images and label maps by their names.

    FOLDER/imagesTr/liver_07_0000.nii.gz     as nnU-Net has it; several channels are images of their own
    FOLDER/labelsTr/liver_07.nii.gz

`images` and `labels` do as well; _0000 may be left out where there is one channel.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import InputError
from .cases import SPLIT_DATASETS, Case, LabelMap, is_for_development, is_held_out, read_manifest

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
"""Endings of the files that are read as images and label maps."""
_FOLDERS = (("imagesTr", "labelsTr"), ("images", "labels"))
_CHANNEL = re.compile(r"(.+)_(\d{4})")


def training_cases(data: Path) -> list[Case]:
    """Every case of the folder that training may use.

    Of the data sets that `cases.is_held_out` knows, held-out and development patients are left out; of any
    other, all are taken. A manifest of label maps without images gives none. Raises InputError with what is
    missing.
    """
    if not data.is_dir():
        raise InputError(f"There is no folder {data}.")
    if (data / "manifest.json").is_file():
        entries = read_manifest(data)
        cases = [case for case in entries if isinstance(case, Case) and _may_train_on(case)]
        if not cases and not any(isinstance(one, LabelMap) for one in entries):
            raise InputError(f"{data} has no patient that training may use.")
        return cases
    for images, labels in _FOLDERS:
        if (data / images).is_dir() or (data / labels).is_dir():
            return _pairs(data / images, data / labels)
    raise InputError(
        f"{data} has no labelled images: put images into imagesTr and label maps of the same names into "
        "labelsTr, or write a manifest.json."
    )


def training_label_maps(data: Path) -> list[LabelMap]:
    """The label maps without images that a folder's manifest.json names; none where there is no manifest."""
    if not (data / "manifest.json").is_file():
        return []
    return [one for one in read_manifest(data) if isinstance(one, LabelMap)]


def _may_train_on(case: Case) -> bool:
    return case.dataset not in SPLIT_DATASETS or not (is_held_out(case) or is_for_development(case))


def _pairs(images: Path, labels: Path) -> list[Case]:
    label_maps = _files(labels)
    cases, labelled = [], set()
    for name, path in _files(images).items():
        matched = _CHANNEL.fullmatch(name)
        patient = matched[1] if matched and name not in label_maps else name
        if patient not in label_maps:
            raise InputError(f"{path} has no label map: {labels / patient}.nii.gz is missing.")
        labelled.add(patient)
        cases.append(Case(images.parent.name, name, patient, "MR", path, label_maps[patient], {}))
    missing = sorted(set(label_maps) - labelled)
    if missing:
        raise InputError(
            f"{label_maps[missing[0]]} has no image: {images / missing[0]}_0000.nii.gz is missing."
        )
    return cases


def _files(folder: Path) -> dict[str, Path]:
    """The image files of a folder by their names without suffix, in order."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}, beside {', '.join(_beside(folder))}.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((one for one in SUFFIXES if path.name.lower().endswith(one)), None)
        if suffix is None or path.name.startswith("."):
            continue
        name = path.name[: -len(suffix)]
        if name in found:
            raise InputError(f"{found[name]} and {path} have one name: keep one of them.")
        found[name] = path
    if not found:
        raise InputError(f"{folder} has no image: {', '.join(SUFFIXES)} are read.")
    return found


def _beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir() if path.is_dir())
