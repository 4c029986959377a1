"""The phantom patient: an abdomen that is laid out, and looks, as one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from MedMetaSegLib.demo.phantom import LABEL, STRUCTURES, Patient, make_patient, painted, painted_slices

SMALL = {"shape": (24, 70, 90), "spacing_mm": (8.0, 4.0, 4.0)}


@pytest.fixture(scope="module")
def abdomen() -> Patient:
    return make_patient(0)


def centre(patient: Patient, name: str) -> np.ndarray:
    """World coordinates (RAS, mm) of a structure's centre."""
    return patient.volume.geometry.index_to_world(np.argwhere(patient.truth == LABEL[name]).mean(0)[None])[0]


def millilitres(patient: Patient, name: str) -> float:
    return np.count_nonzero(patient.truth == LABEL[name]) * patient.volume.geometry.voxel_ml


def mean_hounsfield(patient: Patient, name: str) -> float:
    return float(patient.volume.array[patient.truth == LABEL[name]].mean())


def test_the_same_seed_makes_the_same_patient():
    one, again, other = make_patient(3, **SMALL), make_patient(3, **SMALL), make_patient(4, **SMALL)
    assert np.array_equal(one.volume.array, again.volume.array)
    assert np.array_equal(one.truth, again.truth)
    assert not np.array_equal(one.truth, other.truth)


def test_the_grid_is_oblique_anisotropic_and_the_size_asked_for(abdomen: Patient):
    geometry = abdomen.volume.geometry
    assert abdomen.volume.array.shape == abdomen.truth.shape == (48, 140, 180)
    assert geometry.spacing_mm == pytest.approx((4.0, 2.0, 2.0))
    assert np.abs(geometry.directions).max() < 0.9999
    assert abdomen.volume.array.dtype == np.int16
    assert abdomen.truth.dtype == np.uint8


def test_organs_lie_where_they_belong(abdomen: Patient):
    right, front, up = 0, 1, 2
    assert centre(abdomen, "liver")[right] > 20 > -20 > centre(abdomen, "spleen")[right]
    assert centre(abdomen, "right kidney")[right] > 40 > -40 > centre(abdomen, "left kidney")[right]
    assert centre(abdomen, "right kidney")[up] < centre(abdomen, "left kidney")[up]
    assert (
        centre(abdomen, "vertebrae")[front]
        < centre(abdomen, "aorta")[front]
        < centre(abdomen, "stomach")[front]
    )
    assert centre(abdomen, "aorta")[right] < centre(abdomen, "inferior vena cava")[right]


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("liver", 900, 1800),
        ("spleen", 90, 300),
        ("left kidney", 100, 220),
        ("right kidney", 100, 220),
        ("liver lesion", 10, 60),
        ("gallbladder", 10, 60),
        ("pancreas", 30, 130),
    ],
)
@pytest.mark.parametrize("seed", [0, 5])
def test_organs_have_the_size_of_an_adults(seed: int, name: str, least: float, most: float):
    assert least < millilitres(patient_of(seed), name) < most


def patient_of(seed: int, made: dict[int, Patient] = {}) -> Patient:  # noqa: B006 - one patient per seed
    if seed not in made:
        made[seed] = make_patient(seed, shape=(48, 70, 90), spacing_mm=(4.0, 4.0, 4.0))
    return made[seed]


def test_tissues_have_their_hounsfield_units(abdomen: Patient):
    assert 95 < mean_hounsfield(abdomen, "liver") < 115
    assert mean_hounsfield(abdomen, "liver lesion") < mean_hounsfield(abdomen, "liver") - 20
    assert mean_hounsfield(abdomen, "left kidney") > mean_hounsfield(abdomen, "spleen") > 100
    assert mean_hounsfield(abdomen, "vertebrae") > 180
    assert abs(mean_hounsfield(abdomen, "gallbladder")) < 45
    air = abdomen.volume.array[:, :10, :10]
    assert -1024 <= air.mean() < -970


def test_every_organ_is_one_piece(abdomen: Patient):
    for structure in STRUCTURES:
        pieces, count = ndimage.label(abdomen.truth == structure.label, np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        if structure.name not in ("vertebrae", "ribs"):
            assert sizes.max() > 0.97 * sizes.sum(), f"{structure.name} falls into {count} pieces"


def test_the_noise_has_grain_within_a_slice_and_none_between_slices(abdomen: Patient):
    inside = ndimage.binary_erosion(abdomen.truth == LABEL["liver"], iterations=3)
    pairs = inside[:, :, :-1] & inside[:, :, 1:] & np.roll(inside, -1, 0)[:, :, :-1]
    noise = abdomen.volume.array - ndimage.uniform_filter(abdomen.volume.array.astype(float), (1, 9, 9))
    here, beside, above = (
        noise[:, :, :-1][pairs],
        noise[:, :, 1:][pairs],
        np.roll(noise, -1, 0)[:, :, :-1][pairs],
    )
    assert np.corrcoef(here, beside)[0, 1] > 0.3
    assert abs(np.corrcoef(here, above)[0, 1]) < 0.2


def test_painting_gives_whole_outlines_on_a_few_slices_and_nothing_else(abdomen: Patient):
    labels = (LABEL["liver"], LABEL["liver lesion"])
    drawn = painted(abdomen.truth, labels, slices=3)
    for label in labels:
        slices = painted_slices(abdomen.truth, label)
        held = np.flatnonzero((abdomen.truth == label).any((1, 2)))
        assert len(slices) == 3
        assert held[0] < slices[0] < slices[-1] < held[-1]
        assert tuple(np.flatnonzero((drawn == label).any((1, 2)))) == slices
        for k in slices:
            assert np.array_equal(drawn[k] == label, abdomen.truth[k] == label)
    assert set(np.unique(drawn)) == {0, *labels}
