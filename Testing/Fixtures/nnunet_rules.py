"""What nnU-Net asks of a training set, checked without it: its files, one grid, labels 0, 1, 2, ..."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk


def checked_dataset(folder: Path) -> dict[str, Any]:
    """The dataset.json of a training set of one channel that keeps nnU-Net's rules; AssertionError else."""
    assert re.fullmatch(r"Dataset\d{3}_\w+", folder.name, re.ASCII)
    about = json.loads((folder / "dataset.json").read_text(encoding="ascii"))
    assert "dataset" not in about
    ending, labels = about["file_ending"], about["labels"]
    values = list(labels.values())
    assert values == list(range(len(values)))
    assert next(iter(labels)) == "background"
    assert "ignore" not in labels or list(labels)[-1] == "ignore"
    assert list(about["channel_names"]) == ["0"]
    images = sorted(path.name.removesuffix(f"_0000{ending}") for path in (folder / "imagesTr").iterdir())
    assert images == sorted(path.name.removesuffix(ending) for path in (folder / "labelsTr").iterdir())
    assert len(images) == about["numTraining"] > 0
    for name in images:
        _check_case(folder, name, ending, values)
    return about


def labels_of(folder: Path, name: str) -> np.ndarray:
    """The label map of a case, (k, j, i)."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labelsTr" / f"{name}.nii.gz")))


def image_of(folder: Path, name: str) -> np.ndarray:
    """The image of a case, (k, j, i)."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "imagesTr" / f"{name}_0000.nii.gz")))


def _check_case(folder: Path, name: str, ending: str, values: list[int]) -> None:
    assert re.fullmatch(r"[\w.-]+", name, re.ASCII)
    assert not name.startswith(".")
    image = sitk.ReadImage(str(folder / "imagesTr" / f"{name}_0000{ending}"))
    labels = sitk.ReadImage(str(folder / "labelsTr" / f"{name}{ending}"))
    assert labels.GetSize() == image.GetSize()
    for what in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(labels, what)(), getattr(image, what)())
    assert set(np.unique(sitk.GetArrayViewFromImage(labels))) <= set(values)
    assert not np.isnan(sitk.GetArrayViewFromImage(image)).any()
