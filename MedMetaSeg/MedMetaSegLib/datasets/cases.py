"""Cases and their manifest, and the one split between patients for evaluation and for training."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
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
LAST_HELD_OUT: Mapping[str, int] = {"openkbp": 100, "prostate_mrus": 6}
"""Of these data sets patients up to a number are held out, all of their images: 20 of 70, 7 of 27."""
HELD_OUT_PATIENTS: Mapping[str, tuple[str, ...]] = {
    "spinal_cord": ("spinal_cord_unf01",),
    "fetal_sba": (
        "fetal_sba_fetal_SB_atlas_GA26_operated",
        "fetal_sba_fetal_SB_atlas_GA29_operated",
    ),
    "radiomics_mr": ("radiomics_mr_brain1",),
}
"""Of these data sets the patients named are held out. Two fetal templates, to make a pair."""
TRAINING_ONLY = (
    "cervix_ct",
    "chest_ct",
    "hn_pet",
    "msd_spleen",
    "remind_mr",
    "stroke_dwi",
    "totalseg_vessels",
    "vertebra_parts",
)
"""Data sets of one or two patients, all of whom training may use."""

OPEN_ENDED: Mapping[str, frozenset[str]] = {
    "openkbp": frozenset({"spinal cord", "esophagus"}),
    "spinal_cord": frozenset(
        {"spinal cord", "spinal cord (white matter where grey is labelled)", "grey matter"}
    ),
}
"""Structures that were contoured over part of their length: beyond it, along the slices, nothing is known."""
INSIDE_A_MASK = ("openkbp",)
"""Data sets whose images exist only inside a mask; all around it they have their lowest value."""

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
    ("openkbp", "CT"): "Head and neck CT",
    ("prostate_mrus", "MR"): "Prostate MR",
    ("prostate_mrus", "US"): "Prostate US",
    ("spinal_cord", "MR"): "Spinal cord MR",
    ("fetal_sba", "MR"): "Fetal brain MR",
    ("radiomics_mr", "MR"): "Brain tumour MR",
}
"""Names of data sets in tables and pictures, by their name in the manifest and their modality."""

_BENCHMARK_CASES = {
    "totalseg": 2,
    "sts_ct": 4,
    "sts_mr": 4,
    "acdc": 6,
    "ms": 3,
    "hippocampus": 6,
    "openkbp": 6,
    "prostate_mrus": 14,
    "spinal_cord": 3,
    "fetal_sba": 2,
    "radiomics_mr": 1,
}
"""Data sets of the benchmark, and how many held-out cases of each it runs on."""

SPLIT_DATASETS = (*_BENCHMARK_CASES, *TRAINING_ONLY)
"""The data sets that `is_held_out` and `is_for_development` know."""


@dataclass(frozen=True)
class Case:
    """An image with its label map.

    modality: "CT", "MR", "US" or "PET"; names: label values to structures. A structure that has no name here
    was not contoured: the image may show it all the same.
    """

    dataset: str
    case: str
    patient: str
    modality: str
    image: Path
    labels: Path
    names: dict[int, str]

    @property
    def open_ended(self) -> frozenset[str]:
        """Names of structures that go on, unlabelled, beyond the slices on which they were contoured."""
        return OPEN_ENDED.get(self.dataset, frozenset())

    @property
    def inside_a_mask(self) -> bool:
        """Whether the image exists only inside a mask; around it, it has its lowest value."""
        return self.dataset in INSIDE_A_MASK


@dataclass(frozen=True)
class LabelMap:
    """A label map without an image, on which images are painted; otherwise as a `Case`."""

    dataset: str
    case: str
    patient: str
    modality: str
    labels: Path
    names: dict[int, str]


def collection_title(dataset: str, modality: str) -> str:
    """The name that tables and pictures give a data set; the two totalseg scans are two collections."""
    return _TITLES.get((dataset, modality), f"{dataset} {modality}")


def read_cases(data: Path) -> tuple[Case, ...]:
    """Every case of a data folder's manifest.json, in its order; label maps without images are passed over.

    Raises InputError without a readable manifest.
    """
    return tuple(case for case in read_manifest(data) if isinstance(case, Case))


def read_manifest(data: Path) -> tuple[Case | LabelMap, ...]:
    """Every case and every label map without an image of a data folder's manifest.json, in its order.

    Raises InputError without a readable manifest.
    """
    manifest = data / "manifest.json"
    if not manifest.is_file():
        raise InputError(f"{data} has no manifest.json: give the folder that holds the evaluation cases")
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))
        return tuple(_case(data, entry) if "image" in entry else _label_map(data, entry) for entry in entries)
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
    hippocampus cases up to 050; head and neck patients up to pt_100; prostate patients up to case006, in MR
    and US alike; one of two spinal cord patients, in all contrasts; two of five fetal templates; one of two
    brain tumours. Training takes the rest, and all of the data sets of one or two patients. Settings may be
    chosen on those from head and neck on. Raises InputError for a data set the split does not name.
    """
    if case.dataset in EVALUATION_ONLY:
        return True
    if case.dataset in ("sts_ct", "sts_mr"):
        return _number(case) <= LAST_SARCOMA_PATIENT
    if case.dataset == "hippocampus":
        return _number(case) <= LAST_HIPPOCAMPUS_PATIENT
    if case.dataset in LAST_HELD_OUT:
        return _patient_number(case) <= LAST_HELD_OUT[case.dataset]
    if case.dataset in HELD_OUT_PATIENTS:
        return case.patient in HELD_OUT_PATIENTS[case.dataset]
    if case.dataset in TRAINING_ONLY:
        return False
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
        modality=_modality(entry),
        image=data / entry["image"],
        labels=data / entry["label"],
        names=_names(entry),
    )


def _label_map(data: Path, entry: dict) -> LabelMap:
    return LabelMap(
        dataset=entry["dataset"],
        case=entry["case"],
        patient=entry["patient"],
        modality=_modality(entry),
        labels=data / entry["label"],
        names=_names(entry),
    )


def _modality(entry: dict) -> str:
    """What the manifest's free text begins with, where that is one of ours; MR otherwise."""
    return next((name for name in ("CT", "US", "PET") if entry["modality"].startswith(name)), "MR")


def _names(entry: dict) -> dict[int, str]:
    return {int(value): name for value, name in entry["labels"].items()}


def _number(case: Case) -> int:
    return int(case.case)


def _patient_number(case: Case) -> int:
    """The number at the end of a patient's name; raises InputError where there is none."""
    found = re.search(r"(\d+)$", case.patient)
    if found is None:
        raise InputError(f"{case.dataset} {case.case}: the patient {case.patient} has no number to split by")
    return int(found[1])
