"""Which measurements there are, what they are called, and how they are chosen without looking at groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MedMetaSegLib.case_comparison.measured_values import (
    MOST_MEASUREMENTS,
    check_kinds,
    check_measurements,
    compared_value,
    default_measurements,
    kinds,
    structure_values,
)
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.measurements.measure import measure
from MedMetaSegLib.measurements.measurements import StructureMeasurements
from MedMetaSegLib.support.structure import Structure, StructureMask
from MedMetaSegLib.working_grid.intensity import IntensityNormalization

CT = IntensityNormalization("CT", -1024, 2000, "")
MR = IntensityNormalization("MR", 100, 300, "")


def measured(mask: np.ndarray, value: float = 200) -> StructureMeasurements:
    """What is measured of a mask on voxels of 1 mm in an image of one value."""
    volume = Volume(np.full(mask.shape, value), Geometry(mask.shape, np.eye(4)))
    structure = Structure("ball", 1, (1, 0, 0))
    return measure(volume, [StructureMask(structure, (0, 0, 0), mask)]).structures[0]


def ball(radius: float = 12) -> np.ndarray:
    """A ball in the middle of a cube of 40 voxels."""
    k, j, i = np.mgrid[:40, :40, :40] - 19.5
    return np.sqrt(k**2 + j**2 + i**2) <= radius


def test_a_ball_is_round() -> None:
    values = structure_values(measured(ball()), CT)
    assert values["sphericity"] == pytest.approx(1, abs=0.05)
    assert values["elongation"] == pytest.approx(1, abs=0.05)
    assert values["lesion_count"] == 1


def test_a_rod_is_long() -> None:
    rod = np.zeros((40, 40, 40), bool)
    rod[2:38, 18:22, 18:22] = True
    values = structure_values(measured(rod), CT)
    assert values["elongation"] > 3
    assert values["sphericity"] < 0.75


def test_intensities_of_ct_are_hounsfield_units_and_others_a_part_of_the_range() -> None:
    one = measured(ball())
    assert structure_values(one, CT)["mean"] == 200
    values = structure_values(one, MR)
    assert values["relative_mean"] == 0.5
    assert "mean" not in values
    assert one.intensity is not None
    spread = structure_values(replace(one, intensity=replace(one.intensity, stdev=20.0)), MR)
    assert spread["relative_stdev"] == 0.1


@pytest.mark.parametrize("modality", [CT, MR], ids=["CT", "MR"])
def test_every_kind_is_measured(modality: IntensityNormalization) -> None:
    values = structure_values(measured(ball()), modality)
    assert {*values, "volume_fraction"} == set(kinds(modality.modality))


def test_choice_is_a_fixed_order_of_at_most_eight() -> None:
    assert default_measurements(["liver"], "CT") == (
        "liver:volume_cm3",
        "liver:mean",
        "liver:sphericity",
        "liver:stdev",
        "liver:elongation",
        "liver:lesion_count",
        "liver:percentile_95",
    )
    assert default_measurements(["a", "b"], "MR") == (
        "a:volume_cm3",
        "b:volume_cm3",
        "b:volume_fraction",
        "a:relative_mean",
        "b:relative_mean",
        "a:sphericity",
        "b:sphericity",
        "a:relative_stdev",
    )
    many = default_measurements([f"s{n}" for n in range(12)], "CT")
    assert len(many) == MOST_MEASUREMENTS
    assert not any(name.startswith("s4") for name in many)


def test_sizes_are_compared_by_their_ratio() -> None:
    small, middle, large = (compared_value("a:volume_cm3", value) for value in (5, 10, 20))
    assert large - middle == pytest.approx(middle - small)
    assert compared_value("a:lesion_count", 0) == 0
    assert compared_value("a:relative_mean", 0.25) == 0.25


def test_a_name_of_a_structure_may_hold_a_colon() -> None:
    assert check_measurements(["T1: core:mean"], ["T1: core"], "CT") == ("T1: core:mean",)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["spleen:mean"], "no structure 'spleen'"),
        (["liver:colour"], "no measurement 'colour'"),
        (["liver:relative_mean"], "that are CT"),
        (["liver:mean", "liver:mean"], "named twice"),
        ([f"liver:{kind}" for kind in kinds("CT")[:9]], "at most 8"),
    ],
)
def test_measurements_that_cannot_be_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_measurements(names, ["liver"], "CT")


@pytest.mark.parametrize("name", ["mean", "liver:colour", ":mean"])
def test_kinds_are_known_before_any_image_is_read(name: str) -> None:
    check_kinds(["liver:mean", "liver:relative_mean"])
    with pytest.raises(InputError, match="write STRUCTURE:KIND"):
        check_kinds([name])
