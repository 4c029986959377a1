"""Cases and their manifest, and the one split between patients for evaluation and for training."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..imageio.volume import Volume, read_image, read_volume

EVALUATION_ONLY = ("totalseg", "acdc", "ms")
"""Data sets all of whose patients are held out."""
LAST_SARCOMA_PATIENT = 8
"""Sarcoma patients up to this number are held out, in CT and MR alike."""
LAST_HIPPOCAMPUS_PATIENT = 50
"""Hippocampus cases up to this number are held out."""

ACCEPTANCE_STRUCTURES = (
    "spleen",
    "kidney_right",
    "kidney_left",
    "gallbladder",
    "liver",
    "stomach",
    "small_bowel",
    "colon",
    "urinary_bladder",
    "sacrum",
    "vertebrae_L3",
    "aorta",
    "inferior_vena_cava",
    "hip_left",
    "gluteus_maximus_left",
    "autochthon_left",
    "iliopsoas_left",
    "femur_left",
)
"""The 18 structures of the totalseg CT that are shown one by one."""

_TITLES = {
    ("totalseg", "CT"): "TotalSegmentator CT",
    ("totalseg", "MR"): "TotalSegmentator MR",
    ("sts_ct", "CT"): "Sarcoma CT",
    ("sts_mr", "MR"): "Sarcoma MR",
    ("acdc", "MR"): "Heart MR",
    ("ms", "MR"): "MS lesions MR",
    ("hippocampus", "MR"): "Hippocampus MR",
}
"""Names of data sets in tables and pictures, by their name in the manifest and their modality."""

_BENCHMARK_CASES = {"totalseg": 2, "sts_ct": 4, "sts_mr": 4, "acdc": 6, "ms": 3, "hippocampus": 6}
"""Data sets of the benchmark, and how many held-out cases of each it runs on."""

SPLIT_DATASETS = tuple(_BENCHMARK_CASES)
"""The data sets that `is_held_out` and `is_for_development` know."""


@dataclass(frozen=True)
class Case:
    """An image with its label map. modality is "CT" or "MR"; names maps label values to structures."""

    dataset: str
    case: str
    patient: str
    modality: str
    image: Path
    labels: Path
    names: dict[int, str]


def collection_title(dataset: str, modality: str) -> str:
    """The name that tables and pictures give a data set; the two totalseg scans are two collections."""
    return _TITLES.get((dataset, modality), f"{dataset} {modality}")


def read_cases(data: Path) -> tuple[Case, ...]:
    """Every case of a data folder's manifest.json, in its order.

    Raises InputError without a readable manifest.
    """
    manifest = data / "manifest.json"
    if not manifest.is_file():
        raise InputError(f"{data} has no manifest.json: give the folder that holds the evaluation cases")
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))
        return tuple(_case(data, entry) for entry in entries)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{manifest} cannot be read as a list of cases: {error!r}") from error


def read_case(case: Case) -> tuple[Volume, np.ndarray]:
    """The image on its canonical grid and its labels there, int32 (k, j, i).

    Raises InputError when either cannot be read or they lie on different grids.
    """
    image, labels = read_volume(case.image), read_image(case.labels)
    if not image.geometry.same_grid(labels.geometry):
        raise InputError(f"{case.labels} does not lie on the grid of {case.image}")
    image, axis_map = image.canonical()
    return image, np.ascontiguousarray(axis_map.apply(labels.array), dtype=np.int32)


def is_held_out(case: Case) -> bool:
    """Whether a case is for evaluation: no shipped weights may have trained on its patient.

    Held out: all of totalseg, acdc and ms; sarcoma patients STS_001 to STS_008, in CT and MR alike;
    hippocampus cases up to 050. Training takes the rest. Raises InputError for a data set the split does
    not name.
    """
    if case.dataset in EVALUATION_ONLY:
        return True
    if case.dataset in ("sts_ct", "sts_mr"):
        return _number(case) <= LAST_SARCOMA_PATIENT
    if case.dataset == "hippocampus":
        return _number(case) <= LAST_HIPPOCAMPUS_PATIENT
    raise InputError(
        f"{case.dataset} {case.case}: cases.is_held_out does not say whether this data set may be trained on"
    )


def is_for_development(case: Case) -> bool:
    """Whether a case that is not held out is kept from training too, to choose settings on.

    Sarcoma patients from STS_018 and hippocampus cases from 180 on.
    """
    first = {"sts_ct": 18, "sts_mr": 18, "hippocampus": 180}
    return case.dataset in first and _number(case) >= first[case.dataset]


def benchmark_cases(cases: Iterable[Case], datasets: Collection[str] | None = None) -> tuple[Case, ...]:
    """The cases the benchmark runs on: the first few held-out ones of each data set, of the data sets named.

    Raises InputError for a data set that the benchmark does not have.
    """
    unknown = sorted(set(datasets or ()) - set(_BENCHMARK_CASES))
    if unknown:
        raise InputError(f"no data set {', '.join(unknown)}; there are {', '.join(_BENCHMARK_CASES)}")
    held_out = [case for case in cases if case.dataset in _BENCHMARK_CASES and is_held_out(case)]
    chosen: list[Case] = []
    for dataset, count in _BENCHMARK_CASES.items():
        if datasets is None or dataset in datasets:
            chosen += [case for case in held_out if case.dataset == dataset][:count]
    return tuple(chosen)


def _case(data: Path, entry: dict) -> Case:
    return Case(
        dataset=entry["dataset"],
        case=entry["case"],
        patient=entry["patient"],
        modality="CT" if entry["modality"].startswith("CT") else "MR",
        image=data / entry["image"],
        labels=data / entry["label"],
        names={int(value): name for value, name in entry["labels"].items()},
    )


def _number(case: Case) -> int:
    return int(case.case)
