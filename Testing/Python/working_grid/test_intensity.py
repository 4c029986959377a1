"""Whether a volume's grey levels are Hounsfield units, and where they are cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.working_grid.intensity import IntensityNormalization, intensity_normalization


def volume(array: np.ndarray, modality: str = "") -> Volume:
    return replace(Volume.from_array(array, np.eye(4)), modality=modality)


def ct() -> np.ndarray:
    """A body in air, int16 Hounsfield units, with some bone."""
    array = np.random.default_rng(0).normal(40, 30, (20, 24, 28))
    array[:, :4] = -1000
    array[8:11, 8:11, 8:11] = 900
    return array.astype(np.int16)


def mr() -> np.ndarray:
    return np.abs(np.random.default_rng(0).normal(300, 120, (20, 24, 28))).astype(np.float32)


def test_hounsfield_units_are_recognised_by_their_values() -> None:
    rule = intensity_normalization(volume(ct()))
    assert (rule.modality, rule.low, rule.high) == ("CT", -1024, 2000)
    assert "Hounsfield" in rule.why


def test_what_dicom_says_comes_before_the_values() -> None:
    assert intensity_normalization(volume(mr(), "CT")).modality == "CT"
    assert intensity_normalization(volume(ct(), "MR")).modality == "MR"
    assert intensity_normalization(volume(mr(), "CT")).why == "DICOM modality"
    assert "PT" in intensity_normalization(volume(mr(), "PT")).why


@pytest.mark.parametrize(
    "array",
    [
        mr(),
        mr() - 400,
        ct() + 1024,
        (ct() * 10).astype(np.int32),
        (ct() / 1000).astype(np.float32),
    ],
    ids=["MR", "negative MR", "CT stored unsigned", "ten times CT", "CT in thousands"],
)
def test_other_scales_are_cut_at_their_own_percentiles(array: np.ndarray) -> None:
    rule = intensity_normalization(volume(array))
    assert rule.modality == "MR"
    assert array.min() <= rule.low < rule.high <= array.max()


def test_padding_and_metal_do_not_move_the_range_of_ct() -> None:
    array = ct()
    array[0, 0, :8], array[5, 5, 5] = -3024, 30000
    rule = intensity_normalization(volume(array))
    assert (rule.modality, rule.low, rule.high) == ("CT", -1024, 2000)


def test_single_bright_voxels_do_not_stretch_the_range_of_mr() -> None:
    array = mr()
    array[3, 3, 3] = 1e6
    assert intensity_normalization(volume(array)).high < 1000


def test_an_image_that_is_nearly_constant_still_has_a_range() -> None:
    array = np.zeros((20, 30, 30), np.uint8)
    array[4, 5, 6] = 7
    rule = intensity_normalization(volume(array))
    assert (rule.low, rule.high) == (0, 7)


def test_a_large_volume_gets_the_rule_of_its_contents() -> None:
    array = np.broadcast_to(ct()[:, None, :, None, :], (20, 10, 24, 10, 28)).reshape(200, 240, 28)
    assert intensity_normalization(volume(array)).modality == "CT"


def test_the_rule_is_told_in_the_report() -> None:
    rule = IntensityNormalization("CT", -1024, 2000, "DICOM modality")
    assert rule.as_dict() == {"kind": "CT", "low": -1024, "high": 2000, "why": "DICOM modality"}
