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


def test_the_values_decide_whether_ct_is_in_hounsfield_units() -> None:
    rule = intensity_normalization(volume(ct(), "CT"))
    assert (rule.modality, rule.low, rule.high) == ("CT", -1024, 2000)
    assert rule.why.startswith("DICOM says CT, and the values from")
    assert intensity_normalization(volume(ct(), "MR")).modality == "MR"
    assert "PT" in intensity_normalization(volume(mr(), "PT")).why


def padded(array: np.ndarray, value: float) -> np.ndarray:
    """A fifth of the voxels outside the field of view have one value."""
    filled = array.astype(np.float32)
    filled[:, :, :3] = filled[:, :, -3:] = value
    return filled


@pytest.mark.parametrize(
    "array",
    [
        np.clip(ct() + 1000.0, 0, None) * 2.2,
        ct() + 1024.0,
        20000.0 + 10 * ct(),
        padded(ct() + 1024.0, -2000),
        padded(ct() + 1024.0, -1024),
        ct() / 1000,
    ],
    ids=[
        "cone beam",
        "offset 1024",
        "micro-CT",
        "offset and padding",
        "offset and masked",
        "thousands",
    ],
)
def test_ct_that_is_not_calibrated_is_cut_at_its_own_percentiles(array: np.ndarray) -> None:
    rule = intensity_normalization(volume(array, "CT"))
    assert rule.modality == "MR"
    assert "DICOM says CT, but the values from" in rule.why
    assert rule.low < np.percentile(array, 50) < rule.high


@pytest.mark.parametrize("padding", [-2000, -3024, -32768, 32767, -3.4e38])
@pytest.mark.parametrize("modality", ["CT", ""])
def test_padded_ct_stays_ct(padding: float, modality: str) -> None:
    rule = intensity_normalization(volume(padded(ct(), padding), modality))
    assert (rule.modality, rule.low, rule.high) == ("CT", -1024, 2000)


@pytest.mark.parametrize("array", [ct()[8:, 6:], padded(ct(), -1000)[:, 6:]], ids=["no air", "masked"])
def test_ct_without_air_stays_ct(array: np.ndarray) -> None:
    assert intensity_normalization(volume(array, "CT")).modality == "CT"


def test_a_large_implant_leaves_ct_what_it_is() -> None:
    array = ct().astype(np.float32)
    array[10:14, 10:14, 10:14] = 30000
    assert intensity_normalization(volume(array)).modality == "CT"


@pytest.mark.parametrize("padding", [-32768.0, 65535.0])
def test_padding_is_left_out_of_the_percentiles(padding: float) -> None:
    rule = intensity_normalization(volume(padded(mr(), padding)))
    inside = intensity_normalization(volume(mr()[:, :, 3:-3]))
    assert (rule.modality, rule.low, rule.high) == ("MR", inside.low, inside.high)
    assert f"padding of {padding:.6g} left out" in rule.why


def test_the_padding_that_dicom_names_is_left_out() -> None:
    array = padded(mr(), 900)
    named = replace(volume(array, "MR"), padding=(900.0, 900.0))
    assert intensity_normalization(named).high < 900
    assert intensity_normalization(volume(array, "MR")).high == 900


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
    rule = IntensityNormalization("CT", -1024, 2000, "DICOM says so.")
    assert rule.as_dict() == {"kind": "CT", "low": -1024, "high": 2000, "why": "DICOM says so."}
