"""Values of a label map: whole, nearly whole, or none."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from MedMetaSegLib.errors import InputError
from MedMetaSegLib.support.label_values import whole_labels
from MedMetaSegLib.support.support import Support

VALUES = np.repeat([0, 1, 2, 300], 30).reshape(4, 5, 6)


@pytest.mark.parametrize("dtype", [np.int64, np.uint32, np.int8, np.float64, np.float32, ">f4", bool])
def test_whole_numbers_of_any_type_are_labels(dtype: type) -> None:
    values = (VALUES % 3).astype(dtype)
    labels = whole_labels(values)
    np.testing.assert_array_equal(labels, values)
    assert labels.dtype == np.uint8


@pytest.mark.parametrize(
    "stored",
    [
        {0: 0, 1: 0.9882, 2: 2.0235, 300: 299.96},
        {0: -0.04, 1: 1.05, 2: 1.95, 300: 299.95},
        {0: 1e-9, 1: 1 - 1e-6, 2: 2 + 1e-6, 300: 300},
    ],
)
def test_labels_nearly_whole_are_rounded(stored: dict[int, float]) -> None:
    values = np.vectorize(stored.get, otypes=[float])(VALUES).astype(np.float32)
    labels = whole_labels(values)
    np.testing.assert_array_equal(labels, VALUES)
    assert labels.dtype == np.uint16


def test_the_rounding_of_one_number_is_one_label() -> None:
    values = VALUES.astype(np.float32)
    values[1, :3] -= 2e-4
    np.testing.assert_array_equal(whole_labels(values), VALUES)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (0.73, r"not whole numbers \(0.73\)"),
        (2.06, r"not whole numbers \(2.06\)"),
        (1.04, "values 1 and 1.04, which would both be label 1"),
        (0.02, "values 0 and 0.02, which would both be label 0"),
        (np.nan, "voxels of nan"),
        (np.inf, "voxels of inf"),
        (-1.0, r"negative values \(down to -1\)"),
        (65535.6, "not whole numbers"),
        (65536.0, "up to 65536; give labels of at most 65535"),
    ],
)
def test_other_values_are_refused_by_name(value: float, says: str) -> None:
    values = VALUES.astype(np.float64)
    values[3, 4, 5] = value
    with pytest.raises(InputError, match=says):
        whole_labels(values)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_what_nibabel_scales_into_integers_is_read_as_it_was(tmp_path: Path, dtype: type) -> None:
    image = nibabel.Nifti1Image((VALUES % 3).astype(np.float64).T, np.eye(4))
    image.set_data_dtype(dtype)
    nibabel.save(image, tmp_path / "x.nii.gz")
    assert nibabel.load(tmp_path / "x.nii.gz").dataobj.slope != 1
    support = Support.read(tmp_path / "x.nii.gz", annotation="scribbles")
    np.testing.assert_array_equal(support.labels(), VALUES % 3)
