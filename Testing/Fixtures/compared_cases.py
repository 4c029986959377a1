"""Cases of two groups for comparisons: features made up, and small phantoms as files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from MedMetaSegLib.case_comparison.case_features import CaseFeatures
from MedMetaSegLib.case_comparison.examples import Examples, Question, learned_examples
from MedMetaSegLib.case_comparison.validation import ValidationOptions
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.itk import write_by_itk
from MedMetaSegLib.measurements.measurements import MeasureOptions

QUICK = ValidationOptions(repeats=3, permutations=39)
MEASUREMENTS = ("liver:volume_cm3", "liver:mean", "spleen:volume_fraction")
WEIGHTS = "0123456789abcdef"
QUESTION = Question("CT", ("liver", "spleen"), MEASUREMENTS, MeasureOptions(), WEIGHTS)


def features(seed: int, size: float = 1.0, modality: str = "CT") -> CaseFeatures:
    """A case whose liver has `size` times the usual volume; the same seed gives the same image."""
    random = np.random.default_rng(seed)
    liver = {"volume_cm3": 1500 * size * np.exp(0.1 * random.normal()), "mean": 60 + 5 * random.normal()}
    spleen = {"volume_cm3": 200 * np.exp(0.1 * random.normal()), "mean": 50.0}
    embeddings = {name: random.normal(size=4) for name in ("liver", "spleen")}
    sha256 = hashlib.sha256(str(seed).encode()).hexdigest()
    return CaseFeatures(modality, sha256, {"liver": liver, "spleen": spleen}, embeddings)


def grouped(cases: int = 12, effect: float = 2.0) -> list[tuple[CaseFeatures, str]]:
    """Cases of the groups 'large' and 'small', whose livers differ by the factor `effect`."""
    return [
        (features(number, effect if number % 2 else 1.0), "large" if number % 2 else "small")
        for number in range(cases)
    ]


def examples(effect: float = 2.0, question: Question = QUESTION) -> Examples:
    """Examples that were learned from `grouped` cases."""
    return learned_examples(grouped(effect=effect), question, QUICK)


def write_phantom(folder: Path, name: str, radius: float, seed: int, kind: str = "MR") -> tuple[Path, Path]:
    """An image of 24 voxels along each axis and its label map: an organ of this radius, and a small box."""
    random = np.random.default_rng(seed)
    k, j, i = np.mgrid[:24, :24, :24] - 11.5
    labels = (np.sqrt(k**2 + j**2 + i**2) <= radius).astype(np.uint8)
    labels[1:4, 1:4, 1:5] = 2
    image = 100 * (labels > 0) + 20 * random.normal(size=labels.shape) + 300
    if kind == "CT":
        image = image - 280
        image[:, :, 20:] = -1000 + 10 * random.normal(size=image[:, :, 20:].shape)
    geometry = Geometry((24, 24, 24), np.diag([2.0, 2.0, 2.0, 1.0]))
    paths = folder / f"{name}.nii.gz", folder / f"{name}_seg.nii.gz"
    for path, array in zip(paths, (image.astype(np.int16), labels), strict=True):
        write_by_itk(path, array, geometry)
    return paths
